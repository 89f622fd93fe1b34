//! `/v1/accounts/{id}/capabilities`: what an account may do, one by one.

use serde_json::{Value, json};

use super::{keep, reachable};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    store::number,
    world::World,
};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "GET", path: "/v1/accounts/{id}/capabilities", params: &[], run: all },
    Endpoint { method: "GET", path: "/v1/accounts/{id}/capabilities/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/accounts/{id}/capabilities/{id}", params: &["requested"], run: update },
];

/// A capability that the account has asked for; one that it has not is there too, and says so.
pub(super) fn of(account: &Value, name: &str) -> Value {
    let status = account["capabilities"].get(name).and_then(Value::as_str);
    let requirements = |of: &Value| {
        json!({ "alternatives": [], "current_deadline": of["current_deadline"], "currently_due": of["currently_due"],
            "disabled_reason": null, "errors": of["errors"], "eventually_due": of["eventually_due"], "past_due": of["past_due"],
            "pending_verification": of["pending_verification"] })
    };
    let mut now = requirements(&account["requirements"]);
    if matches!(status, Some("inactive")) {
        now["disabled_reason"] = json!("requirements.fields_needed");
    }
    json!({
        "id": name, "object": "capability", "account": account["id"], "future_requirements": requirements(&account["future_requirements"]),
        "requested": status.is_some(), "requested_at": status.map(|_| number(account, "created")), "requirements": now,
        "status": status.unwrap_or("unrequested"),
    })
}

/// Asks for a capability, or gives it up. An account of which nothing is wanted has it at once.
pub(super) fn request(account: &mut Value, name: &str, wanted: bool) {
    let is_fine = account["payouts_enabled"] == json!(true);
    let Some(all) = account["capabilities"].as_object_mut() else { return };
    if !wanted {
        all.remove(name);
    } else if !all.contains_key(name) {
        all.insert(name.to_owned(), json!(if is_fine { "active" } else { "inactive" }));
    }
}

fn all(world: &mut World, call: &Call) -> Answer {
    let account = reachable(world, call.id())?;
    let names = account["capabilities"].as_object().into_iter().flatten();
    let data: Vec<Value> = names.map(|(name, _)| of(&account, name)).collect();
    Ok(
        json!({ "object": "list", "data": data, "has_more": false, "url": format!("/v1/accounts/{}/capabilities", call.id()) }),
    )
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    let account = reachable(world, call.id())?;
    Ok(of(&account, named(call.second_id())?))
}

fn update(world: &mut World, call: &Call) -> Answer {
    let wanted = call.params.boolean("requested")?;
    world.execute()?;
    let name = named(call.second_id())?.to_owned();
    let mut account = reachable(world, call.id())?;
    if let Some(wanted) = wanted {
        request(&mut account, &name, wanted);
    }
    let account = keep(world, account);
    Ok(of(&account, &name))
}

/// Stripe adds capabilities often: whatever looks like one is one.
fn named(name: &str) -> Result<&str, Failure> {
    let looks =
        name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if looks { Ok(name) } else { Err(Failure::no_such("capability", name)) }
}
