//! Transfers at Stripe against payouts in the books. Nothing is ever sent from here: what looks lost may also be another Stripe's, and a
//! Transfer too many does not come back.

use std::collections::HashMap;

use bursar_stripe::transfers::Transfer;
use serde_json::json;
use sqlx::PgConnection;

use super::{
    entry::Reversal,
    finding::{Finding, Type},
};
use crate::{engine::kind, ledger::adjustment::quoted};

/// What a Transfer of ours is made with.
const GROUP: &str = "payout:";

/// The job that a Transfer says it is for, if it looks like one of ours.
fn job_of(transfer: &Transfer) -> Option<&str> {
    let of_group = transfer.transfer_group.as_deref().and_then(|group| group.strip_prefix(GROUP));
    of_group.or_else(|| transfer.metadata.get("job_id").map(String::as_str)).filter(|job| !job.contains('\0'))
}

struct Payout {
    state: String,
    currency: String,
    receiver: String,
    transfer: Option<String>,
    /// What the books say was sent.
    booked: Option<i64>,
    /// Whether this Transfer went where the payout was sent, or where its receiver is paid.
    destination_fits: bool,
    /// Whether it may be let go: its look comes before anything is sent.
    releasable: bool,
    live: Option<String>,
}

/// Transfers of a page that the books do not have so.
pub(super) async fn sent(db: &mut PgConnection, transfers: &[Transfer]) -> Result<Vec<Finding>, sqlx::Error> {
    let ours: Vec<(&Transfer, &str)> = transfers.iter().filter_map(|t| Some((t, job_of(t)?))).collect();
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let jobs: Vec<String> = ours.iter().map(|(_, job)| (*job).to_owned()).collect();
    let ids: Vec<String> = ours.iter().map(|(transfer, _)| transfer.id.clone()).collect();
    let destinations: Vec<String> = ours.iter().map(|(t, _)| t.destination.clone().unwrap_or_default()).collect();
    let rows = sqlx::query!(
        r#"SELECT w.id AS "id!", p.state, p.currency, p.receiver_id, p.transfer_id,
                  (SELECT b.amount FROM bursar.posting b WHERE b.key = 'transfer:' || p.job_id) AS booked,
                  (EXISTS (SELECT FROM bursar.intent i WHERE i.subject = 'payout:' || p.job_id
                             AND '&' || (i.request ->> 'form'::text) || '&' LIKE '%&destination=' || w.destination || '&%')
                   OR EXISTS (SELECT FROM bursar.receiver r WHERE r.user_id = p.receiver_id AND r.account_id = w.destination)) AS "fits!",
                  -- Under a young key it would be sent again without a look, and this Transfer may have another key: not from here.
                  (p.state IN ('unknown', 'sending', 'held', 'skipped', 'rejected')
                   AND NOT bursar.is_young(coalesce(least(p.recorded_at, p.verified_at), timestamptz 'epoch'))
                   AND NOT EXISTS (SELECT FROM bursar.intent i WHERE i.subject = 'payout:' || p.job_id AND i.state IN ('open', 'unknown')
                                   AND coalesce(bursar.is_young(i.young_since), false))) AS "releasable!",
                  (SELECT j.id FROM bursar.job j WHERE j.kind = 'pay_receiver' AND j.state IN ('ready', 'scheduled', 'running')
                     AND j.key = p.job_id || ':' || p.releases::text) AS live
           FROM unnest($1::text[], $2::text[], $3::text[]) AS w (id, job, destination)
           JOIN bursar.payout p ON p.job_id = w.job"#,
        &ids,
        &jobs,
        &destinations
    )
    .fetch_all(db)
    .await?;
    let mut payouts: HashMap<String, Payout> = rows
        .into_iter()
        .map(|row| {
            let payout = Payout {
                state: row.state,
                currency: row.currency,
                receiver: row.receiver_id,
                transfer: row.transfer_id,
                booked: row.booked,
                destination_fits: row.fits,
                releasable: row.releasable,
                live: row.live,
            };
            (row.id, payout)
        })
        .collect();
    Ok(ours.into_iter().filter_map(|(transfer, job)| judge(transfer, job, payouts.remove(&transfer.id))).collect())
}

fn judge(transfer: &Transfer, job: &str, payout: Option<Payout>) -> Option<Finding> {
    let id = &transfer.id;
    let evidence = |books: serde_json::Value| {
        json!({ "job_id": job, "amount": transfer.amount, "currency": transfer.currency, "destination": transfer.destination,
                "created": transfer.created, "reversed": transfer.amount_reversed, "metadata": transfer.metadata, "books": books })
    };
    let found = |what, books, user: Option<&str>| {
        Finding::new(what, id, evidence(books)).of_user(user).money(transfer.amount, &transfer.currency)
    };
    let reverse = format!(
        "look at {id} at Stripe: no payout knows it. Where it is a mistake, reverse it there, then: bursar reconcile judge FINDING --why '…'"
    );
    let Some(payout) = payout else {
        let user = transfer.metadata.get("user_id").map(String::as_str);
        return Some(found(Type::UnknownTransfer, serde_json::Value::Null, user).by_hand(reverse));
    };
    let user = Some(payout.receiver.as_str());
    let books = json!({ "state": payout.state, "transfer_id": payout.transfer, "booked": payout.booked, "currency": payout.currency });
    match &payout.transfer {
        Some(known) if known != id => {
            let remedy = format!("{known} paid for {job} already. {reverse}");
            Some(found(Type::UnknownTransfer, books, user).by_hand(remedy))
        }
        Some(_) => {
            let same = payout.booked == Some(transfer.amount)
                && payout.currency == transfer.currency
                && payout.destination_fits;
            let remedy = format!("compare {id} at Stripe with: bursar payouts show {}", quoted(job));
            (!same).then(|| found(Type::TransferDiffers, books, user).by_hand(remedy))
        }
        // A job is at it, and will find it.
        None if payout.live.is_some() => None,
        None if payout.releasable => Some(found(Type::UnknownTransfer, books, user).by_repair()),
        None if payout.state == "reversed" => {
            let remedy = format!("{job} was taken back as if nothing had been sent. {reverse}");
            Some(found(Type::UnknownTransfer, books, user).by_hand(remedy))
        }
        None => {
            let remedy = format!(
                "its payout is {}, and young: compare with bursar payouts show {}, and ask again tomorrow",
                payout.state,
                quoted(job)
            );
            Some(found(Type::UnknownTransfer, books, user).by_hand(remedy))
        }
    }
}

/// Reversals of Transfers of ours that the books do not have.
pub(super) async fn returned(db: &mut PgConnection, reversals: &[Reversal]) -> Result<Vec<Finding>, sqlx::Error> {
    if reversals.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = reversals.iter().map(|reversal| reversal.id.clone()).collect();
    let transfers: Vec<String> = reversals.iter().map(|reversal| reversal.transfer.clone()).collect();
    let rows = sqlx::query!(
        r#"SELECT w.id AS "id!", p.job_id, p.receiver_id, p.state
           FROM unnest($1::text[], $2::text[]) AS w (id, transfer) JOIN bursar.payout p ON p.transfer_id = w.transfer
           WHERE NOT EXISTS (SELECT FROM bursar.posting b WHERE b.ref = w.id)"#,
        &ids,
        &transfers
    )
    .fetch_all(db)
    .await?;
    // Whether this version has a job that books what an event tells of a Transfer's reversal.
    let booked_by_event = kind::STRIPE_EVENTS.iter().any(|(event, _)| *event == "transfer.reversed");
    let mut findings = Vec::new();
    for row in rows {
        let Some(reversal) = reversals.iter().find(|reversal| reversal.id == row.id) else { continue };
        let evidence = json!({ "transfer": reversal.transfer, "job_id": row.job_id, "state": row.state, "movement": reversal.movement });
        let found = Finding::new(Type::ReversalNotBooked, &reversal.id, evidence)
            .of_user(Some(&row.receiver_id))
            .money(reversal.amount, &reversal.currency);
        let remedy =
            format!("compare {} at Stripe with: bursar payouts show {}", reversal.transfer, quoted(&row.job_id));
        findings.push(if booked_by_event { found.by_repair() } else { found.by_hand(remedy) });
    }
    Ok(findings)
}
