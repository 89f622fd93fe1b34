//! Making the effects of a batch true: a statement for each sort of effect, however many jobs want it.

use bursar_stripe::charges::Told;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

pub(crate) use super::conflicts::conflicts;
use super::{
    enqueue::{self, Wanted},
    job::Effects,
};
use crate::{
    clawbacks::after_plan_change::PaidChange,
    customers::apply::Link,
    dunning::apply::Dunning,
    event_gaps::apply::Listed,
    ledger::{self, Posted, Posting},
    payouts::{
        apply::{Payout, PayoutMove},
        transfers::{Going, ReversalMove, TakenBack},
    },
    receivers::{account::Standing, apply::Connecting},
    reconciliation::apply::Reconciled,
    selling::apply::Selling,
    subscriptions::{
        apply::{Address, Month, PlanChange, SubscriptionRow},
        recurring_revenue::Worth,
    },
};

/// A change other than a posting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This Stripe customer is this user.
    LinkCustomer(Link),
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
    /// How a receiver's account stands; what was held for an active one is let go.
    SetReceiver(Standing),
    /// Transfers to a receiver's account turned out not to be active.
    DeactivateReceiver {
        /// The receiver.
        user_id: String,
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
    /// Something about a checkout or what belongs to it.
    Selling(Selling),
    /// Something about a receiver's account, or a link to its onboarding.
    Connecting(Connecting),
    /// A subscription as Stripe answered it.
    SetSubscription(Box<SubscriptionRow>),
    /// What a subscription is worth.
    NoteWorth(Box<Worth>),
    /// A month of service was refilled.
    RefillMonth(Month),
    /// What plan changes granted in a month.
    SetExtra(Month),
    /// A month of service ends then.
    EndMonth {
        /// `sub_…`
        subscription_id: String,
        /// The month.
        start_at: DateTime<Utc>,
        /// Its end.
        end_at: DateTime<Utc>,
    },
    /// A subscription's plan changed.
    NotePlanChange(PlanChange),
    /// An invoice paid for a change of a plan.
    PayChange(PaidChange),
    /// The mail address of a customer.
    KeepAddress(Address),
    /// What Stripe says of a charge, its refunds and its disputes, and when it was asked.
    RecordCharge(Box<Told>, DateTime<Utc>),
    /// The team is told of a dispute's stage, and whose it is.
    TellDispute {
        /// `du_…`
        id: String,
        /// Whose purchase it is.
        user_id: String,
        /// The stage, in a word.
        told: &'static str,
    },
    /// The user is written to about a refund.
    NoteRefundLetter {
        /// `re_…`
        id: String,
    },
    /// Something about a case of dunning.
    Dunning(Dunning),
    /// A tick of a schedule has come.
    TickSchedule {
        /// The schedule.
        name: String,
        /// The next tick, if there ever is one.
        next_at: Option<DateTime<Utc>>,
        /// The tick that fired, if one did.
        fired: Option<DateTime<Utc>>,
    },
    /// What was used before a moment goes into reports.
    SumUsage {
        /// The end of the last hour.
        before: DateTime<Utc>,
    },
    /// A report of use comes into another state.
    MoveUsage {
        /// Its row.
        report: i64,
        /// `sent`, `unknown` or `refused`.
        state: &'static str,
        /// Why, in words.
        reason: Option<String>,
    },
    /// The gap watch begins: nothing created before this is looked for.
    BeginWatch(DateTime<Utc>),
    /// Events out of Stripe's own list; those that never arrived are received as if they had.
    TakeEvents(Listed),
    /// Every event that was created before a walk began was compared.
    EndWalk {
        /// When it began.
        walk: DateTime<Utc>,
    },
    /// Something about a reconciliation.
    Reconcile(Reconciled),
    /// A user has an account, even before the first credit.
    OpenAccount {
        /// The user.
        user_id: String,
    },
}

/// What one job's effects came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Something is new, or there was nothing to make.
    New,
    /// All of it stood already.
    Already(String),
    /// Something stands with other content; the transaction must not be committed.
    Conflict(String),
}

/// Makes the effects of a batch true inside the caller's transaction; one answer a job, in order.
pub async fn apply(db: &mut PgConnection, batch: &[Effects]) -> Result<Vec<Applied>, sqlx::Error> {
    let mut verdicts: Vec<Verdict> = batch.iter().map(|_| Verdict::default()).collect();
    crate::customers::apply::link_customers(db, batch, &mut verdicts).await?;
    crate::payouts::apply::record(db, batch, &mut verdicts).await?;
    crate::payouts::apply::move_all(db, batch).await?;
    crate::payouts::transfers::apply(db, batch).await?;
    crate::receivers::account::apply(db, batch, &mut verdicts).await?;
    crate::receivers::apply::apply(db, batch, &mut verdicts).await?;
    crate::selling::apply::apply(db, batch).await?;
    crate::subscriptions::apply::apply(db, batch).await?;
    crate::subscriptions::revenue_rows::apply(db, batch).await?;
    crate::clawbacks::apply::apply(db, batch, &mut verdicts).await?;
    crate::clawbacks::refund_emails::apply(db, batch, &mut verdicts).await?;
    crate::dunning::apply::apply(db, batch, &mut verdicts).await?;
    crate::schedules::apply::apply(db, batch, &mut verdicts).await?;
    crate::event_gaps::apply::apply(db, batch, &mut verdicts).await?;
    crate::reconciliation::apply::apply(db, batch, &mut verdicts).await?;
    open_accounts(db, batch).await?;
    let mut follow_ups = crate::clawbacks::apply::after_grants(db, batch).await?;
    follow_ups.extend(crate::clawbacks::after_plan_change::apply(db, batch, &mut verdicts).await?);
    post(db, batch, &mut verdicts).await?;
    let mut wanted: Vec<Wanted<'_>> = follow_ups.iter().map(|job| Wanted::of(None, job)).collect();
    for (nth, effects) in batch.iter().enumerate() {
        wanted.extend(effects.follow_ups.iter().map(|job| Wanted::of(Some(nth), job)));
    }
    enqueue::enqueue_all(&mut *db, &wanted).await?;
    Ok(verdicts.into_iter().map(Verdict::into_applied).collect())
}

#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) new: bool,
    pub(crate) already: Option<String>,
    pub(crate) conflict: Option<String>,
}

impl Verdict {
    fn into_applied(self) -> Applied {
        match (self.conflict, self.new, self.already) {
            (Some(what), _, _) => Applied::Conflict(what),
            (None, false, Some(what)) => Applied::Already(what),
            (None, _, _) => Applied::New,
        }
    }
}

async fn post(db: &mut PgConnection, batch: &[Effects], verdicts: &mut [Verdict]) -> Result<(), sqlx::Error> {
    let (owners, postings): (Vec<usize>, Vec<Posting>) =
        batch.iter().enumerate().flat_map(|(i, e)| e.postings.iter().map(move |p| (i, p.clone()))).unzip();
    if postings.is_empty() {
        return Ok(());
    }
    for ((owner, posting), posted) in owners.into_iter().zip(&postings).zip(ledger::post(db, &postings).await?) {
        match posted {
            Posted::New(_) => verdicts[owner].new = true,
            // What was said of it before, of the payout itself, is more telling.
            Posted::Already(id) => {
                verdicts[owner].already.get_or_insert_with(|| format!("posting {id} has this key: {}", posting.key));
            }
            Posted::Conflict(id) => {
                verdicts[owner].conflict.get_or_insert_with(|| ledger::conflict(id, &posting.key));
            }
        }
    }
    Ok(())
}

async fn open_accounts(db: &mut PgConnection, batch: &[Effects]) -> Result<(), sqlx::Error> {
    let mut names: Vec<String> = changes(batch, |change| match change {
        Change::OpenAccount { user_id } => Some(user_id),
        _ => None,
    })
    .into_iter()
    .map(|(_, user)| ledger::Account::User(user.clone()).to_string())
    .collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    sqlx::query!(
        "INSERT INTO bursar.account (name, unit, derived) SELECT name, 'credits', false FROM pg_catalog.unnest($1::text[]) AS name
         ON CONFLICT DO NOTHING",
        &names,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says that two transactions met over one key in one statement; repeating the transaction shows the winner's row.
pub(crate) const RACED: &str = "another transaction made the same row meanwhile";

pub(crate) fn changes<'a, T>(batch: &'a [Effects], pick: impl Fn(&'a Change) -> Option<T>) -> Vec<(usize, T)> {
    batch.iter().enumerate().flat_map(|(i, e)| e.changes.iter().filter_map(&pick).map(move |t| (i, t))).collect()
}
