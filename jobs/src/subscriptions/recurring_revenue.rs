//! What a subscription is worth a year: its prices as Stripe has them, before discounts and tax.
//!
//! Rules
//! - It counts while it is charged: `active` or `past_due`, and its collection is not paused. A trial is worth nothing yet, and what is
//!   cancelled at the end of its period counts until then.
//! - A year is 365 days, 52 weeks, 12 months; so months and years stay whole, and a month's worth is rounded once, when it is said.
//! - A price that is charged by use is worth nothing that recurs. A price without one plain amount (by steps, at the buyer's choice, or a
//!   fraction of a minor unit) leaves the subscription without a worth: that is said, and not guessed. See [`price_change`](crate::subscriptions::price_change).

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::subscriptions::{price_change::Price, subscription::Subscription};

/// What one subscription is worth from a moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worth {
    /// `sub_…`
    pub subscription_id: String,
    /// Whose.
    pub user_id: String,
    /// Minor units a year; none: its price has no plain amount. Zero: it is not charged.
    pub yearly: Option<i64>,
    /// Lower-case ISO code.
    pub currency: Option<String>,
    /// Since when it can have been charged: when it began, or its trial was over.
    pub began_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// When Stripe was asked.
    pub asked_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Wire {
    items: Option<Items>,
    start_date: Option<i64>,
    currency: Option<String>,
}

#[derive(Deserialize)]
struct Items {
    #[serde(default)]
    data: Vec<Item>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Item {
    price: Option<Price>,
    quantity: Option<i64>,
}

impl Worth {
    /// Reads it of Stripe's answer. What cannot be read has no worth, and keeps nothing else from going on.
    pub(crate) fn of(object: &Value, now: &Subscription, user: &str, asked_at: DateTime<Utc>) -> Self {
        let wire = Wire::deserialize(object).ok();
        let started = wire.as_ref().and_then(|wire| DateTime::from_timestamp(wire.start_date?, 0));
        let is_charged = matches!(now.status.as_str(), "active" | "past_due") && now.paused.is_none();
        let currency = wire.as_ref().and_then(Wire::currency);
        let yearly = if is_charged { wire.as_ref().and_then(Wire::yearly) } else { Some(0) };
        Self {
            subscription_id: now.id.clone(),
            user_id: user.to_owned(),
            yearly,
            currency,
            began_at: started.max(now.trial_end),
            ended_at: now.ended_at,
            asked_at,
        }
    }
}

impl Wire {
    fn currency(&self) -> Option<String> {
        let of_price = || Some(self.items.as_ref()?.data.iter().find_map(|item| item.price.as_ref())?.currency.clone());
        self.currency.clone().or_else(of_price)
    }

    fn yearly(&self) -> Option<i64> {
        let items = self.items.as_ref().filter(|items| !items.has_more)?;
        items.data.iter().try_fold(0_i64, |sum, item| sum.checked_add(item.yearly()?))
    }
}

impl Item {
    fn yearly(&self) -> Option<i64> {
        let price = self.price.as_ref()?;
        let every = price.recurring.as_ref()?;
        if price.is_metered() {
            return Some(0);
        }
        let (a_year, count) = (a_year(&every.interval)?, every.interval_count.max(1));
        let sum = price.amount(self.quantity.unwrap_or(1))?.checked_mul(a_year)?;
        Some(sum.checked_add(count / 2)? / count).filter(|yearly| *yearly >= 0)
    }
}

/// How many of an interval a year has (Stripe: prices, `recurring.interval`).
fn a_year(interval: &str) -> Option<i64> {
    match interval {
        "day" => Some(365),
        "week" => Some(52),
        "month" => Some(12),
        "year" => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: &str, items: &Value, more: &Value) -> Worth {
        let mut object = json!({"id": "sub_1", "object": "subscription", "status": status, "customer": "cus_1", "metadata": {},
            "items": {"data": items, "has_more": false}, "start_date": 1_000_000, "currency": "usd", "cancel_at_period_end": false});
        for (name, value) in more.as_object().unwrap() {
            object[name] = value.clone();
        }
        let now = Subscription::read(&object).unwrap();
        Worth::of(&object, &now, "alice", DateTime::from_timestamp(2_000_000, 0).unwrap())
    }

    fn item(amount: &Value, quantity: i64, recurring: &Value) -> Value {
        json!({"id": "si_1", "quantity": quantity,
               "price": {"id": "price_1", "unit_amount": amount, "currency": "usd", "recurring": recurring}})
    }

    #[test]
    fn a_year_of_a_price_is_counted_by_its_interval() {
        for (interval, count, yearly) in [
            ("month", 1, Some(22_800)),
            ("year", 1, Some(1900)),
            ("week", 2, Some(49_400)),
            ("day", 1, Some(693_500)),
            ("month", 3, Some(7600)),
            ("month", 7, Some(3257)),
            ("fortnight", 1, None),
        ] {
            let items = json!([item(&json!(1900), 1, &json!({"interval": interval, "interval_count": count}))]);
            assert_eq!(of("active", &items, &json!({})).yearly, yearly, "{count} {interval}");
        }
        let month = json!({"interval": "month"});
        let both = json!([item(&json!(1900), 3, &month), item(&json!(100), 1, &month)]);
        assert_eq!(of("active", &both, &json!({})).yearly, Some(12 * 5800));
    }

    #[test]
    fn only_what_is_charged_counts_and_nothing_is_guessed() {
        let month = json!({"interval": "month"});
        let plain = json!([item(&json!(1900), 1, &month)]);
        for status in ["trialing", "unpaid", "canceled", "incomplete", "incomplete_expired", "paused", "new"] {
            assert_eq!(of(status, &plain, &json!({})).yearly, Some(0), "{status}");
        }
        assert_eq!(of("past_due", &plain, &json!({})).yearly, Some(22_800));
        assert_eq!(of("active", &plain, &json!({"pause_collection": {"behavior": "void"}})).yearly, Some(0));
        assert_eq!(of("active", &json!([item(&json!(null), 1, &month)]), &json!({})).yearly, None, "tiered");
        let packs = json!([{"id": "si_1", "quantity": 10, "price": {"id": "price_1", "unit_amount": 2500, "currency": "usd",
            "recurring": month, "transform_quantity": {"divide_by": 5, "round": "up"}}}]);
        assert_eq!(of("active", &packs, &json!({})).yearly, Some(12 * 5000), "two packs");
        let metered = json!([item(&json!(5), 1, &json!({"interval": "month", "usage_type": "metered"}))]);
        assert_eq!(of("active", &metered, &json!({})).yearly, Some(0));
    }

    #[test]
    fn it_counts_from_its_beginning_or_from_the_end_of_its_trial() {
        let plain = json!([item(&json!(1900), 1, &json!({"interval": "month"}))]);
        assert_eq!(of("active", &plain, &json!({})).began_at.unwrap().timestamp(), 1_000_000);
        assert_eq!(of("active", &plain, &json!({"trial_end": 1_500_000})).began_at.unwrap().timestamp(), 1_500_000);
    }
}
