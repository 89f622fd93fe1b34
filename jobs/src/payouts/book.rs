//! A payout as the books have it: its numbers, its reversals, and what booking a reversal posts. Whoever reads it holds its row, and its
//! receiver's before it, until the transaction ends.
//!
//! Rules
//! - What came back is booked once for each of Stripe's reversals, by its id `trr_…`, whoever asked for it and however often it is told.
//! - A reversal belongs to the one that we asked for by its metadata; another was made at Stripe by hand, and counts the same.
//! - Money that came back is posted from Stripe to the receiver, the reverse of the Transfer's posting; what is owed no more from the
//!   receiver back to payable, the reverse of the payout's. A debt that is carried has the second without the first.

use std::collections::BTreeMap;

use bursar_stripe::reversals::Reversal;
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    base::money,
    engine::job::Effects,
    ledger::{Account, Posting},
    notifications::notify_team::NotifyTeam,
    payouts::{
        change::{Change, ReversalMove, TakenBack},
        debt::{Step, Sums},
        state::{Seen, State, turn},
    },
};

/// A payout, held.
#[derive(Debug, Clone)]
pub struct Books {
    /// The marketplace's job.
    pub job_id: String,
    /// Who earns.
    pub receiver_id: String,
    /// Lower-case ISO code.
    pub currency: String,
    /// Its state.
    pub state: String,
    /// Its Transfer, once it is known.
    pub transfer_id: Option<String>,
    /// Since when it could have been sent, by anyone's word.
    pub since: DateTime<Utc>,
    /// In numbers.
    pub sums: Sums,
    /// Its reversals, in the order in which they were asked for or heard of.
    pub reversals: Vec<Known>,
    posted: Option<i64>,
    sent: Option<i64>,
}

/// A reversal that is known of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The n-th of its payout.
    pub n: i32,
    /// In minor units.
    pub amount: i64,
    /// `open`, `unknown`, `made`, `carried` or `refused`.
    pub state: String,
    /// `trr_…`, once it is made.
    pub reversal_id: Option<String>,
    /// How often it was let go.
    pub releases: i32,
}

impl Known {
    /// Whether it may still be made.
    pub fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "open" | "unknown")
    }
}

/// Names the n-th reversal of a payout, at Stripe and here.
pub fn subject(job_id: &str, n: i32) -> String {
    format!("reversal:{job_id}:{n}")
}

/// Reads a payout, and holds it and its receiver.
pub async fn hold(db: &mut PgConnection, job_id: &str) -> Result<Option<Books>, sqlx::Error> {
    // The receiver before the payout, as everywhere; a receiver that was never seen gets a row to lock.
    sqlx::query!(
        "INSERT INTO bursar.receiver (user_id) SELECT receiver_id FROM bursar.payout WHERE job_id = $1 ON CONFLICT DO NOTHING",
        job_id
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "SELECT FROM bursar.receiver WHERE user_id = (SELECT receiver_id FROM bursar.payout WHERE job_id = $1) FOR UPDATE",
        job_id
    )
    .execute(&mut *db)
    .await?;
    let row = sqlx::query!(
        r#"SELECT p.receiver_id, p.currency, p.state, p.transfer_id, p.amount, p.netted, p.returned, p.undone, p.carried, p.recovered,
                  CASE WHEN p.verified_at IS NULL THEN timestamptz 'epoch' ELSE least(p.recorded_at, p.verified_at) END AS "since!",
                  (SELECT id FROM bursar.posting WHERE key = 'payout:' || p.job_id) AS posted,
                  (SELECT id FROM bursar.posting WHERE key = 'transfer:' || p.job_id) AS sent
           FROM bursar.payout p WHERE p.job_id = $1 FOR UPDATE OF p"#,
        job_id
    )
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let reversals = sqlx::query_as!(
        Known,
        "SELECT n, amount, state, reversal_id, releases FROM bursar.reversal WHERE job_id = $1 ORDER BY n",
        job_id
    )
    .fetch_all(db)
    .await?;
    Ok(Some(Books {
        job_id: job_id.to_owned(),
        receiver_id: row.receiver_id,
        currency: row.currency,
        state: row.state,
        transfer_id: row.transfer_id,
        since: row.since,
        sums: Sums {
            amount: row.amount,
            netted: row.netted,
            returned: row.returned,
            undone: row.undone,
            carried: row.carried,
            recovered: row.recovered,
        },
        reversals,
        posted: row.posted,
        sent: row.sent,
    }))
}

impl Books {
    /// An amount of it, for people.
    pub fn said(&self, amount: i64) -> String {
        money::format(amount, &self.currency)
    }

    /// What was asked to be taken back and may still be.
    pub fn under_way(&self) -> i64 {
        self.reversals.iter().filter(|known| known.is_open()).map(|known| known.amount).sum()
    }

    /// What Stripe's reversal of it is told apart by.
    pub fn metadata(&self, n: i32) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("job_id".to_owned(), self.job_id.clone()),
            ("user_id".to_owned(), self.receiver_id.clone()),
            ("reversal".to_owned(), subject(&self.job_id, n)),
        ])
    }

    /// Books what Stripe says came back of its Transfer; what is booked already counts once. An `Err` is for an operator.
    pub fn book(&self, told: &[Reversal]) -> Result<Effects, String> {
        let mut effects = Effects::done();
        let mut sums = self.sums;
        let mut next = self.reversals.last().map_or(1, |known| known.n + 1);
        // Stripe lists the newest first.
        for reversal in told.iter().rev() {
            if self.reversals.iter().any(|known| known.reversal_id.as_ref() == Some(&reversal.id)) {
                continue;
            }
            if reversal.currency != self.currency || reversal.amount < 1 {
                return Err(format!("{} is over {} {}: look at it", reversal.id, reversal.amount, reversal.currency));
            }
            let named = reversal.metadata.get("reversal");
            let asked = self.reversals.iter().find(|known| named == Some(&subject(&self.job_id, known.n)));
            let n = match asked {
                Some(known) if known.reversal_id.is_none() && known.state != "carried" => known.n,
                Some(_) | None => {
                    next += 1;
                    next - 1
                }
            };
            let step = sums.take_back(reversal.amount);
            sums = sums.after(step);
            let mut back = self.posting(
                "transfer_reversal",
                format!("transfer_reversal:{}", reversal.id),
                Account::Stripe,
                Account::Receiver(self.receiver_id.clone()),
                reversal.amount,
            );
            back.reverses = self.sent;
            back.reference = Some(reversal.id.clone());
            effects.postings.push(back);
            self.undo(&mut effects, &reversal.id, step, None);
            effects.changes.push(
                Change::MoveReversal(ReversalMove {
                    job_id: self.job_id.clone(),
                    n,
                    amount: reversal.amount,
                    state: "made",
                    reason: asked.is_none().then(|| "made at Stripe, not asked for here".to_owned()),
                    reversal_id: Some(reversal.id.clone()),
                    actor: None,
                    why: None,
                })
                .into(),
            );
            if step.recovered > 0 && sums.recovered > sums.carried {
                let data = json!({"job_id": self.job_id, "user_id": self.receiver_id, "reversal": reversal.id,
                                  "amount": sums.recovered - sums.carried, "currency": self.currency});
                effects.follow_ups.push(NotifyTeam::of(
                    "payout.returned_beyond",
                    &format!("returned:{}", reversal.id),
                    &data,
                    None,
                ));
            }
            effects.changes.push(self.taken(step, sums).into());
        }
        Ok(effects)
    }

    /// Books that the n-th reversal did not get its money: the debt is the receiver's, and later payouts settle it.
    pub fn carry(&self, known: &Known, why: &str) -> Effects {
        let step = self.sums.carry(known.amount);
        let mut effects = Effects::done();
        self.undo(&mut effects, &subject(&self.job_id, known.n), step, Some(why));
        effects.changes.push(
            Change::MoveReversal(ReversalMove { state: "carried", reason: Some(why.to_owned()), ..self.moved(known) })
                .into(),
        );
        effects.changes.push(self.taken(step, self.sums.after(step)).into());
        let data = json!({"job_id": self.job_id, "user_id": self.receiver_id, "amount": step.carried,
                          "currency": self.currency, "reason": why});
        let key = format!("carried:{}", subject(&self.job_id, known.n));
        effects.follow_ups.push(NotifyTeam::of("payout.debt_carried", &key, &data, None));
        effects
    }

    /// Books that it is owed no more, though nothing was sent.
    pub fn undo_unsent(&self, actor: &str, why: &str) -> Effects {
        let step = self.sums.undo_unsent();
        let mut effects = Effects::done();
        self.undo(&mut effects, &self.job_id, step, Some(why));
        for posting in &mut effects.postings {
            posting.actor = Some(actor.to_owned());
        }
        effects.changes.push(self.taken(step, self.sums.after(step)).into());
        effects
    }

    /// A reversal as it is known, to be changed.
    pub fn moved(&self, known: &Known) -> ReversalMove {
        ReversalMove {
            job_id: self.job_id.clone(),
            n: known.n,
            amount: known.amount,
            state: "open",
            reason: None,
            reversal_id: None,
            actor: None,
            why: None,
        }
    }

    fn undo(&self, effects: &mut Effects, of: &str, step: Step, why: Option<&str>) {
        if step.undone == 0 {
            return;
        }
        let receiver = Account::Receiver(self.receiver_id.clone());
        let mut posting = self.posting("reversal", format!("undo:{of}"), receiver, Account::Payable, step.undone);
        posting.reverses = self.posted;
        posting.reference = Some(self.job_id.clone());
        posting.why = why.map(str::to_owned);
        effects.postings.push(posting);
    }

    fn posting(&self, kind: &'static str, key: String, debit: Account, credit: Account, amount: i64) -> Posting {
        Posting::new(kind, key, debit, credit, &self.currency, amount)
    }

    fn taken(&self, step: Step, after: Sums) -> Change {
        let open = after.carried - after.recovered;
        let reason = match (after.is_reversed(), open) {
            (true, 1..) => format!("{} of it is carried: later payouts settle it", self.said(open)),
            (false, 1..) => {
                format!("{} of it is reversed, and {} of that carried", self.said(after.undone), self.said(open))
            }
            (true, _) if self.transfer_id.is_none() => "nothing was sent, and nothing is owed any more".to_owned(),
            (true, _) => format!("{} came back", self.said(after.returned)),
            (false, _) => format!("{} of it is reversed", self.said(after.undone)),
        };
        let undone = State::parse(&self.state).map(|state| turn(state, Seen::Undone));
        let reversed = after.is_reversed() && matches!(undone, Some((State::Reversed, _)));
        Change::TakeBack(TakenBack { job_id: self.job_id.clone(), step, reversed, reason })
    }
}

#[cfg(test)]
impl Books {
    /// One that is paid, in US cents.
    pub(crate) fn paid(job: &str, receiver: &str, amount: i64, transfer: &str, reversals: Vec<Known>) -> Self {
        Self {
            job_id: job.into(),
            receiver_id: receiver.into(),
            currency: "usd".into(),
            state: "paid".into(),
            transfer_id: Some(transfer.into()),
            since: DateTime::UNIX_EPOCH,
            sums: Sums { amount, ..Sums::default() },
            reversals,
            posted: Some(1),
            sent: Some(2),
        }
    }
}
