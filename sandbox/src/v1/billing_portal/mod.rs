//! `/v1/billing_portal`: the page on which a customer changes card and plan. Sessions here, what they allow in `configurations`.

pub(crate) mod configurations;

use serde_json::{Value, json};

use super::{buyers, checkout::kept::web_address};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    params::Params,
    store::{number, text},
    world::World,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "POST",
        path: "/v1/billing_portal/sessions",
        params: &["customer", "return_url", "configuration", "flow_data*", "locale", "on_behalf_of"],
        run: create,
    },
    Endpoint {
        method: "POST",
        path: "/v1/billing_portal/configurations",
        params: configurations::PARAMS,
        run: configurations::create,
    },
    Endpoint {
        method: "GET",
        path: "/v1/billing_portal/configurations",
        params: configurations::LIST,
        run: configurations::all,
    },
    Endpoint {
        method: "GET",
        path: "/v1/billing_portal/configurations/{id}",
        params: &[],
        run: configurations::retrieve,
    },
    Endpoint {
        method: "POST",
        path: "/v1/billing_portal/configurations/{id}",
        params: configurations::PARAMS,
        run: configurations::update,
    },
];

/// Seconds that an unvisited session waits, and that one lives after its last visit.
const WAITS: i64 = 5 * 60;
const LIVES: i64 = 60 * 60;
const FLOWS: &[&str] =
    &["payment_method_update", "subscription_cancel", "subscription_update", "subscription_update_confirm"];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let customer = params.required("customer")?;
    let back = web_address(params, "return_url")?;
    let (configuration, locale) = (params.text("configuration")?, params.nullable("locale")?);
    let flow = flow(params)?;
    world.execute()?;
    buyers::buyer(world, customer)?;
    let configuration = match configuration {
        Some(id) => world.named("billing_portal.configuration", "configuration", id, "configuration")?,
        None => configurations::default(world),
    };
    if configuration["active"] != json!(true) {
        return Err(Failure::invalid("This portal configuration is not active.").param("configuration"));
    }
    for name in ["subscription_cancel", "subscription_update", "subscription_update_confirm"] {
        let Some(id) = flow[name]["subscription"].as_str() else { continue };
        let subscription = world.named("subscription", "subscription", id, "flow_data")?;
        if text(&subscription, "customer") != customer {
            return Err(Failure::no_such_param("subscription", id, "flow_data"));
        }
    }
    let id = world.ids.next("bps_");
    let session = json!({
        "object": "billing_portal.session",
        "configuration": configuration["id"],
        "created": world.now,
        "customer": customer,
        "flow": flow,
        "livemode": false,
        "locale": locale,
        "on_behalf_of": null,
        "return_url": back.map_or_else(|| configuration["default_return_url"].clone(), |back| json!(back)),
        "url": format!("{}/_sandbox/portal/{id}", world.url),
        "id": id,
        "_until": world.now + WAITS,
    });
    Ok(world.create("billing_portal.session", "billing_portal.session.created", session))
}

/// The one thing that a session is for, where it is for one.
fn flow(params: &Params) -> Answer {
    let Some(given) = params.below("flow_data")? else { return Ok(Value::Null) };
    given.required("type")?;
    let kind = given.choice("type", FLOWS)?.unwrap_or_default();
    let mut flow = json!({
        "after_completion": { "hosted_confirmation": null, "redirect": null, "type": "portal_homepage" },
        "subscription_cancel": null, "subscription_update": null, "subscription_update_confirm": null, "type": kind,
    });
    if kind != "payment_method_update" {
        let own = given.below(kind)?.ok_or_else(|| given.missing(kind))?;
        let mut shown = json!({ "subscription": own.required("subscription")? });
        match kind {
            "subscription_cancel" => shown["retention"] = Value::Null,
            "subscription_update_confirm" => {
                let mut items = Vec::new();
                for item in own.elements("items")? {
                    let quantity = item.at_least(1, "quantity")?;
                    items.push(
                        json!({ "id": item.required("id")?, "price": item.text("price")?, "quantity": quantity }),
                    );
                }
                shown["items"] = json!(items);
                shown["discounts"] = Value::Null;
            }
            _ => {}
        }
        flow[kind] = shown;
    }
    if let Some(after) = given.below("after_completion")? {
        after.required("type")?;
        flow["after_completion"]["type"] =
            json!(after.choice("type", &["hosted_confirmation", "portal_homepage", "redirect"])?);
        if let Some(redirect) = after.below("redirect")? {
            redirect.required("return_url")?;
            flow["after_completion"]["redirect"] = json!({ "return_url": web_address(&redirect, "return_url")? });
        }
    }
    Ok(flow)
}

/// A customer opens the page or uses it: the session, if it is still one.
pub(crate) fn visit(world: &mut World, id: &str) -> Option<Value> {
    let now = world.now;
    let session = world.store.get_mut("billing_portal.session", id)?;
    if number(session, "_until") <= now {
        return None;
    }
    session["_until"] = json!(now + LIVES);
    Some(session.clone())
}
