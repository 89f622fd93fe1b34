//! `bursar reconcile list`, `show` and `judge`: what was compared, what was found, what an operator says of it.

use bursar_jobs::desk::runs::{self, Comparison, Finding, Judged};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::operate::{
    Failure, Screen,
    values::{self, Limit, at_keyboard},
};

#[derive(Serialize)]
struct Verdict<'a> {
    #[serde(flatten)]
    run: &'a Comparison,
    findings: &'a [Finding],
}

/// All comparisons.
pub(super) async fn list(db: &mut PgConnection, screen: &Screen, limit: Limit) -> Result<(), Failure> {
    let mut runs = runs::list(db, None, limit.probe()).await?;
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
    let found = runs::one(&mut *db, run).await?;
    let found = found
        .ok_or_else(|| Failure::not_found(format!("there is no run {run}"), "list them with: bursar reconcile list"))?;
    let findings = runs::findings(db, run, i64::MAX).await?;
    Ok((found, findings))
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
struct Answer {
    finding: i64,
    was: &'static str,
    state: &'static str,
}

/// An operator says that a finding may stay.
pub(super) async fn judge(db: &mut PgConnection, screen: &Screen, id: i64, why: &str) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    match runs::judge(&mut tx, &at_keyboard(), id, why).await? {
        Judged::Stays => {}
        Judged::NoSuch => {
            let hint = "see them with: bursar reconcile list";
            return Err(Failure::not_found(format!("there is no finding {id}"), hint));
        }
        Judged::Not(state) => {
            return Err(Failure::refused(
                format!("finding {id} is {state}: there is nothing to judge"),
                "see what is open with: bursar reconcile list",
            ));
        }
    }
    tx.commit().await?;
    let judged = Answer { finding: id, was: "open", state: "judged" };
    screen.done(&judged, &format!("finding {id} may stay: {}", values::sentence(why).unwrap_or_default()))?;
    Ok(())
}
