//! What decides, and what is told of what happened.

use bursar_jobs::{
    engine::call::machine::{self, Begin, Beginning, Do, Heard, Matter},
    payouts::state::{self, Act, Seen, State},
};

/// The decisions of production, which a mutation replaces one by one.
#[derive(Clone, Copy)]
pub struct Rules {
    pub begin: fn(Option<Matter>, Beginning) -> (Option<Matter>, Begin),
    pub hear: fn(Matter, i32, Heard) -> (Matter, Do),
    pub turn: fn(State, Seen) -> (State, Act),
    /// The driver commits the intent before the request leaves.
    pub commits_first: bool,
    /// The driver looks at the lease before the request leaves.
    pub minds_lease: bool,
    /// The database refuses the settlement of an attempt that is not the job's any more.
    pub fences: bool,
}

pub const PRODUCTION: Rules = Rules {
    begin: machine::begin,
    hear: machine::hear,
    turn: state::turn,
    commits_first: true,
    minds_lease: true,
    fences: true,
};

/// What happened. `helps`: it is what a world does that means well, by which every payout must still come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub what: &'static str,
    pub generation: i32,
    pub helps: bool,
}

pub const fn well(what: &'static str) -> Label {
    Label { what, generation: 0, helps: true }
}

pub const fn ill(what: &'static str) -> Label {
    Label { what, generation: 0, helps: false }
}
