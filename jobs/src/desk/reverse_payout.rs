//! Asking for a payout to be reversed: what becomes of that, by the payout's state, in one transaction with the audit row.

use serde_json::json;
use sqlx::PgConnection;

use crate::{
    base::audit::{self, Act, Via},
    engine::{apply, change::Applied, enqueue, job::Effects},
    payouts::{
        self,
        book::{self, Books, Known, subject},
        change::ReversalMove,
        reverse_transfer::ReverseTransfer,
        superseded,
    },
    registry,
};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The marketplace's job.
    pub job_id: &'a str,
    /// So much of it is to be reversed in all, in minor units; none: all of it.
    pub amount: Option<i64>,
    /// Who asks.
    pub who: &'a str,
    /// Which way they came.
    pub via: Via,
    /// Why, in their words.
    pub why: &'a str,
    /// Use a new key, where Stripe saved a failure under the old one and nothing has come back.
    pub after_saved_failure: bool,
}

impl<'a> Asked<'a> {
    fn by(&self) -> superseded::By<'a> {
        superseded::By { who: self.who, via: self.via, why: Some(self.why) }
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// There is no such payout.
    NoSuch,
    /// It may not be: why, and what to try. Nothing was changed.
    Refused(String, String),
    /// It is so already, and this is how. Nothing was changed.
    Already(String),
    /// Nothing had been sent: it is reversed, and this is how.
    Undone(String),
    /// A reversal has begun, or goes on.
    Begun {
        /// The n-th of its payout.
        n: i32,
        /// What it takes back, in minor units.
        amount: i64,
        /// The payout's currency.
        currency: String,
    },
}

/// Asks, inside the caller's transaction, which is to be committed unless it was refused.
pub async fn ask(db: &mut PgConnection, asked: Asked<'_>) -> Result<Became, sqlx::Error> {
    let Some(books) = book::hold(db, asked.job_id).await? else { return Ok(Became::NoSuch) };
    let became = match books.state.as_str() {
        "held" | "skipped" | "rejected" => undo_unsent(db, &books, asked).await?,
        "paid" => take_back(db, &books, asked).await?,
        "reversed" => Became::Already(format!("the payout for {} is reversed", books.job_id)),
        state => Became::Refused(
            format!("the payout for {} is {state}: whether anything was sent is not known yet", books.job_id),
            format!("wait until it is, and see: bursar payouts show {}", books.job_id),
        ),
    };
    if matches!(became, Became::Undone(_) | Became::Begun { .. }) {
        let act = Act {
            who: asked.who,
            via: asked.via,
            what: "payouts.reverse",
            subject: &books.job_id,
            before: Some(json!({"state": books.state, "reversed": books.sums.undone})),
            after: Some(match &became {
                Became::Begun { n, amount, .. } => json!({"reversal": n, "amount": amount}),
                _ => json!({"state": "reversed"}),
            }),
            why: Some(asked.why),
        };
        audit::note(&mut *db, act).await?;
    }
    Ok(became)
}

async fn undo_unsent(db: &mut PgConnection, books: &Books, asked: Asked<'_>) -> Result<Became, sqlx::Error> {
    if asked.amount.is_some_and(|amount| amount < books.sums.amount) {
        return Ok(Became::Refused(
            format!(
                "the payout for {} is {}: nothing was sent that could be taken back in part",
                books.job_id, books.state
            ),
            "reverse all of it, without --amount, or release it first".into(),
        ));
    }
    let known = sqlx::query!(
        r#"SELECT bursar.is_young($2) AS "young!", EXISTS (
               SELECT FROM bursar.intent i WHERE i.subject = 'payout:' || $1
               AND (i.state = 'unknown' OR i.state = 'open'
                    AND EXISTS (SELECT FROM bursar.call c WHERE c.intent_id = i.id AND c.what = 'send' AND c.answered_at IS NULL))) AS "lost!""#,
        books.job_id,
        books.since
    )
    .fetch_one(&mut *db)
    .await?;
    if known.lost {
        return Ok(Became::Refused(
            format!("the payout for {} is {}, and may have been sent", books.job_id, books.state),
            format!("let it go, which looks for it first: bursar payouts release {}", books.job_id),
        ));
    }
    apply(&mut *db, books.undo_unsent(asked.who, asked.why)).await?;
    superseded::undone(db, &books.job_id, asked.by()).await?;
    let said = books.said(books.sums.amount);
    // What a database knows that was restored is older than what was sent: nothing here can tell.
    let restored = if known.young {
        String::new()
    } else {
        format!(
            "; where this database was restored from a backup since, look at Stripe for a Transfer of the group payout:{}, and reverse it there",
            books.job_id
        )
    };
    Ok(Became::Undone(format!("nothing was sent for {}: {said} is owed no more{restored}", books.job_id)))
}

async fn take_back(db: &mut PgConnection, books: &Books, asked: Asked<'_>) -> Result<Became, sqlx::Error> {
    let sums = &books.sums;
    if sums.sent() == 0 {
        // All of it was netted: there is no Transfer, and what it settled is carried anew.
        if asked.amount.is_some_and(|amount| amount < sums.amount) {
            return Ok(Became::Refused(
                format!(
                    "the payout for {} was settled by netting: nothing was sent that could be taken back in part",
                    books.job_id
                ),
                "reverse all of it, without --amount".into(),
            ));
        }
        apply(db, books.undo_unsent(asked.who, asked.why)).await?;
        return Ok(Became::Undone(format!("all of it was netted: {} is carried again", books.said(sums.amount))));
    }
    for open in books.reversals.iter().filter(|known| known.is_open()) {
        if let Some(became) = go_on(db, books, open, asked).await? {
            return Ok(became);
        }
    }
    let target = asked.amount.unwrap_or_else(|| sums.sent());
    if target > sums.sent() {
        return Ok(Became::Refused(
            format!("{} was sent for {}: {} is more", books.said(sums.sent()), books.job_id, books.said(target)),
            "--amount says how much of it is to be reversed in all; without it, all of it is".into(),
        ));
    }
    let amount = target - sums.undone - books.under_way();
    if amount <= 0 {
        let sum = books.said(sums.undone + books.under_way());
        return Ok(Became::Already(format!(
            "{sum} of the payout for {} is reversed, or on its way back",
            books.job_id
        )));
    }
    let n = books.reversals.last().map_or(1, |known| known.n + 1);
    let begun = ReversalMove {
        job_id: books.job_id.clone(),
        n,
        amount,
        state: "open",
        reason: Some("not made yet".into()),
        reversal_id: None,
        actor: Some(asked.who.to_owned()),
        why: Some(asked.why.to_owned()),
    };
    let effects = Effects {
        changes: vec![payouts::change::Change::MoveReversal(begun).into()],
        follow_ups: vec![ReverseTransfer::release(&books.job_id, n, 0)],
        ..Effects::done()
    };
    apply(db, effects).await?;
    Ok(Became::Begun { n, amount, currency: books.currency.clone() })
}

/// A reversal that is open and whose job has stopped goes on; none: there is nothing to be done about it.
async fn go_on(
    db: &mut PgConnection,
    books: &Books,
    open: &Known,
    asked: Asked<'_>,
) -> Result<Option<Became>, sqlx::Error> {
    let live = sqlx::query_scalar!(
        "SELECT id FROM bursar.job WHERE kind = 'reverse_transfer' AND state IN ('ready', 'scheduled', 'running') AND key = $1",
        format!("{}:{}:{}", books.job_id, open.n, open.releases)
    )
    .fetch_optional(&mut *db)
    .await?
    .flatten();
    if let Some(live) = live {
        return Ok(asked.after_saved_failure.then(|| {
            Became::Refused(
                format!("the reversal {} has a job that goes on by itself", subject(&books.job_id, open.n)),
                format!("see it with: bursar jobs show {live}"),
            )
        }));
    }
    if asked.after_saved_failure {
        let raised = sqlx::query!(
            "UPDATE bursar.intent SET raise_after_look = true, changed_at = bursar.now()
             WHERE subject = $1 AND saved_failure AND looks > 0 AND state = 'unknown'
               AND generation = (SELECT max(generation) FROM bursar.intent WHERE subject = $1)",
            subject(&books.job_id, open.n),
        )
        .execute(&mut *db)
        .await?;
        if raised.rows_affected() == 0 {
            return Ok(Some(Became::Refused(
                format!("{} has no saved failure that was looked behind", subject(&books.job_id, open.n)),
                "ask without --after-saved-failure: it is looked for first".into(),
            )));
        }
    }
    let releases = open.releases + 1;
    sqlx::query!(
        "UPDATE bursar.reversal SET releases = $3, reason = $4, changed_at = bursar.now() WHERE job_id = $1 AND n = $2",
        books.job_id,
        open.n,
        releases,
        format!("released by {}", asked.who)
    )
    .execute(&mut *db)
    .await?;
    enqueue::enqueue(&mut *db, &[ReverseTransfer::release(&books.job_id, open.n, releases)]).await?;
    superseded::reversal(db, &format!("{}:{}", books.job_id, open.n), releases, asked.by()).await?;
    Ok(Some(Became::Begun { n: open.n, amount: open.amount, currency: books.currency.clone() }))
}

async fn apply(db: &mut PgConnection, effects: Effects) -> Result<(), sqlx::Error> {
    match apply::apply(registry::DOMAINS, db, std::slice::from_ref(&effects)).await?.into_iter().next() {
        Some(Applied::Conflict(what) | Applied::Already(what)) => Err(sqlx::Error::Protocol(what)),
        Some(Applied::New) | None => Ok(()),
    }
}
