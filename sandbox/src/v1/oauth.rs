//! `/oauth/deauthorize`: the platform lets an account go. Stripe has it at `connect.stripe.com`, and the SDKs' base for it can be set.

use serde_json::json;

use crate::{
    endpoint::{Call, Endpoint},
    failure::Answer,
    world::World,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: "POST",
    path: "/oauth/deauthorize",
    params: &["client_id", "stripe_user_id"],
    run: deauthorize,
}];

fn deauthorize(world: &mut World, call: &Call) -> Answer {
    let account = call.params.required("stripe_user_id")?;
    call.params.text("client_id")?;
    world.execute()?;
    super::accounts::ours(world, account)?;
    super::accounts::deauthorise(world, account)?;
    Ok(json!({ "stripe_user_id": account }))
}
