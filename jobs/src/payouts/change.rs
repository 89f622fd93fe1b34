//! What changes about payouts, what they send and what comes back of it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::engine::change;
use crate::payouts::debt::{Netting, Step};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A receiver is owed for a verified job.
    RecordPayout(Payout),
    /// A payout comes into another state.
    MovePayout(PayoutMove),
    /// Why nothing goes on with a payout that is not at its end.
    NotePayout {
        /// The marketplace's job.
        job_id: String,
        /// In words.
        why: String,
    },
    /// What is held for a receiver is let go.
    ReleaseHeld {
        /// The receiver.
        user_id: String,
    },
    /// A payout leaves `held`, for Stripe or to be settled by netting.
    LetGo(Going),
    /// A limit holds a payout.
    HoldBack {
        /// The marketplace's job.
        job_id: String,
        /// `minimum` or `cap`.
        by: &'static str,
        /// In words.
        why: String,
    },
    /// What is held for a receiver has reached the minimum: all of it is let go.
    MinimumMet {
        /// The receiver.
        user_id: String,
        /// Lower-case ISO code.
        currency: String,
    },
    /// Something of a payout is taken back.
    TakeBack(TakenBack),
    /// A reversal begins, or goes on.
    MoveReversal(ReversalMove),
    /// Why nothing goes on with a reversal that is not at its end.
    NoteReversal {
        /// The marketplace's job.
        job_id: String,
        /// The n-th of its payout.
        n: i32,
        /// In words.
        why: String,
    },
}

impl change::Change for Change {}

/// What is owed for one verified job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payout {
    /// The marketplace's job: one payout each, for ever.
    pub job_id: String,
    /// Who earns.
    pub receiver_id: String,
    /// Who buys.
    pub sender_id: Option<String>,
    /// What was done.
    pub skill: String,
    /// What it cost, in millionths of a credit.
    pub credits: i64,
    /// What is owed, in minor units.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// `held` or `skipped`.
    pub state: &'static str,
    /// Why it is in that state.
    pub reason: String,
    /// The event that says so.
    pub event_id: String,
    /// When it was verified, by the verification's own word.
    pub verified_at: Option<DateTime<Utc>>,
}

/// A payout's next state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PayoutMove {
    /// The marketplace's job.
    pub job_id: String,
    /// The state it comes into.
    pub state: &'static str,
    /// Why, for an operator.
    pub reason: Option<String>,
    /// The Transfer, once there is one.
    pub transfer_id: Option<String>,
}

/// A payout that leaves `held`. What it sends is fixed the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Going {
    /// The marketplace's job.
    pub job_id: String,
    /// Who earns.
    pub receiver_id: String,
    /// Lower-case ISO code.
    pub currency: String,
    /// `sending`; or `paid`, where all of it is netted.
    pub state: &'static str,
    /// Why.
    pub reason: String,
    /// What its Transfer sends, and what is netted, where that is being fixed.
    pub fixed: Option<(i64, Vec<Netting>)>,
}

/// What is taken back of a payout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenBack {
    /// The marketplace's job.
    pub job_id: String,
    /// What changes of its numbers.
    pub step: Step,
    /// Whether all of it is undone now.
    pub reversed: bool,
    /// For an operator.
    pub reason: String,
}

/// A reversal that begins or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReversalMove {
    /// The marketplace's job.
    pub job_id: String,
    /// The n-th of its payout.
    pub n: i32,
    /// In minor units.
    pub amount: i64,
    /// `open`, `unknown`, `made`, `carried` or `refused`.
    pub state: &'static str,
    /// Why, for an operator.
    pub reason: Option<String>,
    /// `trr_…`, once it is made.
    pub reversal_id: Option<String>,
    /// Who asked for it.
    pub actor: Option<String>,
    /// Why, in their words.
    pub why: Option<String>,
}

/// A fact: a payout has its Transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutPaid {
    /// The marketplace's job.
    pub job_id: String,
    /// `tr_…`
    pub transfer: String,
}
