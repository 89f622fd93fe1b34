//! Acting on all jobs or payouts that match, a chunk a transaction: by whoever comes first, the operator's command, a console or a worker's
//! job.
//!
//! Rules
//! - What matched when it began is put down and acted on; what comes to match afterwards is left alone, and so is what is in another
//!   state by then.
//! - Each chunk is one transaction with the act's own row locked: whoever dies in the middle has done whole chunks, and anybody goes on.
//! - Each job's act is a row of the audit, under the operator's name.
//! - Payouts are money: what was confirmed is put down, payout by payout, and one that stands otherwise by then is left alone.

mod releases;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

pub use super::verb::Verb;
use super::{
    JobFilter, Operator, State,
    change::{self, Change},
    release::DryRun,
    risk,
};
use crate::{base::audit::Via, engine::batch::is_code};
pub use releases::{Releasing, begin_release};

/// Jobs acted on in one transaction.
const CHUNK: i64 = 100;
/// How often a deadlock is met before it is an error.
const CROSSED: usize = 4;

/// How far an act has come.
#[derive(Debug, Clone, Serialize)]
pub struct Progress {
    /// The act.
    pub id: String,
    /// `retry`, `cancel` and `replay` of jobs, `release` of payouts.
    pub verb: String,
    /// How many matched when it began.
    pub matching: i64,
    /// How many were changed.
    pub changed: i64,
    /// How many were in another state by then.
    pub skipped: i64,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Why an act cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// All of the queue is nobody's intention.
    #[error("a filter is needed: a state, a kind, an age or words")]
    Everything,
    /// All payouts are nobody's intention either.
    #[error(
        "a state is needed: one of held, sending, unknown, rejected and skipped; what is paid or reversed is not let go"
    )]
    Payouts,
    /// What matches is not what was shown: shown again.
    #[error("what matches is not what was shown: look at it again")]
    Changed(Box<DryRun>),
    /// The same, of jobs.
    #[error("what matches is not what was shown: look at it again")]
    JobsChanged(Box<risk::DryRun>),
    /// Some of them release money, and whoever asks may not.
    #[error("among them are jobs that release money, and that takes a payer")]
    Payer,
    /// The arrow does not lead from there.
    #[error(
        "{0} jobs cannot be {1}: a retry is of dead and cancelled ones, a cancellation of those that are not over, a replay of done ones"
    )]
    State(&'static str, &'static str),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What is wanted of all jobs that match.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What is done.
    pub verb: Verb,
    /// To which; their state is said.
    pub filter: &'a JobFilter,
    /// The seal of what was shown. None: nothing was shown to anybody.
    pub seal: Option<&'a str>,
    /// Whether whoever asks may release money.
    pub may_pay: bool,
    /// Why, in the operator's words.
    pub why: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// By somebody at the keyboard, who may everything.
    pub fn new(verb: Verb, filter: &'a JobFilter) -> Self {
        Self { verb, filter, seal: None, may_pay: true, why: None }
    }
}

/// Begins an act: what matches is put down, and nothing is changed yet.
pub async fn begin(db: &mut PgConnection, by: &Operator, asked: Asked<'_>) -> Result<Progress, Refused> {
    let Asked { verb, filter, .. } = asked;
    let state = filter.state.ok_or(Refused::Everything)?;
    match (verb, state) {
        (Verb::Retry, State::Dead | State::Cancelled)
        | (Verb::Cancel, State::Ready | State::Scheduled | State::Running | State::Dead)
        | (Verb::Replay, State::Done) => {}
        (Verb::Retry, _) => return Err(Refused::State(state.word(), "retried")),
        (Verb::Cancel, _) => return Err(Refused::State(state.word(), "cancelled")),
        (Verb::Replay, _) => return Err(Refused::State(state.word(), "replayed")),
    }
    let mut tx = db.begin().await?;
    // What is judged, compared with what was shown, and put down, is seen at one moment.
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
    let (dry, ids) = risk::all(&mut tx, filter).await?;
    if verb.releases(&dry) && !asked.may_pay {
        return Err(Refused::Payer);
    }
    if asked.seal.is_some_and(|seal| seal != dry.seal) {
        return Err(Refused::JobsChanged(Box::new(dry)));
    }
    let id = sqlx::query_scalar!(
        "INSERT INTO bursar.bulk (verb, filter, who, via, why, matching, put_down) VALUES ($1, $2, $3, $4, $5, $6, true) RETURNING id",
        verb.word(),
        json!(filter),
        by.who,
        by.via.word(),
        asked.why,
        dry.matching,
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query!(
        "INSERT INTO bursar.bulk_job (bulk, job_id) SELECT $1, * FROM pg_catalog.unnest($2::text[])",
        id,
        &ids
    )
    .execute(&mut *tx)
    .await?;
    let after = json!({"matching": dry.matching, "safe": dry.safe, "done": dry.done, "unknown": dry.unknown, "amounts": dry.amounts});
    let states = (Some(json!(filter)), Some(after));
    by.note(&mut *tx, &format!("jobs.{}_all", verb.word()), &id, states, asked.why).await?;
    tx.commit().await?;
    let verb = verb.word().to_owned();
    Ok(Progress { id, verb, matching: dry.matching, changed: 0, skipped: 0, ended_at: None })
}

/// Does the next chunk, unless another does one at this moment. None: there is no such act. Who meets a worker crosswise begins the chunk anew.
pub async fn step(db: &mut PgConnection, id: &str) -> Result<Option<Progress>, sqlx::Error> {
    for _ in 0..CROSSED {
        match chunk(&mut *db, id).await {
            Err(error) if is_code(&error, &["40P01", "40001"]) => {}
            came => return came,
        }
    }
    chunk(db, id).await
}

async fn chunk(db: &mut PgConnection, id: &str) -> Result<Option<Progress>, sqlx::Error> {
    let mut tx = db.begin().await?;
    let row = sqlx::query!(
        "SELECT verb, filter, who, via, why, begun_at, cursor_id, ended_at, put_down FROM bursar.bulk WHERE id = $1 FOR UPDATE SKIP LOCKED",
        id
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return progress(&mut tx, id).await };
    if row.ended_at.is_some() {
        return progress(&mut tx, id).await;
    }
    let unreadable = |what: String| sqlx::Error::Protocol(format!("bursar.bulk {id}: {what}"));
    let via = Via::of(&row.via).ok_or_else(|| unreadable(row.via.clone()))?;
    let by = Operator { who: row.who, via };
    let (cursor, why) = (row.cursor_id.as_deref(), row.why.as_deref());
    let (ids, changed, skipped) = if row.verb == "release" {
        releases::release_chunk(&mut tx, &by, id, cursor, why).await?
    } else {
        let filter: JobFilter = serde_json::from_value(row.filter).map_err(|error| unreadable(error.to_string()))?;
        let verb = serde_json::from_value(Value::String(row.verb)).map_err(|error| unreadable(error.to_string()))?;
        // What matches since is not meant.
        let before = filter.before.map_or(row.begun_at, |before| before.min(row.begun_at));
        let filter = JobFilter { before: Some(before), ..filter };
        let (ids, stand) = if row.put_down {
            put_down(&mut tx, id, &filter).await?
        } else {
            let ids = filter.ids(&mut tx, cursor, CHUNK).await?;
            (ids.clone(), ids)
        };
        let changed = act_on(&mut tx, &by, verb, &stand, why).await?;
        let all = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        (ids, changed, all - changed)
    };
    sqlx::query!(
        "UPDATE bursar.bulk SET cursor_id = coalesce($2, cursor_id), changed = changed + $3, skipped = skipped + $4,
                ended_at = CASE WHEN $5 THEN bursar.now() END WHERE id = $1",
        id,
        ids.last(),
        changed,
        skipped,
        ids.len() < usize::try_from(CHUNK).unwrap_or(usize::MAX),
    )
    .execute(&mut *tx)
    .await?;
    let progress = progress(&mut tx, id).await?;
    tx.commit().await?;
    Ok(progress)
}

/// The next ones of those that were put down, which are it no more; and which of them still stand as they stood then. They are locked.
async fn put_down(
    db: &mut PgConnection,
    id: &str,
    filter: &JobFilter,
) -> Result<(Vec<String>, Vec<String>), sqlx::Error> {
    let mut ids = sqlx::query_scalar!(
        "DELETE FROM bursar.bulk_job WHERE bulk = $1 AND job_id IN
             (SELECT job_id FROM bursar.bulk_job WHERE bulk = $1 ORDER BY job_id DESC LIMIT $2) RETURNING job_id",
        id,
        CHUNK
    )
    .fetch_all(&mut *db)
    .await?;
    ids.sort_unstable_by(|one, other| other.cmp(one));
    sqlx::query!("SELECT FROM apalis.jobs WHERE id = ANY ($1) ORDER BY id DESC FOR UPDATE", &ids)
        .execute(&mut *db)
        .await?;
    // A statement of its own, for a fresh snapshot: it sees what a worker settled while we waited for the locks. One that has ended again
    // since then is another matter than what was shown.
    let stand = sqlx::query_scalar!(
        r#"SELECT j.id AS "id!" FROM apalis.jobs j JOIN bursar.job v ON v.id = j.id
           WHERE j.id = ANY ($1) AND v.state = $2 AND coalesce(j.done_at, j.enqueued_at) < $3 ORDER BY j.id DESC"#,
        &ids,
        filter.state.map(State::word),
        filter.before,
    )
    .fetch_all(db)
    .await?;
    Ok((ids, stand))
}

/// Acts on these; how many were changed.
async fn act_on(
    db: &mut PgConnection,
    by: &Operator,
    verb: Verb,
    ids: &[String],
    why: Option<&str>,
) -> Result<i64, sqlx::Error> {
    let mut changed = 0;
    for job in ids {
        let came = match verb {
            Verb::Retry => change::retry(&mut *db, by, job, why).await?,
            Verb::Cancel => change::cancel(&mut *db, by, job, why).await?,
            Verb::Replay => change::replay(&mut *db, by, job, why).await?,
        };
        changed += i64::from(matches!(came, Change::Done(_)));
    }
    Ok(changed)
}

/// Brings what was begun nearer to its end, at most so many chunks of each; whoever began it may be gone. What this version cannot read, or
/// what fails, is left to another and keeps nothing else from going on.
pub async fn go_on(db: &mut PgConnection, chunks: usize) -> Result<(), sqlx::Error> {
    for id in unfinished(&mut *db).await? {
        for _ in 0..chunks {
            match step(&mut *db, &id).await {
                Ok(Some(so_far)) if so_far.ended_at.is_none() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, act = id, "an act in bulk does not go on; it is tried again");
                    break;
                }
            }
        }
    }
    Ok(())
}

/// How far an act has come.
pub async fn progress(db: &mut PgConnection, id: &str) -> Result<Option<Progress>, sqlx::Error> {
    sqlx::query_as!(
        Progress,
        "SELECT id, verb, matching, changed, skipped, ended_at FROM bursar.bulk WHERE id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Acts that were begun and are not over.
pub async fn unfinished(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT id FROM bursar.bulk WHERE ended_at IS NULL ORDER BY begun_at LIMIT 100")
        .fetch_all(db)
        .await
}
