//! `/v1/billing/meter_events`: one use by one customer, and taking it back.

use serde_json::{Value, json};

use super::{EVENT_NAME_CHARS, of_event, short};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    params::Params,
    store::{number, text},
    world::World,
};

/// What is kept of an event. It has no id of its own that Stripe would show; its identifier may come again after a day.
pub(super) const EVENT: &str = "billing.meter_event";
const DAY: i64 = 24 * 60 * 60;
/// Seconds that an event may lie back, and that a clock may be ahead (Stripe: record usage).
const PAST: i64 = 35 * DAY;
const FUTURE: i64 = 5 * 60;
/// Seconds in which an identifier is unique, and in which its event can be taken back.
const UNIQUE: i64 = DAY;

pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let name = short(params, "event_name", EVENT_NAME_CHARS)?;
    let payload = params.below("payload")?.ok_or_else(|| params.missing("payload"))?;
    let timestamp = params.integer("timestamp")?;
    let identifier = identifier(params)?;

    world.execute()?;
    let at = timestamp.unwrap_or(world.now);
    if at < world.now - PAST {
        let message = "The timestamp must be within the past 35 calendar days.";
        return Err(Failure::invalid(message).code("timestamp_too_far_in_past").param("timestamp"));
    }
    if at > world.now + FUTURE {
        let message = "The timestamp must be at most 5 minutes in the future.";
        return Err(Failure::invalid(message).code("timestamp_in_future").param("timestamp"));
    }
    let Some(meter) = of_event(world, name).cloned() else {
        let message = format!("No active meter found for event name {name}.");
        return Err(Failure::invalid(message).code("no_meter").param("event_name"));
    };
    let customer = payload.required(text(&meter["customer_mapping"], "event_payload_key"))?;
    let value_key = text(&meter["value_settings"], "event_payload_key");
    let value = if meter["default_aggregation"]["formula"] == "count" {
        payload.integer(value_key)?.unwrap_or(1)
    } else {
        payload.required(value_key)?;
        payload.integer(value_key)?.unwrap_or_default()
    };
    let known = world.store.get("customer", customer).filter(|customer| customer.get("deleted").is_none());
    if known.is_none() {
        return Err(Failure::no_such_param("customer", customer, "payload"));
    }
    if let Some(identifier) = identifier.filter(|identifier| recent(world, identifier).is_some()) {
        let message = format!("An event already exists with identifier {identifier}.");
        return Err(Failure::invalid(message).code("duplicate_meter_event").param("identifier"));
    }
    let id = world.ids.next("mtr_evt_");
    let event = json!({
        "object": EVENT,
        "created": world.now,
        "event_name": name,
        "identifier": identifier.map_or_else(|| world.ids.next(""), str::to_owned),
        "livemode": false,
        "payload": params.kept("payload"),
        "timestamp": at,
        "_meter": meter["id"],
        "_customer": customer,
        "_value": value,
        "_cancelled": false,
    });
    let mut kept = event.clone();
    kept["id"] = json!(id);
    world.store.insert(EVENT, kept);
    Ok(event)
}

pub(super) fn adjust(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let name = params.required("event_name")?;
    params.required("type")?;
    params.choice("type", &["cancel"])?;
    let cancel = params.below("cancel")?.ok_or_else(|| params.missing("cancel"))?;
    let identifier = cancel.required("identifier")?;

    world.execute()?;
    let found = recent(world, identifier).filter(|event| text(event, "event_name") == name).cloned();
    let Some(mut event) = found else {
        let message = format!("No meter event of the last 24 hours has the identifier {identifier}.");
        return Err(Failure::invalid(message).code("resource_missing").param("cancel[identifier]"));
    };
    if event["_cancelled"] == true {
        let message = format!("The meter event {identifier} is already cancelled.");
        return Err(Failure::invalid(message).param("cancel[identifier]"));
    }
    event["_cancelled"] = json!(true);
    world.store.insert(EVENT, event);
    Ok(json!({
        "object": "billing.meter_event_adjustment",
        "cancel": { "identifier": identifier },
        "event_name": name,
        "livemode": false,
        "status": "pending",
        "type": "cancel",
    }))
}

fn identifier(params: &Params) -> Result<Option<&str>, Failure> {
    if params.has("identifier") { short(params, "identifier", EVENT_NAME_CHARS).map(Some) } else { Ok(None) }
}

/// The event that came under this identifier within a day.
fn recent<'a>(world: &'a World, identifier: &str) -> Option<&'a Value> {
    let mut young = world.store.all(EVENT).rev().take_while(|event| number(event, "created") > world.now - UNIQUE);
    young.find(|event| text(event, "identifier") == identifier)
}
