//! Reconciliations: which months were compared, what was found, what a repair would do; beginning one, and judging a finding.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::Operator;
use crate::{
    base::credits::Credits,
    ledger::{CREDITS, adjustment::amount_said},
    reconciliation::{self, Begun},
};

/// A comparison, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The month, and which comparison of it.
    pub run: String,
    /// By its first day.
    #[serde(serialize_with = "as_month")]
    pub month: NaiveDate,
    /// `running`, `done` or `stopped`.
    pub state: String,
    /// What is compared now.
    pub phase: String,
    /// Compared so far.
    pub objects: i64,
    /// Who asked for it.
    pub asked_by: String,
    /// Who wants repairs.
    pub repair_by: Option<String>,
    /// Why it stopped.
    pub reason: Option<String>,
    /// When it began.
    pub begun_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// All it found.
    pub found: i64,
    /// What of that is still open.
    pub open: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn as_month<S: serde::Serializer>(month: &NaiveDate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&month.format("%Y-%m"))
}

/// A finding, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Its number.
    pub id: i64,
    /// What is the matter.
    pub r#type: String,
    /// What it is about.
    pub object: String,
    /// Whose it is.
    pub user_id: Option<String>,
    /// A decimal text in credits, an integer in a currency's minor unit.
    pub amount: Option<Value>,
    /// `credits`, or a currency.
    pub unit: Option<String>,
    /// `open`, `repaired`, `judged` or `gone`.
    pub state: String,
    /// Whether `--repair` closes it.
    pub automatic: bool,
    /// What closes it, in words or as a command.
    pub remedy: String,
    /// What closed it.
    pub closed_by: Option<String>,
    /// What was seen at both ends.
    pub evidence: Value,
    /// Its amount with its unit.
    #[serde(skip)]
    pub said: String,
    /// Its amount as the database has it.
    #[serde(skip)]
    pub raw: Option<i64>,
}

/// The comparisons, newest first, of those after `after` where that is said.
pub async fn list(db: &mut PgConnection, after: Option<&str>, limit: i64) -> Result<Vec<Comparison>, sqlx::Error> {
    sqlx::query_as!(
        Comparison,
        r#"SELECT r.id AS run, r.month, r.state, r.phase, r.objects, r.asked_by, r.repair_by, r.reason, r.begun_at, r.ended_at,
                  (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id) AS "found!",
                  (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id AND f.state = 'open') AS "open!"
           FROM bursar.reconciliation r
           WHERE $1::text IS NULL OR (r.begun_at, r.id) < (SELECT a.begun_at, a.id FROM bursar.reconciliation a WHERE a.id = $1)
           ORDER BY r.begun_at DESC, r.id DESC LIMIT $2"#,
        after,
        limit
    )
    .fetch_all(db)
    .await
}

/// One of them. None: there is no such run.
pub async fn one(db: &mut PgConnection, run: &str) -> Result<Option<Comparison>, sqlx::Error> {
    sqlx::query_as!(
        Comparison,
        r#"SELECT r.id AS run, r.month, r.state, r.phase, r.objects, r.asked_by, r.repair_by, r.reason, r.begun_at, r.ended_at,
                  (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id) AS "found!",
                  (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id AND f.state = 'open') AS "open!"
           FROM bursar.reconciliation r WHERE r.id = $1"#,
        run
    )
    .fetch_optional(db)
    .await
}

/// What it found: the open ones first, money before credits, the largest first; at most so many.
pub async fn findings(db: &mut PgConnection, run: &str, limit: i64) -> Result<Vec<Finding>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, type, object, user_id, amount, unit, state, automatic, remedy, closed_by, evidence
         FROM bursar.finding WHERE run = $1 ORDER BY (state = 'open') DESC, (unit = 'credits') NULLS LAST, abs(amount) DESC NULLS LAST, id LIMIT $2",
        run,
        limit
    )
    .fetch_all(db)
    .await?;
    let findings = rows.into_iter().map(|row| {
        let amount = row.amount.zip(row.unit.as_deref());
        Finding {
            amount: amount.map(|(amount, unit)| amount_json(amount, unit)),
            said: amount.map(|(amount, unit)| amount_said(amount, unit)).unwrap_or_default(),
            raw: row.amount,
            id: row.id,
            r#type: row.r#type,
            object: row.object,
            user_id: row.user_id,
            unit: row.unit,
            state: row.state,
            automatic: row.automatic,
            remedy: row.remedy.replace("judge FINDING", &format!("judge {}", row.id)),
            closed_by: row.closed_by,
            evidence: row.evidence,
        }
    });
    Ok(findings.collect())
}

fn amount_json(amount: i64, unit: &str) -> Value {
    if unit == CREDITS { Credits::from_micros(amount).to_string().into() } else { amount.into() }
}

/// Findings of one type and unit.
#[derive(Debug, Clone, Serialize)]
pub struct Kind {
    /// The type.
    pub r#type: String,
    /// All of them.
    pub found: i64,
    /// Those that are open.
    pub open: i64,
    /// Of those, what a repair closes.
    pub automatic: i64,
    /// What the open ones of those come to, by unit: millionths of a credit, or minor units.
    pub amounts: BTreeMap<String, i64>,
    /// Of so many of those it is not known how much.
    pub unpriced: i64,
}

/// What runs found, by type: one run's, or all that is open by any.
pub async fn by_type(db: &mut PgConnection, run: Option<&str>) -> Result<Vec<Kind>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT f.type, f.unit, count(*) AS "found!", count(*) FILTER (WHERE f.state = 'open') AS "open!",
                  count(*) FILTER (WHERE f.state = 'open' AND f.automatic) AS "automatic!",
                  coalesce(sum(f.amount) FILTER (WHERE f.state = 'open' AND f.automatic), 0)::bigint AS "amount!",
                  count(*) FILTER (WHERE f.state = 'open' AND f.automatic AND f.amount IS NULL) AS "unpriced!"
           FROM bursar.finding f WHERE f.run = $1
              -- Of what several comparisons found, the newest counts.
              OR $1::text IS NULL AND f.state = 'open'
                 AND NOT EXISTS (SELECT FROM bursar.finding n WHERE n.type = f.type AND n.object = f.object AND n.id > f.id)
           GROUP BY f.type, f.unit ORDER BY f.type, f.unit"#,
        run
    )
    .fetch_all(db)
    .await?;
    let mut kinds: Vec<Kind> = Vec::new();
    for row in rows {
        if kinds.last().is_none_or(|last| last.r#type != row.r#type) {
            let amounts = BTreeMap::new();
            kinds.push(Kind { r#type: row.r#type, found: 0, open: 0, automatic: 0, amounts, unpriced: 0 });
        }
        let Some(kind) = kinds.last_mut() else { continue };
        kind.found += row.found;
        kind.open += row.open;
        kind.automatic += row.automatic;
        kind.unpriced += row.unpriced;
        if let Some(unit) = row.unit.filter(|_| row.automatic > row.unpriced) {
            let sum = kind.amounts.entry(unit).or_default();
            *sum = sum.saturating_add(row.amount);
        }
    }
    Ok(kinds)
}

/// The newest comparison of a month that is not running, if there is one: what a repair of the month would go by.
pub async fn last_of(db: &mut PgConnection, month: NaiveDate) -> Result<Option<Comparison>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "SELECT id FROM bursar.reconciliation WHERE month = $1 AND state <> 'running' ORDER BY begun_at DESC, id DESC LIMIT 1",
        month
    )
    .fetch_optional(&mut *db)
    .await?;
    match id {
        Some(id) => one(db, &id).await,
        None => Ok(None),
    }
}

/// Begins to compare a month, or joins who does, written down; in the caller's transaction. `repair` also repairs.
pub async fn begin(
    db: &mut PgConnection,
    by: &Operator,
    month: NaiveDate,
    repair: bool,
    why: Option<&str>,
) -> Result<Begun, sqlx::Error> {
    let begun = reconciliation::begin(&mut *db, month, &by.who, repair.then_some(by.via)).await?;
    let after = json!({ "month": month.format("%Y-%m").to_string(), "repair": repair, "joined": begun.joined });
    by.note(db, "reconcile.begin", &begun.run, (None, Some(after)), why).await?;
    Ok(begun)
}

/// What came of judging a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It may stay.
    Stays,
    /// In that state there is nothing to judge.
    Not(String),
    /// There is no such finding.
    NoSuch,
}

/// An operator says that a finding may stay, written down; in the caller's transaction.
pub async fn judge(db: &mut PgConnection, by: &Operator, id: i64, why: &str) -> Result<Judged, sqlx::Error> {
    let finding = sqlx::query!("SELECT state, type, object FROM bursar.finding WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(&mut *db)
        .await?;
    let Some(finding) = finding else { return Ok(Judged::NoSuch) };
    if finding.state != "open" {
        return Ok(Judged::Not(finding.state));
    }
    sqlx::query!(
        "UPDATE bursar.finding SET state = 'judged', closed_by = $2, changed_at = bursar.now() WHERE id = $1",
        id,
        format!("{}: {why}", by.who)
    )
    .execute(&mut *db)
    .await?;
    let before = json!({ "finding": id, "type": finding.r#type, "state": finding.state });
    let states = (Some(before), Some(json!({ "state": "judged" })));
    by.note(db, "reconcile.judge", &finding.object, states, Some(why)).await?;
    Ok(Judged::Stays)
}
