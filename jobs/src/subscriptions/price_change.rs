//! What a price costs, as emails and the report say it: read of Stripe's objects, and only where it is plain.
//!
//! Rules
//! - A price is plain where so many of it cost one amount whenever they are sold: not by steps, by use, or at the buyer's choice, and a
//!   whole number of minor units. A price by packs (`transform_quantity`) is counted by its packs (Stripe: prices, transform quantities).
//! - What a subscription will be charged is said only where nothing else leaves it open: see [`next_charge`].

use serde::Deserialize;
use serde_json::Value;

use crate::{base::money, notifications::send_email::SendLetter};

/// A price, as far as it says what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Price {
    #[serde(default)]
    id: String,
    /// In minor units; none where it is tiered or has a fraction of one.
    unit_amount: Option<i64>,
    #[serde(default)]
    pub(crate) currency: String,
    billing_scheme: Option<String>,
    custom_unit_amount: Option<Value>,
    transform_quantity: Option<Packs>,
    pub(crate) recurring: Option<Every>,
}

/// A quantity is divided before it is multiplied by the amount.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Packs {
    divide_by: i64,
    round: String,
}

/// How often a price is paid.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Every {
    pub(crate) interval: String,
    #[serde(default = "one")]
    pub(crate) interval_count: i64,
    usage_type: Option<String>,
}

const fn one() -> i64 {
    1
}

impl Packs {
    fn of(&self, quantity: i64) -> Option<i64> {
        let (whole, rest) =
            (quantity.checked_div_euclid(self.divide_by)?, quantity.checked_rem_euclid(self.divide_by)?);
        match self.round.as_str() {
            _ if self.divide_by < 1 || quantity < 0 => None,
            "up" => whole.checked_add(i64::from(rest > 0)),
            "down" => Some(whole),
            _ => None,
        }
    }
}

impl Price {
    /// Whether it is charged by use: its quantity says nothing.
    pub(crate) fn is_metered(&self) -> bool {
        self.recurring.as_ref().is_some_and(|every| every.usage_type.as_deref() == Some("metered"))
    }

    /// What so many of it cost, in minor units, where that is plain.
    pub(crate) fn amount(&self, quantity: i64) -> Option<i64> {
        let by_unit = self.billing_scheme.as_deref().is_none_or(|scheme| scheme == "per_unit");
        if !by_unit || self.custom_unit_amount.is_some() || self.is_metered() || self.currency.is_empty() {
            return None;
        }
        let units = self.transform_quantity.as_ref().map_or(Some(quantity), |packs| packs.of(quantity))?;
        self.unit_amount?.checked_mul(units)
    }

    /// Fills `old_…` or `new_…` of a letter: `_price` for so many of it, and the same as a month's, a year's, or another's.
    pub(crate) fn fill(&self, letter: SendLetter, side: &str, quantity: i64) -> SendLetter {
        let Some(amount) = self.amount(quantity).map(|amount| money::format(amount, &self.currency)) else {
            return letter.with(&format!("{side}_price"), &self.id).with(&format!("{side}_other"), &self.id);
        };
        let letter = letter.with(&format!("{side}_price"), &amount);
        match &self.recurring {
            Some(Every { interval, interval_count: 1, .. }) if interval == "month" => {
                letter.with(&format!("{side}_monthly"), amount)
            }
            Some(Every { interval, interval_count: 1, .. }) if interval == "year" => {
                letter.with(&format!("{side}_yearly"), amount)
            }
            Some(every) => {
                letter.with(&format!("{side}_other"), format!("{amount} / {} {}", every.interval_count, every.interval))
            }
            None => letter.with(&format!("{side}_other"), amount),
        }
    }
}

/// What the first invoice after a trial will charge, where nothing leaves it open: plain prices of one currency; no discount of the
/// subscription, of an item or of the customer, and no balance of theirs; no tax on top; no schedule, no end, and no first period
/// that is cut short. `object` is a subscription with its customer expanded.
pub(crate) fn next_charge(object: &Value) -> Option<String> {
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    // A rate that is included in the price adds nothing.
    let adds_nothing = |rates: &Value| {
        rates.is_null() || rates.as_array().is_some_and(|all| all.iter().all(|rate| rate["inclusive"] == true))
    };
    let customer = &object["customer"];
    let is_cut = object["billing_cycle_anchor"].as_i64() > object["trial_end"].as_i64();
    if !["discount", "schedule", "cancel_at", "pending_update", "pause_collection"]
        .iter()
        .all(|name| object[*name].is_null())
        || !is_empty(&object["discounts"])
        || object["automatic_tax"]["enabled"] == true
        || !adds_nothing(&object["default_tax_rates"])
        || customer["object"] != "customer"
        || !customer["discount"].is_null()
        || customer["balance"].as_i64().unwrap_or_default() != 0
        || is_cut
    {
        return None;
    }
    let items = object["items"]["data"].as_array().filter(|_| object["items"]["has_more"] != true)?;
    let (mut sum, mut currency) = (0_i64, None);
    for item in items {
        if !is_empty(&item["discounts"]) || !adds_nothing(&item["tax_rates"]) {
            return None;
        }
        let price = Price::deserialize(&item["price"]).ok()?;
        sum = sum.checked_add(price.amount(item["quantity"].as_i64()?)?)?;
        if *currency.get_or_insert_with(|| price.currency.clone()) != price.currency {
            return None;
        }
    }
    Some(money::format(sum, &currency?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subscription(more: &Value) -> Value {
        let price = |unit: i64| json!({"id": "price_1", "unit_amount": unit, "currency": "usd"});
        let mut object = json!({"customer": {"id": "cus_1", "object": "customer", "discount": null, "balance": 0},
            "items": {"data": [{"price": price(1000), "quantity": 3}, {"price": price(5), "quantity": 1}]}});
        for (name, value) in more.as_object().unwrap() {
            object[name] = value.clone();
        }
        object
    }

    fn item(more: &Value) -> Value {
        let mut item = json!({"price": {"id": "p", "unit_amount": 2500, "currency": "usd"}, "quantity": 12});
        for (name, value) in more.as_object().unwrap() {
            if name == "price" {
                item["price"].as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            } else {
                item[name] = value.clone();
            }
        }
        json!({"items": {"data": [item]}})
    }

    #[test]
    fn a_charge_has_an_amount_only_where_nothing_leaves_it_open() {
        for (plain, amount) in [
            (json!({}), "30.05 USD"),
            (json!({"discounts": [], "discount": null, "default_tax_rates": []}), "30.05 USD"),
            (json!({"default_tax_rates": [{"id": "txr_1", "inclusive": true}]}), "30.05 USD"),
            (item(&json!({"tax_rates": [{"id": "txr_1", "inclusive": true}], "discounts": []})), "300.00 USD"),
            (item(&json!({"price": {"transform_quantity": {"divide_by": 4, "round": "up"}}})), "75.00 USD"),
        ] {
            assert_eq!(next_charge(&subscription(&plain)).as_deref(), Some(amount), "{plain}");
        }
        for open in [
            json!({"discounts": ["di_1"]}),
            json!({"discount": {"id": "di_1"}}),
            json!({"automatic_tax": {"enabled": true}}),
            json!({"default_tax_rates": [{"id": "txr_1", "inclusive": false}]}),
            json!({"default_tax_rates": ["txr_1"]}),
            json!({"schedule": "sub_sched_1"}),
            json!({"cancel_at": 9}),
            json!({"trial_end": 5, "billing_cycle_anchor": 9}),
            json!({"customer": "cus_1"}),
            json!({"customer": {"id": "cus_1", "object": "customer", "discount": {"id": "di_1"}}}),
            json!({"customer": {"id": "cus_1", "object": "customer", "balance": -5}}),
            json!({"items": {"data": [], "has_more": false}}),
            json!({"items": {"data": [{"price": {"id": "p", "unit_amount": 5, "currency": "usd"}, "quantity": 1}], "has_more": true}}),
            item(&json!({"discounts": ["di_1"]})),
            item(&json!({"tax_rates": [{"id": "txr_1", "inclusive": false}]})),
            item(&json!({"quantity": null})),
            item(&json!({"price": {"unit_amount": null}})),
            item(&json!({"price": {"billing_scheme": "tiered"}})),
            item(&json!({"price": {"custom_unit_amount": {"minimum": 5}}})),
            item(&json!({"price": {"recurring": {"interval": "month", "usage_type": "metered"}}})),
            item(&json!({"price": {"transform_quantity": {"divide_by": 4, "round": "sideways"}}})),
        ] {
            assert_eq!(next_charge(&subscription(&open)), None, "{open}");
        }
    }

    #[test]
    fn a_price_by_packs_is_counted_by_its_packs() {
        let price = |divide_by: i64, round: &str| -> Price {
            let packs = json!({"divide_by": divide_by, "round": round});
            let price = json!({"id": "p", "unit_amount": 2500, "currency": "usd", "transform_quantity": packs});
            serde_json::from_value(price).unwrap()
        };
        for (divide_by, round, quantity, amount) in [
            (5, "up", 10, Some(5000)),
            (5, "up", 11, Some(7500)),
            (5, "down", 14, Some(5000)),
            (5, "up", 0, Some(0)),
            (0, "up", 10, None),
            (-5, "up", 10, None),
            (1, "up", i64::MAX, None),
        ] {
            assert_eq!(price(divide_by, round).amount(quantity), amount, "{quantity} by {divide_by} {round}");
        }
    }

    #[test]
    fn a_price_says_what_it_is_for() {
        let fields = |price: Value| {
            let price: Price = serde_json::from_value(price).unwrap();
            let letter = price.fill(SendLetter::to_user("price_change", "alice", "sub_1"), "new", 2);
            letter.fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let price =
            |recurring: Value| json!({"id": "price_1", "unit_amount": 1000, "currency": "usd", "recurring": recurring});
        assert_eq!(fields(price(json!({"interval": "month"}))), ["new_monthly=20.00 USD", "new_price=20.00 USD"]);
        assert_eq!(
            fields(price(json!({"interval": "year", "interval_count": 1}))),
            ["new_price=20.00 USD", "new_yearly=20.00 USD"]
        );
        assert_eq!(
            fields(price(json!({"interval": "month", "interval_count": 3}))),
            ["new_other=20.00 USD / 3 month", "new_price=20.00 USD"]
        );
        let tiered = json!({"id": "price_1", "unit_amount": null, "currency": "usd"});
        assert_eq!(fields(tiered), ["new_other=price_1", "new_price=price_1"]);
    }
}
