//! `/v1/accounts`: the receivers' connected accounts and what they may do.

use serde_json::{Map, Value, json};

use crate::{
    failure::{Answer, Failure},
    list::{self, Created},
    params::Params,
    routes::{Call, Route},
    store::text,
    view,
    world::World,
};

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

pub(super) const ROUTES: &[Route] = &[
    Route { method: "POST", path: "/v1/accounts", params: PARAMS, run: create },
    Route {
        method: "GET",
        path: "/v1/accounts",
        params: &["created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Route { method: "GET", path: "/v1/accounts/{id}", params: &[], run: retrieve },
    Route { method: "POST", path: "/v1/accounts/{id}", params: PARAMS, run: update },
];

/// What can be said of an account from the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// All that was requested is granted.
    Active,
    /// Something is wanted of its owner.
    Restricted,
    /// Stripe is looking at it.
    Pending,
    /// Its owner has taken the platform's access away.
    Deauthorised,
}

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

fn blank(world: &mut World, kind: Option<&str>, by_controller: bool) -> Value {
    let kind = if by_controller { "none" } else { kind.unwrap_or("standard") };
    let requirements = json!({
        "alternatives": [], "current_deadline": null, "currently_due": ["external_account", "tos_acceptance.date"],
        "disabled_reason": "requirements.past_due", "errors": [], "eventually_due": ["external_account", "tos_acceptance.date"],
        "past_due": ["external_account", "tos_acceptance.date"], "pending_verification": [],
    });
    let id = world.ids.next("acct_");
    json!({
        "object": "account",
        "business_profile": { "mcc": null, "name": null, "product_description": null, "support_address": null,
            "support_email": null, "support_phone": null, "support_url": null, "url": null },
        "business_type": null,
        "capabilities": {},
        "charges_enabled": false,
        "controller": { "fees": { "payer": if kind == "standard" { "account" } else { "application" } }, "is_controller": true,
            "losses": { "payments": if kind == "standard" { "stripe" } else { "application" } },
            "requirement_collection": "stripe",
            "stripe_dashboard": { "type": if kind == "standard" { "full" } else { "express" } }, "type": "application" },
        "country": "US",
        "created": world.now,
        "default_currency": "usd",
        "details_submitted": false,
        "email": null,
        "external_accounts": { "object": "list", "data": [], "has_more": false, "total_count": 0,
            "url": format!("/v1/accounts/{id}/external_accounts") },
        "future_requirements": { "alternatives": [], "current_deadline": null, "currently_due": [], "disabled_reason": null,
            "errors": [], "eventually_due": [], "past_due": [], "pending_verification": [] },
        "id": id,
        "metadata": {},
        "payouts_enabled": false,
        "requirements": requirements,
        "settings": {
            "bacs_debit_payments": { "display_name": null, "service_user_number": null },
            "branding": { "icon": null, "logo": null, "primary_color": null, "secondary_color": null },
            "card_payments": { "decline_on": { "avs_failure": false, "cvc_failure": false },
                "statement_descriptor_prefix": null, "statement_descriptor_prefix_kana": null,
                "statement_descriptor_prefix_kanji": null },
            "dashboard": { "display_name": null, "timezone": "Etc/UTC" },
            "payments": { "statement_descriptor": null, "statement_descriptor_kana": null, "statement_descriptor_kanji": null },
            "payouts": { "debit_negative_balances": true, "schedule": { "delay_days": 2, "interval": "daily" },
                "statement_descriptor": null },
            "sepa_debit_payments": {},
        },
        "tos_acceptance": { "date": null, "ip": null, "user_agent": null },
        "type": kind,
    })
}

/// Opens an account of ours without a request: for a development run, whose receivers are there before it. Its id.
pub(crate) fn open(world: &mut World, user: &str, id: Option<&str>) -> String {
    world.now = world.now.max(bursar_jobs::clock::now().timestamp());
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
        let capabilities = account["capabilities"].as_object_mut();
        let known = capabilities.as_ref().is_some_and(|all| all.contains_key(&capability));
        match capabilities {
            Some(all) if wanted && !known => drop(all.insert(capability, json!("inactive"))),
            Some(all) if !wanted => drop(all.remove(&capability)),
            _ => {}
        }
    }
    Ok(keep(world, account))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let accounts = world.store.all("account").rev();
    let matching: Vec<&Value> = accounts.filter(|account| created.holds(account) && !is_gone(account)).collect();
    list::page(&matching, &call.params, "account", "/v1/accounts")
}

/// What an operator at Stripe, or the account's owner, does to it.
pub(crate) fn put(world: &mut World, id: &str, state: State) -> Answer {
    let mut account = world.object("account", "account", id)?;
    let (status, enabled) = match state {
        State::Active => ("active", true),
        State::Pending => ("pending", false),
        State::Restricted => ("inactive", false),
        State::Deauthorised => {
            account["_gone"] = json!(true);
            let application = json!({ "id": "ca_sandbox", "object": "application", "name": "bursar sandbox" });
            world.store.insert("account", account.clone());
            world.emit_on_account("account.application.deauthorized", &application, None, id);
            return Ok(account);
        }
    };
    account["_gone"] = json!(false);
    let names: Vec<String> =
        account["capabilities"].as_object().map(Map::keys).into_iter().flatten().cloned().collect();
    for name in &names {
        account["capabilities"][name] = json!(status);
    }
    let card = account["capabilities"].get("card_payments").is_some();
    account["charges_enabled"] = json!(enabled && card);
    account["payouts_enabled"] = json!(enabled);
    account["details_submitted"] = json!(true);
    let due = if state == State::Restricted { json!(["individual.verification.document"]) } else { json!([]) };
    let reason = match state {
        State::Restricted => json!("requirements.past_due"),
        State::Pending => json!("requirements.pending_verification"),
        _ => Value::Null,
    };
    let looked_at = if state == State::Pending { json!(["individual.verification.document"]) } else { json!([]) };
    account["requirements"] = json!({
        "alternatives": [], "current_deadline": null, "currently_due": due, "disabled_reason": reason, "errors": [],
        "eventually_due": due, "past_due": due, "pending_verification": looked_at,
    });
    Ok(keep(world, account))
}

/// Keeps an account and says on it what changed: the account, and each of its capabilities.
fn keep(world: &mut World, account: Value) -> Value {
    let id = text(&account, "id").to_owned();
    let before = world.store.get("account", &id).cloned().unwrap_or_default();
    world.store.insert("account", account.clone());
    let changed = view::difference(&before, &account);
    if changed != json!({}) {
        world.emit_on_account("account.updated", &account, Some(changed), &id);
    }
    for (name, status) in account["capabilities"].as_object().into_iter().flatten() {
        if before["capabilities"].get(name) != Some(status) {
            let requirements = json!({ "alternatives": [], "current_deadline": null, "currently_due": [],
                "disabled_reason": null, "errors": [], "eventually_due": [], "past_due": [], "pending_verification": [] });
            let capability = json!({ "id": name, "object": "capability", "account": id, "future_requirements": requirements,
                "requested": true, "requested_at": account["created"], "requirements": requirements, "status": status });
            world.emit_on_account("capability.updated", &capability, Some(json!({})), &id);
        }
    }
    account
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

fn reachable(world: &World, id: &str) -> Answer {
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
