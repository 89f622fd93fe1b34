//! What `api` needs, judged.

use std::net::{IpAddr, SocketAddr};

use super::{Provider, Settings, SettingsError, at_least_one, number, raw::Text, strength};
use crate::api::{self, Checkout, Connect, Seller, Token};

impl Settings {
    /// What `api` needs. It needs the database's address too, and refuses here when that is missing.
    pub fn api(&self) -> Result<api::Settings, SettingsError> {
        let raw = &self.raw.api;
        self.database_url()?;
        let bind: IpAddr = raw.bind.0.parse().map_err(|_| {
            let remedy = "Write 127.0.0.1 for this machine alone (the default): api is private.";
            SettingsError::new("api.bind", format!("is {:?}, not an IP address", raw.bind.0), remedy)
        })?;
        let port = number::<u16>("api.port", &raw.port.0, "a port from 0 to 65535")?;
        Ok(api::Settings {
            address: SocketAddr::new(bind, port),
            token: self.token()?,
            seller: match self.stripe()?.provider {
                Provider::Stripe => Seller::Stripe,
                Provider::Dummy => Seller::Dummy,
                Provider::Off => Seller::Off,
            },
            checkout: self.checkout()?,
            connect: self.connect()?,
            terms: self.terms()?,
            is_over_tls: match &raw.public_url {
                Some(url) if api::is_url(&url.0) => url.0.starts_with("https://"),
                Some(url) => {
                    let remedy =
                        "Write where operators reach the console, like https://bursar.acme.example, or unset it.";
                    return Err(SettingsError::new("api.public_url", format!("is {:?}", url.0), remedy));
                }
                // On loopback there is no TLS, and nobody between.
                None => !bind.is_loopback(),
            },
            is_for_this_machine: false,
            limits: crate::http::Limits {
                connections_per_address: at_least_one(
                    "api.max_connections_per_address",
                    &raw.max_connections_per_address.0,
                )?,
                proxies: strength::proxies("api.trusted_proxies", &raw.trusted_proxies.0)?,
                ..api::limits(at_least_one("api.max_connections", &raw.max_connections.0)?)
            },
            patience: api::PATIENCE,
        })
    }

    /// Whether it is reached under a name of its own.
    pub fn api_is_public(&self) -> bool {
        self.raw.api.public_url.is_some()
    }

    /// The token, as it was set: for a development run, which prints it.
    pub fn api_token(&self) -> Option<&super::Secret> {
        self.raw.api.token.as_ref()
    }

    pub(super) fn token(&self) -> Result<Token, SettingsError> {
        const KEY: &str = "api.token";
        let remedy = "Share a random one with the application: `openssl rand -hex 32` prints one.";
        let token = self.raw.api.token.as_ref().ok_or_else(|| SettingsError::missing(KEY, remedy))?;
        let text = token.expose();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SettingsError::new(
                KEY,
                "is empty, or holds white space or a character that no header has",
                remedy,
            ));
        }
        strength::token(token).map_err(|problem| SettingsError::new(KEY, problem, remedy))?;
        Ok(Token::new(text))
    }

    fn connect(&self) -> Result<Connect, SettingsError> {
        let raw = &self.raw.connect;
        let url = |field: &str, text: &Text| {
            if api::is_url(&text.0) {
                return Ok(text.0.clone());
            }
            let problem = format!("is {:?}", text.0);
            Err(SettingsError::new(&format!("connect.{field}"), problem, "Write an http(s) URL of your application."))
        };
        let country = raw.country.as_ref().map(|text| text.0.clone());
        if let Some(country) =
            country.as_ref().filter(|text| text.len() != 2 || !text.bytes().all(|b| b.is_ascii_uppercase()))
        {
            let remedy = "Write two capital letters (ISO 3166), like DE, or unset it: the platform's own country.";
            return Err(SettingsError::new("connect.country", format!("is {country:?}"), remedy));
        }
        Ok(Connect {
            return_url: url("return_url", &raw.return_url)?,
            refresh_url: url("refresh_url", &raw.refresh_url)?,
            country,
        })
    }

    fn checkout(&self) -> Result<Checkout, SettingsError> {
        let raw = &self.raw.checkout;
        let url = |field: &str, text: &Text| {
            if api::is_url(&text.0) {
                return Ok(text.0.clone());
            }
            let problem = format!("is {:?}", text.0);
            Err(SettingsError::new(&format!("checkout.{field}"), problem, "Write an http(s) URL of your application."))
        };
        let some = |field: &str, text: &Option<Text>| text.as_ref().map(|text| url(field, text)).transpose();
        let trial_days = number::<u32>("checkout.trial_days", &raw.trial_days.0, "days from 0 to 730")?;
        if trial_days > 730 {
            return Err(SettingsError::new(
                "checkout.trial_days",
                format!("is {trial_days}"),
                "Write days from 0 to 730.",
            ));
        }
        Ok(Checkout {
            success_url: url("success_url", &raw.success_url)?,
            cancel_url: some("cancel_url", &raw.cancel_url)?,
            return_url: some("return_url", &raw.return_url)?,
            trial_days,
            allow_promotion_codes: raw.allow_promotion_codes,
            automatic_tax: raw.automatic_tax,
            invoice_creation: raw.invoice_creation,
            per_minute: at_least_one("checkout.per_minute", &raw.per_minute.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn connect(own: &[(&str, &str)]) -> Result<Connect, String> {
        let base = [("DATABASE_URL", "postgres://nobody@localhost/unused"), ("API_TOKEN", "0123456789abcdef")];
        let all: BTreeMap<_, _> =
            base.iter().chain(own).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = Settings::from_parts(&[], all, None).unwrap();
        settings.api().map(|api| api.connect).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused_and_tls_is_told_by_the_public_address() {
        let api = |own: &[(&str, &str)]| {
            let base = [("DATABASE_URL", "postgres://nobody@localhost/unused"), ("API_TOKEN", "0123456789abcdef")];
            let all: BTreeMap<_, _> =
                base.iter().chain(own).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Settings::from_parts(&[], all, None).unwrap().api()
        };
        for weak in ["x", "0123456789abcde", "aaaaaaaaaaaaaaaaaaaaaaaa"] {
            for bind in ["127.0.0.1", "0.0.0.0"] {
                let refused = api(&[("API_TOKEN", weak), ("BURSAR_API__BIND", bind)]).unwrap_err().to_string();
                assert!(refused.contains("API_TOKEN") && refused.contains("can be guessed"), "{refused}");
                assert!(refused.contains("openssl rand -hex 32"), "{refused}");
            }
        }
        let over_tls = |own: &[(&str, &str)]| api(own).unwrap().is_over_tls;
        assert!(!over_tls(&[]) && over_tls(&[("BURSAR_API__BIND", "0.0.0.0")]));
        assert!(over_tls(&[("BURSAR_API__PUBLIC_URL", "https://bursar.acme.example")]));
        assert!(!over_tls(&[("BURSAR_API__PUBLIC_URL", "http://10.0.0.5:3001"), ("BURSAR_API__BIND", "0.0.0.0")]));
        assert!(
            api(&[("BURSAR_API__PUBLIC_URL", "bursar.acme.example")])
                .unwrap_err()
                .to_string()
                .contains("api.public_url")
        );
    }

    #[test]
    fn how_receivers_are_onboarded_is_judged_at_boot() {
        let default = connect(&[]).unwrap();
        assert_eq!(default.return_url, "http://localhost:3000/connect/return");
        assert_eq!((default.refresh_url.as_str(), default.country), ("http://localhost:3000/connect/refresh", None));
        let own = connect(&[("BURSAR_CONNECT__COUNTRY", "DE"), ("BURSAR_CONNECT__RETURN_URL", "https://a.example/r")]);
        let own = own.unwrap();
        assert_eq!((own.country.as_deref(), own.return_url.as_str()), (Some("DE"), "https://a.example/r"));
        for (name, bad) in [
            ("BURSAR_CONNECT__RETURN_URL", "shop.example"),
            ("BURSAR_CONNECT__REFRESH_URL", "javascript:alert(1)"),
            ("BURSAR_CONNECT__COUNTRY", "Germany"),
            ("BURSAR_CONNECT__COUNTRY", "de"),
        ] {
            let refused = connect(&[(name, bad)]).unwrap_err();
            assert!(refused.contains(name) && refused.contains(bad), "{refused}");
        }
    }
}
