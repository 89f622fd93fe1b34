//! Which trace a claimed job belongs to, and its spans when it has ended.

use std::{collections::HashMap, time::Duration};

use bursar_jobs::job::Batch;
use sqlx::PgPool;

use super::{Side, Span, are_on, attempt_of, chance, receipt_of, send, trace_of};

/// Causes are followed this far.
const FAR: i32 = 20;

/// What a job goes back to.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// An event, or the first job.
    root: String,
    parent: Option<[u8; 8]>,
}

/// The origins of a batch's jobs, by their ids. Asked for only where anybody wants traces: one statement a batch.
pub(crate) async fn origins(pool: &PgPool, batch: &Batch) -> HashMap<String, Origin> {
    if !are_on() {
        return HashMap::new();
    }
    let ids: Vec<String> = batch.jobs.iter().map(|job| job.id.clone()).collect();
    let rows = sqlx::query!(
        r#"WITH RECURSIVE up (job, id, cause, attempts, depth) AS (
               SELECT j.id, j.id, j.cause, j.attempts, 0 FROM apalis.jobs j WHERE j.id = ANY ($1)
               UNION ALL
               SELECT up.job, p.id, p.cause, p.attempts, up.depth + 1 FROM up JOIN apalis.jobs p ON p.id = up.cause WHERE up.depth < $2)
           SELECT up.job AS "job!", up.id AS "id!", up.cause, up.attempts AS "attempts!", up.depth AS "depth!",
                  EXISTS (SELECT FROM bursar.event e WHERE e.id = up.cause) AS "is_event!"
           FROM up ORDER BY up.job, up.depth"#,
        &ids,
        FAR,
    )
    .fetch_all(pool)
    .await;
    let rows = rows.unwrap_or_else(|error| {
        tracing::debug!(%error, "the causes of jobs are not known: their traces begin with them");
        Vec::new()
    });
    let mut origins: HashMap<String, Origin> = HashMap::new();
    for row in rows {
        let root = row.cause.unwrap_or_else(|| row.id.clone());
        let of_event = row.is_event.then(|| receipt_of(&root));
        let origin = origins.entry(row.job).or_insert_with(|| Origin { root: root.clone(), parent: of_event });
        origin.root = root;
        if row.depth == 1 {
            origin.parent = Some(attempt_of(&row.id, row.attempts));
        }
    }
    origins
}

/// What an attempt came to.
pub(crate) struct Ended<'a> {
    pub job: &'a str,
    pub attempt: i32,
    /// `done`, `skip` …; or what else happened, in a word.
    pub outcome: &'static str,
    pub user: Option<&'a str>,
}

/// Sends the spans of a batch whose attempts have ended, and of the requests that they made.
pub(crate) fn ended(
    kind: &'static str,
    ended: &[Ended<'_>],
    origins: &HashMap<String, Origin>,
    requests: Vec<Span>,
    took: Duration,
) {
    if !are_on() {
        return;
    }
    let mut spans = Vec::with_capacity(ended.len() + requests.len());
    for of in ended {
        let origin = origins.get(of.job);
        let mut span = Span::ended(format!("job {kind}"), Side::Consumer, took);
        span.trace = trace_of(origin.map_or(of.job, |origin| &origin.root));
        span.parent = origin.and_then(|origin| origin.parent);
        // The number of a snoozed attempt is used again.
        span.id = if of.outcome == "snooze" { chance() } else { attempt_of(of.job, of.attempt) };
        span.is_error = !matches!(of.outcome, "done" | "skip" | "snooze");
        span.attributes = vec![
            ("bursar.job", of.job.to_owned()),
            ("bursar.kind", kind.to_owned()),
            ("bursar.attempt", of.attempt.to_string()),
            ("bursar.outcome", of.outcome.to_owned()),
        ];
        span.attributes.extend(origin.map(|origin| ("bursar.cause", origin.root.clone())));
        span.attributes.extend(of.user.map(|user| ("bursar.user", user.to_owned())));
        spans.push(span);
    }
    // A kind that makes requests runs alone, so that they are the first one's.
    if let Some((trace, id)) = spans.first().map(|first| (first.trace, first.id)) {
        spans.extend(requests.into_iter().map(|request| Span { trace, parent: Some(id), ..request }));
    }
    send(spans);
}
