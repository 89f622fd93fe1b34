//! One payout, its database, two workers, an operator and a Stripe, as small as they can be and still go wrong.
//!
//! What is assumed of the world, and nothing more: a request under way is executed within an hour or never; a key keeps what was saved under
//! it for a day; the effect of a saved 5xx shows before an operator says that there is none.

use bursar_jobs::{
    engine::call::machine::{Heard, MOST_LOOKS, Matter},
    payouts::state::{Refusal, State},
};

/// Generations that are followed. A state that would need one more is not looked behind.
pub const GENERATIONS: usize = 3;

/// What must never be.
pub const TWICE: &str = "two Transfers exist";
pub const UNPAID: &str = "the books say paid, and no Transfer exists";
pub const BOOKS: &str = "the books say held or rejected, and a Transfer exists";
pub const UNCOMMITTED: &str = "a request left without a committed intent for its key and bytes";

/// What Stripe saved under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    Made,
    Refused(Refusal),
    Failure,
}

/// A key at Stripe, with the bytes that it was first used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Key {
    pub kept: Option<(Kept, bool)>,
    /// First used more than a day ago: Stripe may forget it.
    pub old: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each can be so or not, whatever the others are")]
pub struct Stripe {
    pub keys: [Key; GENERATIONS],
    /// The Transfers that exist.
    pub transfers: u8,
    /// The bytes of the last.
    pub moved: bool,
    /// Requests that left, under each key, whose sender knows nothing any more.
    pub under_way: [u8; GENERATIONS],
    /// A saved 5xx whose effect is still to come.
    pub brewing: bool,
    pub account_active: bool,
    pub balance: bool,
}

impl Stripe {
    pub const fn new() -> Self {
        Self {
            keys: [Key { kept: None, old: false }; GENERATIONS],
            transfers: 0,
            moved: false,
            under_way: [0; GENERATIONS],
            brewing: false,
            account_active: true,
            balance: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Job {
    None,
    Ready,
    Running,
}

/// What is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each can be so or not, whatever the others are")]
pub struct Db {
    pub payout: Option<State>,
    pub matter: Option<Matter>,
    /// Requests of the newest generation whose answer was not seen; two stands for many.
    pub lost: u8,
    /// A request of the last hour was answered by nothing certain; another one since that was answered does not change that.
    pub recent: bool,
    /// A request of the last hour whose answer was not seen.
    pub flying: bool,
    pub rested: bool,
    /// The receiver's account, as far as is known here.
    pub active: bool,
    /// Which of two accounts the receiver has, and which the newest intent pays to.
    pub bytes: bool,
    pub intended: bool,
    pub booked: bool,
    pub jobs: [Job; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Idle,
    /// The intent is committed, the request has not left; or, once more, after a look.
    Leaving,
    Looking,
    /// A look has come back, or an answer.
    Looked(Word),
    Answered(Word),
}

/// [`Heard`], with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Word {
    Made,
    Refused(Refusal, bool),
    Lost,
    SavedFailure,
    Misused,
    NotNow,
    Nothing,
}

impl Word {
    pub const fn heard(self) -> Heard {
        match self {
            Self::Made => Heard::Made,
            Self::Refused(_, saved) => Heard::Refused { saved },
            Self::Lost => Heard::Lost,
            Self::SavedFailure => Heard::SavedFailure,
            Self::Misused => Heard::Misused,
            Self::NotNow => Heard::NotNow,
            Self::Nothing => Heard::Nothing { moved: false, under_way: false },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Worker {
    pub step: Step,
    pub slot: u8,
    /// Its job is its own still: the fence lets its settlement pass.
    pub owns: bool,
    /// What it works under, as it was when it looked; of what it sends, the generation counts alone.
    pub then: Option<Matter>,
    pub bytes: bool,
}

const NO_MATTER: Matter = Matter {
    generation: 0,
    state: bursar_jobs::engine::call::machine::State::Open,
    young: false,
    look_first: false,
    saved_failure: false,
    refusals: 0,
    looks: 0,
    raise_after_look: false,
};

pub const IDLE: Worker = Worker { step: Step::Idle, slot: 0, owns: false, then: None, bytes: false };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    pub stripe: Stripe,
    pub db: Db,
    pub workers: [Worker; 2],
    /// A dump of the database, to come back to.
    pub dump: Option<Db>,
    /// The verification is younger than a key lives.
    pub fresh: bool,
    /// Intents that were ever committed, by generation and bytes.
    pub committed: [[bool; 2]; GENERATIONS],
    /// What may still go wrong: see [`Bound`].
    pub faults: u8,
    pub dumps: u8,
    pub changes: u8,
    pub lapses: u8,
    /// The books may say held or rejected of what was sent, until the next look: the database was restored, a saved 5xx had its effect late, or
    /// Stripe forgot a refusal that a thawed worker's request would have met.
    pub excused: bool,
    pub broken: Option<&'static str>,
}

/// What may go wrong, how often.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    pub faults: u8,
    pub dumps: u8,
    pub changes: u8,
    /// How often the account stops being active, or the balance is spent.
    pub lapses: u8,
    /// Jobs for the payout that are alive at a time.
    pub jobs: usize,
    /// Workers.
    pub workers: usize,
}

impl World {
    pub fn new(bound: &Bound) -> Self {
        Self {
            stripe: Stripe::new(),
            db: Db {
                payout: None,
                matter: None,
                lost: 0,
                recent: false,
                flying: false,
                rested: false,
                active: true,
                bytes: false,
                intended: false,
                booked: false,
                jobs: [Job::None; 2],
            },
            workers: [IDLE; 2],
            dump: None,
            fresh: true,
            committed: [[false; 2]; GENERATIONS],
            faults: bound.faults,
            dumps: bound.dumps,
            changes: bound.changes,
            lapses: bound.lapses,
            excused: false,
            broken: None,
        }
    }

    /// What must never be.
    pub fn wrong(&self) -> Option<&'static str> {
        if self.broken.is_some() {
            return self.broken;
        }
        if self.stripe.transfers > 1 {
            return Some(TWICE);
        }
        if (self.db.booked || self.db.payout == Some(State::Paid)) && self.stripe.transfers == 0 {
            return Some(UNPAID);
        }
        let ended = matches!(self.db.payout, Some(State::Held | State::Rejected));
        if ended && self.stripe.transfers > 0 && !self.excused {
            return Some(BOOKS);
        }
        None
    }

    /// At an end that is one: paid, held or rejected, and nothing under way that could change it by itself.
    pub fn is_ended(&self) -> bool {
        matches!(self.db.payout, Some(State::Paid | State::Held | State::Rejected))
            && self.db.jobs.iter().all(|job| *job == Job::None)
    }

    /// The same, whichever worker is called the first.
    pub fn canonical(mut self, fences: bool) -> Self {
        for worker in &mut self.workers {
            // Its settlement will be refused: as good as none.
            if fences && !worker.owns && worker.step != Step::Leaving {
                *worker = IDLE;
            }
            if let (Step::Leaving | Step::Answered(_), Some(then)) = (worker.step, &mut worker.then) {
                let generation = then.generation;
                *then = Matter { generation, ..NO_MATTER };
            }
        }
        // Nothing is decided by more than one of the first, nor by more of the other.
        if let Some(matter) = &mut self.db.matter {
            matter.refusals = matter.refusals.min(1);
            matter.looks = matter.looks.min(MOST_LOOKS);
        }
        let rank = |w: &Worker| (w.step, w.slot, w.owns, w.bytes, w.then.map(|m| (m.generation, m.state)));
        if rank(&self.workers[0]) > rank(&self.workers[1]) {
            self.workers.swap(0, 1);
        }
        self
    }

    /// An hour passes, or a day: what is under way is over, and so is every lease, by which what has not left stays.
    pub fn pass(&mut self, day: bool, minds_lease: bool) {
        for worker in &mut self.workers {
            worker.owns = false;
            if minds_lease && worker.step == Step::Leaving {
                *worker = IDLE;
            }
        }
        for job in &mut self.db.jobs {
            if *job == Job::Running {
                *job = Job::Ready;
            }
        }
        for db in std::iter::once(&mut self.db).chain(&mut self.dump) {
            db.rested = db.matter.is_some();
            (db.recent, db.flying) = (false, false);
            if day && let Some(matter) = &mut db.matter {
                matter.young = false;
            }
        }
        if day {
            self.fresh = false;
            for key in self.stripe.keys.iter_mut().filter(|key| key.kept.is_some()) {
                key.old = true;
            }
        }
    }

    /// Stripe executes a request, or gives what it saved.
    pub fn execute(&mut self, generation: usize, bytes: bool) -> Word {
        let stripe = &mut self.stripe;
        let key = &mut stripe.keys[generation];
        if let Some((kept, first)) = key.kept {
            return match kept {
                _ if first != bytes => Word::Misused,
                Kept::Made => Word::Made,
                Kept::Refused(why) => Word::Refused(why, true),
                Kept::Failure => Word::SavedFailure,
            };
        }
        let kept = if !stripe.account_active {
            Kept::Refused(Refusal::Account)
        } else if !stripe.balance {
            Kept::Refused(Refusal::Balance)
        } else {
            stripe.transfers += 1;
            stripe.moved = bytes;
            Kept::Made
        };
        *key = Key { kept: Some((kept, bytes)), old: false };
        match kept {
            Kept::Made => Word::Made,
            // It is asked again at once, and replayed.
            Kept::Refused(why) => Word::Refused(why, true),
            Kept::Failure => Word::SavedFailure,
        }
    }
}
