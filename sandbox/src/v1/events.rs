//! `/v1/events`: what happened, 30 days back; the only way to find what never arrived.

use serde_json::Value;

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    store::{number, text},
    world::World,
};

/// Stripe: at most 20 `types`.
const MAX_TYPES: usize = 20;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "GET",
        path: "/v1/events",
        params: &["type", "types[]", "created*", "delivery_success", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/events/{id}", params: &[], run: retrieve },
    Endpoint {
        method: "POST",
        path: "/v1/events/{id}/retry",
        params: &["account", "for_stripecli", "webhook_endpoint"],
        run: retry,
    },
];

fn all(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let mut types = params.texts("types")?;
    if types.len() > MAX_TYPES {
        return Err(Failure::invalid(format!("types holds at most {MAX_TYPES}.")).param("types"));
    }
    types.extend(params.text("type")?.map(str::to_owned));
    let (created, delivered) = (Created::read(params)?, params.boolean("delivery_success")?);
    let matching: Vec<&Value> = world
        .store
        .all("event")
        .rev()
        .filter(|event| world.is_kept(event) && created.holds(event))
        .filter(|event| types.is_empty() || types.iter().any(|wanted| is_of(text(event, "type"), wanted)))
        .filter(|event| delivered.is_none_or(|wanted| (number(event, "pending_webhooks") == 0) == wanted))
        .collect();
    list::page(&matching, params, "event", "/v1/events")
}

/// `invoice.*` is every event of invoices.
fn is_of(kind: &str, wanted: &str) -> bool {
    wanted.strip_suffix('*').map_or(kind == wanted, |prefix| kind.starts_with(prefix))
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    let event = world.object("event", "event", call.id())?;
    if world.is_kept(&event) { Ok(event) } else { Err(Failure::no_such("event", call.id())) }
}

/// `stripe events resend`: to those who listen, or to one endpoint.
fn retry(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let endpoint = params.text("webhook_endpoint")?;
    if let Some(endpoint) = endpoint {
        world.named("webhook_endpoint", "webhook endpoint", endpoint, "webhook_endpoint")?;
    }
    let listening = params.boolean("for_stripecli")?.unwrap_or_default();
    let account = params.text("account")?;
    world.execute()?;
    let event = retrieve(world, call)?;
    if account.is_some_and(|account| text(&event, "account") != account) {
        return Err(Failure::no_such("event", call.id()));
    }
    world.resend(&event, endpoint, !listening);
    Ok(event)
}
