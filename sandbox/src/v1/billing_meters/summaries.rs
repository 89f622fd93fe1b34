//! `/v1/billing/meters/{id}/event_summaries`: what a customer's events sum up to.

use serde_json::{Value, json};

use super::{METER, NOUN, events::EVENT};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    list,
    params::Params,
    store::{number, text},
    turns,
    world::World,
};

const MINUTE: i64 = 60;
/// A bound: a year and more by the hour.
const MOST: i64 = 10_000;

pub(super) fn all(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let customer = params.required("customer")?;
    let (start, end) = (time(params, "start_time")?, time(params, "end_time")?);
    let window = params.choice("value_grouping_window", &["day", "hour"])?;
    let step = match window {
        Some("day") => 24 * 60 * MINUTE,
        Some(_) => 60 * MINUTE,
        None => MINUTE,
    };
    for (name, at) in [("start_time", start), ("end_time", end)] {
        if at % step != 0 {
            let boundary = window.unwrap_or("minute");
            return Err(Failure::invalid(format!("{name} must be aligned with {boundary} boundaries.")).param(name));
        }
    }
    if end <= start {
        return Err(Failure::invalid("end_time must be after start_time.").param("end_time"));
    }
    let step = if window.is_some() { step } else { end - start };
    if (end - start) / step > MOST {
        return Err(Failure::invalid(format!("A list has at most {MOST} summaries here.")).param("end_time"));
    }
    let meter = world.object(METER, NOUN, call.id())?;
    world.named("customer", "customer", customer, "customer")?;

    let mut newest_first: Vec<Value> = Vec::new();
    let mut from = start;
    while from < end {
        let until = from + step;
        let value = aggregated(world, &meter, customer, from, until);
        // An empty hour or day is left out.
        if value.is_some() || window.is_none() {
            newest_first.push(json!({
                "id": format!("mtrusg_test_{:016x}", turns::hash([call.id(), customer, &from.to_string(), &until.to_string()])),
                "object": "billing.meter_event_summary",
                "aggregated_value": value.unwrap_or_default(),
                "end_time": until,
                "livemode": false,
                "meter": call.id(),
                "start_time": from,
            }));
        }
        from = until;
    }
    newest_first.reverse();
    let url = format!("/v1/billing/meters/{}/event_summaries", call.id());
    list::page(&newest_first.iter().collect::<Vec<_>>(), params, "billing meter event summary", &url)
}

fn time(params: &Params, name: &str) -> Result<i64, Failure> {
    params.required(name)?;
    params.at_least(0, name)?.ok_or_else(|| params.missing(name))
}

/// None when nothing happened. In whole numbers, as Stripe takes them.
fn aggregated(world: &World, meter: &Value, customer: &str, from: i64, until: i64) -> Option<i64> {
    let counted = world.store.all(EVENT).filter(|event| {
        event["_meter"] == meter["id"]
            && text(event, "_customer") == customer
            && event["_cancelled"] == false
            && (from..until).contains(&number(event, "timestamp"))
    });
    let mut events: Vec<&Value> = counted.collect();
    // Stable: of two at the same second the one that came last is last.
    events.sort_by_key(|event| number(event, "timestamp"));
    let value = |event: &&Value| number(event, "_value");
    let total = match text(&meter["default_aggregation"], "formula") {
        "count" => i64::try_from(events.len()).unwrap_or(i64::MAX),
        "last" => events.last().map(value).unwrap_or_default(),
        _ => events.iter().map(value).fold(0, i64::saturating_add),
    };
    (!events.is_empty()).then_some(total)
}
