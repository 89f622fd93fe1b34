//! The machine of a matter: what is known of it, what is seen, and what is done about it.
//!
//! Pure functions, without clock, database or network: the driver ([`engine`](super)) reads the state under a lock, writes the next one, and
//! does as told. The check of every interleaving (`jobs/tests/payout_model.rs`) runs these very functions.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> open: an attempt begins: generation 1, sent if the matter is young, else looked for first
//!     open --> open: not now (401, 409, 429), or refused without being saved
//!     open --> unknown: no answer, a 5xx, one that cannot be read, or an earlier attempt that left no answer
//!     unknown --> unknown: the same; or refused without being saved, for an earlier request may have been executed
//!     unknown --> open: a look found nothing, no 5xx is saved, and no other request is under way: sent in the same attempt
//!     unknown --> rejected: a 5xx is saved, an operator says so, and one more look found nothing
//!     open --> rejected: refused, and the refusal is saved under the key
//!     unknown --> rejected: the same
//!     open --> succeeded: made, or found
//!     unknown --> succeeded: made, or found
//!     rejected --> open: the next generation, once no request of the old one can still be executed
//!     open --> open: the next generation, where all was refused, nothing saved, and the bytes are others since: after an hour, and a look
//! ```
//!
//! Two things are never trusted. A key that is not young may be forgotten at any moment: so each send under it follows a look in the same
//! attempt, and what it has saved keeps nothing out. And a request whose answer was not seen may be executed late, within an
//! hour: so a refusal that was not saved decides nothing while there is one.

/// Looks after a saved 5xx before an operator must decide, spaced by a minute, two, four and eight.
pub const MOST_LOOKS: i32 = 4;

/// How the newest generation of a matter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the columns of an intent: each can be so or not, whatever the others are"
)]
pub struct Matter {
    /// From 1; raised only where no request of the one before can still be executed.
    pub generation: i32,
    /// Its state.
    pub state: State,
    /// Whether Stripe surely still keeps what it saved under the key: the clock's word, which no answer changes.
    pub young: bool,
    /// What came asks for a look before anything is sent again.
    pub look_first: bool,
    /// Whether Stripe replays a 5xx under the key.
    pub saved_failure: bool,
    /// Rejections that were not seen to be saved.
    pub refusals: i32,
    /// Looks behind a saved 5xx that found nothing.
    pub looks: i32,
    /// An operator wants the next generation, if one more look finds nothing.
    pub raise_after_look: bool,
}

/// The state of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Nothing came of it as far as is known.
    Open,
    /// It may have had its effect.
    Unknown,
    /// It had its effect.
    Succeeded,
    /// It never will.
    Rejected,
}

impl State {
    /// As the database keeps it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
            Self::Rejected => "rejected",
        }
    }

    /// Reads it.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Open, Self::Unknown, Self::Succeeded, Self::Rejected].into_iter().find(|state| state.name() == name)
    }
}

/// What is seen when an attempt begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is seen apart from the others")]
pub struct Beginning {
    /// The matter itself is younger than a key lives: nobody can have used a key for it that is forgotten by now.
    pub young: bool,
    /// The bytes are those of the newest generation.
    pub same: bool,
    /// A request of the newest generation was to leave, and no answer to it was seen.
    pub lost: bool,
    /// Nothing has changed about the newest generation for an hour: no request of it is under way any more.
    pub rested: bool,
}

/// What an attempt begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Begin {
    /// Commit the state, then let the bytes out under its generation.
    Send,
    /// Commit the state, then look.
    Look,
    /// A request of the refused generation may still be under way, and its key may be forgotten: wait until it cannot be.
    Wait,
    /// It had its effect, and the job does not know: for an operator.
    Had,
    /// The bytes are others than those that went under the key: for an operator.
    Changed,
}

/// An attempt begins.
pub const fn begin(newest: Option<Matter>, seen: Beginning) -> (Option<Matter>, Begin) {
    let Some(matter) = newest else { return first(1, seen.young) };
    match matter.state {
        State::Succeeded => (newest, Begin::Had),
        // Late requests meet the saved refusal while the key is young; later there are none.
        State::Rejected if matter.young || seen.rested => first(matter.generation + 1, seen.young),
        State::Rejected => (newest, Begin::Wait),
        // Each request of it was answered by a refusal that nothing keeps. Other bytes do not go under its key, for it may be kept after all;
        // they go under the next, after a look, once no request of it is under way.
        State::Open if !seen.same && !seen.lost && matter.refusals > 0 => {
            if seen.rested {
                first(matter.generation + 1, false)
            } else {
                (newest, Begin::Wait)
            }
        }
        State::Open | State::Unknown if !seen.same => (newest, Begin::Changed),
        State::Open | State::Unknown => {
            let state = if seen.lost { State::Unknown } else { matter.state };
            let begin =
                if matter.saved_failure || matter.look_first || !matter.young { Begin::Look } else { Begin::Send };
            (Some(Matter { state, ..matter }), begin)
        }
    }
}

const fn first(generation: i32, young: bool) -> (Option<Matter>, Begin) {
    let matter = Matter {
        generation,
        state: State::Open,
        young,
        look_first: false,
        saved_failure: false,
        refusals: 0,
        looks: 0,
        raise_after_look: false,
    };
    (Some(matter), if young { Begin::Send } else { Begin::Look })
}

/// What came back, as far as it is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heard {
    /// The effect is there, made now, before, or found by a look.
    Made,
    /// Something is there under our name that is not what would have been sent.
    Unlike,
    /// It was done, says the answer, which cannot be read.
    Unreadable,
    /// Refused.
    Refused {
        /// The refusal was replayed, so it is saved under the key.
        saved: bool,
    },
    /// No answer, or a 5xx that may not be saved.
    Lost,
    /// The same, and what came asks for a look before anything is sent again.
    LookFirst,
    /// A 5xx that is saved under the key: sending again tells nothing.
    SavedFailure,
    /// Stripe says that the key was used with other bytes.
    Misused,
    /// It was not executed now: 401, 409, 429. An earlier one may have been.
    NotNow,
    /// It did not leave: a fault of ours.
    NotSent,
    /// A look found nothing.
    Nothing {
        /// The matter has changed since the look began: it tells of another state.
        moved: bool,
        /// A request of the last hour, to which nothing certain came back, may still be executed, after the look.
        under_way: bool,
    },
    /// A look that came to nothing itself.
    NotLooked,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Do {
    /// Nothing: another job has brought the matter to its end, or to the next generation.
    Overtaken,
    /// The job books the effect.
    Book,
    /// The job says what the refusal means.
    Refuse {
        /// Whether the next generation may come of it.
        saved: bool,
    },
    /// The same again later: nothing is known that was not.
    Retry,
    /// It is not known: say so, and find out later.
    Unsure,
    /// It is not known, and will not become known by itself: say so, and leave it to an operator.
    Stop,
    /// It did not leave, and would not the next time.
    Dead,
    /// Look again after this many minutes.
    LookAgain(u32),
    /// Let the same bytes out now, in this attempt: what was looked at stays true no longer than its lease.
    Send,
    /// The next attempt begins the next generation.
    Raise,
}

/// An answer comes to what left under `generation`, or a look made for it.
pub const fn hear(matter: Matter, generation: i32, heard: Heard) -> (Matter, Do) {
    if generation != matter.generation || matches!(matter.state, State::Succeeded | State::Rejected) {
        return (matter, Do::Overtaken);
    }
    let rejected = Matter { state: State::Rejected, saved_failure: false, ..matter };
    let unknown = Matter { state: State::Unknown, ..matter };
    let look_first = Matter { look_first: true, ..unknown };
    match heard {
        Heard::Made => (Matter { state: State::Succeeded, saved_failure: false, ..matter }, Do::Book),
        Heard::Unlike | Heard::Misused => (unknown, Do::Stop),
        Heard::Unreadable | Heard::LookFirst => (look_first, Do::Unsure),
        Heard::Refused { saved: true } => (rejected, Do::Refuse { saved: true }),
        // This one was refused before it was executed; an earlier one may have been executed all the same.
        Heard::Refused { saved: false } => match matter.state {
            State::Unknown => (look_first, Do::Retry),
            State::Open | State::Succeeded | State::Rejected => {
                (Matter { refusals: matter.refusals + 1, ..matter }, Do::Refuse { saved: false })
            }
        },
        Heard::Lost => (unknown, Do::Unsure),
        Heard::SavedFailure => (Matter { saved_failure: true, ..unknown }, Do::Unsure),
        Heard::NotNow | Heard::NotLooked | Heard::Nothing { moved: true, .. } => (matter, Do::Retry),
        Heard::NotSent => (matter, Do::Dead),
        Heard::Nothing { moved: false, under_way } if !matter.saved_failure => {
            let state = if under_way { State::Unknown } else { State::Open };
            (Matter { state, look_first: false, looks: 0, ..matter }, Do::Send)
        }
        Heard::Nothing { moved: false, .. } if matter.raise_after_look => (rejected, Do::Raise),
        Heard::Nothing { moved: false, .. } => {
            let looked = Matter { looks: matter.looks + 1, ..matter };
            if looked.looks >= MOST_LOOKS { (looked, Do::Stop) } else { (looked, Do::LookAgain(1 << matter.looks)) }
        }
    }
}

/// An operator says that a saved 5xx had no effect. None: there is none, or nobody has looked behind it yet.
pub const fn raise(matter: Matter) -> Option<Matter> {
    match matter.state {
        State::Unknown if matter.saved_failure && matter.looks > 0 => Some(Matter { raise_after_look: true, ..matter }),
        State::Open | State::Unknown | State::Succeeded | State::Rejected => None,
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
