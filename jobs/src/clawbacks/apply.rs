//! What came back of charges: Stripe's word, kept; and the grants that find theirs already there.

use bursar_stripe::charges::Told;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    clawbacks::{after_plan_change, change::Change, claw_back::ClawBack, refund_emails},
    engine::{change::changes, domain::ApplyContext},
    ledger::{Account, Posting},
};

/// Makes the changes of a batch that concern charges.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch, verdicts) = (&mut *context.db, context.batch, &mut context.verdicts);
    let all: Vec<(usize, &Change)> = changes(batch, Some);
    for (owner, change) in all {
        match change {
            Change::RecordCharge(told, asked_at) => record(db, told, *asked_at).await?,
            Change::TellDispute { id, user_id, told } => {
                sqlx::query!("UPDATE bursar.dispute SET user_id = $2, told = $3 WHERE id = $1", id, user_id, told)
                    .execute(&mut *db)
                    .await?;
            }
            Change::NoteRefundLetter { .. } => {}
        }
        verdicts[owner].new = true;
    }
    refund_emails::apply(context).await
}

/// Keeps what Stripe said, unless it was asked before what is kept.
async fn record(db: &mut PgConnection, told: &Told, asked_at: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let charge = &told.charge;
    let newer = sqlx::query_scalar!(
        "INSERT INTO bursar.charge AS c (id, amount, currency, asked_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, currency = excluded.currency, asked_at = excluded.asked_at,
             changed_at = bursar.now()
         WHERE c.asked_at < excluded.asked_at RETURNING id",
        charge.id,
        charge.amount,
        charge.currency,
        asked_at
    )
    .fetch_optional(&mut *db)
    .await?;
    if newer.is_none() {
        return Ok(());
    }
    // Nothing is forgotten: what Stripe does not list any more keeps what was last said of it.
    sqlx::query!(
        "INSERT INTO bursar.charge_ref (ref, charge, total)
         SELECT r.id, $1, r.total FROM jsonb_to_recordset($2) AS r (id text, total bigint) WHERE r.total > 0
         ON CONFLICT (ref, charge) DO UPDATE SET total = excluded.total",
        charge.id,
        sqlx::types::Json(&told.paid_for) as _
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "INSERT INTO bursar.refund (id, charge, amount, status, created_at)
         SELECT r.id, $1, r.amount, coalesce(r.status, 'none'), to_timestamp(r.created::float8)
         FROM jsonb_to_recordset($2) AS r (id text, amount bigint, status text, created bigint)
         ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, status = excluded.status",
        charge.id,
        sqlx::types::Json(&told.refunds) as _
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "INSERT INTO bursar.dispute AS d (id, charge, amount, currency, status, reason, due_by, created_at)
         SELECT d.id, $1, d.amount, d.currency, d.status, d.reason, to_timestamp((d.evidence_details ->> 'due_by'::text)::float8), to_timestamp(d.created::float8)
         FROM jsonb_to_recordset($2)
             AS d (id text, amount bigint, currency text, status text, reason text, evidence_details jsonb, created bigint)
         ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, currency = excluded.currency, status = excluded.status,
             reason = excluded.reason, due_by = excluded.due_by,
             -- An operator cleared what it was then.
             cleared_at = CASE WHEN d.status = excluded.status THEN d.cleared_at END",
        charge.id,
        sqlx::types::Json(&told.disputes) as _
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Looks again at charges that came back already.
pub(crate) async fn react(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    after_grants(context).await?;
    after_plan_change::react(context).await
}

/// Holds what the grants of a batch are for until the end of the transaction, and says which jobs must look at those whose charge has
/// come back already: a refund may be heard of before its purchase.
async fn after_grants(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch) = (&mut *context.db, context.batch);
    let is_grant = |posting: &&Posting| {
        matches!((&posting.debit, &posting.credit), (Account::Issuance, Account::User(_))) && posting.reverses.is_none()
    };
    let grants: Vec<&Posting> = batch.iter().flat_map(|effects| &effects.postings).filter(is_grant).collect();
    let refs: Vec<String> = grants.iter().filter_map(|posting| posting.reference.clone()).collect();
    if refs.is_empty() {
        return Ok(());
    }
    let back = sqlx::query!(r#"SELECT ref AS "ref!", charge AS "charge!" FROM bursar.charges_back($1)"#, &refs)
        .fetch_all(db)
        .await?;
    let of = |grant: &Posting| {
        let mine: Vec<&str> = back
            .iter()
            .filter(|row| grant.reference.as_ref() == Some(&row.r#ref))
            .map(|row| row.charge.as_str())
            .collect();
        mine.into_iter().map(|charge| ClawBack::after_grant(charge, grant)).collect::<Vec<_>>()
    };
    context.follow_ups.extend(grants.into_iter().flat_map(of));
    Ok(())
}
