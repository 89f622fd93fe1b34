//! `bursar jobs show`: one job, read whole.

use bursar_jobs::desk::{
    filter::JobRow,
    job::{self, Around, Attempt, Page},
};
use sqlx::PgConnection;

use super::not_found;
use crate::operate::{Failure, Screen, screen::stamp};

/// Attempts shown to people; programs get all of them. A job that snoozed for days has hundreds.
const SHOWN: usize = 10;

pub(super) async fn show(db: &mut PgConnection, screen: &Screen, id: &str) -> Result<(), Failure> {
    let page = job::page(db, id).await?.ok_or_else(|| not_found(id))?;
    if screen.is_json() {
        screen.object(&page)?;
    } else {
        print(screen, &page)?;
    }
    Ok(())
}

fn print(screen: &Screen, page: &Page) -> Result<(), Failure> {
    let (job, around) = (&page.job, &page.around);
    screen.fact("job", &job.id)?;
    screen.fact("kind", &job.kind)?;
    if let Some(key) = &job.key {
        screen.fact("key", key)?;
    }
    screen.fact("state", &job.state)?;
    screen.fact("why", &page.why(|at| screen.moment(at)))?;
    screen.fact("attempts", &format!("{} of {}", job.attempt, job.max_attempts))?;
    let first = page.first_enqueued_at();
    screen.fact("enqueued", &screen.moment(first))?;
    if first < job.enqueued_at {
        screen.fact("put back", &screen.moment(job.enqueued_at))?;
    }
    if let Some(user) = &page.user_id {
        screen.fact("user", user)?;
    }
    if let Some(object) = &page.object_id {
        screen.fact("about", object)?;
    }
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
    for (depth, error) in attempt.errors().iter().enumerate() {
        text = format!("{text}\n{}{error}", if depth == 0 { "" } else { "because " });
    }
    text
}

/// The commands that would help from here.
fn next(job: &JobRow, around: &Around) -> Vec<String> {
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
        }
        _ => {}
    }
    if let Some(cause) = &job.cause {
        let (room, verb) = if around.cause_is_event { ("events", "show") } else { ("jobs", "show") };
        commands.push(format!("bursar {room} {verb} {cause}"));
    }
    commands
}
