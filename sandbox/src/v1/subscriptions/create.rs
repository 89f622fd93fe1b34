//! `POST /v1/subscriptions`.

use serde_json::{Value, json};

use super::{
    items,
    period::{self, DAY},
    proration,
    start::{Start, start},
};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    v1::{buyers, discounts, payment_methods},
    world::World,
};

pub(super) const PARAMS: &[&str] = &[
    "customer",
    "items*",
    "add_invoice_items[][price]",
    "add_invoice_items[][price_data]*",
    "add_invoice_items[][quantity]",
    "metadata*",
    "default_payment_method",
    "description",
    "trial_period_days",
    "trial_end",
    "trial_settings*",
    "trial_from_plan",
    "collection_method",
    "days_until_due",
    "discounts*",
    "payment_behavior",
    "payment_settings*",
    "cancel_at",
    "cancel_at_period_end",
    "off_session",
    "billing_cycle_anchor",
    "billing_mode*",
    "proration_behavior",
    "automatic_tax*",
    "currency",
];
/// Stripe: a trial is at most two years long.
const LONGEST_TRIAL: i64 = 730;

pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let customer = params.required("customer")?.to_owned();
    let given = items::read(params, true)?;
    if given.is_empty() {
        return Err(params.missing("items"));
    }
    let once = params.elements("add_invoice_items")?.iter().map(items::one).collect::<Result<Vec<_>, _>>()?;
    let (metadata, description) = (params.metadata(&json!({}))?, params.nullable("description")?.unwrap_or_default());
    let trial_days = params.at_least(0, "trial_period_days")?.unwrap_or_default();
    if trial_days > LONGEST_TRIAL {
        let message = format!("Invalid integer: trial_period_days is at most {LONGEST_TRIAL}.");
        return Err(Failure::invalid(message).param("trial_period_days"));
    }
    let trial_end = match params.text("trial_end")? {
        None | Some("now") => None,
        Some(_) => params.integer("trial_end")?,
    };
    let behaviors = &["allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"];
    let behavior = params.choice("payment_behavior", behaviors)?;
    let method = params
        .choice("collection_method", &["charge_automatically", "send_invoice"])?
        .unwrap_or("charge_automatically")
        .to_owned();
    let prorates = params.choice("proration_behavior", proration::WORDS)? != Some("none");
    let anchor = params.integer("billing_cycle_anchor")?;
    let mut fields = super::fields(params, &Value::Null)?;
    if let Some(at_end) = params.boolean("cancel_at_period_end")? {
        fields.push(("cancel_at_period_end", json!(at_end)));
    }
    if method == "send_invoice" && !fields.iter().any(|(name, _)| *name == "days_until_due") {
        let message = "When `collection_method` is `send_invoice`, you must specify `days_until_due`.";
        return Err(Failure::invalid(message).param("days_until_due"));
    }
    let mut new = Start {
        customer,
        metadata,
        description,
        trial_days,
        trial_end,
        pays: behavior != Some("default_incomplete") && method == "charge_automatically",
        refuses: behavior == Some("error_if_incomplete"),
        off_session: params.boolean("off_session")?.unwrap_or_default(),
        default_payment_method: params.text("default_payment_method")?.filter(|id| !id.is_empty()).map(str::to_owned),
        discounts: discounts::read(params)?.unwrap_or_default(),
        anchor: anchor.map(|anchor| (anchor, prorates)),
        collection_method: method,
        fields,
        ..Start::default()
    };
    world.execute()?;
    buyers::buyer(world, &new.customer)?;
    if let Some(method) = &new.default_payment_method {
        payment_methods::check_payer(world, method, &new.customer, "default_payment_method")?;
    }
    new.items = items::priced(world, given)?;
    let once = items::once(world, once)?;
    new.items.extend(once);
    let clock = world.clock_of(&new.customer);
    let now = world.at_clock(&clock, |world| world.now);
    if trial_end.is_some_and(|end| end <= now || end > now + (LONGEST_TRIAL + 1) * DAY) {
        let message = "Invalid timestamp: can be no earlier than now, and no more than two years from now.";
        return Err(Failure::invalid(message).param("trial_end"));
    }
    let every = new.items.first().map(|(price, _)| price["recurring"].clone()).unwrap_or_default();
    if anchor.is_some_and(|anchor| anchor < now || period::step(now, &every, 1).is_none_or(|next| anchor > next)) {
        let message = "billing_cycle_anchor must be now or later, and no later than the next natural billing date.";
        return Err(Failure::invalid(message).param("billing_cycle_anchor"));
    }
    Ok(start(world, &new)?.0)
}
