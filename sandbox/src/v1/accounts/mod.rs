//! `/v1/accounts`: the receivers' connected accounts and what they may do.

pub(super) mod capabilities;
mod shape;
mod state;

use serde_json::{Value, json};

use crate::{
    clock,
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    params::Params,
    store::{number, text, with},
    world::World,
};

pub(crate) use state::{Details, State, deauthorise, onboard, put};

use shape::blank;
use state::{keep, rejected};

const PARAMS: &[&str] = &[
    "type",
    "country",
    "email",
    "capabilities*",
    "business_type",
    "business_profile*",
    "metadata*",
    "default_currency",
    "settings*",
    "tos_acceptance*",
    "individual*",
    "company*",
    "controller*",
    "external_account",
    "account_token",
    "groups*",
];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/accounts", params: PARAMS, run: create },
    Endpoint {
        method: "GET",
        path: "/v1/accounts",
        params: &["created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/accounts/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/accounts/{id}", params: PARAMS, run: update },
    Endpoint { method: "DELETE", path: "/v1/accounts/{id}", params: &[], run: delete },
    Endpoint { method: "POST", path: "/v1/accounts/{id}/reject", params: &["reason"], run: reject },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let fields = fields(params, &json!({}))?;
    let requested = requested(params)?;
    let kind = params.choice("type", &["standard", "express", "custom"])?.map(str::to_owned);
    if kind.is_some() && params.has("controller") {
        let message = "The type parameter is not allowed with controller.";
        return Err(Failure::invalid(message).param("type"));
    }
    world.execute()?;
    let mut account = blank(world, kind.as_deref(), params.has("controller"));
    for (name, value) in fields {
        account[name] = value;
    }
    for (capability, _) in requested.into_iter().filter(|(_, wanted)| *wanted) {
        account["capabilities"][capability] = json!("inactive");
    }
    // An account without a word about it is what `stripe trigger transfer.created` makes, and pays at once.
    if params.is_empty() {
        account["capabilities"]["transfers"] = json!("active");
    }
    world.store.insert("account", account.clone());
    Ok(account)
}

/// Opens an account of ours without a request: for a development run, whose receivers are there before it. Its id.
pub(crate) fn open(world: &mut World, user: &str, id: Option<&str>) -> String {
    world.now = world.now.max(clock::now());
    let mut account = blank(world, Some("express"), false);
    if let Some(id) = id {
        account["id"] = json!(id);
    }
    account["metadata"] = json!({ "user_id": user });
    account["capabilities"] = json!({ "transfers": "inactive" });
    let id = text(&account, "id").to_owned();
    world.store.insert("account", account);
    id
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    reachable(world, call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("account", call.id()).and_then(|a| a.get("metadata")).cloned().unwrap_or_default();
    let fields = fields(&call.params, &kept)?;
    let requested = requested(&call.params)?;
    world.execute()?;
    let mut account = reachable(world, call.id())?;
    for (name, value) in fields {
        account[name] = value;
    }
    for (capability, wanted) in requested {
        capabilities::request(&mut account, &capability, wanted);
    }
    Ok(keep(world, account))
}

/// Stripe keeps an account that still holds money.
fn delete(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    reachable(world, call.id())?;
    let now = world.now;
    let balance = world.money.shown(call.id(), now);
    if balance["available"].as_array().into_iter().flatten().any(|entry| number(entry, "amount") != 0) {
        let message =
            "This account cannot be deleted because it still has a balance: pay it out or reverse its transfers first.";
        return Err(Failure::invalid(message));
    }
    let gone = json!({ "id": call.id(), "object": "account", "deleted": true });
    world.store.insert("account", with(gone.clone(), json!({ "_gone": true })));
    Ok(gone)
}

fn reject(world: &mut World, call: &Call) -> Answer {
    call.params.required("reason")?;
    let reason = call.params.choice("reason", &["fraud", "terms_of_service", "other"])?.unwrap_or_default();
    world.execute()?;
    let account = reachable(world, call.id())?;
    Ok(rejected(world, account, reason))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let accounts = world.store.all("account").rev();
    let matching: Vec<&Value> = accounts.filter(|account| created.holds(account) && !is_gone(account)).collect();
    list::page(&matching, &call.params, "account", "/v1/accounts")
}

fn is_gone(account: &Value) -> bool {
    account.get("_gone") == Some(&json!(true))
}

pub(super) fn is_ours(world: &World, id: &str) -> bool {
    world.store.get("account", id).is_some_and(|account| !is_gone(account))
}

/// The account that a parameter names.
pub(super) fn ours(world: &World, id: &str) -> Answer {
    if is_ours(world, id) { world.named("account", "account", id, "account") } else { Err(no_access(id)) }
}

pub(super) fn reachable(world: &World, id: &str) -> Answer {
    if is_ours(world, id) { world.object("account", "account", id) } else { Err(no_access(id)) }
}

/// Stripe does not tell an account that is not there from one that is not ours.
pub(super) fn no_access(id: &str) -> Failure {
    let message = format!(
        "The provided key does not have access to account '{id}' (or that account does not exist). Application access may \
         have been revoked."
    );
    Failure::new(403, "invalid_request_error", message).code("account_invalid")
}

fn requested(params: &Params) -> Result<Vec<(String, bool)>, Failure> {
    let Some(given) = params.below("capabilities")? else { return Ok(Vec::new()) };
    let names = given.names();
    names
        .into_iter()
        .map(|name| Ok((name.clone(), given.below(&name)?.unwrap_or_default().boolean("requested")? == Some(true))))
        .collect()
}

fn fields(params: &Params, metadata: &Value) -> Result<Vec<(&'static str, Value)>, Failure> {
    let mut fields = vec![("metadata", params.metadata(metadata)?)];
    for name in ["email", "country", "default_currency"] {
        fields.extend(params.nullable(name)?.map(|value| (name, value)));
    }
    let kinds = &["individual", "company", "non_profit", "government_entity"];
    fields.extend(params.choice("business_type", kinds)?.map(|kind| ("business_type", json!(kind))));
    Ok(fields)
}
