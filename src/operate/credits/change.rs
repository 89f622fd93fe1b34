//! `bursar credits grant`, `revoke` and `spend`: an operator's hand in the books, each once for its key.

use bursar_jobs::{
    credits::Credits,
    ledger::{self, Account, CREDITS, Posted, Posting, Spent},
};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Move;
use crate::operate::{Failure, Screen, values};

/// What was posted, under the names that programs rely on.
#[derive(Serialize)]
struct Moved<'a> {
    /// `posted`, `already` where the key stood with the same content, `short` where a balance did not cover it.
    result: &'static str,
    posting: Option<i64>,
    user_id: &'a str,
    amount: Credits,
    /// The caller's key: the same command with it changes nothing more.
    key: &'a str,
    balance: Credits,
}

pub(super) async fn grant(db: &mut PgConnection, screen: &Screen, asked: Move) -> Result<(), Failure> {
    let (from, to) = (Account::Issuance, Account::User(asked.user.clone()));
    by_hand(db, screen, asked, "admin_grant", from, to).await
}

pub(super) async fn revoke(db: &mut PgConnection, screen: &Screen, asked: Move) -> Result<(), Failure> {
    let (from, to) = (Account::User(asked.user.clone()), Account::Issuance);
    by_hand(db, screen, asked, "admin_removal", from, to).await
}

async fn by_hand(
    db: &mut PgConnection,
    screen: &Screen,
    asked: Move,
    kind: &'static str,
    from: Account,
    to: Account,
) -> Result<(), Failure> {
    let key = asked.key.unwrap_or_else(|| Uuid::new_v4().to_string());
    let mut posting = Posting::new(kind, format!("admin:{key}"), from, to, CREDITS, asked.amount.micros());
    posting.actor = Some(asked.by.unwrap_or_else(values::operator));
    posting.why = Some(asked.why);
    let posted = ledger::post(&mut *db, &[posting]).await?;
    let (result, posting) = match posted.first() {
        Some(Posted::New(id)) => ("posted", *id),
        Some(Posted::Already(id)) => ("already", *id),
        Some(Posted::Conflict(id)) => return Err(conflict(&key, *id)),
        None => return Err(sqlx::Error::Protocol("bursar.post answered nothing".to_owned()).into()),
    };
    let user = asked.user.as_str();
    let balance = ledger::balance(db, user).await?;
    let moved = Moved { result, posting: Some(posting), user_id: user, amount: asked.amount, key: &key, balance };
    let verb = match (kind, result) {
        ("admin_grant", "posted") => "granted to",
        ("admin_grant", _) => "were granted before to",
        (_, "posted") => "revoked from",
        (_, _) => "were revoked before from",
    };
    let (amount, key) = (asked.amount, &key);
    screen.done(
        &moved,
        &format!("{amount} credits {verb} {user} (posting {posting}, key {key}); the balance is {balance} credits"),
    )?;
    Ok(())
}

pub(super) async fn spend(
    db: &mut PgConnection,
    screen: &Screen,
    user: &str,
    amount: Credits,
    key: &str,
    reference: Option<&str>,
) -> Result<(), Failure> {
    match ledger::spend(&mut *db, user, amount, key, reference, None).await? {
        Spent::Done { posting, balance } => {
            let moved = Moved { result: "posted", posting: Some(posting), user_id: user, amount, key, balance };
            screen.done(
                &moved,
                &format!(
                    "{user} spent {amount} credits (posting {posting}, key {key}); the balance is {balance} credits"
                ),
            )?;
            Ok(())
        }
        Spent::Short { balance } => {
            if screen.is_json() {
                screen.object(&Moved { result: "short", posting: None, user_id: user, amount, key, balance })?;
            }
            Err(Failure::refused(
                format!("{user} has {balance} credits, and {amount} credits are needed: nothing was spent"),
                format!("see where they went: bursar credits history {user}"),
            ))
        }
        Spent::Conflict { posting } => Err(conflict(key, posting)),
        Spent::Invalid => Err(Failure::WrongUse {
            why: format!("{amount} credits cannot be spent at once"),
            hint: "the most is 9000000000000 credits".to_owned(),
        }),
    }
}

fn conflict(key: &str, posting: i64) -> Failure {
    Failure::refused(
        format!("the key {key} stands for something else (posting {posting}): nothing was changed"),
        "repeat the first command exactly, or take a new key",
    )
}
