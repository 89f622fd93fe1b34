//! Claw back: what a charge's refunds and disputes take of the grants that it paid for, as last told by Stripe.
//!
//! Rules
//! - How much is said in [`amounts`]: absolute from the original grant, never twice, never more than was granted.
//! - Each taking is a reversal of its grant under `clawback:{grant's key}:{refund or dispute}`, each giving back a reversal of that under
//!   `restore:…`; a second one for the same refund or dispute ends in `:2`. A balance may go negative; later grants fill it.
//! - A grant that comes after its refund runs this job again: grants and clawbacks of one session or invoice wait for each other.
//! - What plan changes granted is the invoice's that their proration lines were paid by: each in proportion, as refills are. A later
//!   downgrade of the same month gives back of the same grant, and never both: see [`proration`](crate::subscriptions::proration).
//! - The team is told of a refund that took credits, and of each stage of a dispute, with the day until which it can be answered.
//! - The user gets a letter for each refund that succeeded, once; the team one for each dispute that is opened, once.
//! - A credit note takes of its invoice's grants as a refund does; its user gets no letter of ours.
//! - What no grant of ours was made for is not ours.

use std::collections::{BTreeMap, HashMap, HashSet};

use bursar_stripe::credit_notes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    clawbacks::{
        amounts::{self, Clawed, Dispute, Move, Paid, Refund, Stage},
        change::Change,
        plan_changes::{self, ChangeGrant},
    },
    engine::{
        change,
        job::{Effects, Job, JobError, NewJob, Pure},
        kind::{CLAW_BACK, Kind},
    },
    ledger::{Account, CREDITS, Posting},
    subscriptions::service_month::Standing,
    terms::Terms,
};

/// Claws back for one charge.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClawBack {
    /// `ch_…`
    pub(super) charge: String,
    /// The event that told of it; none where a grant came after.
    #[serde(default)]
    pub(super) event: Option<String>,
}

impl ClawBack {
    /// The job that follows an answer of Stripe's.
    pub(crate) fn after_asking(charge: &str, asked_at: DateTime<Utc>, event: &str) -> NewJob {
        Self::job(charge, &asked_at.timestamp_micros().to_string(), Some(event))
    }

    /// The job that follows a grant whose charge had come back before it.
    pub(crate) fn after_grant(charge: &str, posting: &Posting) -> NewJob {
        Self::job(charge, &posting.key, posting.event_id.as_deref())
    }

    /// The job that follows a plan change that became more or less, or of which it became known what paid for it.
    pub(crate) fn after_change(charge: &str, occasion: &str) -> NewJob {
        Self::job(charge, occasion, None)
    }

    fn job(charge: &str, occasion: &str, event: Option<&str>) -> NewJob {
        NewJob {
            kind: CLAW_BACK.name,
            key: format!("{charge}:{occasion}"),
            args: json!({ "charge": charge, "event": event }),
            max_attempts: CLAW_BACK.max_attempts,
            delay_ms: 0,
            cause: event.map(str::to_owned),
        }
    }
}

impl Job for ClawBack {
    const KIND: Kind = CLAW_BACK;
}

/// A charge, what came back of it, and what it granted.
#[derive(Debug, Default)]
pub struct Facts {
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) refunds: Vec<Refund>,
    pub(super) amounts: HashMap<String, i64>,
    /// Refunds whose user was written to.
    pub(super) written: HashSet<String>,
    pub(super) disputes: Vec<Disputed>,
    pub(super) grants: Vec<Grant>,
}

#[derive(Debug)]
pub(super) struct Disputed {
    pub(super) of: Dispute,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) reason: Option<String>,
    pub(super) due_by: Option<DateTime<Utc>>,
    pub(super) told: Option<String>,
}

#[derive(Debug)]
pub(super) struct Grant {
    /// What granted it, and what may be taken of each posting.
    pub(super) postings: Vec<(i64, i64)>,
    /// Of a plan change: which posting each taking was of.
    pub(super) of: HashMap<i64, i64>,
    pub(super) key: String,
    pub(super) user: String,
    pub(super) amount: i64,
    pub(super) reference: String,
    pub(super) total: i64,
    pub(super) clawed: Vec<Clawed>,
}

impl From<ChangeGrant> for Grant {
    fn from(of: ChangeGrant) -> Self {
        let ChangeGrant { key, user, amount, invoice, total, postings, clawed, of } = of;
        Self { postings, of, key, user, amount, reference: invoice, total, clawed }
    }
}

/// Two jobs of a batch that may take of the same month's plan changes: each is then performed alone.
const ALONE: &str = "jobs of a batch take back what plan changes granted";

impl Pure for ClawBack {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let charges: Vec<String> = jobs.iter().map(|job| job.charge.clone()).collect();
        let standings = plan_changes::hold(db, &charges).await?;
        if !standings.is_empty() && jobs.len() > 1 {
            return Err(sqlx::Error::Protocol(ALONE.into()));
        }
        // See bursar.charges_back: no grant of these is made while we look, and no other clawback.
        sqlx::query!(
            "SELECT pg_advisory_xact_lock(hashtextextended('ref:' || s.ref, 0::bigint))
             FROM (SELECT DISTINCT ref FROM bursar.charge_ref WHERE charge = ANY ($1) ORDER BY 1) s",
            &charges
        )
        .execute(&mut *db)
        .await?;
        if plan_changes::of_charges(db, &charges).await?.iter().any(|id| !standings.contains_key(id)) {
            // It became known what was paid for while we waited.
            return Err(sqlx::Error::Protocol(change::RACED.into()));
        }
        let mut all = Vec::with_capacity(jobs.len());
        for charge in &charges {
            all.push(facts_of(db, charge, &standings).await?);
        }
        Ok(all)
    }

    fn run(&self, facts: &Facts, _: &Terms) -> Result<Effects, JobError> {
        let Some(first) = facts.grants.first() else {
            return Ok(Effects::skip("not ours, or not yet: nothing was granted for it"));
        };
        let mut effects = Effects::done();
        let disputes: Vec<Dispute> = facts.disputes.iter().map(|dispute| dispute.of.clone()).collect();
        let mut rooms: HashMap<i64, i64> =
            facts.grants.iter().flat_map(|grant| grant.postings.iter().copied()).collect();
        let (mut taken, mut gone): (BTreeMap<String, i64>, BTreeMap<String, i64>) = Default::default();
        for grant in &facts.grants {
            let paid = Paid { amount: facts.amount, total: grant.total.max(facts.amount) };
            let targets = amounts::targets(grant.amount, paid, &facts.refunds, &disputes)
                .map_err(|odd| JobError::Dead(format!("{}: {odd}", self.charge)))?;
            for (source, micros) in &targets {
                *gone.entry(source.clone()).or_default() += micros;
            }
            for one in amounts::moves(&targets, &grant.clawed) {
                if let Move::Claw { source, nth: 1, amount } = &one {
                    *taken.entry(source.clone()).or_default() += amount;
                }
                effects.postings.extend(self.postings(grant, one, &mut rooms)?);
            }
        }
        for (refund, micros) in taken.iter().filter(|(source, _)| facts.amounts.contains_key(*source)) {
            effects.follow_ups.push(self.tell_refund(facts, first, refund, *micros));
        }
        // Of a credit note Stripe writes itself; what it gave is no refund to a card.
        let untold = |refund: &&Refund| {
            refund.status == "succeeded" && !facts.written.contains(&refund.id) && !credit_notes::is_id(&refund.id)
        };
        for refund in facts.refunds.iter().filter(untold) {
            effects.changes.push(Change::NoteRefundLetter { id: refund.id.clone() }.into());
            effects.follow_ups.push(self.refund_letter(facts, first, refund, gone.get(&refund.id).copied()));
        }
        for dispute in &facts.disputes {
            let Some(stage) = Stage::of(&dispute.of.status) else { continue };
            if dispute.told.as_deref() != Some(stage.word()) {
                effects.changes.push(
                    Change::TellDispute { id: dispute.of.id.clone(), user_id: first.user.clone(), told: stage.word() }
                        .into(),
                );
                effects.follow_ups.push(self.tell_dispute(first, dispute, stage));
                if stage == Stage::Opened {
                    effects.follow_ups.push(self.dispute_letter(first, dispute));
                }
            }
        }
        if effects == Effects::done() {
            return Ok(Effects::skip("what was to be taken back has been, and nothing is to be given back"));
        }
        Ok(effects)
    }
}

impl ClawBack {
    fn postings(&self, grant: &Grant, one: Move, rooms: &mut HashMap<i64, i64>) -> Result<Vec<Posting>, JobError> {
        let user = Account::User(grant.user.clone());
        let posting = |what: &str, source: &str, nth: usize, reverses: i64, amount: i64| {
            let again = if nth > 1 { format!(":{nth}") } else { String::new() };
            let key = format!("{what}:{}:{source}{again}", grant.key);
            let (debit, credit) = match what {
                "clawback" => (user.clone(), Account::Issuance),
                _ => (Account::Issuance, user.clone()),
            };
            Posting {
                reverses: Some(reverses),
                reference: Some(source.to_owned()),
                event_id: self.event.clone(),
                ..Posting::new("reversal", key, debit, credit, CREDITS, amount)
            }
        };
        let (source, first, mut amount) = match one {
            Move::Claw { source, nth, amount } => (source, nth, amount),
            Move::Restore { source, nth, of, amount } => {
                if let Some(room) = grant.of.get(&of).and_then(|granted| rooms.get_mut(granted)) {
                    *room += amount;
                }
                return Ok(vec![posting("restore", &source, nth, of, amount)]);
            }
        };
        let mut postings = Vec::new();
        for (id, _) in &grant.postings {
            let room = rooms.entry(*id).or_default();
            let takes = amount.min(*room);
            if takes > 0 {
                postings.push(posting("clawback", &source, first + postings.len(), *id, takes));
                *room -= takes;
                amount -= takes;
            }
        }
        if amount > 0 {
            // What another charge took of the same month is not given back yet.
            let source = format!("{}: less is left of what granted it than is to be taken back", grant.key).into();
            return Err(JobError::Retry { after: None, source });
        }
        Ok(postings)
    }
}

async fn facts_of(
    db: &mut PgConnection,
    charge: &str,
    standings: &HashMap<String, Standing>,
) -> Result<Facts, sqlx::Error> {
    let Some(row) = sqlx::query!("SELECT amount, currency FROM bursar.charge WHERE id = $1", charge)
        .fetch_optional(&mut *db)
        .await?
    else {
        return Ok(Facts::default());
    };
    let mut facts = Facts { amount: row.amount, currency: row.currency, ..Facts::default() };
    let refunds =
        sqlx::query!("SELECT id, amount, status, created_at, letter_at FROM bursar.refund WHERE charge = $1", charge);
    for row in refunds.fetch_all(&mut *db).await? {
        facts.amounts.insert(row.id.clone(), row.amount);
        if row.letter_at.is_some() {
            facts.written.insert(row.id.clone());
        }
        let created = row.created_at.timestamp();
        facts.refunds.push(Refund { id: row.id, created, amount: row.amount, status: row.status });
    }
    let disputes = sqlx::query!(
        "SELECT id, amount, currency, status, reason, due_by, created_at, told FROM bursar.dispute WHERE charge = $1 ORDER BY created_at, id",
        charge
    );
    for row in disputes.fetch_all(&mut *db).await? {
        facts.disputes.push(Disputed {
            of: Dispute {
                id: row.id,
                created: row.created_at.timestamp(),
                amount: (row.currency == facts.currency).then_some(row.amount),
                status: row.status,
            },
            amount: row.amount,
            currency: row.currency,
            reason: row.reason,
            due_by: row.due_by,
            told: row.told,
        });
    }
    // What came to a user out of nothing for what this charge paid for, and is no restoring.
    let grants = sqlx::query!(
        r#"SELECT p.id, p.key, p.amount, u.name AS "user!", r.ref, r.total,
                  (p.amount::numeric - coalesce((SELECT sum(c.amount::numeric - coalesce((SELECT sum(b.amount) FROM bursar.posting b WHERE b.reverses = c.id), 0::numeric))
                                        FROM bursar.posting c WHERE c.reverses = p.id), 0::numeric))::bigint AS "left!"
           FROM bursar.charge_ref r
           JOIN bursar.posting p ON p.ref = r.ref AND p.reverses IS NULL
           JOIN bursar.account i ON i.id = p.debit AND i.name = 'issuance' AND i.unit = 'credits'
           JOIN bursar.account u ON u.id = p.credit AND u.name LIKE 'user:%'
           WHERE r.charge = $1 ORDER BY p.id"#,
        charge
    );
    for row in grants.fetch_all(&mut *db).await? {
        // Another charge of the same invoice has refunds and disputes of its own: those here are this one's.
        let clawed = sqlx::query!(
            r#"SELECT c.id, c.ref AS "source!", c.amount, coalesce(sum(b.amount), 0)::bigint AS "restored!", pg_catalog.count(b.id) AS "restores!"
               FROM bursar.posting c LEFT JOIN bursar.posting b ON b.reverses = c.id
               WHERE c.reverses = $1 AND c.key LIKE 'clawback:%'
                 AND (EXISTS (SELECT FROM bursar.refund f WHERE f.id = c.ref AND f.charge = $2)
                      OR EXISTS (SELECT FROM bursar.dispute d WHERE d.id = c.ref AND d.charge = $2))
               GROUP BY c.id, c.ref, c.amount ORDER BY c.id"#,
            row.id,
            charge
        )
        .fetch_all(&mut *db)
        .await?;
        let clawed = clawed.into_iter().map(|row| Clawed {
            posting: row.id,
            source: row.source,
            amount: row.amount,
            restored: row.restored,
            restores: usize::try_from(row.restores).unwrap_or_default(),
        });
        let clawed: Vec<Clawed> = clawed.collect();
        facts.grants.push(Grant {
            // Other charges of its invoice, and credit notes, take of it too: never more in all than it granted.
            postings: vec![(row.id, row.left)],
            of: clawed.iter().map(|clawed| (clawed.posting, row.id)).collect(),
            key: row.key,
            user: row.user.strip_prefix("user:").unwrap_or_default().to_owned(),
            amount: row.amount,
            reference: row.r#ref,
            total: row.total,
            clawed,
        });
    }
    let changes = plan_changes::grants(db, charge, standings).await?;
    facts.grants.extend(changes.into_iter().map(Grant::from));
    Ok(facts)
}

/// What is still to be taken for a charge's refunds and disputes, by what Stripe said of it last: the refund or dispute, the user, and how
/// many millionths; less than none is still to be given back. An `Err` of it says why that cannot be told.
pub(crate) async fn outstanding(
    db: &mut PgConnection,
    charge: &str,
) -> Result<Result<Vec<(String, String, i64)>, String>, sqlx::Error> {
    let ids = plan_changes::of_charges(&mut *db, &[charge.to_owned()]).await?;
    let standings = crate::subscriptions::service_month::hold(&mut *db, &ids).await?;
    let facts = facts_of(db, charge, &standings).await?;
    let disputes: Vec<Dispute> = facts.disputes.iter().map(|dispute| dispute.of.clone()).collect();
    let mut left = Vec::new();
    for grant in &facts.grants {
        let paid = Paid { amount: facts.amount, total: grant.total.max(facts.amount) };
        let targets = match amounts::targets(grant.amount, paid, &facts.refunds, &disputes) {
            Ok(targets) => targets,
            Err(odd) => return Ok(Err(odd.to_string())),
        };
        left.extend(amounts::moves(&targets, &grant.clawed).into_iter().map(|one| match one {
            Move::Claw { source, amount, .. } => (source, grant.user.clone(), amount),
            Move::Restore { source, amount, .. } => (source, grant.user.clone(), -amount),
        }));
    }
    Ok(Ok(left))
}
