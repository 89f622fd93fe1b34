//! Which trace a claimed job belongs to, and its spans when it has ended.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bursar_jobs::engine::job::Batch;
use sqlx::PgPool;

use super::{Context, Side, Span, are_on, chance, receipt_of, send, trace_of};

/// Where an attempt stands in its trace.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Its own span.
    own: Context,
    /// What it is under, where that is known.
    parent: Option<[u8; 8]>,
    /// The event or the job that caused it, as the job says.
    cause: Option<String>,
}

/// The origins of a batch's jobs, by their ids. Asked for only where anybody wants traces: one statement a batch.
///
/// A job goes back to whoever enqueued it, as that said (`bursar_jobs::engine::trace_context`); the one that an event became, and what was enqueued untraced,
/// to the receipt of the event that caused it; any other begins a trace.
pub(crate) async fn origins(pool: &PgPool, batch: &Batch) -> HashMap<String, Origin> {
    if !are_on() {
        return HashMap::new();
    }
    let ids: Vec<String> = batch.jobs.iter().map(|job| job.id.clone()).collect();
    let rows = sqlx::query!(
        r#"SELECT j.id, j.cause, j.traceparent, EXISTS (SELECT FROM bursar.event e WHERE e.id = j.cause) AS "is_event!"
           FROM apalis.jobs j WHERE j.id = ANY ($1)"#,
        &ids,
    )
    .fetch_all(pool)
    .await;
    let rows = rows.unwrap_or_else(|error| {
        tracing::debug!(%error, "the causes of jobs are not known: their traces begin with them");
        Vec::new()
    });
    let alone = |id: &String| Origin {
        own: Context { trace: trace_of(id), span: chance(), is_sampled: true },
        parent: None,
        cause: None,
    };
    let mut origins: HashMap<String, Origin> = ids.iter().map(|id| (id.clone(), alone(id))).collect();
    for row in rows {
        let Some(origin) = origins.get_mut(&row.id) else { continue };
        if let Some(above) = row.traceparent.as_deref().and_then(Context::read) {
            (origin.own, origin.parent) = (above.child(), Some(above.span));
        } else if let Some(event) = row.cause.as_deref().filter(|_| row.is_event) {
            (origin.own.trace, origin.parent) = (trace_of(event), Some(receipt_of(event)));
        }
        origin.cause = row.cause;
    }
    origins
}

/// What the jobs that these enqueue are under.
pub(crate) fn contexts(origins: &HashMap<String, Origin>) -> BTreeMap<String, String> {
    origins.iter().map(|(job, origin)| (job.clone(), origin.own.to_string())).collect()
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
    let mut made = Some(requests);
    for of in ended {
        let Some(origin) = origins.get(of.job) else { continue };
        // A kind that makes requests runs alone, so that they are the first one's.
        let requests = made.take().unwrap_or_default();
        if !origin.own.is_sampled {
            continue;
        }
        let mut span = Span::ended(format!("job {kind}"), Side::Consumer, took).at(origin.own, origin.parent);
        span.is_error = !matches!(of.outcome, "done" | "skip" | "snooze");
        span.attributes = vec![
            ("bursar.job", of.job.to_owned()),
            ("bursar.kind", kind.to_owned()),
            ("bursar.attempt", of.attempt.to_string()),
            ("bursar.outcome", of.outcome.to_owned()),
        ];
        span.attributes.extend(origin.cause.as_ref().map(|cause| ("bursar.cause", cause.clone())));
        span.attributes.extend(of.user.map(|user| ("bursar.user", user.to_owned())));
        let under = |request: Span| request.at(origin.own.child(), Some(origin.own.span));
        spans.push(span);
        spans.extend(requests.into_iter().map(under));
    }
    if !spans.is_empty() {
        send(spans);
    }
}
