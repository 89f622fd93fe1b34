//! `/v1/account_links`: where a receiver is sent to be onboarded. A link works once, and not for long.

use serde_json::{Value, json};

use super::checkout::kept::web_address;
use crate::{
    endpoint::{Call, Endpoint},
    failure::Answer,
    store::{number, with},
    world::World,
};

/// Seconds that a link waits for its visitor.
const LIFE: i64 = 5 * 60;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: "POST",
    path: "/v1/account_links",
    params: &["account", "type", "refresh_url", "return_url", "collect", "collection_options*"],
    run: create,
}];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let account = params.required("account")?;
    params.required("type")?;
    let kind = params.choice("type", &["account_onboarding", "account_update"])?;
    if kind == Some("account_onboarding") {
        params.required("refresh_url")?;
        params.required("return_url")?;
    }
    let (refresh, back) = (web_address(params, "refresh_url")?, web_address(params, "return_url")?);
    world.execute()?;
    super::accounts::ours(world, account)?;
    let id = world.ids.next("alnk_");
    let link = json!({
        "object": "account_link",
        "created": world.now,
        "expires_at": world.now + LIFE,
        "url": format!("{}/_sandbox/onboarding/{id}", world.url),
    });
    let kept = json!({ "id": id, "_account": account, "_refresh_url": refresh, "_return_url": back, "_visit": world.ids.next("visit_") });
    world.store.insert("account_link", with(link.clone(), kept));
    Ok(link)
}

/// Somebody follows a link: the id under which the pages behind it are, or nothing when it was used before or waited too long.
pub(crate) fn follow(world: &mut World, link: &Value) -> Option<String> {
    if link["_used"] == json!(true) || number(link, "expires_at") <= world.now {
        return None;
    }
    let visit = with(link.clone(), json!({ "object": "account_visit", "id": link["_visit"] }));
    world.store.insert("account_link", with(link.clone(), json!({ "_used": true })));
    world.store.insert("account_visit", visit);
    link["_visit"].as_str().map(str::to_owned)
}
