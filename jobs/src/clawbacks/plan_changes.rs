//! What a charge paid for of the credits that plan changes granted, for [`claw_back`](crate::clawbacks::claw_back).
//!
//! The postings of a month's plan changes are counted from all its changes together, and an invoice's share of them is not one posting
//! (see [`proration`]): what goes back of it reverses those postings, the oldest first, none by more than it granted.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use crate::{
    clawbacks::amounts::Clawed,
    subscriptions::{
        change::PaidChange,
        proration,
        service_month::{self, Standing},
    },
};

/// What a charge paid for of a month's plan changes.
#[derive(Debug)]
pub struct ChangeGrant {
    /// What its keys derive from: subscription, month, invoice.
    pub key: String,
    /// Whose.
    pub user: String,
    /// In millionths; it may be none.
    pub amount: i64,
    /// `in_…`
    pub invoice: String,
    /// All that was charged for the invoice, in minor units.
    pub total: i64,
    /// The postings that granted it and others of the month, oldest first, and what is left to take of each.
    pub postings: Vec<(i64, i64)>,
    /// What was taken for it and its charge.
    pub clawed: Vec<Clawed>,
    /// Of which posting each taking was.
    pub of: HashMap<i64, i64>,
}

/// One posting that took.
struct Claw {
    key: String,
    of: i64,
    clawed: Clawed,
}

/// Holds the subscriptions whose changes these charges paid for, as far as it is known, until the transaction ends.
pub async fn hold(db: &mut PgConnection, charges: &[String]) -> Result<HashMap<String, Standing>, sqlx::Error> {
    let subscriptions = of_charges(db, charges).await?;
    service_month::hold(db, &subscriptions).await
}

/// The subscriptions whose changes these charges paid for.
pub async fn of_charges(db: &mut PgConnection, charges: &[String]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT p.subscription_id FROM bursar.charge_ref r JOIN bursar.plan_change_paid p ON p.invoice = r.ref
         WHERE r.charge = ANY ($1)",
        charges
    )
    .fetch_all(db)
    .await
}

/// What a charge paid for of the changes of these subscriptions.
pub async fn grants(
    db: &mut PgConnection,
    charge: &str,
    standings: &HashMap<String, Standing>,
) -> Result<Vec<ChangeGrant>, sqlx::Error> {
    let mut grants = Vec::new();
    let mut held: Vec<(&String, &Standing)> = standings.iter().collect();
    held.sort_unstable_by_key(|(id, _)| *id);
    for (subscription, standing) in held {
        let paid = sqlx::query_as!(
            PaidChange,
            "SELECT subscription_id, at, invoice, amount, value FROM bursar.plan_change_paid WHERE subscription_id = $1 ORDER BY at, invoice",
            subscription
        )
        .fetch_all(&mut *db)
        .await?;
        let shares = proration::shares(standing, &paid);
        let of_charge = sqlx::query!(
            "SELECT r.ref, r.total FROM bursar.charge_ref r
             WHERE r.charge = $1 AND EXISTS (SELECT FROM bursar.plan_change_paid p WHERE p.invoice = r.ref AND p.subscription_id = $2)
             ORDER BY 1",
            charge,
            subscription
        );
        let of_charge = of_charge.fetch_all(&mut *db).await?;
        if of_charge.is_empty() {
            continue;
        }
        let granted = granted(db, subscription).await?;
        let clawed = clawed(db, subscription, charge).await?;
        for month in &standing.months {
            let of_month = format!("plan_change:{subscription}:{}:", service_month::seconds(month.start_at));
            for invoice in &of_charge {
                let key = format!("{of_month}{}", invoice.r#ref);
                let share = shares
                    .iter()
                    .find(|share| (share.invoice, share.month.start_at) == (invoice.r#ref.as_str(), month.start_at));
                let of_key = format!("clawback:{key}:");
                let of_grant: Vec<&Claw> = clawed.iter().filter(|claw| claw.key.starts_with(&of_key)).collect();
                if share.is_none() && of_grant.is_empty() {
                    continue;
                }
                grants.push(ChangeGrant {
                    key,
                    user: month.user_id.clone(),
                    amount: share.map_or(0, |share| share.amount),
                    invoice: invoice.r#ref.clone(),
                    total: invoice.total,
                    postings: granted
                        .range(of_month.clone()..)
                        .take_while(|(key, _)| key.starts_with(&of_month))
                        .map(|(_, p)| *p)
                        .collect(),
                    clawed: of_grant.iter().map(|claw| claw.clawed.clone()).collect(),
                    of: of_grant.iter().map(|claw| (claw.clawed.posting, claw.of)).collect(),
                });
            }
        }
        if grants.is_empty()
            && let Some(user) = standing.user()
        {
            // Nothing was granted for it yet, or ever: it is ours all the same, and the team hears of a dispute.
            let invoice = &of_charge[0];
            grants.push(ChangeGrant {
                key: format!("plan_change:{subscription}:none:{}", invoice.r#ref),
                user,
                amount: 0,
                invoice: invoice.r#ref.clone(),
                total: invoice.total,
                postings: Vec::new(),
                clawed: Vec::new(),
                of: HashMap::new(),
            });
        }
    }
    for grant in &mut grants {
        grant.postings.sort_unstable();
    }
    Ok(grants)
}

/// What plan changes of a subscription granted, by key: the posting, and what was not taken back of it.
async fn granted(db: &mut PgConnection, subscription: &str) -> Result<BTreeMap<String, (i64, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT p.id, p.key, (p.amount::numeric - coalesce((
                      SELECT sum(c.amount::numeric - coalesce((SELECT sum(b.amount) FROM bursar.posting b WHERE b.reverses = c.id), 0))
                      FROM bursar.posting c WHERE c.reverses = p.id), 0))::bigint AS "left!"
           FROM bursar.posting p JOIN bursar.account i ON i.id = p.debit AND i.name = 'issuance' AND i.unit = 'credits'
           WHERE p.ref = $1 AND p.kind = 'plan_change' AND p.reverses IS NULL"#,
        subscription
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.key, (row.id, row.left))).collect())
}

/// What was taken of them for a charge.
async fn clawed(db: &mut PgConnection, subscription: &str, charge: &str) -> Result<Vec<Claw>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT c.key, c.id, p.id AS of, c.ref AS "source!", c.amount, coalesce(sum(b.amount), 0)::bigint AS "restored!", pg_catalog.count(b.id) AS "restores!"
           FROM bursar.posting p JOIN bursar.posting c ON c.reverses = p.id AND c.key LIKE 'clawback:%'
           LEFT JOIN bursar.posting b ON b.reverses = c.id
           WHERE p.ref = $1 AND p.kind = 'plan_change'
             AND (EXISTS (SELECT FROM bursar.refund f WHERE f.id = c.ref AND f.charge = $2)
                  OR EXISTS (SELECT FROM bursar.dispute d WHERE d.id = c.ref AND d.charge = $2))
           GROUP BY c.id, c.key, p.id, c.ref, c.amount ORDER BY c.id"#,
        subscription,
        charge
    );
    let rows = rows.fetch_all(db).await?.into_iter().map(|row| Claw {
        key: row.key,
        of: row.of,
        clawed: Clawed {
            posting: row.id,
            source: row.source,
            amount: row.amount,
            restored: row.restored,
            restores: usize::try_from(row.restores).unwrap_or_default(),
        },
    });
    Ok(rows.collect())
}
