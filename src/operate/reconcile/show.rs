//! `bursar reconcile list`, `show` and `judge`: what was compared, what was found, what an operator says of it.

use bursar_jobs::{
    audit::{self, Act, Via},
    reconcile::finding::amount_said,
};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::operate::{
    Failure, Screen,
    values::{self, Limit, amount_json, operator},
};

/// A comparison, under the names that programs rely on.
#[derive(Debug, Serialize)]
struct Comparison {
    run: String,
    #[serde(serialize_with = "as_month")]
    month: NaiveDate,
    state: String,
    phase: String,
    objects: i64,
    asked_by: String,
    repair_by: Option<String>,
    reason: Option<String>,
    begun_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    /// All it found, and what of that is still open.
    found: i64,
    open: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn as_month<S: serde::Serializer>(month: &NaiveDate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&month.format("%Y-%m"))
}

/// A finding, under the names that programs rely on.
#[derive(Debug, Serialize)]
struct Finding {
    id: i64,
    r#type: String,
    object: String,
    user_id: Option<String>,
    /// A decimal text in credits, an integer in a currency's minor unit.
    amount: Option<Value>,
    unit: Option<String>,
    state: String,
    /// Whether `--repair` closes it.
    automatic: bool,
    remedy: String,
    closed_by: Option<String>,
    evidence: Value,
    #[serde(skip)]
    said: String,
}

#[derive(Serialize)]
struct Verdict<'a> {
    #[serde(flatten)]
    run: &'a Comparison,
    findings: &'a [Finding],
}

/// All comparisons.
pub(super) async fn list(db: &mut PgConnection, screen: &Screen, limit: Limit) -> Result<(), Failure> {
    let mut runs = sqlx::query_as!(
        Comparison,
        r#"SELECT r.id AS run, r.month, r.state, r.phase, r.objects, r.asked_by, r.repair_by, r.reason, r.begun_at, r.ended_at,
                  (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id) AS "found!",
                  (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id AND f.state = 'open') AS "open!"
           FROM bursar.reconciliation r ORDER BY r.begun_at DESC, r.id DESC LIMIT $1"#,
        limit.probe()
    )
    .fetch_all(db)
    .await?;
    let more = limit.cut(&mut runs);
    screen.rows(&runs, &["run", "state", "begun", "objects", "found", "open", "by", "why"], |run| {
        vec![
            run.run.clone(),
            run.state.clone(),
            screen.away(run.begun_at),
            run.objects.to_string(),
            run.found.to_string(),
            run.open.to_string(),
            run.asked_by.clone(),
            run.reason.clone().unwrap_or_default(),
        ]
    })?;
    if runs.is_empty() {
        screen.note("no month was compared yet: bursar reconcile compares the last one");
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    Ok(())
}

async fn load(db: &mut PgConnection, run: &str) -> Result<(Comparison, Vec<Finding>), Failure> {
    let found = sqlx::query_as!(
        Comparison,
        r#"SELECT r.id AS run, r.month, r.state, r.phase, r.objects, r.asked_by, r.repair_by, r.reason, r.begun_at, r.ended_at,
                  (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id) AS "found!",
                  (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id AND f.state = 'open') AS "open!"
           FROM bursar.reconciliation r WHERE r.id = $1"#,
        run
    )
    .fetch_optional(&mut *db)
    .await?
    .ok_or_else(|| Failure::not_found(format!("there is no run {run}"), "list them with: bursar reconcile list"))?;
    let rows = sqlx::query!(
        "SELECT id, type, object, user_id, amount, unit, state, automatic, remedy, closed_by, evidence
         FROM bursar.finding WHERE run = $1 ORDER BY (state = 'open') DESC, type, id",
        run
    )
    .fetch_all(db)
    .await?;
    let findings = rows.into_iter().map(|row| {
        let amount = row.amount.zip(row.unit.as_deref());
        Finding {
            amount: amount.map(|(amount, unit)| amount_json(amount, unit)),
            said: amount.map(|(amount, unit)| amount_said(amount, unit)).unwrap_or_default(),
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
    Ok((found, findings.collect()))
}

fn table(screen: &Screen, findings: &[Finding]) -> Result<(), Failure> {
    screen.rows(findings, &["finding", "type", "object", "user", "amount", "state", "what closes it"], |finding| {
        vec![
            finding.id.to_string(),
            finding.r#type.clone(),
            finding.object.clone(),
            finding.user_id.clone().unwrap_or_default(),
            finding.said.clone(),
            finding.state.clone(),
            finding.closed_by.clone().unwrap_or_else(|| finding.remedy.clone()),
        ]
    })?;
    Ok(())
}

/// What a comparison that is over came to; what is left of it is a failure.
pub(super) async fn verdict(db: &mut PgConnection, screen: &Screen, run: &str, repair: bool) -> Result<(), Failure> {
    let (run, findings) = load(db, run).await?;
    if screen.is_json() {
        screen.object(&Verdict { run: &run, findings: &findings })?;
    } else {
        table(screen, &findings)?;
    }
    let month = run.month.format("%Y-%m");
    let compared = format!("{} objects of {month} compared", run.objects);
    if run.open == 0 {
        let repaired = findings.iter().filter(|finding| finding.state == "repaired").count();
        let said = match repaired {
            0 => format!("{compared}: nothing to be found"),
            some => format!("{compared}: {some} repaired; compare again to see that they are"),
        };
        if !screen.is_json() {
            screen.line(&said)?;
        }
        return Ok(());
    }
    let automatic = findings.iter().filter(|finding| finding.state == "open" && finding.automatic).count();
    let hint = if automatic > 0 && !repair {
        format!("{automatic} of them are closed by: bursar reconcile --month {month} --repair")
    } else {
        format!("the evidence: bursar reconcile show {} --json", run.run)
    };
    let findings = if run.open == 1 { "1 finding is" } else { "findings are" };
    let count = if run.open == 1 { String::new() } else { format!("{} ", run.open) };
    Err(Failure::refused(format!("{compared}: {count}{findings} left"), hint))
}

/// One comparison.
pub(super) async fn one(db: &mut PgConnection, screen: &Screen, run: &str) -> Result<(), Failure> {
    let (run, findings) = load(db, run).await?;
    if screen.is_json() {
        screen.object(&Verdict { run: &run, findings: &findings })?;
        return Ok(());
    }
    screen.fact("run", &run.run)?;
    let state = match &run.reason {
        Some(reason) => format!("{}: {reason}", run.state),
        None if run.state == "running" => format!("running: {}", run.phase),
        None => run.state.clone(),
    };
    screen.fact("state", &state)?;
    screen.fact("begun", &format!("{} by {}", screen.moment(run.begun_at), run.asked_by))?;
    if let Some(who) = &run.repair_by {
        screen.fact("repairs", &format!("for {who}"))?;
    }
    screen.fact("objects", &run.objects.to_string())?;
    screen.fact("findings", &format!("{}, {} open", run.found, run.open))?;
    for finding in &findings {
        let user = finding.user_id.as_ref().map(|user| format!(" of {user}")).unwrap_or_default();
        let head = format!("{} {}{user} {} ({})", finding.r#type, finding.object, finding.said, finding.state);
        let closes = finding.closed_by.as_ref().unwrap_or(&finding.remedy);
        screen.fact(&format!("  {}", finding.id), &format!("{head}\n{closes}\n{}", finding.evidence))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Judged<'a> {
    finding: i64,
    was: &'a str,
    state: &'a str,
}

/// An operator says that a finding may stay.
pub(super) async fn judge(db: &mut PgConnection, screen: &Screen, id: i64, why: &str) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let finding = sqlx::query!("SELECT state, type, object FROM bursar.finding WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| {
            Failure::not_found(format!("there is no finding {id}"), "see them with: bursar reconcile list")
        })?;
    if finding.state != "open" {
        return Err(Failure::refused(
            format!("finding {id} is {}: there is nothing to judge", finding.state),
            "see what is open with: bursar reconcile list",
        ));
    }
    let who = operator();
    sqlx::query!(
        "UPDATE bursar.finding SET state = 'judged', closed_by = $2, changed_at = bursar.now() WHERE id = $1",
        id,
        format!("{who}: {why}")
    )
    .execute(&mut *tx)
    .await?;
    let act = Act {
        who: &who,
        via: Via::Cli,
        what: "reconcile.judge",
        subject: &finding.object,
        before: Some(json!({ "finding": id, "type": finding.r#type, "state": finding.state })),
        after: Some(json!({ "state": "judged" })),
        why: Some(why),
    };
    audit::note(&mut *tx, act).await?;
    tx.commit().await?;
    let judged = Judged { finding: id, was: &finding.state, state: "judged" };
    screen.done(&judged, &format!("finding {id} may stay: {}", values::sentence(why).unwrap_or_default()))?;
    Ok(())
}
