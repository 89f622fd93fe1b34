//! `/_sandbox/…`: what Stripe does not offer, and what a test needs. JSON in and out; no key, for it listens on this machine only.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    cards,
    event_faults::EventFault,
    failure::{Answer, Failure},
    faults::Fault,
    ledger,
    message::Request,
    money::{Money, PLATFORM},
    routes,
    v1::{accounts, checkout, disputes, payments, refunds, setup_intents, webhook_endpoints},
    view,
    world::World,
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
    /// A connected account's instead of the platform's.
    account: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    state: accounts::State,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Becomes {
    becomes: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tax {
    percent: f64,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Complete {
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    status: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Dispute {
    inquiry: bool,
    reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Authenticate {
    success: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Roll {
    expires_in: Option<i64>,
}

/// Answers an admin request.
pub(super) fn answer(world: &mut World, request: &Request) -> Answer {
    let path: Vec<&str> = request.path.split('/').skip(2).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("POST", ["faults"]) => {
            let known = |method: &str, path: &str| routes::named(method, path).map(|endpoint| endpoint.params);
            world.faults.add(read::<Fault>(request)?, known)?;
            Ok(json!({ "faults": world.faults.waiting().collect::<Vec<_>>() }))
        }
        ("GET", ["faults"]) => Ok(json!({ "faults": world.faults.waiting().collect::<Vec<_>>() })),
        ("DELETE", ["faults"]) => Ok(json!({ "cleared": world.faults.clear() })),
        (method, ["events", "faults"] | ["deliveries"] | ["webhook_endpoints", _, "roll"]) => {
            delivery(world, request, method, &path)
        }
        ("POST", ["chaos"]) => {
            let wanted = read(request)?;
            world.chaos.turn_on(&wanted, world.seed)?;
            Ok(world.chaos.shown())
        }
        ("GET", ["chaos"]) => Ok(world.chaos.shown()),
        ("DELETE", ["chaos"]) => {
            world.chaos.turn_off();
            Ok(world.chaos.shown())
        }
        ("POST", ["keys", "prune"]) => Ok(json!({ "pruned": world.keys.prune() })),
        ("POST", ["advance"]) => advance(world, read::<Advance>(request)?.seconds),
        ("GET", ["clock"]) => Ok(clock(world)),
        ("GET", ["settings"]) => Ok(json!(world.settings())),
        ("POST", ["settings"]) => {
            let settings = read(request)?;
            Ok(world.set_settings(settings))
        }
        ("GET", ["setup"]) => Ok(json!(world.setup)),
        ("POST", ["setup"]) => {
            world.setup = read(request)?;
            Ok(json!(world.setup))
        }
        ("GET", ["ledger"]) => Ok(ledger::shown(world)),
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
        ("POST", ["accounts", id, "deauthorize"]) => {
            let account = accounts::deauthorise(world, id)?;
            Ok(view::shown(&world.store, account, &[]))
        }
        ("POST", ["tax"]) => checkout::lines::set_tax_percent(world, read::<Tax>(request)?.percent),
        ("POST", ["checkout", id, "complete"]) => {
            let session = checkout::complete(world, id, given::<Complete>(request)?.email.as_deref())?;
            Ok(view::shown(&world.store, session, &[]))
        }
        ("POST", ["disputes", id]) => {
            let dispute = disputes::put(world, id, &read::<Status>(request)?.status)?;
            Ok(view::shown(&world.store, dispute, &[]))
        }
        ("POST", ["charges", id, "dispute"]) => {
            let Dispute { inquiry, reason } = given(request)?;
            let reason = reason.unwrap_or_else(|| "fraudulent".to_owned());
            let dispute = disputes::open_by_admin(world, id, &reason, inquiry)?;
            Ok(view::shown(&world.store, dispute, &[]))
        }
        ("POST", ["refunds", id]) => {
            let refund = refunds::put(world, id, &read::<Status>(request)?.status)?;
            Ok(view::shown(&world.store, refund, &[]))
        }
        ("POST", ["payment_intents", id, "authenticate"]) => {
            let succeeds = given::<Authenticate>(request)?.success.unwrap_or(true);
            let intent = payments::authenticate(world, id, succeeds)?;
            Ok(view::shown(&world.store, intent, &[]))
        }
        // A card that was good when it was kept is lost, stolen, empty …: which none of Stripe's test cards can be.
        ("POST", ["payment_methods", id]) => {
            let number = read::<Becomes>(request)?.becomes;
            let mut method = world.object("payment_method", "payment method", id)?;
            cards::card(&number).ok_or_else(|| Failure::invalid("No test card has this number.").param("becomes"))?;
            method["_number"] = json!(number);
            world.store.insert("payment_method", method.clone());
            Ok(view::shown(&world.store, method, &[]))
        }
        ("POST", ["setup_intents", id, "authenticate"]) => {
            let succeeds = given::<Authenticate>(request)?.success.unwrap_or(true);
            let intent = setup_intents::authenticated(world, id, succeeds)?;
            Ok(view::shown(&world.store, intent, &[]))
        }
        ("POST", ["balance"]) => {
            let Balance { currency, available, account } = read(request)?;
            let known = Money::currency(&currency);
            let currency =
                known.ok_or_else(|| Failure::invalid(format!("Invalid currency: {currency}")).param("currency"))?;
            if let Some(account) = account {
                // As if it had been paid out to the bank, or topped up: nothing of the platform's moves.
                let more = available.saturating_sub(world.money.available(&account, currency, world.now));
                world.money.add(&account, currency, more);
                return Ok(world.money.shown(&account, world.now));
            }
            world.money.set(currency, available, world.now);
            Ok(world.money.shown(PLATFORM, world.now))
        }
        (method, _) => Err(Failure::unrecognized(method, &request.path)),
    }
}

/// Events on their way out.
fn delivery(world: &mut World, request: &Request, method: &str, path: &[&str]) -> Answer {
    match (method, path) {
        ("POST", ["events", "faults"]) => {
            world.event_faults.add(read::<EventFault>(request)?)?;
            Ok(json!({ "faults": world.event_faults.waiting().collect::<Vec<_>>() }))
        }
        ("GET", ["events", "faults"]) => Ok(json!({ "faults": world.event_faults.waiting().collect::<Vec<_>>() })),
        ("DELETE", ["events", "faults"]) => Ok(json!({ "cleared": world.event_faults.clear() })),
        ("GET", ["deliveries"]) => Ok(json!({ "deliveries": world.deliveries.shown() })),
        ("POST", ["webhook_endpoints", id, "roll"]) => {
            let given: Roll = if request.body.is_empty() { Roll::default() } else { read(request)? };
            webhook_endpoints::roll(world, id, given.expires_in)
        }
        (method, _) => Err(Failure::unrecognized(method, &request.path)),
    }
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Failure> {
    serde_json::from_slice(&request.body).map_err(|error| Failure::invalid(format!("Not what is wanted here: {error}")))
}

/// What may also be left out.
fn given<T: DeserializeOwned + Default>(request: &Request) -> Result<T, Failure> {
    if request.body.is_empty() { Ok(T::default()) } else { read(request) }
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
    let left = MAX_ADVANCE - world.ahead;
    json!({ "now": world.now, "ahead_seconds": world.ahead, "left_seconds": left, "next": world.plans.next(""), "undelivered": world.undelivered() })
}
