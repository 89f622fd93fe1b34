//! What is asked for at a checkout, and the session's parameters that it comes to (Stripe: checkout sessions, create).

use bursar_jobs::{
    base::{credits::Credits, money},
    selling::{order::Order, packages::Packages},
    terms::{Package, Terms, Tier},
};
use serde::{Deserialize, Serialize};

use super::{
    Checkout,
    input::{self, unprocessable},
};
use crate::http::reply::Problem;

/// Stripe: `client_reference_id` has at most 200 characters.
const LONGEST_REFERENCE: usize = 200;
/// Stripe: an amount has at most eight digits.
const MOST: i64 = 99_999_999;

/// The body of a request to buy. One of `tier`, `package` and `amount`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Who buys.
    pub user_id: String,
    /// A tier, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Which of the tier's prices; the first where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// A package, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Money, in the currency's minor unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// Of the amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// For the customer, where one must be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_url: Option<String>,
}

impl Asked {
    /// Judges what was asked for, and says what it comes to.
    pub fn order(
        &self,
        key: Option<String>,
        packages: &Packages,
        terms: &Terms,
        look: &Checkout,
    ) -> Result<Order, Problem> {
        input::user(&self.user_id)?;
        for (field, url) in [("success_url", &self.success_url), ("cancel_url", &self.cancel_url)] {
            url.as_deref().map_or(Ok(()), |url| input::url(field, url))?;
        }
        if self.email.as_deref().is_some_and(|email| !bursar_jobs::customers::create_customer::is_address(email)) {
            return Err(unprocessable("`email` is no mail address."));
        }
        if self.currency.is_some() && self.amount.is_none() {
            return Err(unprocessable("`currency` belongs to `amount`."));
        }
        if self.price.is_some() && self.tier.is_none() {
            return Err(unprocessable("`price` belongs to `tier`."));
        }
        let goods = match (&self.tier, &self.package, self.amount) {
            (Some(tier), None, None) => self.tier(tier, terms)?,
            (None, Some(package), None) => Goods::package(package, packages, terms)?,
            (None, None, Some(amount)) => self.amount(amount, terms)?,
            _ => return Err(unprocessable("Send one of `tier`, `package` and `amount`.")),
        };
        Ok(Order {
            user_id: self.user_id.clone(),
            key,
            asked: serde_json::to_value(self).unwrap_or_default(),
            mode: goods.mode,
            item: goods.item.clone(),
            credits: goods.credits,
            price: goods.ad_hoc.as_ref().map(|(amount, currency)| (*amount, currency.clone())),
            fields: self.fields(&goods, look),
        })
    }

    fn tier(&self, name: &str, terms: &Terms) -> Result<Goods, Problem> {
        let tier: &Tier = terms.tiers.iter().find(|tier| tier.name == name).ok_or_else(|| {
            let known: Vec<&str> = terms.tiers.iter().map(|tier| tier.name.as_str()).collect();
            unprocessable(format!("There is no tier {name:?}. Known: {}.", known.join(", ")))
        })?;
        let price = match &self.price {
            Some(price) if tier.prices.contains(price) => price,
            Some(price) => return Err(unprocessable(format!("{price:?} sells no tier {name}."))),
            None => tier.prices.first().ok_or_else(|| {
                let variable = name.to_uppercase();
                unprocessable(format!(
                    "No price sells the tier {name}: set STRIPE_PRICE_{variable}, or `[tiers.{name}] prices`."
                ))
            })?,
        };
        Ok(Goods {
            mode: "subscription",
            item: format!("tier:{name}"),
            named: ("tier", name.to_owned()),
            title: None,
            credits: tier.credits,
            price: Some(price.clone()),
            ad_hoc: None,
        })
    }

    fn amount(&self, amount: i64, terms: &Terms) -> Result<Goods, Problem> {
        let selling = &terms.selling;
        let currency = match &self.currency {
            Some(currency) => currency.to_ascii_lowercase(),
            None => selling.currencies.first().cloned().unwrap_or_default(),
        };
        if !selling.currencies.contains(&currency) {
            let known = selling.currencies.join(", ");
            return Err(unprocessable(format!(
                "Nothing is sold in {currency:?} here, but in {known} (`[checkout] currencies`)."
            )));
        }
        if !(1..=MOST).contains(&amount) {
            let example = money::format(2500, &currency);
            return Err(unprocessable(format!(
                "`amount` is money in the currency's minor unit, from 1 to {MOST}: 2500 is {example}."
            )));
        }
        if let Some(why) = money::off_step(amount, money::charge_step(&currency), &currency) {
            return Err(unprocessable(format!("`amount`: {why}, and Stripe takes no other in this currency.")));
        }
        let credits = selling.credits_for(amount, &currency).ok_or_else(|| {
            let said = money::format(amount, &currency);
            unprocessable(format!("{said} is no amount of credits that can be counted."))
        })?;
        Ok(Goods {
            mode: "payment",
            item: "amount".to_owned(),
            named: ("priced_by", "amount".to_owned()),
            title: None,
            credits,
            price: None,
            ad_hoc: Some((amount, currency)),
        })
    }

    fn fields(&self, goods: &Goods, look: &Checkout) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let mut set = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
        set("mode", goods.mode);
        set("line_items[0][quantity]", "1");
        match (&goods.price, &goods.ad_hoc) {
            (Some(price), _) => set("line_items[0][price]", price),
            (None, Some((amount, currency))) => {
                let data = |name: &str| format!("line_items[0][price_data]{name}");
                set(&data("[currency]"), currency);
                set(&data("[unit_amount]"), &amount.to_string());
                set(&data("[product_data][name]"), &goods.label());
                if look.automatic_tax {
                    // Credits are for the amount before tax, so that tax comes on top of it.
                    set(&data("[tax_behavior]"), "exclusive");
                }
            }
            (None, None) => {}
        }
        set("success_url", self.success_url.as_ref().unwrap_or(&look.success_url));
        if let Some(url) = self.cancel_url.as_ref().or(look.cancel_url.as_ref()) {
            set("cancel_url", url);
        }
        if self.user_id.chars().count() <= LONGEST_REFERENCE {
            set("client_reference_id", &self.user_id);
        }
        let credits = goods.credits.to_string();
        let metadata = [("user_id", self.user_id.as_str()), ("credits", &credits), (goods.named.0, &goods.named.1)];
        let below = if goods.mode == "subscription" { "subscription_data" } else { "payment_intent_data" };
        for (name, value) in metadata {
            set(&format!("metadata[{name}]"), value);
            set(&format!("{below}[metadata][{name}]"), value);
        }
        if goods.mode == "subscription" && look.trial_days > 0 {
            set("subscription_data[trial_period_days]", &look.trial_days.to_string());
        }
        if goods.mode == "payment" && look.invoice_creation {
            set("invoice_creation[enabled]", "true");
            set("invoice_creation[invoice_data][metadata][user_id]", &self.user_id);
        }
        if look.allow_promotion_codes {
            set("allow_promotion_codes", "true");
        }
        if look.automatic_tax {
            set("automatic_tax[enabled]", "true");
            // Tax needs an address, and the customer is known: what is typed in is kept.
            set("customer_update[address]", "auto");
        }
        fields
    }
}

/// What is sold.
struct Goods {
    mode: &'static str,
    item: String,
    named: (&'static str, String),
    /// What buyers read beside the credits.
    title: Option<String>,
    credits: Credits,
    /// The Stripe price, where there is one.
    price: Option<String>,
    /// Else what it costs.
    ad_hoc: Option<(i64, String)>,
}

impl Goods {
    fn label(&self) -> String {
        let credits = format!("{} credits", self.credits);
        self.title.as_ref().map_or_else(|| credits.clone(), |title| format!("{title}: {credits}"))
    }

    fn package(name: &str, packages: &Packages, terms: &Terms) -> Result<Self, Problem> {
        let package: &Package = packages.on_sale().iter().find(|package| package.name == name).ok_or_else(|| {
            let known: Vec<&str> = packages.on_sale().iter().map(|package| package.name.as_str()).collect();
            unprocessable(format!("There is no package {name:?}. Known: {}.", known.join(", ")))
        })?;
        Ok(Self {
            mode: "payment",
            item: format!("package:{name}"),
            title: terms.selling.titles.get(name).cloned(),
            named: ("package", name.to_owned()),
            credits: package.credits,
            ad_hoc: package.price.is_none().then(|| (package.amount, package.currency.clone())),
            price: package.price.clone(),
        })
    }
}
