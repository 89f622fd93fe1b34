//! A request that a process serves, as a span: under its sender's where that says so.

use bursar_jobs::{base::clock, engine::trace_context};
use hyper::HeaderMap;

use super::{Context, Side, Span, are_on, chance, send};
use crate::http::reply::Reply;

/// Serves a request as a span of this name; the jobs that it enqueues are under it.
pub(crate) async fn served(name: String, headers: &HeaderMap, run: impl Future<Output = Reply>) -> Reply {
    if !are_on() {
        return run.await;
    }
    let sender = Context::of(headers);
    let begins = || Context { trace: uuid::Uuid::new_v4().into_bytes(), span: chance(), is_sampled: true };
    let place = sender.map_or_else(begins, Context::child);
    let begun = clock::monotonic();
    let reply = trace_context::request(place.to_string(), run).await;
    if place.is_sampled {
        let mut span = Span::ended(name, Side::Server, begun.elapsed()).at(place, sender.map(|sender| sender.span));
        span.is_error = reply.status().is_server_error();
        span.attributes = vec![("http.response.status_code", reply.status().as_u16().to_string())];
        send(vec![span]);
    }
    reply
}
