//! `GET /api/subscriptions/{user_id}`: what a user may do.

use bursar_jobs::{ledger, subscriptions::subscription};
use hyper::HeaderMap;
use serde_json::json;

use super::{Api, credits::cacheable, input, routes::failed};
use crate::http::reply::{Problem, Reply};

pub(super) async fn status(api: &Api, user: &str, headers: &HeaderMap) -> Result<Reply, Problem> {
    input::user(user)?;
    let known = subscription::of_user(&api.pool, user).await.map_err(|error| failed(&error))?;
    let balance = ledger::balance(&api.pool, user).await.map_err(|error| failed(&error))?;
    let known = known.as_ref();
    let body = json!({
        "user_id": user,
        "state": known.map_or("none", |known| known.status.as_str()),
        "has_access": known.is_some_and(|known| known.has_access),
        "tier": known.and_then(|known| known.tier.as_deref()),
        "subscription_id": known.map(|known| known.id.as_str()),
        "access_until": known.and_then(|known| known.access_until),
        "cancel_at_period_end": known.is_some_and(|known| known.cancel_at_period_end),
        "trial_end": known.and_then(|known| known.trial_end),
        "balance": balance,
    });
    Ok(cacheable(headers, &body))
}
