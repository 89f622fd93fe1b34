//! The only file of the sandbox that reads a clock. Its own time is [`World::now`](crate::world::World), which may be ahead.

/// Real time in seconds.
#[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
pub(super) fn now() -> i64 {
    chrono::Utc::now().timestamp()
}
