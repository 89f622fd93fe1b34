//! `bursar jobs show`: one job, read whole.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::{list::Job, not_found};
use crate::operate::{Failure, Screen, screen::stamp};

/// Attempts shown to people; programs get all of them. A job that snoozed for days has hundreds.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct Page {
    #[serde(flatten)]
    job: Job,
    args: Value,
    attempts: Vec<Attempt>,
}

/// One run of a job, under the names that programs rely on.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the name is part of the contract")]
struct Attempt {
    attempt: i32,
    started_at: Option<DateTime<Utc>>,
    ended_at: DateTime<Utc>,
    outcome: String,
    reason: Option<String>,
    errors: Option<Value>,
    worker: Option<String>,
}

/// What else decides why a job is not running.
struct Around {
    args: Vec<u8>,
    waits_for: Option<String>,
    paused: bool,
    served: bool,
    lock_at: Option<DateTime<Utc>>,
    deadline: Option<DateTime<Utc>>,
    cause_is_event: bool,
}

pub(super) async fn show(db: &mut PgConnection, screen: &Screen, id: &str) -> Result<(), Failure> {
    let job = sqlx::query_as!(
        Job,
        r#"SELECT id AS "id!", kind AS "kind!", key, state AS "state!", attempt AS "attempt!", max_attempts AS "max_attempts!",
                  run_at AS "run_at!", last_error, reason, cause, worker, enqueued_at AS "enqueued_at!", done_at
           FROM bursar.job WHERE id = $1"#,
        id,
    )
    .fetch_optional(&mut *db)
    .await?
    .ok_or_else(|| not_found(id))?;
    let around = sqlx::query_as!(
        Around,
        r#"SELECT j.job AS args, j.waits_for, j.lock_at + bursar.ahead() AS lock_at, j.deadline + bursar.ahead() AS deadline,
                  EXISTS (SELECT FROM bursar.paused_kind p WHERE p.kind = j.job_type) AS "paused!",
                  EXISTS (SELECT FROM apalis.workers w WHERE w.lease_until > clock_timestamp() AND j.job_type = ANY (w.kinds))
                      AS "served!",
                  EXISTS (SELECT FROM bursar.event e WHERE e.id = j.cause) AS "cause_is_event!"
           FROM apalis.jobs j WHERE j.id = $1"#,
        id,
    )
    .fetch_optional(&mut *db)
    .await?
    .ok_or_else(|| not_found(id))?;
    let attempts = sqlx::query_as!(
        Attempt,
        "SELECT attempt, started_at, ended_at, outcome, reason, errors, worker FROM bursar.attempt WHERE job_id = $1 ORDER BY id",
        id,
    )
    .fetch_all(db)
    .await?;
    let args = readable(&around.args);
    let page = Page { job, args, attempts };
    if screen.is_json() {
        screen.object(&page)?;
    } else {
        print(screen, &page, &around)?;
    }
    Ok(())
}

fn print(screen: &Screen, page: &Page, around: &Around) -> Result<(), Failure> {
    let job = &page.job;
    screen.fact("job", &job.id)?;
    screen.fact("kind", &job.kind)?;
    if let Some(key) = &job.key {
        screen.fact("key", key)?;
    }
    screen.fact("state", &job.state)?;
    screen.fact("why", &why(screen, page, around))?;
    screen.fact("attempts", &format!("{} of {}", job.attempt, job.max_attempts))?;
    screen.fact("enqueued", &screen.moment(job.enqueued_at))?;
    if let Some(cause) = &job.cause {
        screen.fact("caused by", &format!("{} {cause}", if around.cause_is_event { "event" } else { "job" }))?;
    }
    screen.fact("arguments", &page.args.to_string())?;
    let hidden = page.attempts.len().saturating_sub(SHOWN);
    if hidden > 0 {
        screen.fact("history", &format!("{hidden} earlier attempts are shown by --json"))?;
    }
    for attempt in &page.attempts[hidden..] {
        screen.fact(&format!("attempt {}", attempt.attempt), &story(attempt))?;
    }
    for command in next(job, around) {
        screen.fact("next", &command)?;
    }
    Ok(())
}

/// One sentence: why is it not running, or what did it come to?
fn why(screen: &Screen, page: &Page, around: &Around) -> String {
    let job = &page.job;
    let reason = job.reason.as_deref().unwrap_or("no reason was recorded");
    let last = page.attempts.last().map(|attempt| attempt.outcome.as_str());
    match job.state.as_str() {
        "ready" | "scheduled" if around.paused => {
            format!("its kind is paused; it was to run {}", screen.moment(job.run_at))
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
            format!("{because}; it runs {}{waits}", screen.moment(job.run_at))
        }
        "running" => {
            let since = around.lock_at.map(|at| screen.moment(at)).unwrap_or_default();
            let until = around.deadline.map(|at| format!(", with time until {}", stamp(at))).unwrap_or_default();
            format!(
                "attempt {} runs on {} since {since}{until}",
                job.attempt,
                job.worker.as_deref().unwrap_or("a worker")
            )
        }
        "done" if last == Some("skip") => format!("skipped: {reason}"),
        "done" => format!("done {}", job.done_at.map(|at| screen.moment(at)).unwrap_or_default()),
        _ => reason.to_owned(),
    }
}

/// An attempt in a few lines: when, how long, what it came to, and its errors from the outermost inwards.
fn story(attempt: &Attempt) -> String {
    let took = attempt.started_at.map(|start| {
        let seconds = (attempt.ended_at - start).to_std().unwrap_or_default().as_secs_f64();
        format!(" after {seconds:.1} s")
    });
    let mut text = format!("{}: {}{}", stamp(attempt.ended_at), attempt.outcome, took.unwrap_or_default());
    if let Some(worker) = &attempt.worker {
        text = format!("{text} on {worker}");
    }
    let errors = match &attempt.errors {
        Some(Value::Array(errors)) => {
            errors.iter().map(|e| e.as_str().map_or_else(|| e.to_string(), String::from)).collect()
        }
        Some(other) if !other.is_null() => vec![other.to_string()],
        _ => attempt.reason.iter().cloned().collect::<Vec<_>>(),
    };
    for (depth, error) in errors.iter().enumerate() {
        text = format!("{text}\n{}{error}", if depth == 0 { "" } else { "because " });
    }
    text
}

/// The commands that would help from here.
fn next(job: &Job, around: &Around) -> Vec<String> {
    let id = &job.id;
    let mut commands = Vec::new();
    match job.state.as_str() {
        "dead" => {
            commands.push(format!("bursar jobs retry {id}"));
            commands.push(format!("bursar jobs cancel {id} --why '…'"));
        }
        "cancelled" => commands.push(format!("bursar jobs retry {id}")),
        "ready" | "scheduled" | "running" => {
            if around.paused {
                commands.push(format!("bursar jobs resume {}", job.kind));
            } else if job.state == "ready" && !around.served {
                commands.push("bursar worker".to_owned());
            }
            commands.push(format!("bursar jobs cancel {id} --why '…'"));
        }
        _ => {}
    }
    if let Some(cause) = &job.cause {
        let (room, verb) = if around.cause_is_event { ("events", "show") } else { ("jobs", "show") };
        commands.push(format!("bursar {room} {verb} {cause}"));
    }
    commands
}

/// The arguments as JSON, or as a text where an older version wrote something else.
fn readable(args: &[u8]) -> Value {
    serde_json::from_slice(args).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(args).into_owned()))
}
