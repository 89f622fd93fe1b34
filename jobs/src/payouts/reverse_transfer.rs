//! Reverse a Transfer: an operator takes back what was paid for a job, in whole or in part, because the job was refunded.
//!
//! Rules
//! - Nothing was sent: the debt is undone in the books, and the payout is reversed. Under way, or not known: refused until it is known.
//! - Sent: each reversal is one call under its own subject `reversal:{job_id}:{n}`, with the guarantee of every call: made at most once.
//! - How much is asked for is absolute: so much of the payout is to be reversed in all. Asked again, it changes nothing; never beyond what was sent.
//! - Stripe saves that the receiver has not the money: the debt is carried, and settled by later payouts. Only a *saved* refusal is an end:
//!   under any other, a late request could still be executed.
//! - So it is where Stripe saves that the receiver's account is gone: nothing comes back from there, and Stripe is asked about the account.
//! - Any other refusal is for an operator, after Stripe was asked what has come back already.
//! - A look goes through all reversals of the Transfer, by metadata. It comes first whenever the payout is older than a key lives: this
//!   database may be a restored one that has forgotten what was asked before.

use bursar_stripe::{
    Client, Seen,
    reversals::{self, Reversal},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome},
        kind::{Kind, REVERSE_TRANSFER},
    },
    payouts::{
        book::{self, Books, Known, subject},
        change::{Change, ReversalMove},
        check_transfer::CheckTransfer,
    },
    receivers::check_account::CheckAccount,
    terms::Terms,
};

/// Makes one reversal that was asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReverseTransfer {
    /// The marketplace's job.
    pub job_id: String,
    /// The n-th reversal of its payout.
    pub n: i32,
}

impl ReverseTransfer {
    /// The job that makes a reversal: one for each time that it is let go.
    pub fn release(job_id: &str, n: i32, releases: i32) -> NewJob {
        NewJob {
            kind: REVERSE_TRANSFER.name,
            key: format!("{job_id}:{n}:{releases}"),
            args: serde_json::json!({ "job_id": job_id, "n": n }),
            max_attempts: REVERSE_TRANSFER.max_attempts,
            delay_ms: 0,
            cause: Some("operator".into()),
        }
    }
}

impl Job for ReverseTransfer {
    const KIND: Kind = REVERSE_TRANSFER;
}

/// The payout, and which of its reversals this is.
#[derive(Debug)]
pub struct Facts {
    books: Option<Books>,
    n: i32,
    account: Option<String>,
}

impl Facts {
    fn both(&self) -> Result<(&Books, &Known), JobError> {
        let books = self.books.as_ref().ok_or_else(|| JobError::Dead("there is no such payout".into()))?;
        let known = books.reversals.iter().find(|known| known.n == self.n);
        Ok((books, known.ok_or_else(|| JobError::Dead("nobody asked for this reversal".into()))?))
    }
}

/// How a reversal of Stripe's is not the one that was asked for.
fn differs(books: &Books, known: &Known, made: &Reversal) -> Option<String> {
    let wanted = (known.amount, books.currency.as_str(), books.transfer_id.as_deref());
    let seen = (made.amount, made.currency.as_str(), made.transfer.as_deref());
    (wanted != seen).then(|| {
        let of = made.transfer.as_deref().unwrap_or("nothing");
        format!("{} took {} {} of {of}, but {} was asked for", made.id, made.amount, made.currency, known.amount)
    })
}

impl Call for ReverseTransfer {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let books = book::hold(db, &self.job_id).await?;
        let mut account = None;
        if let Some(books) = &books {
            account = sqlx::query!(
                "SELECT account_id, state FROM bursar.receiver WHERE user_id = $1 FOR NO KEY UPDATE",
                books.receiver_id
            )
            .fetch_optional(db)
            .await?
            .and_then(|receiver| receiver.account_id);
        }
        Ok(Facts { books, n: self.n, account })
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        let (books, known) = facts.both()?;
        if !known.is_open() {
            return Ok(Plan::Nothing(Effects::skip(format!("the reversal is {}", known.state))));
        }
        let Some(transfer) = &books.transfer_id else {
            return Err(JobError::Dead("the payout has no Transfer to reverse".into()));
        };
        Ok(Plan::Send {
            subject: subject(&books.job_id, known.n),
            request: reversals::create(transfer, known.amount, &books.metadata(known.n)),
            since: books.since,
            marks: Vec::new(),
        })
    }

    async fn look(&self, facts: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Ok((books, known)) = facts.both() else { return Ok(Looked::Nothing) };
        let Some(transfer) = &books.transfer_id else { return Ok(Looked::Nothing) };
        let name = subject(&books.job_id, known.n);
        let all = reversals::list_all(stripe, transfer).await?;
        let ours: Vec<&Reversal> = all.iter().filter(|one| one.metadata.get("reversal") == Some(&name)).collect();
        Ok(match ours.as_slice() {
            [] => Looked::Nothing,
            [one] => match differs(books, known, one) {
                Some(how) => Looked::Different(how),
                None => Looked::Found(serde_json::to_value(one).unwrap_or_default()),
            },
            several => {
                let ids: Vec<&str> = several.iter().map(|one| one.id.as_str()).collect();
                Looked::Different(format!("there are {} reversals of that name: {}", ids.len(), ids.join(", ")))
            }
        })
    }

    fn remedy(&self) -> String {
        format!("decide, then `bursar payouts reverse {} --after-saved-failure`", self.job_id)
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::NoteReversal { job_id: self.job_id.clone(), n: self.n, why: why.to_owned() }.into()]
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let (books, known) = facts.both()?;
        match answer {
            Answer::Made(object) => made(books, known, object),
            // It was found among the Transfer's reversals meanwhile, or settled by another job.
            Answer::Unknown(_) | Answer::Refused { .. } if !known.is_open() => {
                Ok(Effects::skip(format!("the reversal is {}", known.state)))
            }
            Answer::Unknown(why) => {
                let moved = ReversalMove { state: "unknown", reason: Some(why.to_owned()), ..books.moved(known) };
                Ok(Effects { changes: vec![Change::MoveReversal(moved).into()], ..Effects::done() })
            }
            Answer::Refused { error, saved } => {
                let short = matches!(error.code.as_deref(), Some("balance_insufficient" | "insufficient_funds"));
                match (short, saved) {
                    (true, true) => Ok(books.carry(known, &format!("the receiver has not the money: {error}"))),
                    (true, false) => Err(JobError::Retry {
                        after: None,
                        source: format!("refused, and not for good yet: {error}").into(),
                    }),
                    (false, saved) if error.is_account_gone("destination") => {
                        let mut effects = if saved {
                            books.carry(known, &format!("the receiver's account is gone: {error}"))
                        } else {
                            refused(books, known, &error.to_string())
                        };
                        let occasion = format!("{}:{}", subject(&books.job_id, known.n), known.releases);
                        let ask = facts.account.iter().map(|account| CheckAccount::of(account, &occasion));
                        effects.follow_ups.extend(ask);
                        Ok(effects)
                    }
                    (false, _) => Ok(refused(books, known, &error.to_string())),
                }
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a reversal asks no question".into())),
        }
    }
}

fn made(books: &Books, known: &Known, object: &Value) -> Result<Effects, JobError> {
    let mut reversal: Reversal = serde_json::from_value(object.clone()).map_err(|error| JobError::Retry {
        after: None,
        source: format!("the reversal does not read: {error}").into(),
    })?;
    if let Some(how) = differs(books, known, &reversal) {
        return Err(JobError::Dead(how));
    }
    if known.reversal_id.as_ref() == Some(&reversal.id) {
        return Ok(Effects::skip("it was found and booked before"));
    }
    // The answer to our own request is ours, whatever became of its metadata since.
    reversal.metadata.insert("reversal".into(), subject(&books.job_id, known.n));
    books.book(std::slice::from_ref(&reversal)).map_err(JobError::Dead)
}

/// Stripe refused it for a reason that is not the receiver's money: perhaps all of it has come back already.
fn refused(books: &Books, known: &Known, error: &str) -> Effects {
    let why = format!("Stripe refused the reversal: {error}");
    let moved = ReversalMove { state: "refused", reason: Some(why.clone()), ..books.moved(known) };
    let check = books.transfer_id.as_ref().map(|transfer| {
        let occasion = format!("refused:{}:{}", known.n, known.releases);
        CheckTransfer::of(transfer, &books.job_id, &occasion)
    });
    Effects {
        outcome: Outcome::Dead(format!(
            "{why}. What has come back already is asked for; then: bursar payouts show {}",
            books.job_id
        )),
        changes: vec![Change::MoveReversal(moved).into()],
        follow_ups: check.into_iter().collect(),
        ..Effects::done()
    }
}

#[cfg(test)]
mod tests {
    use bursar_stripe::StripeError;
    use serde_json::json;

    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::{
        base::credits::Credits,
        ledger::Account,
        terms::{PayoutTerms, Selling},
    };

    fn facts(state: &str) -> Facts {
        let known = Known { n: 1, amount: 40, state: state.into(), reversal_id: None, releases: 0 };
        Facts {
            books: Some(Books::paid("job_1", "bob", 100, "tr_1", vec![known])),
            n: 1,
            account: Some("acct_1".into()),
        }
    }

    fn resolve(state: &str, answer: Answer<'_>) -> Result<Effects, JobError> {
        let job = ReverseTransfer { job_id: "job_1".into(), n: 1 };
        let terms = Terms {
            tiers: Vec::new(),
            packages: Vec::new(),
            skills: BTreeMap::new(),
            payout: PayoutTerms::default(),
            initial_credits: Credits::ZERO,
            livemode: false,
            stripe_on: true,
            grace: Duration::ZERO,
            selling: Selling::default(),
            dunning: crate::dunning::Dunning::default(),
        };
        job.resolve(&facts(state), answer, &terms)
    }

    fn short() -> StripeError {
        StripeError { code: Some("balance_insufficient".into()), ..StripeError::default() }
    }

    #[test]
    fn only_a_saved_refusal_makes_a_debt() {
        let error = short();
        let carried = resolve("open", Answer::Refused { error: &error, saved: true }).unwrap();
        let posting = &carried.postings[0];
        assert_eq!(
            (&posting.debit, &posting.credit, posting.amount),
            (&Account::Receiver("bob".into()), &Account::Payable, 40)
        );
        assert_eq!(posting.key, "undo:reversal:job_1:1");
        let refused = resolve("open", Answer::Refused { error: &error, saved: false });
        assert!(matches!(refused, Err(JobError::Retry { .. })), "a late request may still be executed: {refused:?}");
    }

    #[test]
    fn any_other_refusal_makes_none_and_asks_what_came_back() {
        let error = StripeError { message: Some("already fully reversed".into()), ..StripeError::default() };
        let refused = resolve("unknown", Answer::Refused { error: &error, saved: true }).unwrap();
        assert!(refused.postings.is_empty());
        assert!(
            matches!(&refused.outcome, Outcome::Dead(why) if why.contains("already fully reversed")),
            "{refused:?}"
        );
        assert_eq!(refused.follow_ups[0].kind, "check_transfer");
    }

    #[test]
    fn an_account_that_is_gone_gives_nothing_back_and_is_asked_about() {
        let error = StripeError { code: Some("account_invalid".into()), ..StripeError::default() };
        let carried = resolve("open", Answer::Refused { error: &error, saved: true }).unwrap();
        assert_eq!((carried.postings.len(), carried.postings[0].amount), (1, 40));
        let refused = resolve("open", Answer::Refused { error: &error, saved: false }).unwrap();
        assert!(refused.postings.is_empty() && matches!(refused.outcome, Outcome::Dead(_)), "{refused:?}");
        for effects in [carried, refused] {
            let asked = effects.follow_ups.iter().filter(|job| job.kind == "check_account");
            assert_eq!(asked.map(|job| job.key.as_str()).collect::<Vec<_>>(), ["acct_1:reversal:job_1:1:0"]);
        }
    }

    #[test]
    fn what_is_settled_is_settled_whatever_comes_late() {
        let error = short();
        for state in ["made", "carried", "refused"] {
            for answer in [Answer::Refused { error: &error, saved: true }, Answer::Unknown("lost")] {
                let effects = resolve(state, answer).unwrap();
                assert!(effects.postings.is_empty() && effects.changes.is_empty(), "{state}: {effects:?}");
            }
        }
    }

    #[test]
    fn a_reversal_of_another_amount_or_transfer_is_not_the_one_that_was_asked_for() {
        for (amount, transfer) in [(41, "tr_1"), (40, "tr_2")] {
            let object = json!({"id": "trr_1", "object": "transfer_reversal", "amount": amount, "currency": "usd",
                                "created": 1, "transfer": transfer, "metadata": {}});
            assert!(matches!(resolve("open", Answer::Made(&object)), Err(JobError::Dead(_))), "{amount} of {transfer}");
        }
    }
}
