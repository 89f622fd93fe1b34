//! A line of the log that strangers could make as often as they like, written at most once in a while.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use bursar_jobs::base::clock;

/// Counts what happens, and says when a line about it is due.
#[derive(Debug)]
pub(crate) struct Throttle {
    every: Duration,
    started: Instant,
    /// When a line was due last, in milliseconds after `started`; 0: never.
    last: AtomicU64,
    /// What happened since, without a line.
    unsaid: AtomicU64,
}

impl Throttle {
    pub fn new(every: Duration) -> Self {
        Self { every, started: clock::monotonic(), last: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// Counts one more; when a line is due, how many went unsaid before it.
    pub fn due(&self) -> Option<u64> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let last = self.last.load(Relaxed);
        let is_quiet = last != 0 && u128::from(now.saturating_sub(last)) < self.every.as_millis();
        if is_quiet || self.last.compare_exchange(last, now, Relaxed, Relaxed).is_err() {
            self.unsaid.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.unsaid.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_those_right_behind_it_are_counted() {
        let throttle = Throttle::new(Duration::from_mins(1));
        assert_eq!((throttle.due(), throttle.due(), throttle.due()), (Some(0), None, None));
        assert_eq!(throttle.unsaid.load(Relaxed), 2);
    }
}
