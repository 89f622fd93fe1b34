//! `/v1/accounts/{id}/login_links`: the way into an Express account's own pages.

use serde_json::json;

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    world::World,
};

pub(super) const ENDPOINTS: &[Endpoint] =
    &[Endpoint { method: "POST", path: "/v1/accounts/{id}/login_links", params: &[], run: create }];

fn create(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let account = super::accounts::reachable(world, call.id())?;
    if account.pointer("/controller/stripe_dashboard/type") != Some(&json!("express")) {
        let message = "Cannot create a login link for an account without access to the Express Dashboard.";
        return Err(Failure::invalid(message));
    }
    if account["details_submitted"] != json!(true) {
        return Err(Failure::invalid("Cannot create a login link for an account that has not completed onboarding."));
    }
    Ok(json!({
        "object": "login_link",
        "created": world.now,
        "url": format!("{}/_sandbox/dashboard/{}", world.url, call.id()),
    }))
}
