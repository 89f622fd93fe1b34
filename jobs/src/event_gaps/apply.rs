//! Events out of Stripe's own list, and how far it was compared with the inbox.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    engine::{change::changes, domain::ApplyContext, enqueue},
    event_gaps::change::{Change, Listed},
    inbox::{self, Received},
    notifications::notify_team::NotifyTeam,
};

/// A webhook takes seconds; a younger event that is not there is taken, and is no sign of trouble.
const ON_ITS_WAY: TimeDelta = TimeDelta::minutes(5);

/// Makes the changes of a batch that concern the gap watch.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch, verdicts) = (&mut *context.db, context.batch, &mut context.verdicts);
    let all: Vec<(usize, &Change)> = changes(batch, Some);
    for (owner, change) in all {
        match change {
            Change::BeginWatch(at) => {
                sqlx::query!(
                    "INSERT INTO bursar.event_watch (began_at, compared_until) VALUES ($1, $1) ON CONFLICT DO NOTHING",
                    at
                )
                .execute(&mut *db)
                .await?;
            }
            Change::TakeEvents(listed) => {
                let taken = take(db, listed).await?;
                verdicts[owner].new |= taken > 0;
                verdicts[owner].already = Some(format!("{} events compared: none is missing", listed.events.len()));
            }
            Change::EndWalk { walk } => end(db, *walk).await?,
        }
    }
    Ok(())
}

/// Receives those that the inbox does not know; how many that were.
async fn take(db: &mut PgConnection, listed: &Listed) -> Result<usize, sqlx::Error> {
    let ids: Vec<String> = listed.events.iter().map(|(envelope, _)| envelope.id.clone()).collect();
    let known: HashSet<String> =
        sqlx::query_scalar!("SELECT id FROM bursar.event WHERE source = 'stripe' AND id = ANY ($1)", &ids)
            .fetch_all(&mut *db)
            .await?
            .into_iter()
            .collect();
    let mut taken = 0;
    for (envelope, body) in listed.events.iter().filter(|(envelope, _)| !known.contains(&envelope.id)) {
        // The one door: a webhook that comes at this moment waits for our commit there, and is a duplicate then.
        if inbox::receive(&mut *db, envelope, body).await? != Received::New {
            continue;
        }
        taken += 1;
        let overdue = envelope.created.is_none_or(|created| listed.asked_at - created >= ON_ITS_WAY);
        sqlx::query!(
            "INSERT INTO bursar.missed_event (event_id, type, created, found_at, walk, overdue) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT DO NOTHING",
            envelope.id,
            envelope.kind,
            envelope.created,
            listed.asked_at,
            listed.walk,
            overdue
        )
        .execute(&mut *db)
        .await?;
    }
    Ok(taken)
}

/// Moves the mark, and tells the team when webhooks seem to be broken: once a day while they are.
async fn end(db: &mut PgConnection, walk: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bursar.event_watch SET compared_until = greatest(compared_until, $1), compared_at = bursar.now()",
        walk
    )
    .execute(&mut *db)
    .await?;
    let missed = sqlx::query!(
        r#"SELECT count(*) AS "count!", min(created) AS since, coalesce(pg_catalog.array_agg(DISTINCT type), '{}') AS "types!"
           FROM bursar.missed_event WHERE walk = $1 AND overdue"#,
        walk
    )
    .fetch_one(&mut *db)
    .await?;
    if missed.count > 0 {
        let data = json!({
            "count": missed.count,
            "since": missed.since,
            "types": missed.types,
            "hint": "Their webhooks never came; they are in the inbox now and are acted on. See that the endpoint at Stripe is enabled, \
                     has these types, and that web answers it: `bursar events gaps`.",
        });
        let key = format!("events.missed:{}", walk.format("%Y-%m-%d"));
        enqueue::enqueue(db, &[NotifyTeam::of("events.missed", &key, &data, None)]).await?;
    }
    Ok(())
}
