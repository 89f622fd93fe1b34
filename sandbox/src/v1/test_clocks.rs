//! `/v1/test_helpers/test_clocks`: clocks that stand until they are told to advance. Customers made with one live by it, and all that
//! is theirs.

use serde_json::{Value, json};

use super::subscriptions::{end, period, state};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list,
    store::{number, text},
    time::TEST_CLOCK,
    world::World,
};

/// Seconds of real time after which Stripe deletes a clock: 30 days.
const LIFE: i64 = 30 * period::DAY;
/// Without a subscription a clock advances at most two years at once.
const LONGEST: i64 = 2 * 366 * period::DAY;
/// The year 9999 begins later than this; a bound that keeps calendars sane.
const END_OF_TIME: i64 = 100_000_000_000;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/test_helpers/test_clocks", params: &["frozen_time", "name"], run: create },
    Endpoint {
        method: "GET",
        path: "/v1/test_helpers/test_clocks",
        params: &["limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/test_helpers/test_clocks/{id}", params: &[], run: retrieve },
    Endpoint { method: "DELETE", path: "/v1/test_helpers/test_clocks/{id}", params: &[], run: delete },
    Endpoint {
        method: "POST",
        path: "/v1/test_helpers/test_clocks/{id}/advance",
        params: &["frozen_time"],
        run: advance,
    },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    params.required("frozen_time")?;
    let at = params.integer("frozen_time")?.unwrap_or_default();
    if !(0..END_OF_TIME).contains(&at) {
        return Err(Failure::invalid("Invalid timestamp: frozen_time is out of bounds.").param("frozen_time"));
    }
    let name = params.nullable("name")?.unwrap_or_default();
    world.execute()?;
    let clock = json!({
        "id": world.ids.next("clock_"),
        "object": TEST_CLOCK,
        "created": world.now,
        "deletes_after": world.now + LIFE,
        "frozen_time": at,
        "livemode": false,
        "name": name,
        "status": "ready",
        "status_details": {},
    });
    Ok(world.create(TEST_CLOCK, "test_helpers.test_clock.created", clock))
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object(TEST_CLOCK, "test clock", call.id())
}

/// Plays everything that is due. The answer says `advancing`, as Stripe's does; the clock is ready by then.
fn advance(world: &mut World, call: &Call) -> Answer {
    call.params.required("frozen_time")?;
    let to = call.params.integer("frozen_time")?.unwrap_or_default();
    world.execute()?;
    let mut clock = world.object(TEST_CLOCK, "test clock", call.id())?;
    let from = number(&clock, "frozen_time");
    if to <= from {
        let message = "A test clock's frozen time can only be advanced forward.";
        return Err(Failure::invalid(message).param("frozen_time"));
    }
    if to > limit(world, call.id(), from) || to >= END_OF_TIME {
        let message = "You cannot advance a test clock by more than two intervals of its shortest subscription at once, or by more than \
                       two years where it has none.";
        return Err(Failure::invalid(message).param("frozen_time"));
    }
    clock["status"] = json!("advancing");
    clock["status_details"] = json!({ "advancing": { "target_frozen_time": to } });
    let advancing = world.change(TEST_CLOCK, "test_helpers.test_clock.advancing", clock);
    world.pass_on(call.id(), to);
    let mut clock = advancing.clone();
    clock["frozen_time"] = json!(to);
    clock["status"] = json!("ready");
    clock["status_details"] = json!({});
    world.change(TEST_CLOCK, "test_helpers.test_clock.ready", clock);
    Ok(advancing)
}

/// Two intervals of the shortest subscription from now on.
fn limit(world: &World, clock: &str, from: i64) -> i64 {
    let living = world.store.all("subscription").filter(|of| text(of, "test_clock") == clock && state::is_live(of));
    let every = living.filter_map(|of| of.pointer("/items/data/0/price/recurring"));
    every.filter_map(|every| period::step(from, every, 2)).min().unwrap_or(from + LONGEST)
}

/// With its customers, as at Stripe.
fn delete(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let clock = world.object(TEST_CLOCK, "test clock", call.id())?;
    let of = |object: &&Value| text(object, "test_clock") == call.id();
    let customers: Vec<String> =
        world.store.all("customer").filter(of).map(|customer| text(customer, "id").to_owned()).collect();
    world.at_clock(call.id(), |world| {
        for id in customers {
            end::customer_gone(world, &id);
            let gone = json!({ "id": id, "object": "customer", "deleted": true });
            if let Some(customer) = world.store.get("customer", &id).cloned() {
                world.store.insert("customer", gone);
                world.emit("customer.deleted", &customer);
            }
        }
    });
    world.store.remove(TEST_CLOCK, call.id());
    world.emit("test_helpers.test_clock.deleted", &clock);
    Ok(json!({ "id": call.id(), "object": TEST_CLOCK, "deleted": true }))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let all: Vec<&Value> = world.store.all(TEST_CLOCK).rev().collect();
    list::page(&all, &call.params, "test clock", "/v1/test_helpers/test_clocks")
}
