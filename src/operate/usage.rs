//! `bursar usage`: reports of metered use; letting go what waits for an operator, or saying that Stripe has it.

use bursar_jobs::{
    base::audit::{self, Act, Via},
    desk::{
        State,
        change::{lock, put_back},
    },
    engine::enqueue,
    usage::report_usage::ReportUsage,
};
use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{Failure, Screen, screen::stamp, values::operator};

/// What can be asked of reports.
#[derive(Debug, Subcommand)]
pub enum Usage {
    /// Reports that Stripe has not taken, oldest first; all of them with --all.
    #[command(after_help = "Example:\n  bursar usage list --json")]
    List {
        /// Those that were sent as well.
        #[arg(long)]
        all: bool,
    },
    /// Let a report go that waits for an operator: Stripe does not have it. It is billed.
    #[command(
        after_help = "A report waits where Stripe may have forgotten that it was told: after days without a worker, or after a restore of\n\
                            the database. Compare the meter's summary at Stripe first: what is there already would be billed twice.\n\n\
                            Examples:\n  bursar usage release 17 18\n  bursar usage release --all --why 'the worker was down, nothing was restored'"
    )]
    Release {
        /// The reports' numbers.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        reports: Vec<i64>,
        /// All that wait for an operator.
        #[arg(long)]
        all: bool,
        /// Why, for the record.
        #[arg(long)]
        why: Option<String>,
    },
    /// Say that Stripe has a report that waits for an operator: it is not sent.
    #[command(after_help = "Example:\n  bursar usage sent 17 --why 'it is in the summary of that hour'")]
    Sent {
        /// The reports' numbers.
        #[arg(required = true)]
        reports: Vec<i64>,
        /// Why, for the record.
        #[arg(long)]
        why: Option<String>,
    },
}

/// Does what was asked.
pub(super) async fn run(asked: Usage, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Usage::List { all } => list(db, screen, all).await,
        Usage::Release { mut reports, all, why } => {
            if all {
                // One whose job goes on is none of them: it finds out by itself.
                reports = sqlx::query_scalar!(
                    "SELECT r.id FROM bursar.usage_report r WHERE r.state = 'unknown' AND NOT EXISTS (
                         SELECT FROM bursar.job j WHERE j.kind = 'report_usage' AND j.key = r.id::text AND j.state IN ('ready', 'scheduled', 'running'))
                     ORDER BY r.id"
                )
                .fetch_all(&mut *db)
                .await?;
                if reports.is_empty() {
                    screen.note("no report waits for an operator");
                }
            }
            for report in reports {
                decide(db, screen, report, Decision::Release, why.as_deref()).await?;
            }
            Ok(())
        }
        Usage::Sent { reports, why } => {
            for report in reports {
                decide(db, screen, report, Decision::Sent, why.as_deref()).await?;
            }
            Ok(())
        }
    }
}

/// A report under the names that programs rely on.
#[derive(Serialize)]
struct Line {
    id: i64,
    state: String,
    user_id: String,
    skill: String,
    hour: DateTime<Utc>,
    value: i64,
    identifier: String,
    reason: Option<String>,
}

async fn list(db: &mut PgConnection, screen: &Screen, all: bool) -> Result<(), Failure> {
    let lines = sqlx::query_as!(
        Line,
        "SELECT id, state, user_id, skill, hour, value, identifier, reason FROM bursar.usage_report
         WHERE $1 OR state <> 'sent' ORDER BY hour, id",
        all
    )
    .fetch_all(db)
    .await?;
    screen.rows(&lines, &["report", "state", "hour", "user", "skill", "value", "why"], |line| {
        vec![
            line.id.to_string(),
            line.state.clone(),
            stamp(line.hour),
            line.user_id.clone(),
            line.skill.clone(),
            line.value.to_string(),
            line.reason.clone().unwrap_or_default(),
        ]
    })?;
    if lines.is_empty() {
        screen.note("every report was taken; all of them: bursar usage list --all");
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Release,
    Sent,
}

#[derive(Serialize)]
struct Decided {
    id: i64,
    was: &'static str,
    state: &'static str,
}

async fn decide(
    db: &mut PgConnection,
    screen: &Screen,
    report: i64,
    decision: Decision,
    why: Option<&str>,
) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let state = sqlx::query_scalar!("SELECT state FROM bursar.usage_report WHERE id = $1 FOR UPDATE", report)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| {
            Failure::not_found(format!("there is no report {report}"), "bursar usage list shows those there are")
        })?;
    let job = sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM bursar.job WHERE kind = 'report_usage' AND key = $1::bigint::text"#,
        report
    )
    .fetch_optional(&mut *tx)
    .await?;
    let ended = match &job {
        Some(id) => lock(&mut tx, id).await?,
        None => None,
    };
    if state != "unknown" || matches!(ended, Some(State::Ready | State::Scheduled | State::Running)) {
        return Err(Failure::refused(
            format!("report {report} is {state} and does not wait for an operator"),
            "bursar usage list shows those that are unknown; one whose job goes on finds out by itself",
        ));
    }
    let (what, state) = match decision {
        Decision::Release => ("usage.release", "open"),
        Decision::Sent => ("usage.sent", "sent"),
    };
    let who = operator();
    sqlx::query!(
        "UPDATE bursar.usage_report SET state = $2, reason = $3, released_at = CASE WHEN $2 = 'open' THEN bursar.now() END WHERE id = $1",
        report,
        state,
        format!("{} by {who}", if decision == Decision::Release { "let go" } else { "known to be at Stripe, as said" }),
    )
    .execute(&mut *tx)
    .await?;
    // Whatever was decided, it goes on: what was said to be sent is found so, and is no dead job any more.
    if let (Some(id), Some(was)) = (&job, ended) {
        put_back(&mut tx, id, was).await?;
    } else {
        enqueue::enqueue(&mut *tx, &[ReportUsage::of(report)]).await?;
    }
    let act = Act {
        who: &who,
        via: Via::Cli,
        what,
        subject: &format!("usage:{report}"),
        before: Some(json!({ "state": "unknown" })),
        after: Some(json!({ "state": state })),
        why,
    };
    audit::note(&mut *tx, act).await?;
    tx.commit().await?;
    let sentence = match decision {
        Decision::Release => format!("report {report} is let go; see what becomes of it: bursar usage list --all"),
        Decision::Sent => format!("report {report} is at Stripe, as you say, and is not sent"),
    };
    screen.done(&Decided { id: report, was: "unknown", state }, &sentence)?;
    Ok(())
}
