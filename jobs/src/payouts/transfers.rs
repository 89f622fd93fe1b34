//! Money out: what holds a payout or lets it go, what it sends, what is netted from it, and what is taken back of it.

use sqlx::PgConnection;

use crate::{
    engine::{change::changes, domain::ApplyContext},
    ledger::{self, Account, Posted, Posting},
    payouts::{
        change::{Change, Going, ReversalMove, TakenBack},
        release,
    },
};

/// Makes the changes of a batch that concern money out. Whoever wants one holds the receiver's row since before it decided.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch) = (&mut *context.db, context.batch);
    let all: Vec<(usize, &Change)> = changes(batch, Some);
    for (_, change) in &all {
        match change {
            Change::LetGo(going) => let_go(db, going).await?,
            Change::HoldBack { job_id, by, why } => {
                sqlx::query!(
                    "UPDATE bursar.payout SET state = 'held', held_by = $2, reason = $3, changed_at = bursar.now() WHERE job_id = $1",
                    job_id,
                    by,
                    why
                )
                .execute(&mut *db)
                .await?;
            }
            Change::TakeBack(taken) => take_back(db, taken).await?,
            Change::MoveReversal(moved) => move_reversal(db, moved).await?,
            Change::NoteReversal { job_id, n, why } => {
                sqlx::query!(
                    "UPDATE bursar.reversal SET reason = 'stopped: ' || $3, changed_at = bursar.now()
                     WHERE job_id = $1 AND n = $2 AND state IN ('open', 'unknown')",
                    job_id,
                    n,
                    why.replace('\0', "\u{fffd}"),
                )
                .execute(&mut *db)
                .await?;
            }
            Change::RecordPayout(_)
            | Change::MovePayout(_)
            | Change::NotePayout { .. }
            | Change::MinimumMet { .. }
            | Change::ReleaseHeld { .. } => {}
        }
    }
    // After all of the above: what has just left is held no more.
    for (_, change) in &all {
        if let Change::MinimumMet { user_id, currency } = change {
            meet_minimum(db, user_id, currency).await?;
        }
    }
    for (_, change) in &all {
        if let Change::ReleaseHeld { user_id } = change {
            sqlx::query!("SELECT FROM bursar.receiver WHERE user_id = $1 FOR UPDATE", user_id)
                .execute(&mut *db)
                .await?;
            release::release(db, user_id).await?;
        }
    }
    Ok(())
}

async fn let_go(db: &mut PgConnection, going: &Going) -> Result<(), sqlx::Error> {
    let (amount, netted) = going.fixed.as_ref().map_or((None, 0), |(amount, nettings)| {
        (Some(*amount), nettings.iter().map(|netting| netting.amount).sum::<i64>())
    });
    sqlx::query!(
        "UPDATE bursar.payout SET state = $2, reason = $3, held_by = NULL, changed_at = bursar.now(),
                transfer_amount = coalesce($4, transfer_amount, amount), netted = netted + $5,
                sent_on = (bursar.now() AT TIME ZONE 'UTC')::date
         WHERE job_id = $1",
        going.job_id,
        going.state,
        going.reason,
        amount,
        netted,
    )
    .execute(&mut *db)
    .await?;
    let Some((_, nettings)) = &going.fixed else { return Ok(()) };
    let mut postings = Vec::with_capacity(2 * nettings.len());
    for (i, netting) in nettings.iter().enumerate() {
        sqlx::query!(
            "UPDATE bursar.payout SET recovered = recovered + $2, changed_at = bursar.now() WHERE job_id = $1",
            netting.job_id,
            netting.amount
        )
        .execute(&mut *db)
        .await?;
        // Out of this payout, and into that debt: the receiver's balance stays, and both say of each other.
        let receiver = Account::Receiver(going.receiver_id.clone());
        let key = format!("netting:{}:{}", going.job_id, i + 1);
        let (currency, amount) = (&going.currency, netting.amount);
        let mut out = Posting::new("netting", key.clone(), receiver.clone(), Account::Netting, currency, amount);
        out.reference = Some(going.job_id.clone());
        out.why = Some(format!("settles the debt carried by {}", netting.job_id));
        let mut into =
            Posting::new("netting", format!("{key}:recovered"), Account::Netting, receiver, currency, amount);
        into.reference = Some(netting.job_id.clone());
        into.why = Some(format!("netted from {}", going.job_id));
        postings.extend([out, into]);
    }
    if postings.is_empty() {
        return Ok(());
    }
    let posted = ledger::post(db, &postings).await?;
    if posted.iter().all(|posted| matches!(posted, Posted::New(_))) {
        return Ok(());
    }
    Err(sqlx::Error::Protocol(format!("the payout for {} was netted before: look at its postings", going.job_id)))
}

async fn take_back(db: &mut PgConnection, taken: &TakenBack) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bursar.payout SET returned = returned + $2, undone = undone + $3, carried = carried + $4, recovered = recovered + $5,
                state = CASE WHEN $6 THEN 'reversed' ELSE state END, held_by = CASE WHEN $6 THEN NULL ELSE held_by END,
                reason = $7, changed_at = bursar.now()
         WHERE job_id = $1",
        taken.job_id,
        taken.step.returned,
        taken.step.undone,
        taken.step.carried,
        taken.step.recovered,
        taken.reversed,
        taken.reason.replace('\0', "\u{fffd}"),
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn move_reversal(db: &mut PgConnection, moved: &ReversalMove) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO bursar.reversal AS r (job_id, n, amount, state, reason, reversal_id, actor, why) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (job_id, n) DO UPDATE SET state = excluded.state, reason = excluded.reason, amount = excluded.amount,
             reversal_id = coalesce(excluded.reversal_id, r.reversal_id), changed_at = bursar.now()",
        moved.job_id,
        moved.n,
        moved.amount,
        moved.state,
        moved.reason.as_ref().map(|reason| reason.replace('\0', "\u{fffd}")),
        moved.reversal_id,
        moved.actor,
        moved.why,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What is held for a receiver has reached the minimum: all of it may go.
async fn meet_minimum(db: &mut PgConnection, user_id: &str, currency: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT FROM bursar.receiver WHERE user_id = $1 FOR UPDATE", user_id).execute(&mut *db).await?;
    sqlx::query!(
        "UPDATE bursar.payout SET minimum_met = true, held_by = nullif(held_by, 'minimum'), changed_at = bursar.now()
         WHERE receiver_id = $1 AND currency = $2 AND state = 'held' AND NOT minimum_met AND held_by IS DISTINCT FROM 'cap'",
        user_id,
        currency
    )
    .execute(&mut *db)
    .await?;
    release::release(db, user_id).await
}
