//! Checkouts, portal pages and customers that are gone: what a request to sell came to.

use sqlx::PgConnection;

use crate::{
    engine::{change::changes, domain::ApplyContext, enqueue},
    selling::{change::Change, expire_checkout},
    subscriptions::change::SubscriptionChanged,
};

/// Makes them true. What is over stays over, in whatever order the news come.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch) = (&mut *context.db, context.batch);
    let wanted: Vec<(usize, &Change)> = changes(batch, Some);
    for (_, change) in wanted {
        one(&mut *db, change).await?;
    }
    Ok(())
}

/// Does what follows from changed subscriptions: a user's open checkouts end where another is not wanted, and what waits is woken.
pub(crate) async fn react(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    for changed in context.facts::<SubscriptionChanged>() {
        if changed.is_over() {
            fail_checkout(&mut *context.db, &changed.id).await?;
        }
        expire_checkout::expire_others(&mut *context.db, &changed.user_id).await?;
        // While the user's checkouts are held: one that is about to wait for this has begun to wait by now, or sees what was set.
        enqueue::wake(&mut *context.db, &[format!("subscription:{}", changed.id)]).await?;
    }
    Ok(())
}

async fn one(db: &mut PgConnection, change: &Change) -> Result<(), sqlx::Error> {
    match change {
        Change::Opened { id, session, url, expires_at } => {
            let of = sqlx::query!(
                "UPDATE bursar.checkout SET session_id = $2, url = $3, expires_at = $4, reason = NULL, changed_at = bursar.now(),
                        state = CASE WHEN state IN ('asked', 'refused') THEN 'open' ELSE state END
                 WHERE id = $1 RETURNING user_id, mode",
                id,
                session,
                url.as_deref(),
                *expires_at,
            )
            .fetch_optional(&mut *db)
            .await?;
            if let Some(of) = of.filter(|of| of.mode == "subscription") {
                expire_checkout::expire_others(db, &of.user_id).await?;
            }
        }
        Change::Refused { id, why } => {
            sqlx::query!(
                "UPDATE bursar.checkout SET state = 'refused', reason = $2, changed_at = bursar.now() WHERE id = $1 AND state = 'asked'",
                id,
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Change::Complete { session, checkout, payment_status, subscription } => {
            let of = sqlx::query!(
                "UPDATE bursar.checkout
                 SET state = CASE WHEN state = 'failed' AND $3 IS DISTINCT FROM 'paid' THEN state ELSE 'complete' END,
                     reason = CASE WHEN $3 = 'paid' THEN NULL ELSE reason END, session_id = $1, changed_at = bursar.now(), subscription_id = coalesce($4, subscription_id),
                     payment_status = CASE WHEN payment_status IN ('paid', 'no_payment_required') THEN payment_status ELSE $3 END
                 WHERE session_id = $1 OR id = $2 AND session_id IS NULL RETURNING user_id, mode",
                session,
                checkout.as_deref(),
                payment_status.as_deref(),
                subscription.as_deref(),
            )
            .fetch_optional(&mut *db)
            .await?;
            if let Some(of) = of.filter(|of| of.mode == "subscription") {
                expire_checkout::expire_others(db, &of.user_id).await?;
            }
        }
        Change::Failed { session, checkout, subscription, why } => {
            sqlx::query!(
                "UPDATE bursar.checkout
                 SET state = 'failed', reason = $4, session_id = $1, subscription_id = coalesce($3, subscription_id),
                     payment_status = 'unpaid', changed_at = bursar.now()
                 WHERE (session_id = $1 OR id = $2 AND session_id IS NULL)
                   AND payment_status IS DISTINCT FROM 'paid' AND payment_status IS DISTINCT FROM 'no_payment_required'",
                session,
                checkout.as_deref(),
                subscription.as_deref(),
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Change::Unbegun { id, why } => {
            sqlx::query!(
                "UPDATE bursar.checkout SET state = 'failed', reason = $2, changed_at = bursar.now() WHERE id = $1 AND state = 'asked'",
                id,
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Change::Expired { session } => {
            sqlx::query!(
                "UPDATE bursar.checkout SET state = 'expired', changed_at = bursar.now() WHERE session_id = $1 AND state = 'open'",
                session,
            )
            .execute(db)
            .await?;
        }
        Change::PortalOpened { id, url } => {
            sqlx::query!(
                "UPDATE bursar.portal SET state = 'open', url = $2, reason = NULL, changed_at = bursar.now() WHERE id = $1",
                id,
                url,
            )
            .execute(db)
            .await?;
        }
        Change::PortalRefused { id, why } => {
            sqlx::query!(
                "UPDATE bursar.portal SET state = 'refused', reason = $2, changed_at = bursar.now() WHERE id = $1 AND state = 'asked'",
                id,
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Change::CustomerGone { customer } => {
            sqlx::query!(
                "UPDATE bursar.customer SET gone_at = coalesce(gone_at, bursar.now()) WHERE id = $1",
                customer
            )
            .execute(db)
            .await?;
        }
    }
    Ok(())
}

/// A subscription is over whose first payment was still to come: so is the checkout that began it.
async fn fail_checkout(db: &mut PgConnection, subscription: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bursar.checkout SET state = 'failed', reason = 'the first payment of its subscription never came', changed_at = bursar.now()
         WHERE subscription_id = $1 AND state = 'complete' AND payment_status = 'unpaid'
           AND NOT EXISTS (SELECT FROM bursar.service_month m WHERE m.subscription_id = $1)",
        subscription
    )
    .execute(db)
    .await?;
    Ok(())
}

/// PostgreSQL's text holds no NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
