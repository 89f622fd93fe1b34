//! Releasing all payouts that match, a chunk a transaction.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{CHUNK, Progress, Refused, progress};
use crate::{
    desk::{
        Operator,
        payouts::PayoutFilter,
        release::{self, Came},
    },
    payouts::state,
};

/// What is wanted of all payouts that match.
#[derive(Debug, Clone, Copy)]
pub struct Releasing<'a> {
    /// Which; its state is said.
    pub filter: &'a PayoutFilter,
    /// The seal of what was shown.
    pub seal: &'a str,
    /// Tells one wish from another: asked twice under it, it is one act. None: it is asked once.
    pub wish: Option<&'a str>,
    /// Why, in the operator's words.
    pub why: Option<&'a str>,
}

/// Begins to let payouts go: what was shown is put down as it stands, and nothing is changed yet.
pub async fn begin_release(db: &mut PgConnection, by: &Operator, asked: Releasing<'_>) -> Result<Progress, Refused> {
    let releasable = |state| matches!(state::turn(state, state::Seen::Released), (_, state::Act::Enqueue));
    asked.filter.state.filter(|state| releasable(*state)).ok_or(Refused::Payouts)?;
    let mut tx = db.begin().await?;
    // What is counted, compared with what was shown, and put down, is seen at one moment.
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
    if let Some(wish) = asked.wish
        && let Some(begun) = progress(&mut tx, wish).await?
    {
        return Ok(begun);
    }
    let (dry, goes) = release::all(&mut tx, asked.filter).await?;
    if dry.seal != asked.seal {
        return Err(Refused::Changed(Box::new(dry)));
    }
    let id = sqlx::query_scalar!(
        "INSERT INTO bursar.bulk (id, verb, filter, who, via, why, matching) VALUES (coalesce($1, bursar.new_id()), 'release', $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO NOTHING RETURNING id",
        asked.wish,
        asked.filter.said(),
        by.who,
        by.via.word(),
        asked.why,
        dry.goes(),
    )
    .fetch_optional(&mut *tx)
    .await;
    let id = match id {
        Ok(id) => id,
        // The same wish came in between; under this isolation that is said so.
        Err(error)
            if error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some("40001") =>
        {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let Some(id) = id else {
        tx.rollback().await?;
        let begun = progress(db, asked.wish.unwrap_or_default()).await?;
        return begun.ok_or_else(|| sqlx::Error::RowNotFound.into());
    };
    let (jobs, states): (Vec<_>, Vec<_>) = goes.iter().map(|one| (one.job_id.clone(), one.state.clone())).unzip();
    let releases: Vec<i32> = goes.iter().map(|one| one.releases).collect();
    sqlx::query!(
        "INSERT INTO bursar.bulk_payout (bulk, job_id, state, releases) SELECT $1, * FROM unnest($2::text[], $3::text[], $4::integer[])",
        id,
        &jobs,
        &states,
        &releases
    )
    .execute(&mut *tx)
    .await?;
    let after = json!({"safe": dry.safe, "unknown": dry.unknown, "amounts": dry.amounts});
    by.note(&mut *tx, "payouts.release_all", &id, (Some(asked.filter.said()), Some(after)), asked.why).await?;
    tx.commit().await?;
    Ok(Progress { id, verb: "release".to_owned(), matching: dry.goes(), changed: 0, skipped: 0, ended_at: None })
}

/// Lets the next ones go; the last of them, how many went, and how many stood otherwise by then.
pub(super) async fn release_chunk(
    db: &mut PgConnection,
    by: &Operator,
    id: &str,
    after: Option<&str>,
    why: Option<&str>,
) -> Result<(Vec<String>, i64, i64), sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT job_id, state, releases FROM bursar.bulk_payout WHERE bulk = $1 AND ($2::text IS NULL OR job_id > $2) ORDER BY job_id LIMIT $3",
        id,
        after,
        CHUNK
    )
    .fetch_all(&mut *db)
    .await?;
    let ids: Vec<String> = rows.iter().map(|row| row.job_id.clone()).collect();
    // All their receivers before any of them, in one order: a job that weighs a receiver's payouts holds the receiver.
    sqlx::query!(
        "SELECT FROM bursar.receiver WHERE user_id IN (SELECT receiver_id FROM bursar.payout WHERE job_id = ANY ($1)) ORDER BY user_id FOR UPDATE",
        &ids
    )
    .execute(&mut *db)
    .await?;
    let (mut changed, mut skipped) = (0, 0);
    for row in &rows {
        let seen = Some((row.state.as_str(), row.releases));
        let asked = release::Asked { job_id: &row.job_id, after_saved_failure: false, seen, why };
        match release::release(&mut *db, by, asked).await? {
            Came::Released(..) => changed += 1,
            Came::NoSuch | Came::Not(_) | Came::GoesOn(_) | Came::NothingSaved | Came::Changed(_) => skipped += 1,
        }
    }
    Ok((ids, changed, skipped))
}
