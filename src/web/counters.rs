//! What became of the requests that carried events, counted since the process started: for its last line, and for whoever scrapes it.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bursar_jobs::inbox::Received;

use crate::{
    http::throttle::Throttle,
    telemetry::counts::{Refused, WEB},
};

/// At most one line about refused signatures in this time.
const QUIET: Duration = Duration::from_secs(1);

/// The counts.
#[derive(Debug)]
pub(super) struct Counters {
    received: AtomicU64,
    duplicate: AtomicU64,
    rejected: AtomicU64,
    unavailable: AtomicU64,
    refusals: Throttle,
}

impl Counters {
    pub fn new() -> Self {
        let zero = AtomicU64::default;
        Self {
            received: zero(),
            duplicate: zero(),
            rejected: zero(),
            unavailable: zero(),
            refusals: Throttle::new(QUIET),
        }
    }

    pub fn stored(&self, source: &str, kind: &str, received: Received) {
        match received {
            Received::New => {
                self.received.fetch_add(1, Relaxed);
                WEB.received(source, kind);
            }
            Received::Duplicate => {
                self.duplicate.fetch_add(1, Relaxed);
                WEB.duplicate(source);
            }
            Received::Conflict => self.rejected(source, Refused::Conflict),
        }
    }

    pub fn rejected(&self, source: &str, why: Refused) {
        self.rejected.fetch_add(1, Relaxed);
        WEB.rejected(source, why);
    }

    pub fn unavailable(&self, source: &str) {
        self.unavailable.fetch_add(1, Relaxed);
        WEB.unavailable(source);
    }

    /// Counts a refusal; when a line about it is due, how many went unsaid before it.
    pub fn rejected_and_due(&self, source: &str) -> Option<u64> {
        self.rejected(source, Refused::Signature);
        self.refusals.due()
    }

    pub fn log(&self) {
        let of = |count: &AtomicU64| count.load(Relaxed);
        tracing::info!(
            received = of(&self.received),
            duplicate = of(&self.duplicate),
            rejected = of(&self.rejected),
            unavailable = of(&self.unavailable),
            "web has stopped"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_is_said_and_those_right_behind_it_are_counted() {
        let counters = Counters::new();
        assert_eq!(counters.rejected_and_due("stripe"), Some(0));
        assert_eq!(counters.rejected_and_due("stripe"), None);
        assert_eq!(counters.rejected.load(Relaxed), 2);
    }
}
