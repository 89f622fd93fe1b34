//! `bursar subscriptions move`: asks a worker to move a subscription to another price at Stripe.

use bursar_jobs::{
    base::clock,
    engine::enqueue::{Enqueued, enqueue},
    subscriptions::move_subscription::{MoveSubscription, Step},
};
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{When, no_such};
use crate::operate::{Failure, Screen, values::at_keyboard};

#[derive(Serialize)]
struct Asked<'a> {
    id: &'a str,
    price: &'a str,
    when: &'a str,
    job_id: &'a str,
}

/// Asks for it.
pub(super) async fn run(
    db: &mut PgConnection,
    screen: &Screen,
    id: &str,
    price: &str,
    when: When,
) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let row = sqlx::query!("SELECT status, price, schedule_id FROM bursar.subscription WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| no_such(id))?;
    if matches!(row.status.as_str(), "canceled" | "incomplete_expired") {
        return Err(Failure::refused(
            format!("{id} is {}", row.status),
            "only a subscription that is not over can be moved",
        ));
    }
    if row.price.as_deref() == Some(price) && row.schedule_id.is_none() {
        return Err(Failure::refused(format!("{id} has the price {price} already"), "nothing was changed"));
    }
    let live = sqlx::query_scalar!(
        "SELECT id FROM bursar.job WHERE kind = 'move_subscription' AND state IN ('ready', 'scheduled', 'running')
         AND convert_from(args, 'UTF8'::name)::jsonb ->> 'subscription'::text = $1",
        id
    )
    .fetch_optional(&mut *tx)
    .await?
    .flatten();
    if let Some(live) = live {
        let hint = format!("see it with: bursar jobs show {live}");
        return Err(Failure::refused(format!("{id} is being moved already"), hint));
    }
    let name = sqlx::query_scalar!(r#"SELECT bursar.new_id() AS "id!""#).fetch_one(&mut *tx).await?;
    let (step, word) = match when {
        When::Renewal => (Step::AskRenewal, "at its renewal"),
        When::Now => (Step::AskNow, "now"),
    };
    let since = clock::business(&mut *tx).await?;
    let job = MoveSubscription { id: name, subscription: id.to_owned(), price: price.to_owned(), since, step };
    let enqueued = enqueue(&mut *tx, &[job.job()]).await?;
    let states = (Some(json!({ "price": row.price })), Some(json!({ "price": price, "when": word })));
    at_keyboard().note(&mut *tx, "subscriptions.move", id, states, None).await?;
    tx.commit().await?;
    if let Some(Enqueued::New(job_id)) = enqueued.first() {
        let answer = Asked { id, price, when: word, job_id };
        let sentence =
            format!("a worker will move {id} to {price}, {word}; see what becomes of it: bursar jobs show {job_id}");
        screen.done(&answer, &sentence)?;
    }
    Ok(())
}
