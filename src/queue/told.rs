//! What is said of attempts that have ended: a line each, the counts, and their spans.

use std::{collections::HashMap, time::Duration};

use bursar_jobs::engine::{
    batch::Report,
    job::{Batch, Claimed},
};
use serde::Deserialize;
use tracing::{Span as LogSpan, error_span};

use crate::telemetry::{
    counts::WORKER,
    quiet,
    traces::{self, Ended, Origin, Span},
};

/// As much of a job's arguments as says what it is about.
#[derive(Default, Deserialize)]
struct About {
    event: Option<String>,
    #[serde(alias = "user_id", alias = "receiver", alias = "receiver_id")]
    user: Option<String>,
}

impl About {
    fn of(job: &Claimed) -> Self {
        // Arguments of another shape say nothing of it.
        serde_json::from_slice(&job.args).unwrap_or_default()
    }
}

/// What every line of an attempt carries, whatever the level is: a warning without its job is of no use. Jobs that run together share their
/// lines.
pub(super) fn span(batch: &Batch) -> LogSpan {
    match batch.jobs.as_slice() {
        [job] => {
            let about = About::of(job);
            error_span!("attempt", kind = batch.kind.name, job = job.id, event = about.event, user = about.user)
        }
        jobs => error_span!("attempts", kind = batch.kind.name, jobs = jobs.len()),
    }
}

/// Says and counts what a batch came to.
pub(super) fn tell(batch: &Batch, report: &Report, took: Duration) {
    let kind = batch.kind.name;
    for id in &report.stale {
        WORKER.stale(kind);
        tracing::warn!(job = id, kind, "a stale settlement changed nothing: the job is another worker's");
    }
    WORKER.took(kind, took);
    for settlement in &report.settled {
        let job = claimed(batch, &settlement.id);
        let about = job.map(About::of).unwrap_or_default();
        let (event, user) = (about.event.as_deref(), settlement.user.as_deref().or(about.user.as_deref()));
        let outcome = outcome(settlement.outcome, job);
        WORKER.settled(kind, outcome);
        if let (Some(job), Some(_), "done" | "skip") = (job, event, outcome) {
            // Its event was received when it was enqueued, in one transaction. Replayed, it is done when it is done.
            WORKER.effect(kind, (job.claimed_at - job.enqueued_at).to_std().unwrap_or_default() + took);
        }
        let (id, reason) = (&settlement.id, quiet(settlement.reason.as_deref().unwrap_or_default()));
        let outcome = settlement.outcome;
        match outcome {
            "retry" | "dead" => tracing::warn!(job = id, kind, event, user, outcome, "{reason}"),
            outcome => {
                tracing::info!(job = id, kind, event, user, outcome, took_ms = took.as_millis(), "{reason}");
            }
        }
    }
}

/// Counts attempts that were given back: they did not settle themselves.
pub(super) fn given_back(batch: &Batch, settled: usize) {
    let kind = batch.kind.name;
    for job in batch.jobs.iter().take(settled) {
        WORKER.settled(kind, outcome("retry", Some(job)));
    }
    for _ in settled..batch.jobs.len() {
        WORKER.stale(kind);
    }
}

/// Sends the spans of a batch that was reported.
pub(super) fn trace(
    batch: &Batch,
    report: &Report,
    origins: &HashMap<String, Origin>,
    requests: Vec<Span>,
    took: Duration,
) {
    if !traces::are_on() {
        return;
    }
    let settled = report.settled.iter().map(|of| (of.id.as_str(), of.outcome, of.user.as_deref()));
    let stale = report.stale.iter().map(|id| (id.as_str(), "stale", None));
    let ended: Vec<Ended<'_>> = settled
        .chain(stale)
        .filter_map(|(id, said, user)| {
            let job = claimed(batch, id)?;
            Some(Ended { job: &job.id, attempt: job.attempt, outcome: outcome(said, Some(job)), user })
        })
        .collect();
    traces::ended(batch.kind.name, &ended, origins, requests, took);
}

/// Sends the span of an attempt that reported nothing, and of the requests that it made all the same.
pub(super) fn broken(
    batch: &Batch,
    how: &'static str,
    origins: &HashMap<String, Origin>,
    requests: Vec<Span>,
    took: Duration,
) {
    let ended: Vec<Ended<'_>> =
        batch.jobs.iter().map(|job| Ended { job: &job.id, attempt: job.attempt, outcome: how, user: None }).collect();
    traces::ended(batch.kind.name, &ended, origins, requests, took);
}

fn claimed<'a>(batch: &'a Batch, id: &str) -> Option<&'a Claimed> {
    batch.jobs.iter().find(|job| job.id == id)
}

/// What it came to for the job: a retry after the last attempt is its death.
fn outcome(said: &'static str, job: Option<&Claimed>) -> &'static str {
    if said == "retry" && job.is_some_and(|job| job.attempt >= job.max_attempts) { "dead" } else { said }
}
