//! The only file that reads a clock. The sandbox stands apart, and has one of its own.
//!
//! *Real time* judges leases and the age of signatures: it is never moved. *Business time* judges everything else: periods, waits,
//! when a job is ready, the age of idempotency keys. It is the database's ([`business`]), so that all processes and SQL agree on it,
//! and differs from real time only where the database lets it be moved: in one that has worked with a sandbox and nothing else.
//! Leases in the database are judged by its own `clock_timestamp()`.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

/// Real time, as a calendar instant: the age of a signature, a line in a log.
#[expect(clippy::disallowed_methods, reason = "this file is where the clocks are read")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Business time. A job has that of its attempt already, in [`Claimed::claimed_at`](crate::engine::job::Claimed::claimed_at).
pub async fn business(db: impl PgExecutor<'_>) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT bursar.now() AS "now!""#).fetch_one(db).await
}

/// Real time that never goes backwards, for measuring how long something took inside one process.
/// It may stand still while the machine is suspended; see [`awake_and_asleep`] for leases.
#[expect(clippy::disallowed_methods, reason = "this file is where the clocks are read")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Time since boot, counting the time the machine was suspended: what a lease must be measured by.
/// A process that was stopped, or a laptop that was closed, sees a gap here.
#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "never negative, nanoseconds under 10^9")]
pub fn awake_and_asleep() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    nix::time::clock_gettime(clock).map_or(Duration::ZERO, |t| Duration::new(t.tv_sec() as u64, t.tv_nsec() as u32))
}
