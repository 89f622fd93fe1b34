//! `/v1/account_links`: where a receiver is sent to be onboarded.

use serde_json::json;

use crate::{
    failure::Answer,
    routes::{Call, Route},
    world::World,
};

/// Seconds that a link works.
const LIFE: i64 = 5 * 60;

pub(super) const ROUTES: &[Route] = &[Route {
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
    world.execute()?;
    super::accounts::ours(world, account)?;
    Ok(json!({
        "object": "account_link",
        "created": world.now,
        "expires_at": world.now + LIFE,
        "url": format!("{}/_sandbox/accounts/{account}", world.url),
    }))
}
