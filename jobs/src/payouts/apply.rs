//! Payouts: recorded once for each verified job, and moved from state to state.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::{
    engine::{
        change::{RACED, changes},
        domain::ApplyContext,
        job::Effects,
    },
    payouts::{
        change::{Change, Payout, PayoutPaid},
        release, transfers,
    },
    receivers::change::ReceiverActivated,
};

/// Makes the changes of a batch that concern payouts.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    record(context).await?;
    move_all(context).await?;
    transfers::apply(context).await
}

/// Moves the payouts of a batch. Whoever moves one holds its row since before it decided.
async fn move_all(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let moves = changes(context.batch, |change| match change {
        Change::MovePayout(moved) => Some(moved),
        _ => None,
    });
    for (_, moved) in moves {
        let paid = sqlx::query_scalar!(
            "UPDATE bursar.payout SET state = $2, reason = $3, transfer_id = coalesce($4, transfer_id), held_by = NULL, changed_at = bursar.now()
             -- No arrow leads out of `reversed`.
             WHERE job_id = $1 AND state <> 'reversed'
             RETURNING CASE WHEN state = 'paid' THEN transfer_id END",
            moved.job_id,
            moved.state,
            moved.reason.as_ref().map(|reason| reason.replace('\0', "\u{fffd}")),
            moved.transfer_id,
        )
        .fetch_optional(&mut *context.db)
        .await?;
        if let Some(transfer) = paid.flatten().filter(|_| moved.transfer_id.is_some()) {
            context.record(PayoutPaid { job_id: moved.job_id.clone(), transfer });
        }
    }
    let notes = changes(context.batch, |change| match change {
        Change::NotePayout { job_id, why } => Some((job_id, why)),
        _ => None,
    });
    for (_, (job_id, why)) in notes {
        sqlx::query!(
            "UPDATE bursar.payout SET reason = 'stopped: ' || $2, changed_at = bursar.now()
             WHERE job_id = $1 AND state IN ('held', 'sending', 'unknown')",
            job_id,
            why.replace('\0', "\u{fffd}"),
        )
        .execute(&mut *context.db)
        .await?;
    }
    Ok(())
}

/// Lets go what is held for receivers whose accounts have become active.
pub(crate) async fn react(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    for ReceiverActivated { user_id } in context.facts() {
        release::release(&mut *context.db, &user_id).await?;
    }
    Ok(())
}

fn recorded(batch: &[Effects]) -> Vec<(usize, &Payout)> {
    changes(batch, |change| match change {
        Change::RecordPayout(payout) => Some(payout),
        _ => None,
    })
}

/// Those payouts of a batch whose job has another, by their owner. Reads only.
pub(crate) async fn conflicts(db: &mut PgConnection, batch: &[Effects]) -> Result<Vec<(usize, String)>, sqlx::Error> {
    let wanted = recorded(batch);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let jobs: Vec<String> = wanted.iter().map(|(_, payout)| payout.job_id.clone()).collect();
    let known =
        sqlx::query!("SELECT job_id, receiver_id, amount, currency FROM bursar.payout WHERE job_id = ANY($1)", &jobs)
            .fetch_all(db)
            .await?;
    let known: HashMap<&str, _> = known.iter().map(|row| (row.job_id.as_str(), row)).collect();
    let differs = |payout: &Payout| {
        let row = known.get(payout.job_id.as_str())?;
        let same =
            (&row.receiver_id, row.amount, &row.currency) == (&payout.receiver_id, payout.amount, &payout.currency);
        (!same).then(|| conflict(payout, row.amount, &row.currency, &row.receiver_id))
    };
    Ok(wanted.iter().filter_map(|(owner, payout)| Some((*owner, differs(payout)?))).collect())
}

fn conflict(payout: &Payout, amount: i64, currency: &str, receiver: &str) -> String {
    format!(
        "job {} has a payout of {amount} {currency} to {receiver}; this verification says {} {} to {}",
        payout.job_id, payout.amount, payout.currency, payout.receiver_id
    )
}

/// Records the payouts of a batch.
async fn record(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch, verdicts) = (&mut *context.db, context.batch, &mut context.verdicts);
    let wanted = recorded(batch);
    if wanted.is_empty() {
        return Ok(());
    }
    let payouts: Vec<&Payout> = wanted.iter().map(|(_, payout)| *payout).collect();
    let known = sqlx::query!(
        r#"WITH wanted AS MATERIALIZED (
               SELECT DISTINCT ON (job_id) * FROM jsonb_to_recordset($1) AS w (job_id text, receiver_id text, sender_id text,
                   skill text, credits bigint, amount bigint, currency text, state text, reason text, event_id text, verified_at timestamptz) ORDER BY job_id
           ), made AS (
               INSERT INTO bursar.payout (job_id, receiver_id, sender_id, skill, credits, amount, currency, state, reason, event_id, verified_at)
               SELECT job_id, receiver_id, sender_id, skill, credits, amount, currency, state, reason, event_id, verified_at FROM wanted
               ON CONFLICT (job_id) DO NOTHING RETURNING job_id, receiver_id, amount, currency, state
           )
           SELECT job_id AS "job_id!", receiver_id AS "receiver_id!", amount AS "amount!", currency AS "currency!", state AS "state!", true AS "new!" FROM made
           UNION ALL
           SELECT p.job_id, p.receiver_id, p.amount, p.currency, p.state, false FROM bursar.payout p JOIN wanted w ON w.job_id = p.job_id"#,
        sqlx::types::Json(payouts) as _,
    )
    .fetch_all(db)
    .await?;
    for (owner, payout) in wanted {
        match known.iter().find(|row| row.job_id == payout.job_id) {
            Some(row)
                if (&row.receiver_id, row.amount, &row.currency)
                    != (&payout.receiver_id, payout.amount, &payout.currency) =>
            {
                verdicts[owner].conflict = Some(conflict(payout, row.amount, &row.currency, &row.receiver_id));
            }
            Some(row) if row.new => verdicts[owner].new = true,
            Some(row) => {
                verdicts[owner].already = Some(format!("job {} has its payout, which is {}", payout.job_id, row.state));
            }
            None => return Err(sqlx::Error::Protocol(RACED.into())),
        }
    }
    Ok(())
}
