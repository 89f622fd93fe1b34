//! `bursar report`: how a week went, in figures; on the screen, or as a letter.

use bursar_jobs::{
    engine::enqueue::{Enqueued, enqueue},
    letters,
    report::{self, Period, Section, send_report},
};
use chrono::NaiveDate;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{
    Failure, Screen,
    values::{self, at_keyboard},
};

/// Columns of the longest label, with what stands around it.
const LABELS: usize = 24;

/// What each figure means, for `--help` and the man page.
pub(super) const FIGURES: &str = "\
What the figures mean (all times UTC):
  Payment success rate  paid invoices and purchases of those paid and failed in the period; one that failed and was
                        paid in the end is paid. Invoices over nothing (trials) are none.
  MRR                   what all charged subscriptions come to in a month at their prices, before discounts and tax: a
                        year's price is a twelfth, a week's 52 twelfths. No trials; none that is paused, unpaid or over.
                        Beginning and end of the period are compared user by user: New pay for the first time,
                        Returned had paid before, Expansion and Contraction pay more or less, Churn pay nothing now.
  ARPU                  MRR by paying users.
  Users lost            of those who paid at the beginning, those who do not at the end; Lost by dunning: those whose
                        renewal was chased and not paid.
  Recovered             cases of dunning whose invoice was paid; ended unpaid: each once, also if it is paid later.
  Credits               granted; taken back for refunds and disputes; spent, less what returned; expired; Outstanding:
                        the sum of all balances above zero at the end.
  Payouts               Transfers made and reversed in the period; held, unknown and refused: now.
  To see to             disputes with their deadlines, dead jobs and open findings: now.

Example:
  bursar report
  bursar report --week 2026-W46 --json
  bursar report --from 2026-11-01 --to 2026-11-10
  bursar report --mail board@acme.example";

/// What can be asked of a report.
#[derive(Debug, Args)]
pub struct Report {
    /// The week, by ISO 8601; by default the last one that is over.
    #[arg(long, value_name = "WEEK", conflicts_with_all = ["from", "to"], value_parser = week)]
    week: Option<Period>,
    /// The first day.
    #[arg(long, value_name = "DAY", requires = "to")]
    from: Option<NaiveDate>,
    /// The last day.
    #[arg(long, value_name = "DAY", requires = "from")]
    to: Option<NaiveDate>,
    /// Print one JSON object: money in minor units, credits as decimal texts.
    #[arg(long)]
    json: bool,
    /// Have a worker send it to this address instead, as text and HTML.
    #[arg(long, value_name = "ADDRESS", value_parser = values::word)]
    mail: Option<String>,
}

fn week(text: &str) -> Result<Period, String> {
    report::week(text).ok_or_else(|| "is a week like 2026-W46".to_owned())
}

impl Report {
    /// Whether the answer is wanted as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    fn period(&self, screen: &Screen) -> Result<Period, Failure> {
        let wrong = |why: &str| Failure::WrongUse {
            why: why.to_owned(),
            hint: "name a week or both days: bursar report --from 2026-11-01 --to 2026-11-10".to_owned(),
        };
        let period = match (self.week, self.from, self.to) {
            (Some(week), ..) => Some(week),
            (None, Some(first), Some(last)) => Period::days(first, last),
            _ => report::last_week(screen.now()),
        };
        let period = period.ok_or_else(|| wrong("the last day comes before the first"))?;
        if period.from > screen.now() {
            return Err(wrong("that time has not come yet"));
        }
        Ok(period)
    }
}

#[derive(Serialize)]
struct Asked<'a> {
    job_id: &'a str,
    period: String,
}

/// Does what was asked.
pub(super) async fn run(asked: Report, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    let period = asked.period(screen)?;
    let mut tx = db.begin().await?;
    // Its parts are read by several statements, and must agree.
    sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
    let report = report::of(&mut tx, period).await?;
    tx.commit().await?;
    match &asked.mail {
        Some(address) => mail(db, screen, &report, period, address).await,
        None if screen.is_json() => Ok(screen.object(&report)?),
        None => {
            screen.line(&format!("Report of {}", period.said()))?;
            if period.to > screen.now() {
                screen.note("the period is not over: these figures still change");
            }
            show(screen, &report.said())
        }
    }
}

async fn mail(
    db: &mut PgConnection,
    screen: &Screen,
    report: &report::Report,
    period: Period,
    address: &str,
) -> Result<(), Failure> {
    letters::check_address(address).map_err(|error| Failure::WrongUse {
        why: format!("{address} {error}"),
        hint: "write one like board@acme.example".to_owned(),
    })?;
    let mut tx = db.begin().await?;
    let name = sqlx::query_scalar!(r#"SELECT bursar.new_id() AS "id!""#).fetch_one(&mut *tx).await?;
    let letter = send_report::letter(report, Some(address));
    let enqueued = enqueue(&mut *tx, &[letter.job(format!("weekly_report:by_hand:{name}"), None)]).await?;
    let to = json!({ "to": letters::redacted(address) });
    at_keyboard().note(&mut *tx, "report.mail", &period.said(), (None, Some(to)), None).await?;
    tx.commit().await?;
    if let Some(Enqueued::New(job_id)) = enqueued.first() {
        let sentence = format!("a worker will send the report of {}: bursar jobs show {job_id}", period.said());
        screen.done(&Asked { job_id, period: period.said() }, &sentence)?;
    }
    Ok(())
}

fn show(screen: &Screen, sections: &[Section]) -> Result<(), Failure> {
    for section in sections {
        screen.line("")?;
        screen.title(section.title)?;
        for line in &section.lines {
            screen.figure(line.label, LABELS, &line.value)?;
        }
    }
    Ok(())
}
