//! `POST /api/stripe/portal`: a page where a user looks after cards, invoices and the subscription.

use bursar_jobs::{
    base::db,
    selling::order::{self, Ordered},
};
use hyper::{Request, StatusCode, body::Incoming};
use serde::Deserialize;
use serde_json::json;

use super::{
    Api, Seller,
    acts::{self, Begins},
    checkout::{given_up, off, passes, refused},
    input,
    routes::{Who, failed},
    wait,
};
use crate::http::reply::{Problem, Reply, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    user_id: String,
    return_url: Option<String>,
}

pub(super) async fn create(api: &Api, request: Request<Incoming>) -> Result<Reply, Problem> {
    let who = Who::of(&request);
    let (asked, key) = input::read::<Asked>(api, request).await?;
    input::user(&asked.user_id)?;
    let return_url = asked.return_url.as_ref().or(api.settings.checkout.return_url.as_ref());
    return_url.map_or(Ok(()), |url| input::url("return_url", url))?;
    if api.settings.seller != Seller::Stripe {
        return Err(off("see `[stripe] provider`"));
    }
    if passes(api).await.map_err(|error| failed(&error))? {
        return Err(off("the worker has no STRIPE_SECRET_KEY"));
    }
    let mut tx = db::begin(&api.pool).await.map_err(|error| failed(&error))?;
    let limit = i64::from(api.settings.checkout.per_minute);
    let opened =
        order::open_portal(&mut tx, &asked.user_id, key.as_deref(), return_url.map(String::as_str), limit).await;
    let id = match opened.map_err(|error| failed(&error))? {
        Ordered::Begun(id) => id,
        other => return Err(refused(&other)),
    };
    let noted = acts::note(&mut tx, &who, &asked.user_id, Begins::Portal(&id)).await;
    let is_new = noted.map_err(|error| failed(&error))?;
    tx.commit().await.map_err(|error| failed(&error))?;
    let look = || async {
        let row = sqlx::query!(
            r#"SELECT p.state, p.url, p.reason, p.state = 'asked' AND EXISTS (
                   SELECT FROM bursar.job j WHERE j.kind = 'create_portal' AND j.key = p.id AND j.state IN ('dead', 'cancelled')) AS "given_up!"
               FROM bursar.portal p WHERE p.id = $1"#,
            id
        )
        .fetch_one(&api.pool)
        .await?;
        Ok((row.state != "asked" || row.given_up).then_some(row))
    };
    match wait::until(api.settings.patience, look).await.map_err(|error| failed(&error))? {
        Some(row) if row.given_up => Err(given_up()),
        Some(row) if row.state == "open" => {
            let reply = json(StatusCode::OK, json!({ "url": row.url }).to_string());
            Ok(input::repeated(reply, !is_new))
        }
        Some(row) => Err(Problem::new(StatusCode::BAD_GATEWAY, format!("{}.", row.reason.unwrap_or_default()))),
        None => Err(Problem::unavailable("Stripe has not answered yet. Send it again with the same Idempotency-Key.")),
    }
}
