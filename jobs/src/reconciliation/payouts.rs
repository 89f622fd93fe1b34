//! Payouts in the books against Transfers at Stripe, and payouts that come to no end.

use serde_json::json;
use sqlx::PgConnection;

use super::{
    Run,
    compare::Judged,
    finding::{Finding, Type},
};

use crate::ledger::adjustment::quoted;

/// Rows of our own that are looked at in one job.
const PAGE: i64 = 200;

/// A page of the Transfers that were booked in the month: those that were not seen are asked for.
pub(super) async fn page(db: &mut PgConnection, run: &Run, after: Option<&str>) -> Result<Judged, sqlx::Error> {
    let after: i64 = after.and_then(|id| id.parse().ok()).unwrap_or_default();
    let rows = sqlx::query!(
        r#"SELECT p.id, p.ref AS "transfer!", EXISTS (SELECT FROM bursar.reconciled r WHERE r.run = $1 AND r.id = p.ref) AS "seen!"
           FROM bursar.posting p
           WHERE p.id > $4 AND p.posted_at >= $2 AND p.posted_at < $3 AND p.kind = 'transfer' AND p.ref IS NOT NULL
             AND p.key LIKE 'transfer:%' AND p.reverses IS NULL
           ORDER BY p.id LIMIT $5"#,
        run.id,
        run.from,
        run.before,
        after,
        PAGE
    )
    .fetch_all(db)
    .await?;
    let more = i64::try_from(rows.len()).is_ok_and(|read| read == PAGE);
    let after = rows.last().filter(|_| more).map(|row| row.id.to_string());
    let ask = rows.into_iter().filter(|row| !row.seen).map(|row| row.transfer).collect();
    Ok(Judged { ask, after, ..Judged::default() })
}

/// Transfers that the books have and Stripe has not. Never sent again from here: with the key of another account every Transfer would look
/// lost, and each would be paid twice.
pub(super) async fn lost(db: &mut PgConnection, transfers: &[(String, String)]) -> Result<Vec<Finding>, sqlx::Error> {
    let ids: Vec<String> = transfers.iter().map(|(id, _)| id.clone()).collect();
    let rows = sqlx::query!(
        r#"SELECT p.ref AS "transfer!", p.key, p.amount, a.unit, o.state AS "state?", o.receiver_id AS "receiver_id?"
           FROM bursar.posting p JOIN bursar.account a ON a.id = p.debit
           LEFT JOIN bursar.payout o ON o.job_id = substr(p.key, length('transfer:') + 1)
           WHERE p.ref = ANY ($1) AND p.kind = 'transfer' AND p.key LIKE 'transfer:%' AND p.reverses IS NULL"#,
        &ids
    )
    .fetch_all(db)
    .await?;
    let finding = |row: (String, String, i64, String, Option<String>, Option<String>)| {
        let (transfer, key, amount, unit, state, receiver) = row;
        let job = key.strip_prefix("transfer:").unwrap_or_default().to_owned();
        let why = transfers.iter().find(|(id, _)| *id == transfer).map(|(_, why)| why.clone());
        let evidence = json!({ "transfer": transfer, "state": state, "why": why });
        let remedy = format!(
            "is STRIPE_SECRET_KEY of the account that paid it? Look for {transfer} at Stripe, and at: bursar payouts show {}. It is never sent again by itself",
            quoted(&job)
        );
        let found = Finding::new(Type::PayoutWithoutTransfer, job, evidence).of_user(receiver.as_deref());
        found.money(amount, &unit).by_hand(remedy)
    };
    let rows = rows.into_iter().map(|row| (row.transfer, row.key, row.amount, row.unit, row.state, row.receiver_id));
    Ok(rows.map(finding).collect())
}

/// A page of the payouts whose Transfer has been under way, or not known, for more than three days: after that no event comes any more.
pub(super) async fn stuck(db: &mut PgConnection, after: Option<&str>) -> Result<Judged, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT p.job_id, p.receiver_id, p.amount, p.currency, p.state, p.reason, p.changed_at,
                  (SELECT j.id FROM bursar.job j WHERE j.kind = 'pay_receiver' AND j.state IN ('ready', 'scheduled', 'running')
                     AND j.key = p.job_id || ':' || p.releases::text) AS live,
                  -- Under a young key it would be sent again without a look.
                  (bursar.is_young(coalesce(least(p.recorded_at, p.verified_at), timestamptz 'epoch'))
                   OR EXISTS (SELECT FROM bursar.intent i WHERE i.subject = 'payout:' || p.job_id AND i.state IN ('open', 'unknown')
                              AND coalesce(bursar.is_young(i.young_since), false))) AS "young!"
           FROM bursar.payout p
           WHERE p.state IN ('sending', 'unknown') AND p.changed_at < (SELECT bursar.now()) - interval '3 days' AND p.job_id > $1
           ORDER BY p.job_id LIMIT $2"#,
        after.unwrap_or_default(),
        PAGE
    )
    .fetch_all(db)
    .await?;
    let more = i64::try_from(rows.len()).is_ok_and(|read| read == PAGE);
    let after = rows.last().filter(|_| more).map(|row| row.job_id.clone());
    let findings = rows.into_iter().map(|row| {
        let evidence = json!({ "state": row.state, "since": row.changed_at, "reason": row.reason, "job": row.live });
        let found = Finding::new(Type::PayoutStuck, &row.job_id, evidence).of_user(Some(&row.receiver_id));
        let found = found.money(row.amount, &row.currency);
        match row.live {
            None if row.young => {
                found.by_hand(format!("nothing goes on with it: bursar payouts release {}", quoted(&row.job_id)))
            }
            None => found.by_repair(),
            Some(job) => {
                found.by_hand(format!("its job goes on by itself, and says what it waits for: bursar jobs show {job}"))
            }
        }
    });
    Ok(Judged { findings: findings.collect(), after, ..Judged::default() })
}
