//! `bursar credits grant`, `revoke` and `spend`: an operator's hand in the books, each once for its key.

use bursar_jobs::{
    base::{audit::Via, credits::Credits},
    desk::{
        Operator, accounts,
        adjust_credits::{self, Move as Hand, Way},
    },
    ledger::{self, Posted, Spent},
};
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::Move;
use crate::operate::{Failure, Screen, values};

/// What was posted, under the names that programs rely on.
#[derive(Serialize)]
struct Moved<'a> {
    /// `posted`, `already` where the key stood with the same content, `short` where a balance did not cover it, `passed` where that
    /// was let pass.
    result: &'static str,
    posting: Option<i64>,
    user_id: &'a str,
    amount: Credits,
    /// The caller's key: the same command with it changes nothing more.
    key: &'a str,
    balance: Credits,
}

pub(super) async fn by_hand(db: &mut PgConnection, screen: &Screen, asked: Move, way: Way) -> Result<(), Failure> {
    let key = asked.key.unwrap_or_else(|| Uuid::new_v4().to_string());
    let actor = asked.by.unwrap_or_else(values::operator);
    let hand = Hand { user: &asked.user, way, amount: asked.amount, key: &key, actor: &actor, why: &asked.why };
    let mut tx = db.begin().await?;
    let is_new = accounts::credits(&mut tx, &asked.user).await?.is_none();
    // Whoever mistypes a name would take from nobody, and believe that it was done.
    if is_new && way == Way::Removal {
        return Err(Failure::not_found(
            format!("there is no account {}: nothing was revoked", asked.user),
            "an account is there once credits were posted to it; look at the name of the user",
        ));
    }
    let posted = adjust_credits::post(&mut *tx, hand).await?;
    let (result, posting) = match posted {
        Posted::New(id) => ("posted", id),
        Posted::Already(id) => ("already", id),
        Posted::Conflict(id) => return Err(conflict(&key, id)),
    };
    let user = asked.user.as_str();
    let balance = ledger::balance(&mut *tx, user).await?;
    if let Posted::New(_) = posted {
        let what = match way {
            Way::Grant => "credits.grant",
            Way::Removal => "credits.revoke",
        };
        note(&mut tx, &actor, what, user, (asked.amount, &key, posting), Some(&asked.why)).await?;
    }
    tx.commit().await?;
    let moved = Moved { result, posting: Some(posting), user_id: user, amount: asked.amount, key: &key, balance };
    let verb = match (way, result) {
        (Way::Grant, "posted") => "granted to",
        (Way::Grant, _) => "were granted before to",
        (Way::Removal, "posted") => "revoked from",
        (Way::Removal, _) => "were revoked before from",
    };
    let (amount, key) = (asked.amount, &key);
    screen.done(
        &moved,
        &format!("{amount} credits {verb} {user} (posting {posting}, key {key}); the balance is {balance} credits"),
    )?;
    if is_new {
        screen.note(&format!("{user} had no account until now: look at the name, if that is a surprise"));
    }
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
    let mut tx = db.begin().await?;
    match ledger::spend(&mut *tx, user, amount, key, reference, None).await? {
        Spent::Done { posting, balance } => {
            let spend = adjust_credits::Spend { user, amount, key, posting, reference };
            adjust_credits::note_spend(&mut tx, &values::at_keyboard(), spend).await?;
            tx.commit().await?;
            let moved = Moved { result: "posted", posting: Some(posting), user_id: user, amount, key, balance };
            screen.done(
                &moved,
                &format!(
                    "{user} spent {amount} credits (posting {posting}, key {key}); the balance is {balance} credits"
                ),
            )?;
            Ok(())
        }
        Spent::Passed { balance } => {
            let moved = Moved { result: "passed", posting: None, user_id: user, amount, key, balance };
            let said =
                format!("Stripe is off, and credit checks pass: nothing was spent; the balance is {balance} credits");
            screen.done(&moved, &said)?;
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

/// Writes an act down, where it was one: the same command again changes nothing.
async fn note(
    db: &mut PgConnection,
    who: &str,
    what: &str,
    user: &str,
    (amount, key, posting): (Credits, &str, i64),
    why: Option<&str>,
) -> Result<(), Failure> {
    let by = Operator { who: who.to_owned(), via: Via::Cli };
    let after = json!({ "amount": amount, "key": key, "posting": posting });
    Ok(by.note(db, what, user, (None, Some(after)), why).await?)
}

fn conflict(key: &str, posting: i64) -> Failure {
    Failure::refused(
        format!("the key {key} stands for something else (posting {posting}): nothing was changed"),
        "repeat the first command exactly, or take a new key",
    )
}
