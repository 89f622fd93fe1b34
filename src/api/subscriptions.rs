//! `GET /api/subscriptions/{user_id}`: what a user may do.

use bursar_jobs::{ledger, subscriber};
use hyper::HeaderMap;
use serde_json::json;

use super::{Api, credits::cacheable, input, routes::failed};
use crate::http::reply::{Problem, Reply};

pub(super) async fn status(api: &Api, user: &str, headers: &HeaderMap) -> Result<Reply, Problem> {
    input::user(user)?;
    let mut db = api.pool.acquire().await.map_err(|error| failed(&error))?;
    let active = subscriber::active_subscription(&mut db, user).await.map_err(|error| failed(&error))?;
    let balance = ledger::balance(&mut *db, user).await.map_err(|error| failed(&error))?;
    let body = json!({
        "user_id": user,
        "state": active.as_ref().map_or("none", |active| active.status.as_str()),
        "tier": active.as_ref().and_then(|active| active.tier.as_deref()),
        "subscription_id": active.as_ref().map(|active| active.subscription_id.as_str()),
        "access_until": active.as_ref().and_then(|active| active.access_until),
        "cancel_at_period_end": active.as_ref().is_some_and(|active| active.cancel_at_period_end),
        "balance": balance,
    });
    Ok(cacheable(headers, &body))
}
