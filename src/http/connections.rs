//! Who is connected, and who must go where there is no room.
//!
//! A connection costs a sender nothing, so that whoever keeps many open must not keep others out. Where all seats are taken, the connection
//! goes whose last useful moment is longest ago: nothing is lost with it, for its sender has no 2xx. A connection that is being answered
//! never goes. Beyond the seats there are a few for probes, so that a process which is busy is not taken for one that is dead.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bursar_jobs::base::clock;
use tokio::sync::Notify;

use super::{
    Limits,
    budget::{Budget, NoRoom},
    seat::{self, Seat},
    throttle::Throttle,
};
use crate::telemetry::counts::{self, Closed};

/// How long a request waits for a seat of its own.
const PROMOTION: Duration = Duration::from_secs(2);
/// One seat in so many is kept beside the others, for probes.
const RESERVE: usize = 8;
/// At most one line about closed connections in this time.
const QUIET: Duration = Duration::from_secs(10);

/// All connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    name: &'static str,
    limits: Limits,
    pub budget: Arc<Budget>,
    state: Mutex<State>,
    /// A seat is free again.
    freed: Notify,
    full: Throttle,
    crowded: Throttle,
    heavy: Throttle,
}

#[derive(Debug, Default)]
struct State {
    seats: HashMap<u64, Arc<Seat>>,
    reserve: HashMap<u64, Arc<Seat>>,
    by_address: HashMap<IpAddr, usize>,
    next: u64,
}

/// What became of a connection that came in.
#[derive(Debug)]
pub(super) enum Admission {
    /// It is served.
    Seated(Place),
    /// It is not: its address has as many as it may, all of them at work.
    Refused,
    /// It is not: there is no room, which was to be waited for.
    Full,
}

/// A seat that is left when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Connections>,
    pub seat: Arc<Seat>,
}

impl Connections {
    pub fn new(name: &'static str, limits: &Limits) -> Arc<Self> {
        counts::connections_limit(name, limits.connections);
        Arc::new(Self {
            name,
            limits: limits.clone(),
            budget: Budget::new(limits.bodies_bytes),
            state: Mutex::default(),
            freed: Notify::new(),
            full: Throttle::new(QUIET),
            crowded: Throttle::new(QUIET),
            heavy: Throttle::new(QUIET),
        })
    }

    /// Finds a seat for a connection, and closes another where there is none.
    pub fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Admission {
        let address = peer.and_then(|peer| self.counted(peer));
        let mut state = self.lock();
        if let Some(address) = address {
            let has = state.by_address.get(&address).copied().unwrap_or_default();
            if has >= self.limits.connections_per_address as usize {
                let own = state.idlest(|seat| seat.address == Some(address));
                self.say_crowded(address, has);
                match own {
                    Some(seat) => state.close(&seat),
                    None => return Admission::Refused,
                }
            }
        }
        let is_full = state.seats.len() >= self.limits.connections as usize;
        let idlest = if is_full { state.idlest(|_| true) } else { None };
        if let Some(seat) = &idlest {
            state.close(seat);
            self.say_full();
        }
        let is_reserved = is_full && idlest.is_none();
        if is_reserved && state.reserve.len() >= (self.limits.connections as usize).div_ceil(RESERVE) {
            let Some(seat) = state.idlest_reserved() else { return Admission::Full };
            state.close(&seat);
            self.say_full();
        }
        let id = state.next;
        state.next += 1;
        let seat = Arc::new(Seat::new(id, address));
        let seats = if is_reserved { &mut state.reserve } else { &mut state.seats };
        seats.insert(id, Arc::clone(&seat));
        if let Some(address) = address {
            *state.by_address.entry(address).or_default() += 1;
        }
        counts::connections(self.name, state.seats.len() + state.reserve.len());
        drop(state);
        Admission::Seated(Place { of: Arc::clone(self), seat })
    }

    /// Waits for a seat; none when its address has as many as it may.
    pub async fn admit_soon(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        loop {
            self.has_room().await;
            match self.admit(peer) {
                Admission::Seated(place) => return Some(place),
                Admission::Refused => return None,
                Admission::Full => {}
            }
        }
    }

    /// A seat for a connection that was accepted before the process was to stop: it is served whatever the limits are.
    pub fn last(self: &Arc<Self>) -> Place {
        Place { of: Arc::clone(self), seat: Arc::new(Seat::new(u64::MAX, None)) }
    }

    /// Waits until a connection could be seated, so that none is accepted before.
    pub async fn has_room(&self) {
        while !self.lock().has_room(&self.limits) {
            self.look_again().await;
        }
    }

    /// Waits until a seat is free, or until one may have become idle.
    async fn look_again(&self) {
        let freed = self.freed.notified();
        drop(tokio::time::timeout(Duration::from_millis(50), freed).await);
    }

    /// By what an address is counted. A network of IPv6 is one sender; a proxy that is trusted, and this machine, are many.
    pub fn counted(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        if address.is_loopback() || self.limits.proxies.hold(address) {
            return None;
        }
        Some(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(whole) => {
                let [a, b, c, d, ..] = whole.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body was refused, for there is no memory for it.
    pub fn say_heavy(&self, address: Option<IpAddr>, why: NoRoom) {
        counts::body_refused(self.name);
        if let Some(unsaid) = self.heavy.due() {
            tracing::warn!(
                server = self.name,
                address = address.map(tracing::field::display),
                ?why,
                budget = self.limits.bodies_bytes,
                unsaid,
                "a body was answered 503: bodies hold all the memory they may. Its sender will try again"
            );
        }
    }

    fn say_full(&self) {
        counts::closed(self.name, Closed::Full);
        if let Some(unsaid) = self.full.due() {
            tracing::warn!(
                server = self.name,
                most = self.limits.connections,
                unsaid,
                "all connections are taken: the idlest are closed for new ones. Raise `max_connections` if these are your senders"
            );
        }
    }

    fn say_crowded(&self, address: IpAddr, has: usize) {
        counts::closed(self.name, Closed::Address);
        if let Some(unsaid) = self.crowded.due() {
            tracing::warn!(
                server = self.name, %address, has, unsaid,
                "an address has as many connections as it may: its idlest are closed for its new ones. \
                 If it is your proxy, name it in `trusted_proxies`"
            );
        }
    }
}

impl State {
    fn has_room(&self, limits: &Limits) -> bool {
        let most = limits.connections as usize;
        self.seats.len() < most
            || self.reserve.len() < most.div_ceil(RESERVE)
            || self.idlest(|_| true).is_some()
            || self.idlest_reserved().is_some()
    }

    /// The connection whose last useful moment is longest ago, of those that may be closed.
    fn idlest(&self, among: impl Fn(&Seat) -> bool) -> Option<Arc<Seat>> {
        seat::idlest(self.seats.values(), among)
    }

    fn idlest_reserved(&self) -> Option<Arc<Seat>> {
        seat::idlest(self.reserve.values(), |_| true)
    }

    fn close(&mut self, seat: &Seat) {
        self.remove(seat);
        seat.close();
    }

    fn remove(&mut self, seat: &Seat) {
        let was_there = self.seats.remove(&seat.id).is_some() | self.reserve.remove(&seat.id).is_some();
        if let Some(address) = seat.address.filter(|_| was_there)
            && let Some(has) = self.by_address.get_mut(&address)
        {
            *has -= 1;
            if *has == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Place {
    pub fn connections(&self) -> &Arc<Connections> {
        &self.of
    }

    /// Whether this is one of the seats for probes.
    pub fn is_reserved(&self) -> bool {
        self.of.lock().reserve.contains_key(&self.seat.id)
    }

    /// Takes a seat among the others, and waits a little for it; false: in vain.
    pub async fn promote(&self) -> bool {
        let deadline = clock::monotonic() + PROMOTION;
        loop {
            if self.try_promote() {
                return true;
            }
            if clock::monotonic() >= deadline {
                counts::closed(self.of.name, Closed::Busy);
                return false;
            }
            self.of.look_again().await;
        }
    }

    fn try_promote(&self) -> bool {
        let mut state = self.of.lock();
        if state.seats.len() >= self.of.limits.connections as usize {
            let Some(seat) = state.idlest(|_| true) else { return false };
            state.close(&seat);
            self.of.say_full();
        }
        if let Some(seat) = state.reserve.remove(&self.seat.id) {
            state.seats.insert(seat.id, seat);
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.of.lock();
        state.remove(&self.seat);
        counts::connections(self.of.name, state.seats.len() + state.reserve.len());
        drop(state);
        self.of.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: u32, per_address: u32) -> Arc<Connections> {
        let limits = Limits { connections: most, connections_per_address: per_address, ..Limits::default() };
        Connections::new("test", &limits)
    }

    fn seated(all: &Arc<Connections>, peer: [u8; 4]) -> Place {
        match all.admit(Some(IpAddr::from(peer))) {
            Admission::Seated(place) => place,
            other => panic!("{other:?}"),
        }
    }

    fn age(place: &Place, seconds: u64) {
        place.seat.age(Duration::from_secs(seconds));
    }

    fn is_closed(place: &Place) -> bool {
        let state = place.of.lock();
        !state.seats.contains_key(&place.seat.id) && !state.reserve.contains_key(&place.seat.id)
    }

    #[test]
    fn the_idlest_goes_and_who_is_answered_stays() {
        let all = connections(3, 99);
        let [first, second, third] = [1, 2, 3].map(|n| seated(&all, [203, 0, 113, n]));
        age(&first, 30);
        age(&second, 20);
        age(&third, 10);
        first.seat.begin();
        let fourth = seated(&all, [203, 0, 113, 4]);
        assert!(!is_closed(&first) && is_closed(&second) && !is_closed(&third) && !fourth.is_reserved());
        // A probe's answer is of no use, a stored event's is.
        first.seat.end(false);
        third.seat.begin();
        third.seat.end(true);
        let fifth = seated(&all, [203, 0, 113, 5]);
        assert!(is_closed(&first) && !is_closed(&third) && !fifth.is_reserved());
        // All that are left have just begun: the next one is served among the few for probes, and waits for a seat.
        let sixth = seated(&all, [203, 0, 113, 6]);
        assert!(sixth.is_reserved() && !sixth.try_promote());
        assert!(matches!(all.admit(None), Admission::Full));
        drop(fifth);
        assert!(sixth.try_promote() && !sixth.is_reserved());
        drop((first, second, third, fourth, sixth));
        let state = all.lock();
        assert_eq!((state.seats.len(), state.by_address.len()), (0, 0));
    }

    #[test]
    fn a_head_on_its_way_has_grace_but_not_for_whoever_is_never_let_in() {
        let all = connections(2, 99);
        let [a, b] = [1, 2].map(|n| seated(&all, [203, 0, 113, n]));
        age(&a, 30);
        age(&b, 20);
        a.seat.received();
        let c = seated(&all, [203, 0, 113, 3]);
        assert!(!is_closed(&a) && is_closed(&b));
        for _ in 0..seat::USELESS {
            a.seat.begin();
            a.seat.end(false);
        }
        a.seat.received();
        let d = seated(&all, [203, 0, 113, 4]);
        assert!(is_closed(&a) && !is_closed(&c) && !d.is_reserved());
    }

    #[test]
    fn an_address_has_so_many_and_its_own_idlest_goes() {
        let all = connections(100, 2);
        let [a, b] = [seated(&all, [203, 0, 113, 1]), seated(&all, [203, 0, 113, 1])];
        assert!(matches!(all.admit(Some(IpAddr::from([203, 0, 113, 1]))), Admission::Refused), "both are at work");
        age(&b, 5);
        let c = seated(&all, [203, 0, 113, 1]);
        assert!(!is_closed(&a) && is_closed(&b) && !is_closed(&c));
        // Another address, this machine, and one whole network of IPv6.
        let others = [1, 2, 3].map(|_| seated(&all, [127, 0, 0, 1]));
        assert!(others.iter().all(|one| !is_closed(one)));
        let [one, other] = ["2001:db8::1", "2001:db8::2"].map(|text| all.counted(text.parse().unwrap()));
        assert!(one == other && one.is_some());
    }
}
