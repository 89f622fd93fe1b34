//! Taking back what was paid for a job: what it would mean, said by doing it and undoing that; nothing of it leaves this database.

use ring::digest;
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::{
    base::money,
    desk::reverse_payout::{self, Asked, Became},
    payouts::book,
};

/// What it would mean.
#[derive(Debug, Clone, Serialize)]
pub struct Meaning {
    /// Whether anything would change.
    pub changes: bool,
    /// In sentences.
    pub said: Vec<String>,
    /// What was shown: an act that is asked for with it is done only if it would mean the same still.
    pub seal: String,
}

/// Asks for it, if it means what was shown; else what it would mean by now. In the caller's transaction.
pub async fn ask_as_shown(
    db: &mut PgConnection,
    asked: Asked<'_>,
    seal: &str,
) -> Result<Result<Became, Meaning>, sqlx::Error> {
    // Held until the caller's transaction ends: what it would mean cannot change in between.
    book::hold(&mut *db, asked.job_id).await?;
    match preview(&mut *db, asked).await? {
        Some(meaning) if meaning.changes && meaning.seal != seal => Ok(Err(meaning)),
        _ => reverse_payout::ask(db, asked).await.map(Ok),
    }
}

/// What a reversal would mean; nothing is changed. None: there is no such payout.
pub async fn preview(db: &mut PgConnection, asked: Asked<'_>) -> Result<Option<Meaning>, sqlx::Error> {
    let mut tx = db.begin().await?;
    let books = book::hold(&mut tx, asked.job_id).await?;
    let became = reverse_payout::ask(&mut tx, asked).await?;
    tx.rollback().await?;
    let Some(books) = books else { return Ok(None) };
    let mut said = Vec::new();
    let changes = match became {
        Became::NoSuch => return Ok(None),
        Became::Refused(why, hint) => {
            said.extend([why, hint]);
            false
        }
        Became::Already(how) => {
            said.push(format!("Nothing to do: {how}."));
            false
        }
        Became::Undone(how) => {
            said.push(format!("Nothing is asked of Stripe: {how}."));
            true
        }
        Became::Begun { amount, currency, .. } => {
            let of = books.transfer_id.as_deref().unwrap_or("its Transfer");
            said.push(format!(
                "A reversal of {} is asked for at Stripe, of {of}: it is taken from the balance of {} there.",
                money::format(amount, &currency),
                books.receiver_id
            ));
            let (back, short) = (books.sums.take_back(amount), books.sums.carry(amount));
            said.push(format!(
                "What that balance does not have is not taken: up to {} is then carried as a debt, and netted from later payouts.",
                books.said(short.carried)
            ));
            if back.carried > 0 {
                said.push(format!(
                    "{} of it had settled earlier debts, and is owed again in any case.",
                    books.said(back.carried)
                ));
            }
            true
        }
    };
    let seal = digest::digest(&digest::SHA256, said.join("\n").as_bytes());
    let seal = seal.as_ref().iter().fold(String::with_capacity(64), |text, byte| format!("{text}{byte:02x}"));
    Ok(Some(Meaning { changes, said, seal }))
}

/// An amount as it is typed: more than nothing, exact in the currency; what is wrong with it else.
pub fn amount(text: &str, currency: &str) -> Result<i64, String> {
    money::parse(text, currency).filter(|amount| *amount > 0).ok_or_else(|| {
        format!(
            "{text:?} is no amount of {} above 0: write it with at most {} decimals, without the currency",
            currency.to_uppercase(),
            money::decimals(currency)
        )
    })
}
