//! Under whose trace jobs are enqueued: the W3C trace context (`traceparent`) of the attempt or the request that does it, kept beside the
//! job's cause. What a trace is, and whether there is one, is not known here.

use std::{collections::BTreeMap, future::Future};

use crate::engine::{job::NewJob, kind};

tokio::task_local! {
    /// The contexts of the attempts that run here, by their jobs.
    static ATTEMPTS: BTreeMap<String, String>;
    /// Of what is done right now: an entry a job where several are applied together.
    static NOW: Vec<Option<String>>;
}

/// Runs attempts with the contexts of their jobs.
pub async fn attempts<T>(contexts: BTreeMap<String, String>, run: impl Future<Output = T>) -> T {
    ATTEMPTS.scope(contexts, run).await
}

/// Runs a request with its context.
pub async fn request<T>(context: String, run: impl Future<Output = T>) -> T {
    NOW.scope(vec![Some(context)], run).await
}

/// Runs what is done for these jobs.
pub(crate) async fn under<T>(jobs: &[&str], run: impl Future<Output = T>) -> T {
    let of_all = |contexts: &BTreeMap<String, String>| jobs.iter().map(|job| contexts.get(*job).cloned()).collect();
    let now = ATTEMPTS.try_with(of_all).unwrap_or_default();
    NOW.scope(now, run).await
}

/// The context for a job that is enqueued by the nth of those that are applied together, or by the only one. A tick of a schedule has none:
/// each enqueues the next, and their trace would never end.
pub(crate) fn context(job: &NewJob, nth: Option<usize>) -> Option<String> {
    if job.kind == kind::FIRE_SCHEDULE.name {
        return None;
    }
    let of = |now: &Vec<Option<String>>| match (nth, now.as_slice()) {
        (_, [one]) => one.clone(),
        (Some(nth), several) => several.get(nth).cloned().flatten(),
        (None, _) => None,
    };
    NOW.try_with(of).unwrap_or_default()
}
