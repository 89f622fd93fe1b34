//! `/api/stripe/connect`: where a receiver is onboarded, and how one stands.

use std::time::Duration;

use bursar_jobs::{
    base::db,
    receivers::{
        check_account::CheckAccount,
        onboarding::{self, Begun, Onboarding, Standing},
    },
};
use hyper::{Request, StatusCode, body::Incoming};
use serde::Deserialize;
use serde_json::json;

use super::{
    Api, Seller,
    acts::{self, Begins},
    checkout::{is_settled, off, passes},
    input,
    routes::{Who, failed},
    wait,
};
use crate::http::reply::{Problem, Reply, json};

/// How long a status waits for Stripe. What is known here is good enough for a page that does not want to.
const GLANCE: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    user_id: String,
}

/// `POST /api/stripe/connect`: the account is made once, and a link each time.
pub(super) async fn create(api: &Api, request: Request<Incoming>) -> Result<Reply, Problem> {
    let who = Who::of(&request);
    let (asked, key) = input::read::<Asked>(api, request).await?;
    input::user(&asked.user_id)?;
    if api.settings.seller != Seller::Stripe {
        return Err(off("see `[stripe] provider`"));
    }
    if passes(api).await.map_err(|error| failed(&error))? {
        return Err(off("the worker has no STRIPE_SECRET_KEY"));
    }
    let settings = &api.settings.connect;
    let onboarding = Onboarding {
        user_id: asked.user_id,
        key,
        return_url: settings.return_url.clone(),
        refresh_url: settings.refresh_url.clone(),
        country: settings.country.clone(),
    };
    let mut tx = db::begin(&api.pool).await.map_err(|error| failed(&error))?;
    let limit = i64::from(api.settings.checkout.per_minute);
    let begun = onboarding::begin(&mut tx, &onboarding, limit).await.map_err(|error| failed(&error))?;
    let mut is_new = false;
    if let Begun::Asked(id) = &begun {
        let noted = acts::note(&mut tx, &who, &onboarding.user_id, Begins::Connect(id)).await;
        is_new = noted.map_err(|error| failed(&error))?;
    }
    tx.commit().await.map_err(|error| failed(&error))?;
    match begun {
        Begun::Asked(id) => Ok(input::repeated(link(api, &id).await?, !is_new)),
        Begun::Limited { after } => {
            let detail = "This user has asked for too many links within a minute (`[checkout] per_minute`).";
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).after(after))
        }
        Begun::Stopped(why) => Err(Problem::new(StatusCode::CONFLICT, format!("An operator must act first: {why}."))),
    }
}

/// Waits for the link of a request.
async fn link(api: &Api, id: &str) -> Result<Reply, Problem> {
    let look = || async {
        let row = sqlx::query!(
            r#"SELECT state, account_id, url, expires_at, reason, coalesce(expires_at <= (SELECT bursar.now()), false) AS "is_over!"
               FROM bursar.onboarding WHERE id = $1"#,
            id
        )
        .fetch_one(&api.pool)
        .await?;
        Ok((row.state != "asked").then_some(row))
    };
    match wait::until(api.settings.patience, look).await.map_err(|error| failed(&error))? {
        Some(row) if row.state == "open" && !row.is_over => {
            let body = json!({ "url": row.url, "account": row.account_id, "expires_at": row.expires_at });
            Ok(json(StatusCode::OK, body.to_string()))
        }
        Some(row) if row.state == "open" => {
            Err(Problem::unavailable("The link was over before it could be given out. Ask again: another is made."))
        }
        Some(row) => Err(Problem::new(StatusCode::BAD_GATEWAY, format!("{}.", row.reason.unwrap_or_default()))),
        None => Err(Problem::unavailable("Stripe has not answered yet. Send it again with the same Idempotency-Key.")),
    }
}

/// `GET /api/stripe/connect/status?user_id=`: what is known here; of an account that is not active, what Stripe says now, if it says so
/// soon.
pub(super) async fn status(api: &Api, query: Option<&str>) -> Result<Reply, Problem> {
    let fields = input::query(query, &["user_id"])?;
    let encoded = fields.first().map(|(_, value)| value.replace('+', " "));
    let user = encoded.as_deref().and_then(input::decoded);
    let user = user.ok_or_else(|| Problem::bad_request("Name a user: ?user_id=…, percent-encoded."))?;
    input::user(&user)?;
    let mut standing = read(api, &user).await?;
    if let Some(account) = standing.account.as_ref().filter(|_| standing.state != "active" && standing.is_old)
        && api.settings.seller == Seller::Stripe
        && !passes(api).await.map_err(|error| failed(&error))?
    {
        let occasion = format!("status:{}", standing.stretch.to_rfc3339());
        let patience = GLANCE.min(api.settings.patience);
        if is_settled(api, CheckAccount::of(account, &occasion), patience).await? {
            standing = read(api, &user).await?;
        }
    }
    let body = json!({
        "user_id": user,
        "state": standing.state,
        "payouts_enabled": standing.payouts_enabled,
        "requirements": standing.requirements,
        "account": standing.account,
    });
    Ok(json(StatusCode::OK, body.to_string()))
}

async fn read(api: &Api, user: &str) -> Result<Standing, Problem> {
    let standing = onboarding::standing(&api.pool, user).await.map_err(|error| failed(&error))?;
    standing.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("Nothing is known of a user {user:?}.")))
}
