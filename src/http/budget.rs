//! The memory that the bodies of all requests share.
//!
//! Every body has its first block for free, so that an ordinary event arrives whatever others send; what is larger is paid from one budget.
//! Where that is used up, the slowest body of all is given up for the newest, and nobody holds more than a share.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bursar_jobs::base::clock;
use tokio::sync::Notify;

/// Bytes of a body that cost nothing. Nearly every event of Stripe's is smaller.
pub(super) const BLOCK: usize = 8 << 10;
/// A body that is still arriving after this long is given up for another where there is no room.
const SLOW: Duration = Duration::from_secs(1);
/// How long a body waits for room.
const WAIT: Duration = Duration::from_secs(2);
/// One address has at most this part of it.
const SHARE: usize = 4;

/// What all bodies of a server may hold together.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Bodies that are still arriving, the oldest first.
    arriving: BTreeMap<u64, Arriving>,
    next: u64,
}

#[derive(Debug)]
struct Arriving {
    since: Instant,
    bytes: usize,
    cut: Arc<Notify>,
}

/// Why there is no room for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// All of it is used.
    Budget,
    /// The sender's address has its share.
    Share,
    /// It arrived slowly, and was given up for another.
    Slow,
}

/// What one body holds of it, until it is dropped.
#[derive(Debug)]
pub(super) struct Portion {
    budget: Arc<Budget>,
    id: u64,
    /// Whose share it is of; none where the address says nothing of the sender.
    address: Option<IpAddr>,
    bytes: usize,
    cut: Arc<Notify>,
}

impl Budget {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, state: Mutex::default(), freed: Notify::new() })
    }

    /// A body begins to arrive.
    pub fn begin(self: &Arc<Self>, address: Option<IpAddr>) -> Portion {
        let cut = Arc::new(Notify::new());
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.arriving.insert(id, Arriving { since: clock::monotonic(), bytes: 0, cut: Arc::clone(&cut) });
        drop(state);
        Portion { budget: Arc::clone(self), id, address, bytes: 0, cut }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes, if there is room; else gives up a slow body, so that there will be.
    fn take(&self, portion: &mut Portion, bytes: usize) -> Result<(), NoRoom> {
        let mut state = self.lock();
        if let Some(address) = portion.address {
            let has = state.by_address.get(&address).copied().unwrap_or_default();
            if has + bytes > self.bytes / SHARE {
                return Err(NoRoom::Share);
            }
        }
        if state.used + bytes > self.bytes {
            let slow = state.arriving.iter().find(|(id, one)| {
                **id != portion.id && one.bytes > 0 && clock::monotonic().duration_since(one.since) >= SLOW
            });
            if let Some((id, cut)) = slow.map(|(id, one)| (*id, Arc::clone(&one.cut))) {
                state.arriving.remove(&id);
                cut.notify_one();
            }
            return Err(NoRoom::Budget);
        }
        state.used += bytes;
        if let Some(address) = portion.address {
            *state.by_address.entry(address).or_default() += bytes;
        }
        portion.bytes += bytes;
        if let Some(one) = state.arriving.get_mut(&portion.id) {
            one.bytes = portion.bytes;
        }
        Ok(())
    }
}

impl Portion {
    /// Takes one more block, and waits a little for it.
    pub async fn grow(&mut self) -> Result<(), NoRoom> {
        let budget = Arc::clone(&self.budget);
        let deadline = clock::monotonic() + WAIT;
        loop {
            let freed = budget.freed.notified();
            match budget.take(self, BLOCK) {
                Err(NoRoom::Budget) if clock::monotonic() < deadline => {}
                done => return done,
            }
            let turn = SLOW / 10;
            tokio::select! {
                () = self.cut.notified() => return Err(NoRoom::Slow),
                // Either way it is looked at again: a body may have become slow meanwhile.
                _ = tokio::time::timeout(turn, freed) => {}
            }
        }
    }

    /// Says when this body is given up for another.
    pub fn cut_by(&self) -> Arc<Notify> {
        Arc::clone(&self.cut)
    }

    /// The body is here: it is not given up any more.
    pub fn arrived(&self) {
        self.budget.lock().arriving.remove(&self.id);
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.arriving.remove(&self.id);
        state.used -= self.bytes;
        if let Some(address) = self.address
            && let Some(has) = state.by_address.get_mut(&address)
        {
            *has -= self.bytes;
            if *has == 0 {
                state.by_address.remove(&address);
            }
        }
        drop(state);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_slowest_body_is_given_up_for_the_newest_and_nobody_has_more_than_a_share() {
        let budget = Budget::new(8 * BLOCK);
        let (one, other) = (IpAddr::from([203, 0, 113, 1]), IpAddr::from([203, 0, 113, 2]));
        let mut a = budget.begin(Some(one));
        a.grow().await.unwrap();
        a.grow().await.unwrap();
        assert_eq!(a.grow().await, Err(NoRoom::Share));
        let mut b = budget.begin(Some(one));
        assert_eq!(b.grow().await, Err(NoRoom::Share), "all bodies of an address together");
        let mut c = budget.begin(Some(other));
        c.grow().await.unwrap();

        // Who says nothing of the sender has no share, and takes the rest.
        let mut rest = budget.begin(None);
        for _ in 0..5 {
            rest.grow().await.unwrap();
        }
        a.arrived();
        let mut newest = budget.begin(None);
        let waits = tokio::spawn(async move {
            newest.grow().await.unwrap();
            newest
        });
        c.cut_by().notified().await;
        drop(c);
        drop(waits.await.unwrap());
        assert_eq!(budget.lock().used, 7 * BLOCK);
        drop((a, b, rest));
        let state = budget.lock();
        assert_eq!((state.used, state.by_address.len(), state.arriving.len()), (0, 0, 0));
    }
}
