//! One connection as the others see it: what it does, and since when it has been of use.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bursar_jobs::base::clock;
use tokio::sync::Notify;

use super::Limits;

/// What has begun so recently is not closed for another: a request on its way arrives in that time.
const GRACE: Duration = Duration::from_secs(1);
/// Answers of no use after which a connection has no grace: it is nobody who was let in.
pub(super) const USELESS: u32 = 3;

/// One connection.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) id: u64,
    /// Whose limit it counts for; none where the address says nothing of the sender.
    pub(super) address: Option<IpAddr>,
    opened: Instant,
    activity: Mutex<Activity>,
    closing: Notify,
}

#[derive(Debug)]
struct Activity {
    phase: Phase,
    /// When it was opened, or when it was answered last with a success that is no probe's.
    useful_at: Instant,
    /// When the head or the body began that is arriving.
    begun_at: Option<Instant>,
    requests: u32,
    useless: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For a request.
    Waits,
    /// A body arrives.
    Reads,
    /// It is being answered, and is not closed.
    Answers,
}

/// The connection whose last useful moment is longest ago, of those that may be closed.
pub(super) fn idlest<'a>(
    seats: impl Iterator<Item = &'a Arc<Seat>>,
    among: impl Fn(&Seat) -> bool,
) -> Option<Arc<Seat>> {
    let now = clock::monotonic();
    let candidates = seats.filter(|seat| among(seat)).filter_map(|seat| Some((seat.last_sign()?, seat)));
    let (last, seat) = candidates.min_by_key(|(last, seat)| (*last, seat.id))?;
    (now.duration_since(last) >= GRACE).then(|| Arc::clone(seat))
}

impl Seat {
    pub(super) fn new(id: u64, address: Option<IpAddr>) -> Self {
        let now = clock::monotonic();
        let activity = Activity { phase: Phase::Waits, useful_at: now, begun_at: None, requests: 0, useless: 0 };
        Self { id, address, opened: now, activity: Mutex::new(activity), closing: Notify::new() }
    }

    /// Bytes arrived; of a new request, if its connection waited for one.
    pub fn received(&self) {
        let mut activity = self.activity();
        if activity.phase == Phase::Waits && activity.begun_at.is_none() {
            activity.begun_at = Some(clock::monotonic());
        }
    }

    /// A request's head is here.
    pub fn begin(&self) {
        let mut activity = self.activity();
        activity.phase = Phase::Answers;
        activity.requests = activity.requests.saturating_add(1);
    }

    /// Its body begins to arrive.
    pub fn read(&self) {
        let mut activity = self.activity();
        (activity.phase, activity.begun_at) = (Phase::Reads, Some(clock::monotonic()));
    }

    /// Its body is here, or is waited for no more.
    pub fn has_read(&self) {
        self.activity().phase = Phase::Answers;
    }

    /// It was answered.
    pub fn end(&self, is_useful: bool) {
        let mut activity = self.activity();
        (activity.phase, activity.begun_at) = (Phase::Waits, None);
        if is_useful {
            (activity.useful_at, activity.useless) = (clock::monotonic(), 0);
        } else {
            activity.useless = activity.useless.saturating_add(1);
        }
    }

    /// Whether its next answer is its last.
    pub fn is_spent(&self, limits: &Limits) -> bool {
        self.activity().requests >= limits.requests || clock::monotonic().duration_since(self.opened) >= limits.age
    }

    /// Closes it for another connection.
    pub(super) fn close(&self) {
        self.closing.notify_one();
    }

    /// Waits until it is closed for another connection.
    pub async fn closing(&self) {
        self.closing.notified().await;
    }

    /// By when it was of use last; none while it may not be closed.
    fn last_sign(&self) -> Option<Instant> {
        let activity = self.activity();
        match activity.phase {
            Phase::Answers => None,
            Phase::Waits | Phase::Reads if activity.useless < USELESS => {
                Some(activity.begun_at.unwrap_or(activity.useful_at))
            }
            Phase::Waits | Phase::Reads => Some(activity.useful_at),
        }
    }

    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        self.activity().useful_at -= by;
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
