//! `/_sandbox/…`: what Stripe does not offer, and what a test needs. JSON in and out; no key, for it listens on this machine only.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    failure::{Answer, Failure},
    faults::Fault,
    money::{Money, PLATFORM},
    store::{number, text},
    v1::{accounts, checkout},
    view,
    world::{Request, World},
};

/// Seconds: some thirty years; a bound that keeps calendars sane.
const MAX_ADVANCE: i64 = 1_000_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Balance {
    currency: String,
    available: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    state: accounts::State,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Complete {
    email: Option<String>,
}

/// Answers an admin request.
pub(super) fn answer(world: &mut World, request: &Request) -> Answer {
    let path: Vec<&str> = request.path.split('/').skip(2).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("POST", ["faults"]) => {
            world.faults.add(read::<Fault>(request)?)?;
            Ok(json!({ "faults": world.faults.waiting().collect::<Vec<_>>() }))
        }
        ("GET", ["faults"]) => Ok(json!({ "faults": world.faults.waiting().collect::<Vec<_>>() })),
        ("DELETE", ["faults"]) => Ok(json!({ "cleared": world.faults.clear() })),
        ("POST", ["keys", "prune"]) => Ok(json!({ "pruned": world.keys.prune() })),
        ("POST", ["advance"]) => advance(world, read::<Advance>(request)?.seconds),
        ("GET", ["clock"]) => Ok(clock(world)),
        ("GET", ["settings"]) => Ok(json!(world.settings())),
        ("POST", ["settings"]) => {
            let settings = read(request)?;
            Ok(world.set_settings(settings))
        }
        ("GET", ["ledger"]) => Ok(ledger(world)),
        ("GET", ["requests"]) => Ok(json!({ "requests": world.requests.all().collect::<Vec<_>>() })),
        ("DELETE", ["requests"]) => {
            world.requests.clear();
            Ok(json!({ "requests": [] }))
        }
        ("POST", ["accounts", id]) => {
            let state = read::<Account>(request)?.state;
            let account = accounts::put(world, id, state)?;
            Ok(view::shown(&world.store, account, &[]))
        }
        ("POST", ["checkout", id, "complete"]) => {
            let given: Complete = if request.body.is_empty() { Complete::default() } else { read(request)? };
            let session = checkout::complete(world, id, given.email.as_deref())?;
            Ok(view::shown(&world.store, session, &[]))
        }
        ("POST", ["balance"]) => {
            let Balance { currency, available } = read(request)?;
            let known = Money::currency(&currency);
            let currency =
                known.ok_or_else(|| Failure::invalid(format!("Invalid currency: {currency}")).param("currency"))?;
            world.money.set(currency, available);
            Ok(world.money.shown(PLATFORM, world.now))
        }
        (method, _) => Err(Failure::unrecognized(method, &request.path)),
    }
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Failure> {
    serde_json::from_slice(&request.body).map_err(|error| Failure::invalid(format!("Not what is wanted here: {error}")))
}

fn advance(world: &mut World, seconds: i64) -> Answer {
    if !(0..=MAX_ADVANCE).contains(&seconds) || world.ahead + seconds > MAX_ADVANCE {
        return Err(Failure::invalid(format!("seconds is between 0 and {MAX_ADVANCE}, in all.")).param("seconds"));
    }
    world.ahead += seconds;
    world.pass(world.now + seconds);
    Ok(clock(world))
}

fn clock(world: &World) -> Value {
    json!({ "now": world.now, "ahead_seconds": world.ahead, "next": world.plans.next("") })
}

/// What money really moved.
fn ledger(world: &mut World) -> Value {
    let balance = world.money.shown(PLATFORM, world.now);
    let transfers: Vec<Value> = world
        .store
        .all("transfer")
        .map(|transfer| {
            json!({
                "id": transfer["id"],
                "amount": transfer["amount"],
                "amount_reversed": transfer["amount_reversed"],
                "reversed": transfer["reversed"],
                "currency": transfer["currency"],
                "destination": transfer["destination"],
                "transfer_group": transfer["transfer_group"],
                "metadata": transfer["metadata"],
                "created": transfer["created"],
                "idempotency_key": transfer["_idempotency_key"],
                "request_id": transfer["_request_id"],
            })
        })
        .collect();
    let charges: Vec<Value> = world
        .store
        .all("charge")
        .map(|charge| json!({ "id": charge["id"], "amount": charge["amount"], "currency": charge["currency"], "customer": charge["customer"] }))
        .collect();
    let mut sent = serde_json::Map::new();
    for transfer in &transfers {
        let net = number(transfer, "amount") - number(transfer, "amount_reversed");
        let sum = sent.entry(text(transfer, "currency")).or_insert_with(|| json!(0));
        *sum = json!(sum.as_i64().unwrap_or_default() + net);
    }
    json!({ "balance": balance, "sent": sent, "transfers": transfers, "charges": charges })
}
