//! What a price costs, as letters say it: read of Stripe's objects, and only where it is plain.

use serde::Deserialize;
use serde_json::Value;

use crate::{money, send_letter::SendLetter};

/// A price, as far as it can be written in a line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Price {
    id: String,
    /// In minor units; none where it is tiered or has a fraction of one.
    unit_amount: Option<i64>,
    #[serde(default)]
    currency: String,
    recurring: Option<Every>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Every {
    interval: String,
    #[serde(default = "one")]
    interval_count: i64,
}

const fn one() -> i64 {
    1
}

impl Price {
    /// Fills `old_…` or `new_…` of a letter: `_price` for so many of it, and the same as a month's, a year's, or another's.
    pub(crate) fn fill(&self, letter: SendLetter, side: &str, quantity: i64) -> SendLetter {
        let amount = self.unit_amount.and_then(|unit| unit.checked_mul(quantity));
        let Some(amount) = amount.map(|amount| money::format(amount, &self.currency)) else {
            return letter.with(&format!("{side}_price"), &self.id).with(&format!("{side}_other"), &self.id);
        };
        let letter = letter.with(&format!("{side}_price"), &amount);
        match &self.recurring {
            Some(Every { interval, interval_count: 1 }) if interval == "month" => {
                letter.with(&format!("{side}_monthly"), amount)
            }
            Some(Every { interval, interval_count: 1 }) if interval == "year" => {
                letter.with(&format!("{side}_yearly"), amount)
            }
            Some(every) => {
                letter.with(&format!("{side}_other"), format!("{amount} / {} {}", every.interval_count, every.interval))
            }
            None => letter.with(&format!("{side}_other"), amount),
        }
    }
}

/// What a subscription costs a period, where nothing is left to guess: whole prices of one currency, no discount, no tax on top.
pub(crate) fn of_subscription(object: &Value) -> Option<String> {
    #[derive(Deserialize)]
    struct Items {
        data: Vec<Item>,
        #[serde(default)]
        has_more: bool,
    }
    #[derive(Deserialize)]
    struct Item {
        price: Price,
        quantity: Option<i64>,
    }
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let is_taxed = |value: &Value| value["enabled"] == true;
    if !is_empty(&object["discounts"])
        || !object["discount"].is_null()
        || is_taxed(&object["automatic_tax"])
        || !is_empty(&object["default_tax_rates"])
    {
        return None;
    }
    let items: Items = serde_json::from_value(object.get("items")?.clone()).ok()?;
    let currency = items.data.first()?.price.currency.clone();
    let sum = items.data.iter().try_fold(0_i64, |sum, item| {
        let plain = item.price.currency == currency && !currency.is_empty();
        let unit = item.price.unit_amount.filter(|_| plain)?;
        sum.checked_add(unit.checked_mul(item.quantity?)?)
    });
    sum.filter(|_| !items.has_more).map(|sum| money::format(sum, &currency))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subscription(more: &Value) -> Value {
        let price = |unit: i64| json!({"id": "price_1", "unit_amount": unit, "currency": "usd"});
        let mut object =
            json!({"items": {"data": [{"price": price(1000), "quantity": 3}, {"price": price(5), "quantity": 1}]}});
        for (name, value) in more.as_object().unwrap() {
            object[name] = value.clone();
        }
        object
    }

    #[test]
    fn a_subscription_has_an_amount_only_where_nothing_is_guessed() {
        assert_eq!(of_subscription(&subscription(&json!({}))).as_deref(), Some("30.05 USD"));
        assert_eq!(
            of_subscription(&subscription(&json!({"discounts": [], "discount": null}))).as_deref(),
            Some("30.05 USD")
        );
        for guess in [
            json!({"discounts": ["di_1"]}),
            json!({"discount": {"id": "di_1"}}),
            json!({"automatic_tax": {"enabled": true}}),
            json!({"default_tax_rates": [{"id": "txr_1"}]}),
            json!({"items": {"data": [{"price": {"id": "p", "unit_amount": null, "currency": "usd"}, "quantity": 1}]}}),
            json!({"items": {"data": [], "has_more": false}}),
        ] {
            assert_eq!(of_subscription(&subscription(&guess)), None, "{guess}");
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
