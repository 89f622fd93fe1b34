//! What a run finds: a type, the object, the evidence, and what closes it.

use serde::Serialize;
use serde_json::Value;

use crate::ledger::CREDITS;

/// The types of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// It was paid, and what it pays for was not granted.
    MissingGrant,
    /// What was granted is not what was paid for.
    WrongAmount,
    /// Granted for something that is not paid at Stripe.
    GrantWithoutPayment,
    /// A Transfer that looks like ours, and that no payout knows.
    UnknownTransfer,
    /// The books say paid, and Stripe knows no such Transfer.
    PayoutWithoutTransfer,
    /// The Transfer is not the one that the books have.
    TransferDiffers,
    /// Money went back, and the credits did not.
    RefundNotClawed,
    /// A dispute that the books do not reflect.
    DisputeNotTaken,
    /// Money of a Transfer came back, and the books do not say so.
    ReversalNotBooked,
    /// A payout that has come to no end for days.
    PayoutStuck,
    /// Money for a tier or a package of ours from somebody whom nobody knows.
    UserUnknown,
}

impl Type {
    /// As programs and the database say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::MissingGrant => "missing_grant",
            Self::WrongAmount => "wrong_amount",
            Self::GrantWithoutPayment => "grant_without_payment",
            Self::UnknownTransfer => "unknown_transfer",
            Self::PayoutWithoutTransfer => "payout_without_transfer",
            Self::TransferDiffers => "transfer_differs",
            Self::RefundNotClawed => "refund_not_clawed",
            Self::DisputeNotTaken => "dispute_not_taken",
            Self::ReversalNotBooked => "reversal_not_booked",
            Self::PayoutStuck => "payout_stuck",
            Self::UserUnknown => "user_unknown",
        }
    }
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is the matter.
    pub r#type: Type,
    /// What it is about: an id of Stripe's, a job, a posting. One finding of a type for an object in a run.
    pub object: String,
    /// Whose it is, as far as that is known.
    #[serde(rename = "user_id")]
    pub user: Option<String>,
    /// How much: millionths of a credit, or minor units.
    pub amount: Option<i64>,
    /// `credits`, or a currency.
    pub unit: Option<String>,
    /// What was seen at both ends.
    pub evidence: Value,
    /// Whether a repair closes it.
    pub automatic: bool,
    /// What closes it.
    pub remedy: String,
}

/// What is said of a finding that a repair closes.
pub const BY_REPAIR: &str = "bursar reconcile --repair";

impl Finding {
    pub(crate) fn new(r#type: Type, object: impl Into<String>, evidence: Value) -> Self {
        Self {
            r#type,
            object: object.into(),
            user: None,
            amount: None,
            unit: None,
            evidence,
            automatic: false,
            remedy: String::new(),
        }
    }

    pub(crate) fn of_user(self, user: Option<&str>) -> Self {
        Self { user: user.map(str::to_owned), ..self }
    }

    pub(crate) fn credits(self, micros: i64) -> Self {
        Self { amount: Some(micros), unit: Some(CREDITS.to_owned()), ..self }
    }

    pub(crate) fn money(self, amount: i64, currency: &str) -> Self {
        Self { amount: Some(amount), unit: Some(currency.to_owned()), ..self }
    }

    /// A repair closes it: of the month of its run, which [`of_month`](Self::of_month) adds.
    pub(crate) fn by_repair(self) -> Self {
        Self { automatic: true, remedy: BY_REPAIR.to_owned(), ..self }
    }

    /// The same, with a remedy that compares this month again, and not whichever is the last by then.
    pub(crate) fn of_month(self, month: &str) -> Self {
        let whole = format!("bursar reconcile --month {month} --repair");
        Self { remedy: self.remedy.replace(BY_REPAIR, &whole), ..self }
    }

    /// An operator closes it, so.
    pub(crate) fn by_hand(self, remedy: impl Into<String>) -> Self {
        Self { automatic: false, remedy: remedy.into(), ..self }
    }
}
