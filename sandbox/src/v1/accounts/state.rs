//! What becomes of an account: what is granted to it and taken from it, and who hears of it.

use serde_json::{Map, Value, json};

use super::capabilities;
use crate::{
    failure::{Answer, Failure},
    store::text,
    view,
    world::World,
};

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

/// What an operator at Stripe, or the account's owner, does to it.
pub(crate) fn put(world: &mut World, id: &str, state: State) -> Answer {
    let mut account = world.object("account", "account", id)?;
    if account.get("deleted").is_some() {
        return Err(Failure::no_such("account", id));
    }
    let (status, enabled) = match state {
        State::Active => ("active", true),
        State::Pending => ("pending", false),
        State::Restricted => ("inactive", false),
        State::Deauthorised => return deauthorise(world, id),
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

/// Its owner takes the platform's access away. From then on it cannot be told from one that is not there.
pub(crate) fn deauthorise(world: &mut World, id: &str) -> Answer {
    let mut account = world.object("account", "account", id)?;
    if super::is_gone(&account) {
        return Err(super::no_access(id));
    }
    account["_gone"] = json!(true);
    let application = json!({ "id": "ca_sandbox", "object": "application", "name": "bursar sandbox" });
    world.store.insert("account", account.clone());
    world.emit_on_account("account.application.deauthorized", &application, None, id);
    Ok(account)
}

/// What an owner says of themselves when they are onboarded.
#[derive(Debug, Default)]
pub(crate) struct Details {
    pub name: String,
    pub email: String,
    /// An account number or IBAN, of which only the end is kept.
    pub bank: String,
}

/// An owner has filled in the forms, and this is what Stripe thinks of them. It thinks a little first: two events, as in truth.
pub(crate) fn onboard(world: &mut World, id: &str, details: &Details, state: State) -> Answer {
    let mut account = super::ours(world, id)?;
    if !details.name.is_empty() {
        account["business_profile"]["name"] = json!(details.name);
        account["settings"]["dashboard"]["display_name"] = json!(details.name);
    }
    if !details.email.is_empty() {
        account["email"] = json!(details.email);
    }
    if account["business_type"].is_null() {
        account["business_type"] = json!("individual");
    }
    account["tos_acceptance"]["date"] = json!(world.now);
    // Stripe asks it for an account of nobody's wish too: without this it could never be paid.
    if account["capabilities"].as_object().is_some_and(Map::is_empty) {
        account["capabilities"]["transfers"] = json!("inactive");
    }
    account["external_accounts"]["data"] = json!([bank(world, &account, &details.bank)]);
    account["external_accounts"]["total_count"] = json!(1);
    world.store.insert("account", account);
    if state == State::Active {
        put(world, id, State::Pending)?;
    }
    put(world, id, state)
}

fn bank(world: &mut World, account: &Value, number: &str) -> Value {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_alphanumeric).collect();
    let last4: String = digits.iter().skip(digits.len().saturating_sub(4)).collect();
    json!({
        "id": world.ids.next("ba_"), "object": "bank_account", "account": account["id"], "account_holder_name": account["business_profile"]["name"],
        "account_holder_type": "individual", "account_type": null, "available_payout_methods": ["standard"], "bank_name": "STRIPE TEST BANK",
        "country": account["country"], "currency": account["default_currency"], "default_for_currency": true, "fingerprint": "sandbox",
        "future_requirements": null, "last4": if last4.len() == 4 { last4 } else { "6789".to_owned() }, "metadata": {}, "requirements": null,
        "routing_number": "110000000", "status": "new",
    })
}

/// Stripe will have nothing to do with it.
pub(super) fn rejected(world: &mut World, mut account: Value, reason: &str) -> Value {
    let names: Vec<String> =
        account["capabilities"].as_object().map(Map::keys).into_iter().flatten().cloned().collect();
    for name in &names {
        account["capabilities"][name] = json!("inactive");
    }
    account["charges_enabled"] = json!(false);
    account["payouts_enabled"] = json!(false);
    account["requirements"]["disabled_reason"] = json!(format!("rejected.{reason}"));
    keep(world, account)
}

/// Keeps an account and says on it what changed: the account, and each of its capabilities.
pub(super) fn keep(world: &mut World, account: Value) -> Value {
    let id = text(&account, "id").to_owned();
    let before = world.store.get("account", &id).cloned().unwrap_or_default();
    world.store.insert("account", account.clone());
    let changed = view::difference(&before, &account);
    if changed != json!({}) {
        world.emit_on_account("account.updated", &account, Some(changed), &id);
    }
    for (name, status) in account["capabilities"].as_object().into_iter().flatten() {
        if before["capabilities"].get(name) != Some(status) {
            let capability = capabilities::of(&account, name);
            world.emit_on_account("capability.updated", &capability, Some(json!({})), &id);
        }
    }
    account
}
