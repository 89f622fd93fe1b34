//! What is counted, logged and traced of requests of Stripe, and of the wait before them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bursar_jobs::{Gate, Lane, Later, Leaving, StripeRequest, StripeSeen, Watch, base::clock};

use super::{
    counts::WORKER,
    traces::{self, Side, Span},
};

/// Watches every request.
#[derive(Debug)]
pub(crate) struct Watched;

impl Watch for Watched {
    fn leaves(&self, request: &StripeRequest) -> Box<dyn Leaving> {
        let path = without_ids(&request.path);
        Box::new(Away { what: format!("{} {path}", request.method.as_str()), begun: clock::monotonic(), heard: false })
    }
}

/// A request under way.
struct Away {
    what: String,
    begun: Instant,
    heard: bool,
}

impl Leaving for Away {
    fn came(mut self: Box<Self>, seen: &StripeSeen) {
        self.heard = true;
        let (took, outcome) = (self.begun.elapsed(), seen.reply.word());
        count(outcome, took);
        if seen.status == Some(429) {
            WORKER.limited.inc();
        }
        let (request_id, status) = (seen.request_id.as_deref(), seen.status);
        tracing::info!(
            request = self.what,
            outcome,
            status,
            stripe_request = request_id,
            took_ms = took.as_millis(),
            "Stripe was asked"
        );
        traces::within(|| {
            let mut span = Span::ended(self.what.clone(), Side::Client, took);
            span.is_error = outcome != "success";
            span.attributes = vec![("peer.service", "stripe".to_owned()), ("bursar.outcome", outcome.to_owned())];
            span.attributes.extend(status.map(|status| ("http.response.status_code", status.to_string())));
            span.attributes.extend(request_id.map(|id| ("stripe.request_id", id.to_owned())));
            span
        });
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if !self.heard {
            let took = self.begun.elapsed();
            count("cut_off", took);
            tracing::warn!(
                request = self.what,
                took_ms = took.as_millis(),
                "a request of Stripe was cut off: what came of it is not known"
            );
        }
    }
}

fn count(outcome: &'static str, took: Duration) {
    if let Some((count, durations)) = WORKER.calls.get(outcome) {
        count.inc();
        durations.observe(took);
    }
}

/// A path as few of which there are: what holds a digit or a capital is an id.
fn without_ids(path: &str) -> String {
    let segment = |(nth, part): (usize, &str)| {
        let is_id = nth > 1 && part.bytes().any(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        if is_id { "{id}".to_owned() } else { part.to_owned() }
    };
    path.split('/').enumerate().map(segment).collect::<Vec<_>>().join("/")
}

/// A gate whose waits are counted.
#[derive(Debug)]
pub(crate) struct Timed(pub Arc<dyn Gate>);

impl Gate for Timed {
    fn turn(&self, lane: Lane) -> Later<'_, Result<(), Duration>> {
        Box::pin(async move {
            let begun = clock::monotonic();
            let turn = self.0.turn(lane).await;
            let waited = begun.elapsed();
            if turn.is_ok() {
                WORKER.waits[lane as usize].observe(waited);
            } else {
                WORKER.refused[lane as usize].inc();
            }
            if waited >= Duration::from_millis(5) {
                traces::within(|| Span::ended("wait for a turn at Stripe", Side::Internal, waited));
            }
            turn
        })
    }

    fn limited(&self, after: Option<Duration>) -> Later<'_, ()> {
        self.0.limited(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_differ_by_an_id_are_one() {
        assert_eq!(without_ids("/v1/transfers"), "/v1/transfers");
        assert_eq!(without_ids("/v1/accounts/acct_1Abc/capabilities"), "/v1/accounts/{id}/capabilities");
        assert_eq!(without_ids("/v1/checkout/sessions/cs_test_a1/expire"), "/v1/checkout/sessions/{id}/expire");
        assert_eq!(without_ids("/v1/billing_portal/sessions"), "/v1/billing_portal/sessions");
    }
}
