//! `/v1/webhook_endpoints`: who hears of events. The sandbox delivers to this machine only.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::{
    failure::{Answer, Failure},
    list,
    routes::{Call, Route},
    world::World,
};

pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "POST",
        path: "/v1/webhook_endpoints",
        params: &["url", "enabled_events[]", "connect", "api_version", "description", "metadata*"],
        run: create,
    },
    Route {
        method: "GET",
        path: "/v1/webhook_endpoints",
        params: &["limit", "starting_after", "ending_before"],
        run: all,
    },
    Route { method: "GET", path: "/v1/webhook_endpoints/{id}", params: &[], run: retrieve },
    Route { method: "DELETE", path: "/v1/webhook_endpoints/{id}", params: &[], run: delete },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let url = params.required("url")?;
    check_url(url).map_err(|why| Failure::invalid(why).param("url"))?;
    let events = params.texts("enabled_events")?;
    if events.is_empty() {
        return Err(params.missing("enabled_events"));
    }
    if let Some(version) = params.text("api_version")?.filter(|version| *version != crate::world::API_VERSION) {
        return Err(
            Failure::invalid(format!("The sandbox does not speak API version {version} yet.")).param("api_version")
        );
    }
    let connect = params.boolean("connect")?.unwrap_or_default();
    let (metadata, description) = (params.metadata(&json!({}))?, params.nullable("description")?);
    world.execute()?;
    let secret = world.ids.next("whsec_");
    let mut endpoint = register(world, url, &secret, connect, &events);
    endpoint["metadata"] = metadata;
    endpoint["description"] = description.unwrap_or_default();
    world.store.insert("webhook_endpoint", endpoint.clone());
    // This once.
    endpoint["secret"] = json!(secret);
    Ok(endpoint)
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
    world.object("webhook_endpoint", "webhook endpoint", call.id())
}

fn all(world: &mut World, call: &Call) -> Answer {
    let matching: Vec<&Value> =
        world.store.all("webhook_endpoint").rev().filter(|e| e.get("deleted").is_none()).collect();
    list::page(&matching, &call.params, "webhook_endpoint", "/v1/webhook_endpoints")
}

fn delete(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    world.object("webhook_endpoint", "webhook endpoint", call.id())?;
    let gone = json!({ "id": call.id(), "object": "webhook_endpoint", "deleted": true });
    world.store.insert("webhook_endpoint", gone.clone());
    Ok(gone)
}
