//! Pay a receiver: one Transfer for one verified job, or the payout is held.
//!
//! Rules
//! - Whether to hold or to send is decided with the receiver's row locked, so that an account which becomes active meanwhile
//!   finds either a held payout or a sent one, and never one that was about to be held.
//! - Key, `transfer_group` and metadata derive from the job id (DESIGN: every effect, its key). One payout, at most one Transfer.
//! - A look matches the payout by its `transfer_group`, its amount and its destination; a reversed Transfer was still sent.
//! - What holds it back, and what it sends, is said in [`limits`]. What it sends is committed with the intent, and stands from then on.
//! - What had come back of its Transfer by the time that it was found is booked by [`check_transfer`](crate::payouts::check_transfer).
//! - `balance_insufficient` waits for the platform's balance and goes on. An account that is gone, or without the capability, holds again,
//!   and Stripe is asked about it; the payout goes on once the receiver is active. Any other refusal is for an operator.

use std::{collections::BTreeMap, time::Duration};

use bursar_stripe::{
    Client, Request, Seen,
    transfers::{self, Filter, NewTransfer, Transfer},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    base::money,
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome, Snooze},
        kind::{Kind, PAY_RECEIVER},
    },
    ledger::{Account, Posting},
    payouts::{
        change::{Change, PayoutMove},
        check_transfer::CheckTransfer,
        limits::{self, Held, Verdict, Weights},
        state::{Act, Refusal, Seen as Saw, State, turn},
    },
    receivers::{self, check_account::CheckAccount},
    terms::Terms,
};

/// Sends the payout of one verified job.
#[derive(Debug, Serialize, Deserialize)]
pub struct PayReceiver {
    /// The marketplace's job.
    pub job_id: String,
}

impl PayReceiver {
    /// The job that sends a payout, or holds it: one for each time that it is let go.
    pub fn release(job_id: &str, releases: i32, cause: &str) -> NewJob {
        NewJob {
            kind: PAY_RECEIVER.name,
            key: format!("{job_id}:{releases}"),
            args: serde_json::json!({ "job_id": job_id }),
            max_attempts: PAY_RECEIVER.max_attempts,
            delay_ms: 0,
            cause: Some(cause.to_owned()),
        }
    }
}

impl Job for PayReceiver {
    const KIND: Kind = PAY_RECEIVER;
}

/// The payout, and how its receiver stands.
#[derive(Debug)]
pub struct Facts {
    payout: Option<Payout>,
    weights: Weights,
}

#[derive(Debug)]
struct Payout {
    job_id: String,
    receiver_id: String,
    amount: i64,
    currency: String,
    state: String,
    event_id: Option<String>,
    since: DateTime<Utc>,
    destination: Option<String>,
    active: bool,
    transfer_id: Option<String>,
    releases: i32,
    transfer_amount: Option<i64>,
    netted: i64,
    minimum_met: bool,
    cap_lifted: bool,
}

impl Payout {
    /// Names the payout at Stripe and here.
    fn subject(&self) -> String {
        format!("payout:{}", self.job_id)
    }

    /// What its Transfer sends, in minor units; one that is under way since before amounts were fixed sends all.
    fn sends(&self) -> i64 {
        self.transfer_amount.unwrap_or(self.amount - self.netted)
    }

    fn held(&self) -> Held<'_> {
        Held {
            job_id: &self.job_id,
            receiver_id: &self.receiver_id,
            currency: &self.currency,
            amount: self.amount,
            fixed: self.transfer_amount,
            minimum_met: self.minimum_met,
            cap_lifted: self.cap_lifted,
        }
    }

    fn request(&self, destination: &str, amount: i64) -> Request {
        let metadata = BTreeMap::from([
            ("job_id".to_owned(), self.job_id.clone()),
            ("user_id".to_owned(), self.receiver_id.clone()),
        ]);
        transfers::create(&NewTransfer {
            amount,
            currency: &self.currency,
            destination,
            transfer_group: &self.subject(),
            metadata,
            source_transaction: None,
        })
    }

    fn state(&self) -> Result<State, JobError> {
        State::parse(&self.state).ok_or_else(|| {
            JobError::Dead(format!(
                "the payout is {}, which this version does not know: update, then retry",
                self.state
            ))
        })
    }

    fn moved(&self, to: State, reason: impl Into<String>) -> Change {
        Change::MovePayout(PayoutMove {
            job_id: self.job_id.clone(),
            state: to.name(),
            reason: Some(reason.into()),
            transfer_id: None,
        })
    }

    fn plan(&self, request: Request, marks: Vec<AnyChange>) -> Plan {
        Plan::Send { subject: self.subject(), request, since: self.since, marks }
    }

    fn booked(&self, state: State, object: &Value) -> Result<Effects, JobError> {
        let transfer: Transfer = serde_json::from_value(object.clone()).map_err(|error| JobError::Retry {
            after: None,
            source: format!("the Transfer does not read: {error}").into(),
        })?;
        if let Some(how) = self.differs(&transfer) {
            return Err(JobError::Dead(how));
        }
        if let Some(known) = self.transfer_id.as_ref().filter(|known| **known != transfer.id) {
            return Err(JobError::Dead(format!(
                "there are two Transfers for it: {known} and {}. Reverse one",
                transfer.id
            )));
        }
        let mut posting = Posting::new(
            "transfer",
            format!("transfer:{}", self.job_id),
            Account::Receiver(self.receiver_id.clone()),
            Account::Stripe,
            &self.currency,
            self.sends(),
        );
        posting.event_id.clone_from(&self.event_id);
        posting.reference = Some(transfer.id.clone());
        let paid = PayoutMove {
            job_id: self.job_id.clone(),
            state: state.name(),
            reason: (self.netted > 0)
                .then(|| format!("{} of it settled earlier debts", money::format(self.netted, &self.currency))),
            transfer_id: Some(transfer.id.clone()),
        };
        let came_back = transfer.reversed || transfer.amount_reversed > 0;
        let check = came_back.then(|| CheckTransfer::of(&transfer.id, &self.job_id, "paid"));
        Ok(Effects {
            postings: vec![posting],
            changes: vec![Change::MovePayout(paid).into()],
            follow_ups: check.into_iter().collect(),
            ..Effects::done()
        })
    }

    /// How a Transfer of ours is not the one that would have been sent.
    fn differs(&self, transfer: &Transfer) -> Option<String> {
        let wanted = (self.sends(), self.currency.as_str(), self.destination.as_deref());
        let seen = (transfer.amount, transfer.currency.as_str(), transfer.destination.as_deref());
        (wanted != seen).then(|| {
            format!(
                "{} moved {} {} to {}, but {} {} was to go to {}",
                transfer.id,
                transfer.amount,
                transfer.currency,
                transfer.destination.as_deref().unwrap_or("nobody"),
                self.sends(),
                self.currency,
                self.destination.as_deref().unwrap_or("an account that is not known")
            )
        })
    }
}

impl Facts {
    fn payout(&self) -> Result<&Payout, JobError> {
        self.payout.as_ref().ok_or_else(|| JobError::Dead("there is no such payout".into()))
    }
}

impl Call for PayReceiver {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        // The receiver before the payout, as everywhere; a receiver that was never seen gets a row to lock.
        sqlx::query!(
            "INSERT INTO bursar.receiver (user_id) SELECT receiver_id FROM bursar.payout WHERE job_id = $1 ON CONFLICT DO NOTHING",
            self.job_id
        )
        .execute(&mut *db)
        .await?;
        sqlx::query!(
            "SELECT FROM bursar.receiver WHERE user_id = (SELECT receiver_id FROM bursar.payout WHERE job_id = $1) FOR UPDATE",
            self.job_id
        )
        .execute(&mut *db)
        .await?;
        let payout = sqlx::query_as!(
            Payout,
            r#"SELECT p.job_id, p.receiver_id, p.amount, p.currency, p.state, p.event_id,
                      -- Without the verification's own word nobody knows how old it is: older than any key.
                      CASE WHEN p.verified_at IS NULL THEN timestamptz 'epoch' ELSE least(p.recorded_at, p.verified_at) END AS "since!",
                      r.account_id AS destination, r.active, p.transfer_id, p.releases,
                      p.transfer_amount, p.netted, p.minimum_met, p.cap_lifted
               FROM bursar.payout p JOIN bursar.receiver r ON r.user_id = p.receiver_id
               WHERE p.job_id = $1 FOR UPDATE OF p"#,
            self.job_id
        )
        .fetch_optional(db)
        .await?;
        Ok(Facts { payout, weights: Weights::default() })
    }

    async fn weigh(&self, facts: &mut Facts, db: &mut PgConnection, terms: &Terms) -> Result<(), sqlx::Error> {
        if let Some(payout) = facts.payout.as_ref().filter(|payout| payout.state == "held" && payout.active) {
            facts.weights = limits::weigh(db, &payout.held(), terms).await?;
        }
        Ok(())
    }

    fn intent(&self, facts: &Facts, terms: &Terms) -> Result<Plan, JobError> {
        let payout = facts.payout()?;
        let was = payout.state()?;
        let ready = payout.active && payout.destination.is_some();
        let verdict = (was == State::Held && ready).then(|| limits::judge(&payout.held(), &facts.weights, terms));
        let goes = ready && !matches!(verdict, Some(Verdict::Stays(_)));
        let (state, act) = turn(was, Saw::Begins { ready: goes });
        match (act, &payout.destination, verdict) {
            (Act::Send, Some(account), Some(Verdict::Goes { amount, marks })) => {
                Ok(payout.plan(payout.request(account, amount), marks))
            }
            (Act::Send, Some(account), _) => Ok(payout.plan(payout.request(account, payout.sends()), Vec::new())),
            (Act::Send, None, _) => Err(JobError::Dead(format!(
                "it is {}, and the account of {} is not known any more: connect it again, then `bursar payouts release`",
                payout.state, payout.receiver_id
            ))),
            (Act::Hold, _, Some(Verdict::Stays(effects))) => Ok(Plan::Nothing(effects)),
            (Act::Hold, destination, _) => {
                let why = match destination {
                    Some(account) => format!("transfers to {account} are not active"),
                    None => format!("{} has no connected account", payout.receiver_id),
                };
                Ok(Plan::Nothing(Effects {
                    changes: vec![payout.moved(state, why.clone()).into()],
                    ..Effects::skip(format!("held: {why}"))
                }))
            }
            (Act::Nothing | Act::Book | Act::Wait | Act::Deactivate | Act::Leave | Act::Enqueue, _, _) => {
                Ok(Plan::Nothing(Effects::skip(format!("the payout is {}", payout.state))))
            }
        }
    }

    async fn look(&self, facts: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Some(payout) = &facts.payout else { return Ok(Looked::Nothing) };
        let subject = payout.subject();
        let filter = Filter { transfer_group: Some(&subject), ..Filter::default() };
        let found = transfers::list_all(stripe, &filter).await?;
        // The list is asked for our group; what it answers is still checked.
        let ours: Vec<&Transfer> =
            found.iter().filter(|t| t.transfer_group.as_deref() == Some(subject.as_str())).collect();
        match ours.as_slice() {
            [] => Ok(Looked::Nothing),
            [one] => Ok(match payout.differs(one) {
                Some(how) => Looked::Different(how),
                None => Looked::Found(serde_json::to_value(one).unwrap_or_default()),
            }),
            several => {
                let ids: Vec<&str> = several.iter().map(|t| t.id.as_str()).collect();
                Ok(Looked::Different(format!("there are {} Transfers for it: {}", ids.len(), ids.join(", "))))
            }
        }
    }

    fn remedy(&self) -> String {
        format!("decide, then `bursar payouts release {} --after-saved-failure`", self.job_id)
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::NotePayout { job_id: self.job_id.clone(), why: why.to_owned() }.into()]
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let payout = facts.payout()?;
        let was = payout.state()?;
        match answer {
            Answer::Made(object) => match turn(was, Saw::Made) {
                (state, Act::Book) => payout.booked(state, object),
                _ => Err(JobError::Dead(format!("it was sent, and the payout is {}: look at both", payout.state))),
            },
            Answer::Unknown(why) => {
                let (state, _) = turn(was, Saw::NotKnown);
                Ok(Effects { changes: vec![payout.moved(state, why).into()], ..Effects::done() })
            }
            Answer::Refused { error, saved } => {
                let why = Refusal::of(error);
                let (state, act) = turn(was, Saw::Refused { why, saved });
                Ok(match act {
                    Act::Wait => {
                        let why = "waits for the platform's balance at Stripe";
                        let wait =
                            Snooze { reason: why.into(), fact: None, limit: Duration::from_hours(10 * 365 * 24) };
                        Effects { changes: vec![payout.moved(state, why).into()], ..Effects::snooze(wait) }
                    }
                    Act::Deactivate => {
                        let why = format!("Stripe says that its account is gone, or cannot be sent to: {error}");
                        let inactive =
                            receivers::change::Change::DeactivateReceiver { user_id: payout.receiver_id.clone() };
                        // The refusal may be older than what is known of the account by now: what Stripe says of the account decides.
                        let cause = format!("{}:{}", payout.job_id, payout.releases);
                        let delay_ms = check_delay(payout.releases);
                        let ask = payout.destination.iter();
                        let ask = ask.map(|account| NewJob { delay_ms, ..CheckAccount::of(account, &cause) });
                        Effects {
                            changes: vec![payout.moved(state, why.clone()).into(), inactive.into()],
                            follow_ups: ask.collect(),
                            ..Effects::skip(format!("held: {why}"))
                        }
                    }
                    Act::Leave => {
                        let why = format!("Stripe refused it: {error}");
                        let outcome = Outcome::Dead(why.clone());
                        Effects { outcome, changes: vec![payout.moved(state, why).into()], ..Effects::done() }
                    }
                    // Another job was refused first, and it waits for its receiver by now.
                    Act::Nothing if was == State::Held => Effects::skip(format!("the payout is held: {error}")),
                    Act::Nothing | Act::Send | Act::Hold | Act::Book | Act::Enqueue => {
                        let why = format!("Stripe refused it, and the payout is {}: {error}", payout.state);
                        Effects { outcome: Outcome::Dead(why), ..Effects::done() }
                    }
                })
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a payout asks no question".into())),
        }
    }
}

/// How long until Stripe is asked about an account that it refused to send to, in ms: at once the first time, later each time, an hour at
/// most. Where Stripe says of an account that it is active, and refuses to send to it, neither is asked without a pause.
fn check_delay(releases: i32) -> i64 {
    match u32::try_from(releases) {
        Ok(0) | Err(_) => 0,
        Ok(n) => (60_000_i64 << n.min(6)).min(3_600_000),
    }
}
