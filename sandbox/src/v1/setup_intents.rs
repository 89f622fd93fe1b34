//! `/v1/setup_intents`: a payment method is kept for later, and nothing is charged.

use serde_json::{Value, json};

use super::{buyers, payment_methods};
use crate::{
    cards::{self, Does},
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    params::Params,
    store::text,
    view,
    world::World,
};

const CREATE: &[&str] = &[
    "confirm",
    "customer",
    "description",
    "metadata*",
    "payment_method",
    "payment_method_types[]",
    "payment_method_data*",
    "automatic_payment_methods*",
    "usage",
    "return_url",
    "mandate_data*",
];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/setup_intents", params: CREATE, run: create },
    Endpoint {
        method: "GET",
        path: "/v1/setup_intents",
        params: &["customer", "payment_method", "created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/setup_intents/{id}", params: &["client_secret"], run: retrieve },
    Endpoint {
        method: "POST",
        path: "/v1/setup_intents/{id}/confirm",
        params: &["payment_method", "payment_method_data*", "return_url", "mandate_data*"],
        run: confirm,
    },
    Endpoint { method: "POST", path: "/v1/setup_intents/{id}/cancel", params: &["cancellation_reason"], run: cancel },
];

type Method = (Option<String>, Option<payment_methods::Draft>);

fn method(params: &Params) -> Result<Method, Failure> {
    let id = params.text("payment_method")?.filter(|id| !id.is_empty()).map(str::to_owned);
    params.text("return_url")?;
    Ok((id, params.below("payment_method_data")?.map(|data| payment_methods::draft(&data)).transpose()?))
}

fn made(world: &mut World, method: Method) -> Result<Option<Value>, Failure> {
    match method {
        (Some(id), _) => payment_methods::resolve(world, &id, "payment_method").map(Some),
        (None, Some(draft)) => Ok(Some(draft.make(world))),
        (None, None) => Ok(None),
    }
}

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let (metadata, now) = (params.metadata(&json!({}))?, params.boolean("confirm")?.unwrap_or_default());
    let customer = params.nullable("customer")?.unwrap_or_default();
    let description = params.nullable("description")?.unwrap_or_default();
    let usage = params.choice("usage", &["off_session", "on_session"])?.unwrap_or("off_session");
    let mut kinds = params.texts("payment_method_types")?;
    if kinds.is_empty() {
        kinds.push("card".to_owned());
    }
    let method = method(params)?;
    world.execute()?;
    if let Some(customer) = customer.as_str() {
        buyers::buyer(world, customer)?;
    }
    let method = made(world, method)?;
    let id = world.ids.next("seti_");
    let intent = json!({
        "application": null,
        "automatic_payment_methods": null,
        "cancellation_reason": null,
        "client_secret": format!("{id}_secret_sandbox"),
        "created": world.now,
        "customer": customer,
        "description": description,
        "flow_directions": null,
        "id": id,
        "last_setup_error": null,
        "latest_attempt": null,
        "livemode": false,
        "mandate": null,
        "metadata": metadata,
        "next_action": null,
        "object": "setup_intent",
        "on_behalf_of": null,
        "payment_method": method.as_ref().map(|method| method["id"].clone()),
        "payment_method_options": {},
        "payment_method_types": kinds,
        "single_use_mandate": null,
        "status": if method.is_some() { "requires_confirmation" } else { "requires_payment_method" },
        "usage": usage,
    });
    let intent = world.create("setup_intent", "setup_intent.created", intent);
    if now { tried(world, intent, method) } else { Ok(intent) }
}

fn tried(world: &mut World, mut intent: Value, method: Option<Value>) -> Answer {
    let kept = world.store.get("payment_method", text(&intent, "payment_method")).cloned();
    let method = method.or(kept).ok_or_else(|| {
        let message = "You cannot confirm this SetupIntent because it's missing a payment method.";
        Failure::invalid(message).code("setup_intent_unexpected_state")
    })?;
    intent["payment_method"] = method["id"].clone();
    match cards::does(&method) {
        Does::Decline(why) => {
            let failure = why.failure().with("payment_method", view::shown(&world.store, method, &[]));
            intent["last_setup_error"] = failure.body();
            (intent["payment_method"], intent["status"]) = (Value::Null, json!("requires_payment_method"));
            world.store.insert("setup_intent", intent.clone());
            world.emit("setup_intent.setup_failed", &intent);
            return Err(failure.with("setup_intent", view::shown(&world.store, intent, &[])));
        }
        Does::AuthenticateOnce | Does::AuthenticateAlways | Does::AuthenticateInVain(_) => {
            let url = format!("{}/_sandbox/setup_intents/{}", world.url, text(&intent, "id"));
            intent["next_action"] =
                json!({ "type": "redirect_to_url", "redirect_to_url": { "return_url": null, "url": url } });
            intent["status"] = json!("requires_action");
            return Ok(world.change("setup_intent", "setup_intent.requires_action", intent));
        }
        _ => {}
    }
    succeed(world, intent, method)
}

fn succeed(world: &mut World, mut intent: Value, mut method: Value) -> Answer {
    if let Some(customer) = intent["customer"].as_str() {
        method["_set_up"] = json!(true);
        payment_methods::give(world, method, customer)?;
    }
    (intent["status"], intent["next_action"]) = (json!("succeeded"), Value::Null);
    world.store.insert("setup_intent", intent.clone());
    world.emit("setup_intent.succeeded", &intent);
    Ok(intent)
}

/// The card's owner has authenticated, or has failed to.
pub(crate) fn authenticated(world: &mut World, id: &str, succeeds: bool) -> Answer {
    let mut intent = world.object("setup_intent", "setupintent", id)?;
    if text(&intent, "status") != "requires_action" {
        let message =
            format!("This SetupIntent waits for no authentication: its status is {}.", text(&intent, "status"));
        return Err(Failure::invalid(message).code("setup_intent_unexpected_state"));
    }
    let method = world.named("payment_method", "PaymentMethod", text(&intent, "payment_method"), "payment_method")?;
    if succeeds {
        return succeed(world, intent, method);
    }
    let message = "The latest attempt to set up the payment method has failed because authentication failed.";
    intent["last_setup_error"] = Failure::card("setup_intent_authentication_failure", message).body();
    (intent["payment_method"], intent["next_action"]) = (Value::Null, Value::Null);
    intent["status"] = json!("requires_payment_method");
    world.store.insert("setup_intent", intent.clone());
    world.emit("setup_intent.setup_failed", &intent);
    Ok(intent)
}

fn open(world: &World, id: &str) -> Answer {
    let intent = world.object("setup_intent", "setupintent", id)?;
    if matches!(text(&intent, "status"), "succeeded" | "canceled") {
        let message = format!("You cannot do this to a SetupIntent that has a status of {}.", text(&intent, "status"));
        return Err(Failure::invalid(message).code("setup_intent_unexpected_state"));
    }
    Ok(intent)
}

fn confirm(world: &mut World, call: &Call) -> Answer {
    let method = method(&call.params)?;
    world.execute()?;
    let intent = open(world, call.id())?;
    let method = made(world, method)?;
    tried(world, intent, method)
}

fn cancel(world: &mut World, call: &Call) -> Answer {
    let reason = call.params.choice("cancellation_reason", &["abandoned", "requested_by_customer", "duplicate"])?;
    world.execute()?;
    let mut intent = open(world, call.id())?;
    (intent["status"], intent["cancellation_reason"]) = (json!("canceled"), json!(reason));
    world.store.insert("setup_intent", intent.clone());
    world.emit("setup_intent.canceled", &intent);
    Ok(intent)
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("setup_intent", "setupintent", call.id())
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for intent in world.store.all("setup_intent").rev().filter(|intent| created.holds(intent)) {
        if list::is_asked(intent, &call.params, "customer")? && list::is_asked(intent, &call.params, "payment_method")?
        {
            matching.push(intent);
        }
    }
    list::page(&matching, &call.params, "setup_intent", "/v1/setup_intents")
}
