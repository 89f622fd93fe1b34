//! How long to wait before the next try.

use std::time::Duration;

/// The first wait is at most this.
const BASE: Duration = Duration::from_secs(1);
/// No wait is longer, unless the other side asks for it.
const CAP: Duration = Duration::from_mins(10);
/// No wait is shorter: a job that fails in a millisecond must not spin.
pub(crate) const FLOOR: Duration = Duration::from_millis(100);
/// The first look again at a missing fact.
const SNOOZE_BASE: Duration = Duration::from_secs(2);
/// The rarest look: whoever establishes the fact wakes the job, this is the fallback.
const SNOOZE_CAP: Duration = Duration::from_mins(30);

/// The first look again at a lock.
const LOCK_BASE: Duration = Duration::from_millis(250);
/// The rarest look: nobody says when a lock is gone.
const LOCK_CAP: Duration = Duration::from_mins(1);

/// The wait after a given attempt (from 1): exponential with full jitter (`jitter` in 0..1), so that jobs which went wrong together
/// do not come back together. What the other side asked for (`Retry-After`) is never undercut.
pub fn retry(attempt: i32, asked: Option<Duration>, jitter: f64) -> Duration {
    let doublings = attempt.clamp(1, 20).unsigned_abs() - 1;
    let ceiling = BASE.saturating_mul(1 << doublings).min(CAP);
    let wait = ceiling.mul_f64(jitter.clamp(0.0, 1.0)).max(FLOOR);
    asked.map_or(wait, |asked| asked.saturating_add(wait.min(BASE)))
}

/// The wait of a job that has been waiting for a fact for `age`: half of that again, within bounds.
pub fn snooze(age: Duration) -> Duration {
    (age / 2).clamp(SNOOZE_BASE, SNOOZE_CAP)
}

/// The wait of a job that another transaction's lock held up `times` before: it doubles up to a minute. The lower half of it is certain, so
/// that nobody spins.
pub fn lock(times: u32, jitter: f64) -> Duration {
    let ceiling = LOCK_BASE.saturating_mul(1 << times.min(10)).min(LOCK_CAP);
    ceiling.mul_f64(f64::midpoint(1.0, jitter.clamp(0.0, 1.0)))
}

/// A random number in 0..1.
pub fn jitter() -> f64 {
    rand::random()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How long the attempts of a job are spread over, on average.
    fn patience(attempts: i32) -> Duration {
        (1..attempts).map(|attempt| retry(attempt, None, 0.5)).sum()
    }

    #[test]
    fn a_call_outlasts_four_hours_and_a_pure_job_some_minutes() {
        assert!(patience(crate::engine::kind::PAY_RECEIVER.max_attempts) > Duration::from_hours(4));
        let pure = patience(crate::engine::kind::GRANT_PURCHASE.max_attempts);
        assert!(pure > Duration::from_mins(4) && pure < Duration::from_mins(5), "{pure:?}");
    }

    proptest! {
        #[test]
        fn a_wait_is_bounded_and_grows_with_the_attempt(attempt in 1i32..1000, jitter in 0.0f64..1.0) {
            let wait = retry(attempt, None, jitter);
            prop_assert!(wait >= FLOOR && wait <= CAP);
            prop_assert!(wait <= retry(attempt + 1, None, jitter));
        }

        #[test]
        fn what_was_asked_for_is_never_undercut(attempt in 1i32..1000, asked in 0u64..100_000, jitter in 0.0f64..1.0) {
            let asked = Duration::from_secs(asked);
            let wait = retry(attempt, Some(asked), jitter);
            prop_assert!(wait >= asked && wait <= asked + BASE);
        }

        #[test]
        fn a_lock_is_looked_at_again_within_bounds(times in 0u32..10_000, jitter in 0.0f64..1.0) {
            let wait = lock(times, jitter);
            prop_assert!(wait >= LOCK_BASE / 2 && wait <= LOCK_CAP);
            prop_assert!(wait <= lock(times + 1, 1.0));
        }

        #[test]
        fn a_snooze_looks_again_within_bounds(age in 0u64..10_000_000) {
            let wait = snooze(Duration::from_secs(age));
            prop_assert!(wait >= SNOOZE_BASE && wait <= SNOOZE_CAP);
        }
    }
}
