//! The report: how payments, recurring revenue, dunning, credits, payouts and disputes went in a period.
//!
//! Two sorts of figure: what happened *in* the period, which a later report of the same period says again; and what stands *now*, at the
//! moment of the report, for it is what somebody must see to. Each says which it is.

mod period;
mod read;
mod said;
pub mod send_report;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use period::{Period, last_week, week};
pub use read::of;
pub use said::{Line, Section};

use crate::base::credits::Credits;

/// The name of the built-in schedule that sends it to the team, and of its key before each tick.
pub const SCHEDULE: &str = "weekly_report";
/// Monday morning, in UTC: the week before is over.
pub const ON_MONDAYS: &str = "0 6 * * Mon";

/// Everything that a report says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The week, where it is one: `2026-W46`.
    pub week: Option<String>,
    /// The first moment of the period, UTC.
    pub from: DateTime<Utc>,
    /// The first moment after it.
    pub to: DateTime<Utc>,
    /// Payments in the period.
    pub payments: Payments,
    /// Recurring revenue, by currency.
    pub revenue: Vec<Revenue>,
    /// Subscriptions at the end of the period whose price has no plain amount, and which no revenue counts.
    pub without_amount: i64,
    /// Renewals that were chased.
    pub dunning: Dunning,
    /// Credits in the period, and what is outstanding at its end.
    pub credits: Movements,
    /// Payouts to receivers, by currency.
    pub payouts: Vec<Payouts>,
    /// Disputes.
    pub disputes: Disputes,
    /// Jobs that are dead now, by kind.
    pub dead_jobs: Vec<Dead>,
    /// Findings of the reconciliation that are open now.
    pub findings: i64,
}

/// Payments in the period: invoices over more than nothing, and one-time purchases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payments {
    /// Invoices and purchases that were paid in the period, each once; invoices over nothing are none. An event whose body was pruned
    /// (after 90 days) does not tell any more what its invoice was over, and counts.
    pub paid: i64,
    /// Those of which a payment failed in the period, and none succeeded until its end.
    pub failed: i64,
    /// Failed attempts, also those that were made good within the period.
    pub failed_attempts: i64,
    /// Payment success rate: paid of paid and failed, in percent with one decimal; none where nothing was tried.
    pub success_percent: Option<String>,
}

/// Monthly recurring revenue (MRR), in minor units of one currency: what all charged subscriptions come to in a month at their prices,
/// before discounts and tax. A year's price counts as a twelfth, a week's as 52 twelfths, a day's as 365 twelfths. A subscription counts
/// while it is active or past due and its collection is not paused: no trials. The two ends of the period are compared user by user, so
/// that an upgrade by way of a second subscription is an expansion; who came and went within it is seen at neither end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revenue {
    /// Lower-case ISO code.
    pub currency: String,
    /// MRR at the beginning.
    pub mrr_before: i64,
    /// Of users who pay at the end, and never did before.
    pub new: i64,
    /// Of users who pay at the end, did not at the beginning, and had before that.
    pub returned: i64,
    /// By how much more those pay who paid at the beginning.
    pub expansion: i64,
    /// By how much less those pay who still pay.
    pub contraction: i64,
    /// What those paid at the beginning who pay nothing at the end.
    pub churn: i64,
    /// The part of it that dunning ended: a renewal of theirs was chased and not paid, and in the period their subscription was paused,
    /// cancelled or over for it.
    pub involuntary_churn: i64,
    /// MRR at the end: before + new + returned + expansion − contraction − churn, to the minor unit.
    pub mrr: i64,
    /// Paying users at the beginning.
    pub users_before: i64,
    /// Paying users at the end.
    pub users: i64,
    /// Users lost.
    pub churned_users: i64,
    /// Users lost by dunning.
    pub involuntary_users: i64,
    /// Average revenue per user (ARPU): MRR at the end by paying users at the end; none where there are none.
    pub arpu: Option<i64>,
    /// Churn: users lost of users at the beginning, in percent with one decimal; none where there were none.
    pub churn_percent: Option<String>,
    /// Involuntary churn: users lost by dunning of users at the beginning.
    pub involuntary_percent: Option<String>,
}

/// Dunning in the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dunning {
    /// Cases that were opened.
    pub opened: i64,
    /// Cases whose invoice was paid: by a retry of ours or of Stripe's, by a new card, or by hand.
    pub recovered: i64,
    /// What those came to, by currency.
    pub recovered_sums: Vec<Sum>,
    /// Cases that ended unpaid; money that came after that is recovered too.
    pub lost: i64,
    /// Cases that are open now.
    pub open: i64,
}

/// How many, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Lower-case ISO code.
    pub currency: String,
    /// How many.
    pub count: i64,
    /// In minor units.
    pub amount: i64,
}

/// Credits in the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Movements {
    /// Granted: purchases, refills, plan changes, initial credits, and by an operator's hand.
    pub granted: Credits,
    /// Taken back: for refunds and disputes, and by an operator's hand, less what was restored.
    pub taken_back: Credits,
    /// Spent, less what returned.
    pub spent: Credits,
    /// Expired: what a refill left over beyond the tier's policy.
    pub expired: Credits,
    /// Outstanding liability at the end of the period: the sum of all balances above zero.
    pub outstanding: Credits,
    /// The sum of all balances below zero: credits that were spent before their payment came back.
    pub below_zero: Credits,
}

/// Payouts in one currency. What was paid and what came back is of the period, what is held, unknown or rejected is so now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payouts {
    /// Lower-case ISO code.
    pub currency: String,
    /// Transfers in the period: how many.
    pub paid: i64,
    /// What they sent, in minor units.
    pub paid_amount: i64,
    /// Held now, for whatever reason.
    pub held: i64,
    /// What those are for.
    pub held_amount: i64,
    /// Unknown now: an answer of Stripe's was lost, and is looked for.
    pub unknown: i64,
    /// What those are for.
    pub unknown_amount: i64,
    /// Rejected now: owed, and Stripe refused it.
    pub rejected: i64,
    /// What those are for.
    pub rejected_amount: i64,
    /// Reversals in the period: money that came back of Transfers.
    pub reversed: i64,
    /// What came back.
    pub reversed_amount: i64,
}

/// Disputes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disputes {
    /// Opened in the period, by Stripe's word.
    pub opened: i64,
    /// Those that wait for an answer now, the most urgent first.
    pub waiting: Vec<Waiting>,
}

/// A dispute that waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// `du_…`
    pub id: String,
    /// In minor units.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// Until when evidence counts.
    pub due_by: Option<DateTime<Utc>>,
    /// Whose purchase it is, where that is known.
    pub user_id: Option<String>,
}

/// Dead jobs of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dead {
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: i64,
}

/// So many of so many, in percent with one decimal; none of none is nothing.
fn percent(part: i64, whole: i64) -> Option<String> {
    if whole <= 0 {
        return None;
    }
    let tenths = (i128::from(part) * 2000 + i128::from(whole)) / (2 * i128::from(whole));
    Some(format!("{}.{}", tenths / 10, tenths % 10))
}

/// A twelfth of a year's worth, rounded to the nearest minor unit.
fn monthly(yearly: i64) -> i64 {
    yearly.saturating_add(6).div_euclid(12)
}

/// What changed in a year's worth, in order, as months: each rounded so that, from the rounded beginning, they sum up to the rounded end.
fn parts<const N: usize>(before: i64, yearly: [i64; N]) -> [i64; N] {
    let mut sum = before;
    yearly.map(|part| {
        let from = monthly(sum);
        sum = sum.saturating_add(part);
        monthly(sum) - from
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_have_one_decimal_and_are_rounded() {
        assert_eq!(percent(1, 0), None);
        assert_eq!(percent(0, 7).as_deref(), Some("0.0"));
        assert_eq!(percent(1, 3).as_deref(), Some("33.3"));
        assert_eq!(percent(2, 3).as_deref(), Some("66.7"));
        assert_eq!(percent(7, 7).as_deref(), Some("100.0"));
    }

    #[test]
    fn a_month_is_the_nearest_twelfth_of_a_year() {
        assert_eq!([monthly(0), monthly(5), monthly(6), monthly(22_800), monthly(19_000)], [0, 0, 1, 1900, 1583]);
    }
    #[test]
    fn the_parts_make_the_whole_however_they_are_rounded() {
        // By itself each of these would be rounded to 0, or to 1.
        for yearly in [[5, 5, 5, -5, -5], [6, 6, 6, -6, -6], [1000, 0, 7, -3, -1004], [0, 0, 0, 0, 0]] {
            for before in [0, 5, 6, 1004, 22_805] {
                let parts = parts(before, yearly);
                let end = before + yearly.iter().sum::<i64>();
                if end >= 0 {
                    assert_eq!(monthly(before) + parts.iter().sum::<i64>(), monthly(end), "{before} {yearly:?}");
                }
                assert!(parts.iter().zip(yearly).all(|(part, yearly)| part * yearly >= 0), "no part turns its sign");
            }
        }
    }
}
