//! What a person moves in the books: a grant or a removal, with who, why, and a key of their own.
//!
//! A grant under the key of a purchase (`purchase:cs_…`) is that purchase's grant, under its one key in the books: its job finds it there and
//! grants nothing more, what a job has granted is not granted again, and a refund takes it back like any other.

use serde_json::json;
use sqlx::{PgConnection, PgExecutor};

use crate::{
    base::credits::Credits,
    desk::Operator,
    ledger::{self, Account, CREDITS, Posted, Posting},
    selling::purchase,
};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the user.
    Grant,
    /// From the user, whose balance may go below zero.
    Removal,
}

/// What is to be moved.
#[derive(Debug, Clone, Copy)]
pub struct Move<'a> {
    /// Whose account.
    pub user: &'a str,
    /// Which way.
    pub way: Way,
    /// More than none.
    pub amount: Credits,
    /// What makes a repetition harmless: one posting for a key, for ever.
    pub key: &'a str,
    /// Who does it.
    pub actor: &'a str,
    /// Why, in their words.
    pub why: &'a str,
}

/// Moves it.
pub async fn post(db: impl PgExecutor<'_>, hand: Move<'_>) -> Result<Posted, sqlx::Error> {
    let user = Account::User(hand.user.to_owned());
    let (kind, from, to) = match hand.way {
        Way::Grant => ("admin_grant", Account::Issuance, user),
        Way::Removal => ("admin_removal", user, Account::Issuance),
    };
    let mut posting = match purchase::session_of(hand.key).filter(|_| hand.way == Way::Grant) {
        Some(session) => {
            let mut posting = Posting::grant("purchase", purchase::key_of(session), hand.user, hand.amount);
            posting.reference = Some(session.to_owned());
            posting
        }
        None => Posting::new(kind, format!("admin:{}", hand.key), from, to, CREDITS, hand.amount.micros()),
    };
    posting.actor = Some(hand.actor.to_owned());
    posting.why = Some(hand.why.to_owned());
    let posted = ledger::post(db, &[posting]).await?;
    posted.first().copied().ok_or_else(|| sqlx::Error::Protocol("bursar.post answered nothing".to_owned()))
}

/// Why a person moved it, in their words; none of what no person moved.
pub async fn why(db: impl PgExecutor<'_>, posting: i64) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT why FROM bursar.posting WHERE id = $1", posting).fetch_one(db).await
}

/// Whether a posting was made in this transaction.
pub async fn is_new(db: impl PgExecutor<'_>, posting: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT xmin = pg_current_xact_id()::xid AS "new!" FROM bursar.posting WHERE id = $1"#,
        posting
    )
    .fetch_one(db)
    .await
}

/// What a person has spent for a user.
#[derive(Debug, Clone, Copy)]
pub struct Spend<'a> {
    /// Whose account.
    pub user: &'a str,
    /// How much.
    pub amount: Credits,
    /// Under which key.
    pub key: &'a str,
    /// Its posting.
    pub posting: i64,
    /// What for.
    pub reference: Option<&'a str>,
}

/// Writes down what was spent in this transaction. What a repetition finds was written down by the first.
pub async fn note_spend(db: &mut PgConnection, by: &Operator, spend: Spend<'_>) -> Result<(), sqlx::Error> {
    if is_new(&mut *db, spend.posting).await? {
        let after = json!({ "amount": spend.amount, "key": spend.key, "posting": spend.posting });
        by.note(db, "credits.spend", spend.user, (None, Some(after)), spend.reference).await?;
    }
    Ok(())
}
