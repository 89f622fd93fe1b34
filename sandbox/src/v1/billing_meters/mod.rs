//! `/v1/billing/meters`: what is counted of what customers use. Their events are in [`events`], what these sum up to in [`summaries`].

mod events;
mod summaries;

use serde_json::{Value, json};

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list,
    params::Params,
    store::text,
    world::World,
};

const METER: &str = "billing.meter";
const NOUN: &str = "billing meter";
/// Stripe: names of meters and events have at most so many characters.
const NAME_CHARS: usize = 250;
const EVENT_NAME_CHARS: usize = 100;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "POST",
        path: "/v1/billing/meters",
        params: &[
            "display_name",
            "event_name",
            "event_time_window",
            "default_aggregation[formula]",
            "customer_mapping[event_payload_key]",
            "customer_mapping[type]",
            "value_settings[event_payload_key]",
        ],
        run: create,
    },
    Endpoint {
        method: "GET",
        path: "/v1/billing/meters",
        params: &["status", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/billing/meters/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/billing/meters/{id}", params: &["display_name"], run: update },
    Endpoint { method: "POST", path: "/v1/billing/meters/{id}/deactivate", params: &[], run: deactivate },
    Endpoint { method: "POST", path: "/v1/billing/meters/{id}/reactivate", params: &[], run: reactivate },
    Endpoint {
        method: "GET",
        path: "/v1/billing/meters/{id}/event_summaries",
        params: &[
            "customer",
            "start_time",
            "end_time",
            "value_grouping_window",
            "limit",
            "starting_after",
            "ending_before",
        ],
        run: summaries::all,
    },
    Endpoint {
        method: "POST",
        path: "/v1/billing/meter_events",
        params: &["event_name", "identifier", "payload*", "timestamp"],
        run: events::create,
    },
    Endpoint {
        method: "POST",
        path: "/v1/billing/meter_event_adjustments",
        params: &["event_name", "type", "cancel[identifier]"],
        run: events::adjust,
    },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let name = short(params, "display_name", NAME_CHARS)?;
    let event = short(params, "event_name", EVENT_NAME_CHARS)?;
    let window = params.choice("event_time_window", &["day", "hour"])?;
    let aggregation = params.below("default_aggregation")?.ok_or_else(|| params.missing("default_aggregation"))?;
    aggregation.required("formula")?;
    let formula = aggregation.choice("formula", &["count", "last", "sum"])?;
    let mapping = params.below("customer_mapping")?.unwrap_or_default();
    let customer_key = if params.has("customer_mapping") {
        mapping.required("type")?;
        mapping.choice("type", &["by_id"])?;
        mapping.required("event_payload_key")?
    } else {
        "stripe_customer_id"
    };
    let values = params.below("value_settings")?.unwrap_or_default();
    let value_key = if params.has("value_settings") { values.required("event_payload_key")? } else { "value" };

    world.execute()?;
    refuse_taken(world, event)?;
    let meter = json!({
        "id": world.ids.next("mtr_test_"),
        "object": METER,
        "created": world.now,
        "customer_mapping": { "event_payload_key": customer_key, "type": "by_id" },
        "default_aggregation": { "formula": formula },
        "display_name": name,
        "event_name": event,
        "event_time_window": window,
        "livemode": false,
        "status": "active",
        "status_transitions": { "deactivated_at": null },
        "updated": world.now,
        "value_settings": { "event_payload_key": value_key },
    });
    Ok(world.create(METER, "billing.meter.created", meter))
}

fn short<'a>(params: &'a Params, name: &str, chars: usize) -> Result<&'a str, Failure> {
    let text = params.required(name)?;
    if text.chars().count() > chars {
        let message = format!("Invalid string: {name} must be at most {chars} characters");
        return Err(Failure::invalid(message).code("parameter_invalid_string").param(name));
    }
    Ok(text)
}

/// One active meter counts an event.
fn refuse_taken(world: &World, event: &str) -> Result<(), Failure> {
    let Some(meter) = of_event(world, event) else { return Ok(()) };
    let message = format!("An active meter already exists with event_name {event}: {}", text(meter, "id"));
    Err(Failure::invalid(message).code("resource_already_exists").param("event_name"))
}

/// The active meter that counts these events.
fn of_event<'a>(world: &'a World, event: &str) -> Option<&'a Value> {
    world.store.all(METER).find(|meter| text(meter, "event_name") == event && text(meter, "status") == "active")
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object(METER, NOUN, call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let name = if call.params.has("display_name") {
        Some(short(&call.params, "display_name", NAME_CHARS)?.to_owned())
    } else {
        None
    };
    world.execute()?;
    let mut meter = world.object(METER, NOUN, call.id())?;
    if let Some(name) = name {
        meter["display_name"] = json!(name);
        meter["updated"] = json!(world.now);
    }
    Ok(world.change(METER, "billing.meter.updated", meter))
}

fn deactivate(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let mut meter = world.object(METER, NOUN, call.id())?;
    if text(&meter, "status") == "inactive" {
        return Err(Failure::invalid(format!("The meter {} is already inactive.", call.id())));
    }
    meter["status"] = json!("inactive");
    meter["status_transitions"]["deactivated_at"] = json!(world.now);
    meter["updated"] = json!(world.now);
    Ok(world.change(METER, "billing.meter.deactivated", meter))
}

fn reactivate(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let mut meter = world.object(METER, NOUN, call.id())?;
    if text(&meter, "status") == "active" {
        return Err(Failure::invalid(format!("The meter {} is already active.", call.id())));
    }
    refuse_taken(world, text(&meter, "event_name"))?;
    meter["status"] = json!("active");
    meter["status_transitions"]["deactivated_at"] = Value::Null;
    meter["updated"] = json!(world.now);
    Ok(world.change(METER, "billing.meter.reactivated", meter))
}

fn all(world: &mut World, call: &Call) -> Answer {
    call.params.choice("status", &["active", "inactive"])?;
    let mut matching: Vec<&Value> = Vec::new();
    for meter in world.store.all(METER).rev() {
        if list::is_asked(meter, &call.params, "status")? {
            matching.push(meter);
        }
    }
    list::page(&matching, &call.params, NOUN, "/v1/billing/meters")
}
