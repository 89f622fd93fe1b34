//! Money that went back: refunds, credit notes and disputes against the clawbacks in the books.
//!
//! What the books know of a refund as Stripe has it now is judged by the books alone. What they do not know is asked for with its charge
//! and what that paid for, and is a finding only where something was granted for it, or should have been.

use std::collections::{BTreeMap, HashMap, HashSet};

use bursar_stripe::charges::Told;
use serde_json::json;
use sqlx::PgConnection;

use super::{
    Phase, Run,
    entry::{Back, Returned},
    finding::{Finding, Type},
};
use crate::clawbacks::{
    amounts::{self, Clawed, Dispute, Move, Paid, Refund},
    claw_back,
};

/// The charges of a page of which more came back than the books know.
pub(super) async fn of_charges(db: &mut PgConnection, charges: &[Returned]) -> Result<Vec<String>, sqlx::Error> {
    if charges.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = charges.iter().map(|charge| charge.id.clone()).collect();
    let rows = sqlx::query!(
        r#"SELECT c.id AS "id!",
                  coalesce((SELECT sum(r.amount) FROM bursar.refund r WHERE r.charge = c.id AND r.status NOT IN ('failed', 'canceled')), 0)::bigint AS "back!",
                  EXISTS (SELECT FROM bursar.dispute d WHERE d.charge = c.id) AS "disputed!"
           FROM pg_catalog.unnest($1::text[]) AS c (id)"#,
        &ids
    )
    .fetch_all(db)
    .await?;
    let known: HashMap<String, (i64, bool)> = rows.into_iter().map(|row| (row.id, (row.back, row.disputed))).collect();
    let differs = |charge: &&Returned| {
        let (back, disputed) = known.get(&charge.id).copied().unwrap_or_default();
        charge.amount_refunded > back || (charge.disputed && !disputed)
    };
    Ok(charges.iter().filter(differs).map(|charge| charge.id.clone()).collect())
}

/// What the books know of a page's refunds or disputes, and did not act on; and the charges of those that they do not know.
pub(super) async fn known(
    db: &mut PgConnection,
    backs: &[Back],
    phase: Phase,
) -> Result<(Vec<Finding>, Vec<String>), sqlx::Error> {
    if backs.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let ids: Vec<String> = backs.iter().map(|back| back.id.clone()).collect();
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", charge AS "charge!", amount AS "amount!", status AS "status!" FROM bursar.refund WHERE id = ANY ($1)
           UNION ALL SELECT id, charge, amount, status FROM bursar.dispute WHERE id = ANY ($1)"#,
        &ids
    )
    .fetch_all(&mut *db)
    .await?;
    let known: HashMap<String, (String, i64, String)> =
        rows.into_iter().map(|row| (row.id, (row.charge, row.amount, row.status))).collect();
    let (mut charges, mut ask) = (Vec::new(), Vec::new());
    for back in backs {
        match known.get(&back.id) {
            Some((charge, amount, status)) if *amount == back.amount && *status == back.status => {
                charges.push(charge.clone());
            }
            _ => ask.extend(back.charge.clone().or_else(|| back.payment_intent.clone())),
        }
    }
    for list in [&mut charges, &mut ask] {
        list.sort_unstable();
        list.dedup();
    }
    let mut findings = Vec::new();
    for charge in charges.iter().filter(|charge| !ask.contains(charge)) {
        let dispute = |source: &str| known.contains_key(source) && phase == Phase::Disputes;
        match claw_back::outstanding(&mut *db, charge).await? {
            Ok(left) => {
                for (source, (user, micros)) in sums(left).into_iter().filter(|(source, _)| known.contains_key(source))
                {
                    let evidence = json!({ "charge": charge, "said": "known, and not taken back as Stripe has it" });
                    let found = Finding::new(type_of(dispute(&source)), source, evidence);
                    findings.push(found.of_user(Some(&user)).credits(micros).by_repair());
                }
            }
            Err(why) => {
                let evidence = json!({ "charge": charge, "why": why });
                let object = backs.iter().find(|back| back.charge.as_ref() == Some(charge)).map_or(charge, |b| &b.id);
                let found = Finding::new(type_of(phase == Phase::Disputes), object, evidence);
                findings.push(found.by_hand(format!("look at {charge} at Stripe: {why}")));
            }
        }
    }
    Ok((findings, ask))
}

fn type_of(dispute: bool) -> Type {
    if dispute { Type::DisputeNotTaken } else { Type::RefundNotClawed }
}

/// What is left by refund or dispute: whose, and how much in all of its grants.
fn sums(left: Vec<(String, String, i64)>) -> BTreeMap<String, (String, i64)> {
    let mut sums: BTreeMap<String, (String, i64)> = BTreeMap::new();
    for (source, user, micros) in left {
        let sum = sums.entry(source).or_insert_with(|| (user, 0));
        sum.1 = sum.1.saturating_add(micros);
    }
    sums
}

struct Grant {
    posting: i64,
    user: String,
    amount: i64,
    paid_for: String,
}

/// What charges that were asked for say that the books do not.
pub(super) async fn told(db: &mut PgConnection, run: &Run, charges: &[Told]) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = Vec::new();
    for told in charges {
        findings.extend(of_charge(&mut *db, run, told).await?);
    }
    Ok(findings)
}

async fn of_charge(db: &mut PgConnection, run: &Run, told: &Told) -> Result<Vec<Finding>, sqlx::Error> {
    let refs: Vec<String> = told.paid_for.iter().map(|paid| paid.id.clone()).collect();
    let sources: Vec<String> =
        told.refunds.iter().map(|refund| refund.id.clone()).chain(told.disputes.iter().map(|d| d.id.clone())).collect();
    let grants: Vec<Grant> = sqlx::query!(
        r#"SELECT p.id, p.amount, p.ref AS "ref!", u.name FROM bursar.posting p
           JOIN bursar.account i ON i.id = p.debit AND i.name = 'issuance' AND i.unit = 'credits'
           JOIN bursar.account u ON u.id = p.credit AND u.name LIKE 'user:%'
           WHERE p.ref = ANY ($1) AND p.reverses IS NULL ORDER BY p.id"#,
        &refs
    )
    .fetch_all(&mut *db)
    .await?
    .into_iter()
    .map(|row| Grant {
        posting: row.id,
        user: row.name.strip_prefix("user:").unwrap_or_default().to_owned(),
        amount: row.amount,
        paid_for: row.r#ref,
    })
    .collect();
    // Where the grant itself is missing, what came back of it is found with it.
    let missing = sqlx::query_scalar!(
        r#"SELECT f.user_id FROM bursar.finding f WHERE f.run = $1 AND f.object = ANY ($2) AND f.type = 'missing_grant' AND f.state = 'open'
           LIMIT 1"#,
        run.id,
        &refs
    )
    .fetch_optional(&mut *db)
    .await?;
    // What a rise of plan granted is no posting of the invoice that paid for it: how much of it goes back is said once the books know.
    let raised = sqlx::query_scalar!(
        r#"SELECT max(m.user_id) AS "user!" FROM bursar.plan_change_paid p JOIN bursar.service_month m USING (subscription_id)
           WHERE p.invoice = ANY ($1) HAVING count(*) > 0"#,
        &refs
    )
    .fetch_optional(&mut *db)
    .await?;
    if grants.is_empty() && missing.is_none() && raised.is_none() {
        return Ok(Vec::new());
    }
    let recorded: HashSet<String> = sqlx::query_scalar!("SELECT id FROM bursar.dispute WHERE id = ANY ($1)", &sources)
        .fetch_all(&mut *db)
        .await?
        .into_iter()
        .collect();
    let refunds: Vec<Refund> = told
        .refunds
        .iter()
        .map(|r| Refund {
            id: r.id.clone(),
            created: r.created,
            amount: r.amount,
            status: r.status.clone().unwrap_or_default(),
        })
        .collect();
    let disputes: Vec<Dispute> = told
        .disputes
        .iter()
        .map(|d| Dispute {
            id: d.id.clone(),
            created: d.created,
            amount: (d.currency == told.charge.currency).then_some(d.amount),
            status: d.status.clone(),
        })
        .collect();
    let evidence = json!({ "charge": told.charge.id, "paid_for": told.paid_for, "refunds": told.refunds, "disputes": told.disputes });
    let is_dispute = |source: &str| disputes.iter().any(|dispute| dispute.id == source);
    let mut left: Vec<(String, String, i64)> = Vec::new();
    for grant in &grants {
        let total = told.paid_for.iter().find(|paid| paid.id == grant.paid_for).map_or(0, |paid| paid.total);
        let paid = Paid { amount: told.charge.amount, total: total.max(told.charge.amount) };
        let clawed = clawed(&mut *db, grant.posting, &sources).await?;
        match amounts::targets(grant.amount, paid, &refunds, &disputes) {
            Ok(targets) => {
                left.extend(amounts::moves(&targets, &clawed).into_iter().map(|one| match one {
                    Move::Claw { source, amount, .. } => (source, grant.user.clone(), amount),
                    Move::Restore { source, amount, .. } => (source, grant.user.clone(), -amount),
                }));
            }
            Err(odd) => {
                let found = Finding::new(Type::RefundNotClawed, &told.charge.id, evidence).of_user(Some(&grant.user));
                return Ok(vec![found.by_hand(format!("look at {} at Stripe: {odd}", told.charge.id))]);
            }
        }
    }
    let mut sums = sums(left);
    let user = grants.first().map(|grant| grant.user.clone()).or(missing.flatten()).or(raised).unwrap_or_default();
    let unheard = disputes.iter().filter(|dispute| !recorded.contains(&dispute.id)).map(|dispute| &dispute.id);
    // A dispute must be known before it takes anything: it has a day until which it can be answered.
    let unheard: Vec<String> = if grants.is_empty() { sources } else { unheard.cloned().collect() };
    for source in unheard {
        sums.entry(source).or_insert_with(|| (user.clone(), 0));
    }
    let finding = |(source, (user, micros)): (String, (String, i64))| {
        let found = Finding::new(type_of(is_dispute(&source)), source, evidence.clone());
        found.of_user(Some(&user)).credits(micros).by_repair()
    };
    Ok(sums.into_iter().map(finding).collect())
}

/// What was taken of a grant for these refunds and disputes.
async fn clawed(db: &mut PgConnection, grant: i64, sources: &[String]) -> Result<Vec<Clawed>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT c.id, c.ref AS "source!", c.amount, coalesce(sum(b.amount), 0)::bigint AS "restored!", pg_catalog.count(b.id) AS "restores!"
           FROM bursar.posting c LEFT JOIN bursar.posting b ON b.reverses = c.id
           WHERE c.reverses = $1 AND c.key LIKE 'clawback:%' AND c.ref = ANY ($2)
           GROUP BY c.id, c.ref, c.amount ORDER BY c.id"#,
        grant,
        sources
    )
    .fetch_all(db)
    .await?;
    let clawed = rows.into_iter().map(|row| Clawed {
        posting: row.id,
        source: row.source,
        amount: row.amount,
        restored: row.restored,
        restores: usize::try_from(row.restores).unwrap_or_default(),
    });
    Ok(clawed.collect())
}
