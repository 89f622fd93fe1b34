//! The shape of the settings before they mean anything: every value a text, so that each is judged by the one who knows it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};

use super::secret::Secret;

/// Every setting there is. A key that is not here is a typo, and is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub database: Database,
    pub web: Web,
    pub api: Api,
    pub checkout: Checkout,
    pub connect: Connect,
    pub stripe: Stripe,
    #[serde(default)]
    pub smtp: Smtp,
    pub letters: Letters,
    #[serde(default)]
    pub notify: Notify,
    pub log: Log,
    pub metrics: Metrics,
    #[serde(default)]
    pub telemetry: Telemetry,
    pub credits: Credits,
    pub tiers: BTreeMap<String, Tier>,
    pub packages: BTreeMap<String, Package>,
    pub skills: BTreeMap<String, Text>,
    pub payout: Payout,
    pub subscriptions: Subscriptions,
    pub dunning: Dunning,
    #[serde(default)]
    pub schedules: BTreeMap<String, Schedule>,
    #[serde(default)]
    pub meters: BTreeMap<String, Meter>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscriptions {
    pub grace_days: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dunning {
    pub retry_days: List,
    pub letter_days: List,
    pub final_day: Text,
    #[serde(rename = "final")]
    pub last: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub url: Option<Secret>,
    pub listen_url: Option<Secret>,
    pub max_connections: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Web {
    pub bind: Text,
    pub port: Text,
    pub webhook_paths: List,
    pub verifications: bool,
    pub verification_secret: Option<Secret>,
    pub unknown_types: Text,
    pub public_url: Option<Text>,
    pub max_connections: Text,
    pub max_connections_per_address: Text,
    #[serde(default)]
    pub trusted_proxies: List,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Api {
    pub bind: Text,
    pub port: Text,
    pub token: Option<Secret>,
    pub public_url: Option<Text>,
    pub max_connections: Text,
    pub max_connections_per_address: Text,
    #[serde(default)]
    pub trusted_proxies: List,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkout {
    pub success_url: Text,
    pub cancel_url: Option<Text>,
    pub return_url: Option<Text>,
    pub trial_days: Text,
    pub allow_promotion_codes: bool,
    pub automatic_tax: bool,
    pub invoice_creation: bool,
    pub currencies: List,
    pub credits_per_unit: Text,
    pub per_minute: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Connect {
    pub return_url: Text,
    pub refresh_url: Text,
    pub country: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stripe {
    pub provider: Text,
    pub secret_key: Option<Secret>,
    pub webhook_secret: Option<Secret>,
    pub api_base: Text,
    pub livemode: Option<bool>,
    pub requests_per_second: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Smtp {
    pub url: Option<Secret>,
    pub ca_file: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Letters {
    pub from: Option<Text>,
    pub team: Option<Text>,
    pub locale: Text,
    pub templates: Option<Text>,
    pub portal_url: Option<Text>,
    pub maildir: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    pub url: Option<Text>,
    pub secret: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub format: Text,
    pub filter: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub bind: Text,
    pub web_port: Text,
    pub worker_port: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Telemetry {
    pub otlp_endpoint: Option<Secret>,
    pub otlp_headers: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credits {
    pub initial: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tier {
    pub credits: Text,
    #[serde(default)]
    pub prices: List,
    pub policy: Option<Text>,
    pub cap_months: Option<Text>,
    pub trial_credits: Option<Text>,
    #[serde(default)]
    pub free: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    pub title: Option<Text>,
    pub credits: Text,
    pub amount: Text,
    pub currency: Text,
    pub price: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedule {
    pub cron: Text,
    pub kind: Text,
    #[serde(default)]
    pub args: BTreeMap<String, serde_json::Value>,
    pub catch_up: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meter {
    pub event: Text,
    pub value: Option<Text>,
    #[serde(default)]
    pub prices: List,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payout {
    pub minor_units_per_credit: Text,
    pub currency: Text,
    #[serde(default)]
    pub skills: BTreeMap<String, SkillRate>,
    pub minimum: Option<PerCurrency>,
    pub daily_cap_per_receiver: Option<PerCurrency>,
    pub daily_cap: Option<PerCurrency>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SkillRate {
    pub minor_units_per_credit: Option<Text>,
    pub currency: Option<Text>,
}

/// An amount of the usual currency, or one for each currency that is named.
#[derive(Debug)]
pub(super) enum PerCurrency {
    Usual(Text),
    Named(BTreeMap<String, Text>),
}

impl<'de> Deserialize<'de> for PerCurrency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = PerCurrency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or one for each currency")
            }

            fn visit_str<E>(self, v: &str) -> Result<PerCurrency, E> {
                Ok(PerCurrency::Usual(Text(v.trim().to_owned())))
            }

            fn visit_i64<E>(self, v: i64) -> Result<PerCurrency, E> {
                Ok(PerCurrency::Usual(Text(v.to_string())))
            }

            fn visit_f64<E>(self, v: f64) -> Result<PerCurrency, E> {
                Ok(PerCurrency::Usual(Text(v.to_string())))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<PerCurrency, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((currency, amount)) = map.next_entry::<String, Text>()? {
                    all.insert(currency, amount);
                }
                Ok(PerCurrency::Named(all))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A scalar as it was written. The library would round `3000.7` and take `on` for 1 where a number is wanted.
#[derive(Debug, Clone)]
pub(super) struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl de::Visitor<'_> for Scalar {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }

            fn visit_str<E>(self, v: &str) -> Result<Text, E> {
                Ok(Text(v.trim().to_owned()))
            }

            fn visit_i64<E>(self, v: i64) -> Result<Text, E> {
                Ok(Text(v.to_string()))
            }

            fn visit_f64<E>(self, v: f64) -> Result<Text, E> {
                Ok(Text(v.to_string()))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|text| Self::new(text.0))
    }
}

/// A list in the file, or one text with commas in a variable.
#[derive(Debug, Clone, Default)]
pub(super) struct List(pub Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> de::Visitor<'de> for Texts {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or a text with commas")
            }

            fn visit_str<E>(self, v: &str) -> Result<List, E> {
                Ok(List(v.split(',').map(|one| one.trim().to_owned()).collect()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
                let mut all = Vec::new();
                while let Some(Text(one)) = seq.next_element()? {
                    all.push(one);
                }
                Ok(List(all))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}
