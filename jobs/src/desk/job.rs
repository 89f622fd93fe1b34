//! One job, read whole; and why it is not running, in one sentence.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::filter::JobRow;

/// A job with its history.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// The job.
    #[serde(flatten)]
    pub job: JobRow,
    /// Its arguments, as JSON, or as a text where an older version wrote something else.
    pub args: Value,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Whose it is, where its event or its arguments say so.
    pub user_id: Option<String>,
    /// What its event is about: `cs_…`, `in_…`
    pub object_id: Option<String>,
    /// What else decides.
    #[serde(skip)]
    pub around: Around,
}

/// One run of a job, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// Which, from 1; the same again after a snooze.
    pub attempt: i32,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// What it came to.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// The error and its causes, outermost first.
    pub errors: Option<Value>,
    /// Who ran it.
    pub worker: Option<String>,
}

/// What else decides why a job is not running.
#[derive(Debug, Clone)]
pub struct Around {
    args: Vec<u8>,
    /// The fact that it waits for.
    pub waits_for: Option<String>,
    /// Whether its kind is paused.
    pub paused: bool,
    /// Whether a worker that runs its kind is alive.
    pub served: bool,
    /// When its attempt began.
    pub lock_at: Option<DateTime<Utc>>,
    /// Until when it may run.
    pub deadline: Option<DateTime<Utc>>,
    /// Whether its cause is an event.
    pub cause_is_event: bool,
    /// What that is about.
    object: Option<String>,
    /// That, as it was received.
    body: Option<Vec<u8>>,
}

/// Reads one job; none where there is none.
pub async fn page(db: &mut PgConnection, id: &str) -> Result<Option<Page>, sqlx::Error> {
    let job = sqlx::query_as!(
        JobRow,
        r#"SELECT id AS "id!", kind AS "kind!", key, state AS "state!", attempt AS "attempt!", max_attempts AS "max_attempts!",
                  run_at AS "run_at!", last_error, reason, cause, worker, enqueued_at AS "enqueued_at!", done_at
           FROM bursar.job WHERE id = $1"#,
        id,
    )
    .fetch_optional(&mut *db)
    .await?;
    let around = sqlx::query_as!(
        Around,
        r#"SELECT j.job AS args, j.waits_for, j.lock_at + bursar.ahead() AS lock_at, j.deadline + bursar.ahead() AS deadline,
                  EXISTS (SELECT FROM bursar.paused_kind p WHERE p.kind = j.job_type) AS "paused!",
                  EXISTS (SELECT FROM apalis.workers w WHERE w.lease_until > clock_timestamp() AND j.job_type = ANY (w.kinds))
                      AS "served!",
                  e.id IS NOT NULL AS "cause_is_event!", e.object_id AS "object?", e.body AS "body?"
           FROM apalis.jobs j
           LEFT JOIN LATERAL (SELECT v.id, v.object_id, CASE WHEN octet_length(v.body) < 262144 THEN v.body END AS body
                              FROM bursar.event v WHERE v.id = j.cause ORDER BY v.source LIMIT 1) e ON true
           WHERE j.id = $1"#,
        id,
    )
    .fetch_optional(&mut *db)
    .await?;
    let (Some(job), Some(around)) = (job, around) else { return Ok(None) };
    let attempts = sqlx::query_as!(
        Attempt,
        "SELECT attempt, started_at, ended_at, outcome, reason, errors, worker FROM bursar.attempt WHERE job_id = $1 ORDER BY id",
        id,
    )
    .fetch_all(db)
    .await?;
    let args = readable(&around.args);
    let told = around.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or(Value::Null);
    let user_id = WHOSE.iter().find_map(|at| told.pointer(at)).or_else(|| args.get("user_id"));
    let user_id = user_id.and_then(Value::as_str).map(str::to_owned);
    Ok(Some(Page { job, args, attempts, user_id, object_id: around.object.clone(), around }))
}

/// Where an event says whose it is.
const WHOSE: &[&str] = &[
    "/data/object/metadata/user_id",
    "/data/object/client_reference_id",
    "/data/object/parent/subscription_details/metadata/user_id",
    "/data/object/subscription_details/metadata/user_id",
    "/data/user_id",
    "/data/receiver_id",
];

impl Page {
    /// When it was enqueued first. A retry gives it a new age (`enqueued_at`), which its waits are limited by; its attempts keep the old.
    pub fn first_enqueued_at(&self) -> DateTime<Utc> {
        let first = self.attempts.first().and_then(|attempt| attempt.started_at);
        first.map_or(self.job.enqueued_at, |first| first.min(self.job.enqueued_at))
    }

    /// Why it is not running, or what it came to. `at` says a moment as the reader wants it.
    pub fn why(&self, at: impl Fn(DateTime<Utc>) -> String) -> String {
        let (job, around) = (&self.job, &self.around);
        let reason = job.reason.as_deref().unwrap_or("no reason was recorded");
        let last = self.attempts.last().map(|attempt| attempt.outcome.as_str());
        match job.state.as_str() {
            "ready" | "scheduled" if around.paused => {
                format!("its kind is paused; it was to run {}", at(job.run_at))
            }
            "ready" if !around.served => "no worker that runs its kind is alive".into(),
            "ready" => "it waits for a free worker".into(),
            "scheduled" => {
                let waits =
                    around.waits_for.as_deref().map(|fact| format!(", or once {fact} is known")).unwrap_or_default();
                let because = match last {
                    Some("snooze") => format!("it waits ({reason})"),
                    Some("retry" | "lost") => format!("its last attempt failed ({reason})"),
                    _ => "it is not yet time".into(),
                };
                format!("{because}; it runs {}{waits}", at(job.run_at))
            }
            "running" => {
                let since = around.lock_at.map(&at).unwrap_or_default();
                let until = around.deadline.map(|end| format!(", with time until {}", at(end))).unwrap_or_default();
                format!(
                    "attempt {} runs on {} since {since}{until}",
                    job.attempt,
                    job.worker.as_deref().unwrap_or("a worker")
                )
            }
            "done" if last == Some("skip") => format!("skipped: {reason}"),
            "done" => format!("done {}", job.done_at.map(&at).unwrap_or_default()),
            _ => reason.to_owned(),
        }
    }
}

impl Attempt {
    /// Its errors from the outermost inwards; its reason where it had none.
    pub fn errors(&self) -> Vec<String> {
        match &self.errors {
            Some(Value::Array(errors)) => {
                errors.iter().map(|e| e.as_str().map_or_else(|| e.to_string(), String::from)).collect()
            }
            Some(other) if !other.is_null() => vec![other.to_string()],
            _ => self.reason.iter().cloned().collect(),
        }
    }
}

fn readable(args: &[u8]) -> Value {
    serde_json::from_slice(args).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(args).into_owned()))
}
