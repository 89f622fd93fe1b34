//! `GET /v1/balance`: the platform's, or with `Stripe-Account` a connected account's.

use crate::{
    failure::{Answer, Failure},
    money::PLATFORM,
    routes::{Call, Route},
    world::World,
};

pub(super) const ROUTES: &[Route] = &[Route { method: "GET", path: "/v1/balance", params: &[], run: retrieve }];

fn retrieve(world: &mut World, call: &Call) -> Answer {
    let now = world.now;
    let Some(account) = &call.account else { return Ok(world.money.shown(PLATFORM, now)) };
    if !super::accounts::is_ours(world, account) {
        return Err(super::accounts::no_access(account));
    }
    Ok::<_, Failure>(world.money.shown(account, now))
}
