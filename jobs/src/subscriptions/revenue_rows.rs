//! What subscriptions are worth, each time that it changed. Whoever notes it holds the subscription
//! ([`service_month::hold`](crate::subscriptions::service_month::hold)) since before it asked what was known.

use sqlx::PgConnection;

use crate::{
    engine::{change::changes, domain::ApplyContext},
    subscriptions::{change::Change, recurring_revenue::Worth},
};

/// Notes what is another worth than before.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch) = (&mut *context.db, context.batch);
    let all = changes(batch, |change| match change {
        Change::NoteWorth(worth) => Some(worth),
        _ => None,
    });
    for (_, worth) in all {
        note(db, worth).await?;
    }
    Ok(())
}

/// The first row is as old as the subscription: one that was there before this was kept is nobody new. None is written for one that was
/// never charged.
async fn note(db: &mut PgConnection, worth: &Worth) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO bursar.subscription_worth (subscription_id, user_id, at, yearly, currency, asked_at)
         SELECT $1::text, $2::text, CASE WHEN l.id IS NULL THEN least($3::timestamptz, $7::timestamptz) ELSE greatest(l.at, least($4::timestamptz, $7)) END, $5::bigint, $6::text, $7
         FROM (SELECT 1) one LEFT JOIN LATERAL (
             SELECT * FROM bursar.subscription_worth w WHERE w.subscription_id = $1 ORDER BY w.at DESC, w.id DESC LIMIT 1) l ON true
         WHERE CASE WHEN l.id IS NULL THEN $5 IS DISTINCT FROM 0
                    ELSE (l.user_id, l.yearly, l.currency) IS DISTINCT FROM ($2, $5, $6) END
         ON CONFLICT ON CONSTRAINT subscription_worth_once DO NOTHING",
        worth.subscription_id,
        worth.user_id,
        worth.began_at.unwrap_or(worth.asked_at),
        worth.ended_at.unwrap_or(worth.asked_at),
        worth.yearly,
        worth.currency,
        worth.asked_at,
    )
    .execute(db)
    .await?;
    Ok(())
}
