//! The sandbox's whole state. It knows nobody who answers: what a request does to it, `dispatch` says. No I/O: the same requests at
//! the same times and the same seed give the same answers.

use std::collections::VecDeque;

use super::{
    chaos::Chaos,
    deliveries::{Deliveries, Delivery},
    event_faults::EventFaults,
    failure::Failure,
    faults::Faults,
    idempotency::{Key, Keys},
    listen::Sessions,
    money::Money,
    plans::{Awaited, Plans},
    requests::Requests,
    setup::Setup,
    store::{Ids, Store},
    turns::Turns,
};

/// The state.
#[derive(Debug)]
pub struct World {
    pub(super) seed: u64,
    pub(super) ids: Ids,
    pub(super) store: Store,
    pub(super) money: Money,
    pub(super) faults: Faults,
    pub(super) chaos: Chaos,
    pub(super) keys: Keys,
    pub(super) requests: Requests,
    pub(super) plans: Plans,
    pub(super) awaited: Awaited,
    pub(super) deliveries: Deliveries,
    pub(super) sessions: Sessions,
    pub(super) event_faults: EventFaults,
    pub(super) turns: Turns,
    pub(super) setup: Setup,
    /// What deliveries are to be seen to.
    pub(super) outbox: VecDeque<Delivery>,
    /// Where it is reached, for the links it hands out.
    pub(super) url: String,
    /// Seconds that this sandbox's clock is ahead.
    pub(super) ahead: i64,
    /// The sandbox's time in seconds, as of this request.
    pub(super) now: i64,
    /// The time of its own clock, also while a test clock's is the present: banks know no test clock.
    pub(super) own: i64,
    /// The request that is answered; events name it.
    pub(super) request_id: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) api_key: Option<String>,
    /// Others than this machine are meant to reach it.
    pub(super) is_public: bool,
    pub(super) executed: bool,
    pub(super) injected: Option<Failure>,
}

impl World {
    /// A new one. Any test key is let in when `api_key` is none; `balance` is what each known currency starts with.
    pub fn new(url: String, api_key: Option<String>, seed: u64, balance: i64) -> Self {
        Self {
            seed,
            ids: Ids::new(seed),
            store: Store::default(),
            money: Money::new(balance),
            faults: Faults::default(),
            chaos: Chaos::new(0.0, seed),
            keys: Keys::default(),
            requests: Requests::default(),
            plans: Plans::default(),
            awaited: Awaited::default(),
            deliveries: Deliveries::default(),
            sessions: Sessions::default(),
            event_faults: EventFaults::default(),
            turns: Turns::default(),
            setup: Setup::default(),
            outbox: VecDeque::new(),
            url,
            ahead: 0,
            now: 0,
            own: 0,
            request_id: String::new(),
            idempotency_key: None,
            api_key,
            is_public: false,
            executed: false,
            injected: None,
        }
    }

    /// A late answer has been given, or can no longer be: its key is not in flight any more.
    pub fn land(&mut self, key: &Key) {
        self.keys.land(key);
    }

    /// What is to be delivered since it was last asked.
    pub fn take_outbox(&mut self) -> Vec<Delivery> {
        self.outbox.drain(..).collect()
    }

    /// Validation ends here: what goes wrong from now on is saved under the key. Every route that changes something calls it
    /// before it changes anything.
    pub(super) fn execute(&mut self) -> Result<(), Failure> {
        self.executed = true;
        self.injected.take().map_or(Ok(()), Err)
    }
}
