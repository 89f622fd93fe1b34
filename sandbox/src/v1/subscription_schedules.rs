//! `/v1/subscription_schedules`: what a subscription is to become and when; enough to move it to another price at the end of a period.

use serde_json::{Value, json};

use super::subscriptions::{
    items::ItemDraft,
    period,
    proration::{self, Behavior},
    state,
    update::{self, Change},
};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    params::Params,
    store::{number, text, with},
    world::World,
};

const KIND: &str = "subscription_schedule";
const UPDATE: &[&str] = &[
    "phases[][items][][price]",
    "phases[][items][][quantity]",
    "phases[][start_date]",
    "phases[][end_date]",
    "phases[][iterations]",
    "phases[][duration][interval]",
    "phases[][duration][interval_count]",
    "phases[][proration_behavior]",
    "phases[][metadata]*",
    "end_behavior",
    "metadata*",
    "proration_behavior",
];
const LIST: &[&str] = &["customer", "created*", "limit", "starting_after", "ending_before"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "POST",
        path: "/v1/subscription_schedules",
        params: &["from_subscription", "metadata*"],
        run: create,
    },
    Endpoint { method: "GET", path: "/v1/subscription_schedules", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/subscription_schedules/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/subscription_schedules/{id}", params: UPDATE, run: update },
    Endpoint {
        method: "POST",
        path: "/v1/subscription_schedules/{id}/release",
        params: &["preserve_cancel_date"],
        run: release,
    },
    Endpoint {
        method: "POST",
        path: "/v1/subscription_schedules/{id}/cancel",
        params: &["invoice_now", "prorate"],
        run: cancel,
    },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let id = call.params.required("from_subscription")?.to_owned();
    let metadata = call.params.metadata(&json!({}))?;
    world.execute()?;
    let mut subscription = world.named("subscription", "subscription", &id, "from_subscription")?;
    if !state::is_live(&subscription) {
        return Err(Failure::invalid("A canceled subscription cannot have a schedule.").param("from_subscription"));
    }
    if !subscription["schedule"].is_null() {
        let message = format!(
            "You cannot migrate a subscription that is already attached to a schedule: {}",
            text(&subscription, "schedule")
        );
        return Err(Failure::invalid(message).param("from_subscription"));
    }
    let clock = state::clock(world, &id);
    world.at_clock(&clock, |world| {
        let (start, over) = period::of(&subscription);
        let items = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
        let items: Vec<Value> = items.iter().map(|i| phase_item(&i["price"]["id"], &i["quantity"])).collect();
        let currency = subscription["currency"].clone();
        let schedule = json!({
            "id": world.ids.next("sub_sched_"),
            "object": KIND,
            "application": null,
            "billing_mode": subscription["billing_mode"],
            "canceled_at": null,
            "completed_at": null,
            "created": world.now,
            "current_phase": { "start_date": start, "end_date": over },
            "customer": subscription["customer"],
            "customer_account": null,
            "default_settings": {
                "application_fee_percent": null,
                "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
                "billing_cycle_anchor": "automatic",
                "billing_thresholds": null,
                "collection_method": "charge_automatically",
                "default_payment_method": null,
                "description": null,
                "invoice_settings": { "account_tax_ids": null, "custom_fields": null, "days_until_due": null, "description": null,
                    "footer": null, "issuer": { "type": "self" } },
                "on_behalf_of": null,
                "transfer_data": null,
            },
            "end_behavior": "release",
            "livemode": false,
            "metadata": metadata,
            "phases": [phase(&currency, &items, start, over, "create_prorations", &json!({}))],
            "released_at": null,
            "released_subscription": null,
            "status": "active",
            "subscription": id,
            "test_clock": subscription["test_clock"],
        });
        subscription["schedule"] = schedule["id"].clone();
        let schedule = world.create(KIND, "subscription_schedule.created", schedule);
        world.change("subscription", "customer.subscription.updated", subscription);
        world.plan(&clock, over, by_itself, text(&schedule, "id"));
        Ok(schedule)
    })
}

fn phase_item(price: &Value, quantity: &Value) -> Value {
    json!({ "billing_thresholds": null, "discounts": [], "metadata": {}, "plan": price, "price": price, "quantity": quantity,
        "tax_rates": [] })
}

fn phase(currency: &Value, items: &[Value], start: i64, end: i64, behavior: &str, metadata: &Value) -> Value {
    let defaults = json!({
        "add_invoice_items": [], "application_fee_percent": null, "automatic_tax": null, "billing_cycle_anchor": null,
        "billing_thresholds": null, "collection_method": null, "default_payment_method": null, "default_tax_rates": [],
        "description": null, "discounts": [], "invoice_settings": null, "on_behalf_of": null, "transfer_data": null, "trial_end": null,
    });
    with(
        defaults,
        json!({ "currency": currency, "end_date": end, "items": items, "metadata": metadata, "proration_behavior": behavior,
            "start_date": start }),
    )
}

/// A phase as it is asked for; how long it lasts, in intervals of a recurrence or of its own price.
struct Asked {
    items: Vec<(String, i64)>,
    start: Option<i64>,
    end: Option<i64>,
    iterations: i64,
    duration: Option<Value>,
    behavior: String,
    metadata: Value,
}

fn asked(phase: &Params) -> Result<Asked, Failure> {
    let mut items = Vec::new();
    for item in phase.elements("items")? {
        items.push((item.required("price")?.to_owned(), item.at_least(0, "quantity")?.unwrap_or(1)));
    }
    if items.is_empty() {
        return Err(phase.missing("items"));
    }
    let date = |name: &str| match phase.text(name)? {
        None | Some("now") => Ok(None),
        Some(_) => phase.integer(name),
    };
    let duration = match phase.below("duration")? {
        None => None,
        Some(duration) => {
            duration.required("interval")?;
            let interval = duration.choice("interval", &["day", "week", "month", "year"])?;
            let count = duration.at_least(1, "interval_count")?.unwrap_or(1).min(1200);
            Some(json!({ "interval": interval, "interval_count": count }))
        }
    };
    let behavior = phase.choice("proration_behavior", proration::WORDS)?.unwrap_or("create_prorations");
    Ok(Asked {
        items,
        start: date("start_date")?,
        end: date("end_date")?,
        iterations: phase.at_least(1, "iterations")?.unwrap_or(1).min(1200),
        duration,
        behavior: behavior.to_owned(),
        metadata: phase.metadata(&json!({}))?,
    })
}

fn update(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let kept = world.store.get(KIND, call.id()).map(|schedule| schedule["metadata"].clone()).unwrap_or_default();
    let metadata = params.metadata(&kept)?;
    let phases = params.elements("phases")?.iter().map(asked).collect::<Result<Vec<_>, _>>()?;
    let ending = params.choice("end_behavior", &["cancel", "release"])?;
    params.choice("proration_behavior", proration::WORDS)?;
    world.execute()?;
    let mut schedule = active(world, call.id())?;
    let clock = text(&schedule, "test_clock").to_owned();
    world.at_clock(&clock, |world| {
        schedule["metadata"] = metadata;
        if let Some(ending) = ending {
            schedule["end_behavior"] = json!(ending);
        }
        if !phases.is_empty() {
            let made = made(world, &schedule, phases)?;
            for phase in &made {
                for name in ["start_date", "end_date"] {
                    world.plan(&clock, number(phase, name), by_itself, call.id());
                }
            }
            schedule["phases"] = made.into();
        }
        let schedule = world.change(KIND, "subscription_schedule.updated", schedule);
        turn(world, text(&schedule, "subscription"));
        world.object(KIND, "subscription schedule", call.id())
    })
}

/// The phases, one after the other.
fn made(world: &World, schedule: &Value, asked: Vec<Asked>) -> Result<Vec<Value>, Failure> {
    let subscription = world.named("subscription", "subscription", text(schedule, "subscription"), "subscription")?;
    let mut from = number(&schedule["current_phase"], "start_date");
    let mut phases = Vec::new();
    for (place, one) in asked.into_iter().enumerate() {
        let start = one.start.unwrap_or(from);
        if place > 0 && start != from {
            let message = "The subscription schedule's phases must follow each other without a gap.";
            return Err(Failure::invalid(message).param(format!("phases[{place}][start_date]")));
        }
        let mut items = Vec::new();
        let mut every = Value::Null;
        for (id, quantity) in &one.items {
            let price = world.named("price", "price", id, "phases[0][items][0][price]")?;
            if text(&price, "type") != "recurring" {
                return Err(Failure::invalid("A phase's prices must recur.").param("phases[0][items][0][price]"));
            }
            every = price["recurring"].clone();
            items.push(phase_item(&price["id"], &json!(quantity)));
        }
        let end = match (one.end, one.duration) {
            (Some(end), _) => end,
            (None, Some(duration)) => period::step(start, &duration, 1).unwrap_or(i64::MAX),
            (None, None) => period::step(start, &every, one.iterations).unwrap_or(i64::MAX),
        };
        if end <= start {
            let message = "A phase must end after it starts.";
            return Err(Failure::invalid(message).param(format!("phases[{place}][end_date]")));
        }
        from = end;
        phases.push(phase(&subscription["currency"], &items, start, end, &one.behavior, &one.metadata));
    }
    Ok(phases)
}

fn by_itself(world: &mut World, id: &str) {
    let subscription = world.store.get(KIND, id).map(|schedule| text(schedule, "subscription").to_owned());
    if let Some(subscription) = subscription {
        turn(world, &subscription);
    }
}

/// Puts the phase of now to work on a subscription, if its schedule has another than the one at work; ends the schedule after the last.
pub(super) fn turn(world: &mut World, subscription: &str) {
    let Some(of) = world.store.get("subscription", subscription).cloned() else { return };
    let Some(mut schedule) = world.store.get(KIND, text(&of, "schedule")).cloned() else { return };
    if text(&schedule, "status") != "active" || !state::is_live(&of) {
        return;
    }
    let phases = schedule["phases"].as_array().cloned().unwrap_or_default();
    let now =
        phases.iter().find(|phase| number(phase, "start_date") <= world.now && world.now < number(phase, "end_date"));
    let Some(phase) = now else {
        if phases.last().is_some_and(|last| number(last, "end_date") <= world.now) {
            finish(world, schedule, &of);
        }
        return;
    };
    let current = json!({ "start_date": phase["start_date"], "end_date": phase["end_date"] });
    if current == schedule["current_phase"] && !changes(&of, phase) {
        return;
    }
    schedule["current_phase"] = current;
    world.change(KIND, "subscription_schedule.updated", schedule);
    if changes(&of, phase) {
        let mut change = Change { items: drafts(&of, phase), ..Change::default() };
        change.behavior = Behavior::of(phase["proration_behavior"].as_str());
        change.off_session = true;
        // A price that went away leaves the subscription as it is.
        drop(update::apply(world, subscription, change));
    }
}

/// Whether a phase's items are not those of the subscription.
fn changes(subscription: &Value, phase: &Value) -> bool {
    let of = |items: &Value| -> Vec<(String, Value)> {
        let id = |price: &Value| price.as_str().or(price["id"].as_str()).unwrap_or_default().to_owned();
        items.as_array().into_iter().flatten().map(|item| (id(&item["price"]), item["quantity"].clone())).collect()
    };
    of(&subscription["items"]["data"]) != of(&phase["items"])
}

/// Items that are there become the phase's, one by one; what is left over goes or comes.
fn drafts(subscription: &Value, phase: &Value) -> Vec<ItemDraft> {
    let old = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
    let new = phase["items"].as_array().cloned().unwrap_or_default();
    let mut drafts = Vec::new();
    for place in 0..old.len().max(new.len()) {
        let id = old.get(place).map(|item| text(item, "id").to_owned());
        let wanted = new.get(place);
        drafts.push(ItemDraft {
            id,
            price: wanted.map(|item| text(item, "price").to_owned()),
            quantity: wanted.map(|item| number(item, "quantity")),
            deleted: wanted.is_none(),
            ..ItemDraft::default()
        });
    }
    drafts
}

fn finish(world: &mut World, mut schedule: Value, subscription: &Value) {
    let cancels = text(&schedule, "end_behavior") == "cancel";
    schedule["status"] = json!(if cancels { "completed" } else { "released" });
    schedule["completed_at"] = if cancels { json!(world.now) } else { Value::Null };
    schedule["current_phase"] = Value::Null;
    if cancels {
        world.change(KIND, "subscription_schedule.completed", schedule);
        state::end(world, subscription.clone(), "cancellation_requested");
    } else {
        let_go(world, schedule);
    }
}

/// The subscription goes on by itself.
fn let_go(world: &mut World, mut schedule: Value) -> Value {
    let id = text(&schedule, "subscription").to_owned();
    schedule["status"] = json!("released");
    schedule["released_at"] = json!(world.now);
    schedule["released_subscription"] = json!(id);
    schedule["subscription"] = Value::Null;
    schedule["current_phase"] = Value::Null;
    let schedule = world.change(KIND, "subscription_schedule.released", schedule);
    if let Some(mut subscription) = world.store.get("subscription", &id).cloned() {
        subscription["schedule"] = Value::Null;
        world.change("subscription", "customer.subscription.updated", subscription);
    }
    schedule
}

fn active(world: &World, id: &str) -> Answer {
    let schedule = world.object(KIND, "subscription schedule", id)?;
    if text(&schedule, "status") == "active" {
        return Ok(schedule);
    }
    let message = format!(
        "You cannot change a subscription schedule that is currently in the `{}` status.",
        text(&schedule, "status")
    );
    Err(Failure::invalid(message))
}

fn release(world: &mut World, call: &Call) -> Answer {
    call.params.boolean("preserve_cancel_date")?;
    world.execute()?;
    let schedule = active(world, call.id())?;
    let clock = text(&schedule, "test_clock").to_owned();
    Ok(world.at_clock(&clock, |world| let_go(world, schedule)))
}

fn cancel(world: &mut World, call: &Call) -> Answer {
    call.params.boolean("invoice_now")?;
    call.params.boolean("prorate")?;
    world.execute()?;
    let mut schedule = active(world, call.id())?;
    let clock = text(&schedule, "test_clock").to_owned();
    world.at_clock(&clock, |world| {
        let subscription = text(&schedule, "subscription").to_owned();
        schedule["status"] = json!("canceled");
        schedule["canceled_at"] = json!(world.now);
        schedule["current_phase"] = Value::Null;
        let schedule = world.change(KIND, "subscription_schedule.canceled", schedule);
        if let Some(subscription) = world.store.get("subscription", &subscription).cloned().filter(state::is_live) {
            state::end(world, subscription, "cancellation_requested");
        }
        Ok(schedule)
    })
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object(KIND, "subscription schedule", call.id())
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for schedule in world.store.all(KIND).rev().filter(|schedule| created.holds(schedule)) {
        if list::is_asked(schedule, &call.params, "customer")? {
            matching.push(schedule);
        }
    }
    list::page(&matching, &call.params, "subscription schedule", "/v1/subscription_schedules")
}
