//! Faults that nobody asked for one by one: each request meets one with a probability, drawn from a seed.
//!
//! What a request draws depends on the seed, on what it asks for and on how often that was asked before ([`turns`]), and on
//! nothing else: neither on the clock nor on who else asks meanwhile. The same key meets at most [`IN_A_ROW`] in a row, so that a client
//! which repeats itself correctly comes to an end; a saved 500 is an end too.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    event_faults::{self, EventFault},
    failure::Failure,
    faults::{Fault, Kind},
    idempotency::Key,
    message::Request,
    turns::{self, Dice, Turns},
};

/// How many faults one key meets in a row, at most; without a key, one request that is repeated.
const IN_A_ROW: u32 = 5;
/// Milliseconds of a slow answer, and of an event that is late.
const SLOW_MS: (u64, u64) = (50, 500);

/// Each kind with its weight: what loses an answer is what costs money, and what a client cannot get past is rare.
const KINDS: &[(Kind, u64)] = &[
    (Kind::LoseAnswer, 4),
    (Kind::Slow, 3),
    (Kind::ResetBefore, 3),
    (Kind::ResetAfter, 3),
    (Kind::Unsaved500, 3),
    (Kind::Conflict409, 3),
    (Kind::Limit429, 3),
    (Kind::LockTimeout, 2),
    (Kind::Html502, 3),
    (Kind::Garbage200, 1),
    (Kind::Truncated200, 2),
    (Kind::Saved500, 1),
    (Kind::ShouldRetryFalse500, 1),
    (Kind::ShouldRetryTrue500, 1),
    (Kind::BalanceInsufficient, 2),
    (Kind::CapabilityInactive, 2),
];

/// Whether there is any, and what it has done.
#[derive(Debug, Default)]
pub(super) struct Chaos {
    rate: f64,
    seed: u64,
    turns: Turns,
    /// Faults in a row, by key.
    streaks: HashMap<u64, u32>,
    happened: u64,
}

/// As it is turned on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    rate: f64,
    seed: Option<u64>,
}

impl Chaos {
    pub fn new(rate: f64, seed: u64) -> Self {
        Self { rate, seed, ..Self::default() }
    }

    /// Begins anew, so that the same requests from now on meet the same.
    pub fn turn_on(&mut self, wanted: &Wanted, seed: u64) -> Result<(), Failure> {
        if !is_rate(wanted.rate) {
            return Err(Failure::invalid("rate is a probability, between 0 and 1.").param("rate"));
        }
        *self = Self::new(wanted.rate, wanted.seed.unwrap_or(seed));
        Ok(())
    }

    pub fn turn_off(&mut self) {
        self.rate = 0.0;
    }

    /// For the admin.
    pub fn shown(&self) -> Value {
        json!({ "rate": self.rate, "seed": self.seed, "happened": self.happened })
    }

    /// What a request is to meet, if anything. A route is known by its name.
    pub fn draw(&mut self, route: &str, request: &Request, key: Option<&Key>) -> Option<Fault> {
        if self.rate <= 0.0 {
            return None;
        }
        let identity = turns::identity(request);
        let mut dice = self.dice("request", identity);
        let is_due = dice.chance(self.rate);
        let spared = self.streaks.get(&repeated(request, key)).is_some_and(|streak| *streak >= IN_A_ROW);
        (is_due && !spared).then(|| fault(&mut dice, route, key.is_some()))
    }

    /// Counts what one key has met in a row.
    pub fn met(&mut self, request: &Request, key: Option<&Key>, fault: bool) {
        if self.rate <= 0.0 {
            return;
        }
        let streak = self.streaks.entry(repeated(request, key)).or_default();
        *streak = if fault { *streak + 1 } else { 0 };
        self.happened += u64::from(fault);
    }

    /// What is to go wrong with the delivery of an event, by its type and the id of its object.
    pub fn draw_event(&mut self, kind: &str, object: &str) -> Option<EventFault> {
        if self.rate <= 0.0 {
            return None;
        }
        let mut dice = self.dice("event", turns::hash([kind, object]));
        dice.chance(self.rate).then(|| {
            // None is lost: nothing of ours could know of it in time, and a run must come to its end.
            let (fault, ms) = match dice.below(4) {
                0 => (event_faults::Kind::Late, Some(slow(&mut dice))),
                1 => (event_faults::Kind::Duplicate, None),
                2 => (event_faults::Kind::Twin, None),
                _ => (event_faults::Kind::OutOfOrder, Some(slow(&mut dice))),
            };
            EventFault { fault, kind: kind.to_owned(), times: 1, ms }
        })
    }

    fn dice(&mut self, what: &str, identity: u64) -> Dice {
        let turn = self.turns.count(identity);
        Dice(turns::hash([what, &self.seed.to_string(), &identity.to_string(), &turn.to_string()]))
    }
}

/// Whether it is a probability.
pub(super) fn is_rate(rate: f64) -> bool {
    (0.0..=1.0).contains(&rate)
}

/// What a client repeats: its key, or where it has none the request itself.
fn repeated(request: &Request, key: Option<&Key>) -> u64 {
    key.map_or_else(|| turns::identity(request), |key| turns::hash([key.scope.as_str(), &key.text]))
}

fn fault(dice: &mut Dice, route: &str, keyed: bool) -> Fault {
    let fitting: Vec<_> = KINDS.iter().filter(|(kind, _)| fits(*kind, route, keyed)).collect();
    let mut left = dice.below(fitting.iter().map(|(_, weight)| weight).sum());
    let drawn = fitting.iter().find(|(_, weight)| {
        let here = left < *weight;
        left = left.saturating_sub(*weight);
        here
    });
    let mut fault = Fault::of(drawn.map_or(Kind::LoseAnswer, |(kind, _)| *kind));
    match fault.kind {
        Kind::Slow => fault.ms = Some(slow(dice)),
        Kind::Limit429 => fault.retry_after = dice.coin().then_some(1),
        _ if fault.default_applied().is_some() => fault.applied = Some(dice.coin()),
        _ => {}
    }
    fault
}

/// Whether Stripe could answer this request so.
fn fits(kind: Kind, route: &str, keyed: bool) -> bool {
    match kind {
        Kind::BalanceInsufficient | Kind::CapabilityInactive | Kind::DestinationGone => route == "POST /v1/transfers",
        // A key is in use, or keeps an answer, only where there is one.
        Kind::Conflict409 | Kind::Saved500 | Kind::ShouldRetryFalse500 | Kind::ShouldRetryTrue500 => keyed,
        Kind::LockTimeout => !route.starts_with("GET "),
        Kind::LoseAnswer
        | Kind::Slow
        | Kind::ResetBefore
        | Kind::ResetAfter
        | Kind::Unsaved500
        | Kind::Limit429
        | Kind::Html502
        | Kind::Garbage200
        | Kind::Truncated200 => true,
    }
}

fn slow(dice: &mut Dice) -> u64 {
    SLOW_MS.0 + dice.below(SLOW_MS.1 - SLOW_MS.0)
}
