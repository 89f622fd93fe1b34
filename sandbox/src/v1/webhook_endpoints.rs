//! `/v1/webhook_endpoints`: who hears of events. The sandbox delivers to this machine only.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    layout, list,
    store::text,
    world::World,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "POST",
        path: "/v1/webhook_endpoints",
        params: &["url", "enabled_events[]", "connect", "api_version", "description", "metadata*"],
        run: create,
    },
    Endpoint {
        method: "GET",
        path: "/v1/webhook_endpoints",
        params: &["limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/webhook_endpoints/{id}", params: &[], run: retrieve },
    Endpoint {
        method: "POST",
        path: "/v1/webhook_endpoints/{id}",
        params: &["url", "enabled_events[]", "disabled", "description", "metadata*"],
        run: update,
    },
    Endpoint { method: "DELETE", path: "/v1/webhook_endpoints/{id}", params: &[], run: delete },
];

/// Seconds that two secrets hold when one is rolled, and at most (Stripe: rolling endpoint secrets).
const OVERLAP: i64 = MAX_OVERLAP;
const MAX_OVERLAP: i64 = 24 * 60 * 60;

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let url = params.required("url")?;
    check_url(url).map_err(|why| Failure::invalid(why).param("url"))?;
    let events = params.texts("enabled_events")?;
    if events.is_empty() {
        return Err(params.missing("enabled_events"));
    }
    let version = params.text("api_version")?.filter(|version| !version.is_empty()).map(str::to_owned);
    if let Some(version) = &version {
        layout::check_version(version).map_err(|failure| failure.param("api_version"))?;
    }
    let connect = params.boolean("connect")?.unwrap_or_default();
    let (metadata, description) = (params.metadata(&json!({}))?, params.nullable("description")?);
    world.execute()?;
    let secret = world.ids.next("whsec_");
    let mut endpoint = register(world, url, &secret, connect, &events);
    endpoint["api_version"] = json!(version);
    endpoint["metadata"] = metadata;
    endpoint["description"] = description.unwrap_or_default();
    world.store.insert("webhook_endpoint", endpoint.clone());
    // This once.
    endpoint["secret"] = json!(secret);
    Ok(endpoint)
}

fn update(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let kept = world.store.get("webhook_endpoint", call.id()).and_then(|e| e.get("metadata")).cloned();
    let metadata = params.metadata(&kept.unwrap_or_default())?;
    let (url, events) = (params.text("url")?.map(str::to_owned), params.texts("enabled_events")?);
    if let Some(url) = &url {
        check_url(url).map_err(|why| Failure::invalid(why).param("url"))?;
    }
    let (disabled, description) = (params.boolean("disabled")?, params.nullable("description")?);
    world.execute()?;
    let mut endpoint = present(world, call.id())?;
    endpoint["metadata"] = metadata;
    let events = (!events.is_empty()).then(|| json!(events));
    let status = disabled.map(|disabled| json!(if disabled { "disabled" } else { "enabled" }));
    let given =
        [("url", url.map(Value::from)), ("enabled_events", events), ("status", status), ("description", description)];
    for (name, value) in given {
        if let Some(value) = value {
            endpoint[name] = value;
        }
    }
    world.store.insert("webhook_endpoint", endpoint.clone());
    Ok(endpoint)
}

/// A new secret; the old one signs beside it for some seconds of the sandbox's time, so that a receiver can change over.
pub(crate) fn roll(world: &mut World, id: &str, expires_in: Option<i64>) -> Answer {
    let mut endpoint = present(world, id)?;
    let expires_in = expires_in.unwrap_or(OVERLAP);
    if !(0..=MAX_OVERLAP).contains(&expires_in) {
        let message = format!("expires_in is between 0 and {MAX_OVERLAP} seconds.");
        return Err(Failure::invalid(message).param("expires_in"));
    }
    let secret = world.ids.next("whsec_");
    endpoint["_old_secret"] = json!({ "secret": text(&endpoint, "_secret"), "until": world.now + expires_in });
    endpoint["_secret"] = json!(secret);
    world.store.insert("webhook_endpoint", endpoint);
    Ok(json!({ "id": id, "object": "webhook_endpoint", "secret": secret }))
}

/// One that was not deleted.
fn present(world: &World, id: &str) -> Answer {
    let endpoint = world.object("webhook_endpoint", "webhook endpoint", id)?;
    if endpoint.get("deleted").is_some() { Err(Failure::no_such("webhook endpoint", id)) } else { Ok(endpoint) }
}

/// Makes an endpoint that was judged already.
pub(crate) fn register(world: &mut World, url: &str, secret: &str, connect: bool, events: &[String]) -> Value {
    let endpoint = json!({
        "id": world.ids.next("we_"),
        "object": "webhook_endpoint",
        "api_version": null,
        "application": if connect { json!("ca_sandbox") } else { Value::Null },
        "created": world.now,
        "description": null,
        "enabled_events": events,
        "livemode": false,
        "metadata": {},
        "status": "enabled",
        "url": url,
        "_connect": connect,
        "_secret": secret,
    });
    world.store.insert("webhook_endpoint", endpoint.clone());
    endpoint
}

/// Whether the sandbox would deliver there: to this machine, in the clear.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let refused = || format!("Not a valid URL for the sandbox: '{url}'. It delivers to http:// on this machine only.");
    let uri: hyper::Uri = url.parse().map_err(|_| refused())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if uri.scheme_str() == Some("http") && local { Ok(()) } else { Err(refused()) }
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    present(world, call.id())
}

fn all(world: &mut World, call: &Call) -> Answer {
    let matching: Vec<&Value> =
        world.store.all("webhook_endpoint").rev().filter(|e| e.get("deleted").is_none()).collect();
    list::page(&matching, &call.params, "webhook_endpoint", "/v1/webhook_endpoints")
}

fn delete(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    present(world, call.id())?;
    let gone = json!({ "id": call.id(), "object": "webhook_endpoint", "deleted": true });
    world.store.insert("webhook_endpoint", gone.clone());
    Ok(gone)
}
