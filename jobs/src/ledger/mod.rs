//! The ledger: postings, and the balances that follow from them.
//!
//! A posting debits one account and credits another, so the books balance by construction. It carries a key that is unique for
//! ever; the same key with other content is a conflict. A mistake is undone by a reversal, never by a change.

pub mod adjustment;
pub mod history;

use std::{collections::HashMap, fmt};

use serde::Serialize;
use sqlx::PgExecutor;

use crate::base::credits::Credits;

/// An account, by what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// A user's credits.
    User(String),
    /// What a receiver is owed.
    Receiver(String),
    /// Where credits come from.
    Issuance,
    /// Where spent credits go.
    Usage,
    /// Where unused credits end that expired.
    Breakage,
    /// What debts to receivers are booked against.
    Payable,
    /// Where money goes that Stripe moved to a receiver.
    Stripe,
    /// Through which a payout settles a receiver's debt: what goes in comes out at once.
    Netting,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Receiver(id) => write!(f, "receiver:{id}"),
            Self::Issuance => f.write_str("issuance"),
            Self::Usage => f.write_str("usage"),
            Self::Breakage => f.write_str("breakage"),
            Self::Payable => f.write_str("payable"),
            Self::Stripe => f.write_str("stripe"),
            Self::Netting => f.write_str("netting"),
        }
    }
}

impl Serialize for Account {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The unit of credits; money has its lower-case currency code instead.
pub const CREDITS: &str = "credits";

/// One posting to make. The amount is positive, in millionths of a credit or in the currency's minor unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Posting {
    /// Unique for ever, from the identity of what caused it (DESIGN: every effect, its key).
    pub key: String,
    /// What kind of posting: `purchase`, `refill`, `admin_grant`, `spend`, `reversal`, `payout` …
    pub kind: &'static str,
    /// The account it takes from.
    pub debit: Account,
    /// The account it gives to.
    pub credit: Account,
    /// `credits`, or a currency.
    pub unit: String,
    /// More than zero.
    pub amount: i64,
    /// The event that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The job that posts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// The posting it undoes, in whole or in part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverses: Option<i64>,
    /// What it was for: a session, an invoice, a verified job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Who, where a person did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Posting {
    /// A grant of credits out of issuance.
    pub fn grant(kind: &'static str, key: String, user: &str, amount: Credits) -> Self {
        Self::new(kind, key, Account::Issuance, Account::User(user.to_owned()), CREDITS, amount.micros())
    }

    /// A posting with nothing said of its cause.
    pub fn new(kind: &'static str, key: String, debit: Account, credit: Account, unit: &str, amount: i64) -> Self {
        Self {
            key,
            kind,
            debit,
            credit,
            unit: unit.to_owned(),
            amount,
            event_id: None,
            job_id: None,
            reverses: None,
            reference: None,
            actor: None,
            why: None,
        }
    }
}

/// What became of one posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// Made now; its id.
    New(i64),
    /// It stood already, with the same content: nothing was done.
    Already(i64),
    /// Its key stands with other content: nothing was done, and someone must look.
    Conflict(i64),
}

/// Posts a batch inside the caller's transaction, one answer a posting, in order.
/// Accounts are opened as needed and locked by id, so that batches cannot deadlock each other over them.
pub async fn post(db: impl PgExecutor<'_>, postings: &[Posting]) -> Result<Vec<Posted>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", result AS "result!" FROM bursar.post($1) ORDER BY ord"#,
        sqlx::types::Json(postings) as _,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| match row.result.as_str() {
            "posted" => Ok(Posted::New(row.id)),
            "already" => Ok(Posted::Already(row.id)),
            "conflict" => Ok(Posted::Conflict(row.id)),
            other => Err(sqlx::Error::Protocol(format!("bursar.post answered {other:?}"))),
        })
        .collect()
}

/// Those of these postings whose key stands with other content, by their place, and what has it. Reads only.
pub(crate) async fn conflicts(
    db: impl PgExecutor<'_>,
    postings: &[&Posting],
) -> Result<Vec<(usize, i64)>, sqlx::Error> {
    if postings.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<String> = postings.iter().map(|posting| posting.key.clone()).collect();
    let rows = sqlx::query!(
        r#"SELECT p.id, p.key, p.kind, d.name AS debit, c.name AS credit, d.unit, p.amount, p.reverses
           FROM bursar.posting p JOIN bursar.account d ON d.id = p.debit JOIN bursar.account c ON c.id = p.credit
           WHERE p.key = ANY($1)"#,
        &keys,
    )
    .fetch_all(db)
    .await?;
    let stands: HashMap<&str, _> = rows.iter().map(|row| (row.key.as_str(), row)).collect();
    let differs = |posting: &Posting| {
        let row = stands.get(posting.key.as_str())?;
        let same = (row.kind.as_str(), &row.unit, row.amount, row.reverses)
            == (posting.kind, &posting.unit, posting.amount, posting.reverses)
            && row.debit == posting.debit.to_string()
            && row.credit == posting.credit.to_string();
        (!same).then_some(row.id)
    };
    Ok(postings.iter().enumerate().filter_map(|(nth, posting)| Some((nth, differs(posting)?))).collect())
}

/// What is said of a posting whose key stands with other content.
pub(crate) fn conflict(id: i64, key: &str) -> String {
    format!("posting {id} has the key {key} with other content; look at both before you do anything")
}

/// What a spend came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spent {
    /// Taken, now or before under the same key: once.
    Done {
        /// The posting's id.
        posting: i64,
        /// What is left.
        balance: Credits,
    },
    /// Not taken, and let pass: Stripe is off, and nobody could buy what is missing.
    Passed {
        /// What there is.
        balance: Credits,
    },
    /// Not taken: the balance does not cover it.
    Short {
        /// What there is.
        balance: Credits,
    },
    /// Not taken: the key stands for another amount.
    Conflict {
        /// The posting that has the key.
        posting: i64,
    },
    /// Not taken: the user, the key or the amount is malformed.
    Invalid,
}

/// Takes credits from a user, once per `(user, key)`; never below zero.
pub async fn spend(
    db: impl PgExecutor<'_>,
    user: &str,
    amount: Credits,
    key: &str,
    reference: Option<&str>,
    why: Option<&str>,
) -> Result<Spent, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT status AS "status!", posting_id, (balance * 1000000.0)::bigint AS balance
           FROM bursar.spend($1, $2::bigint::numeric * 0.000001, $3, $4, $5)"#,
        user,
        amount.micros(),
        key,
        reference,
        why,
    )
    .fetch_one(db)
    .await?;
    let balance = Credits::from_micros(row.balance.unwrap_or_default());
    match (row.status.as_str(), row.posting_id) {
        ("done", Some(posting)) => Ok(Spent::Done { posting, balance }),
        ("done", None) => Ok(Spent::Passed { balance }),
        ("short", _) => Ok(Spent::Short { balance }),
        ("conflict", Some(posting)) => Ok(Spent::Conflict { posting }),
        ("invalid", _) => Ok(Spent::Invalid),
        (other, _) => Err(sqlx::Error::Protocol(format!("bursar.spend answered {other:?}"))),
    }
}

/// A user's credits, read without a lock. A user never seen has none.
pub async fn balance(db: impl PgExecutor<'_>, user: &str) -> Result<Credits, sqlx::Error> {
    let micros = sqlx::query_scalar!(r#"SELECT (bursar.balance($1) * 1000000.0)::bigint AS "micros!""#, user)
        .fetch_one(db)
        .await?;
    Ok(Credits::from_micros(micros))
}
