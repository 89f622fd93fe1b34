//! Send a report: what the week that is over came to, as a letter to the team, or to whoever an operator named.
//!
//! The figures are read when the job runs, and the letter holds them: an attempt of the letter that comes later sends the same.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        job::{Effects, Job, JobError, Pure},
        kind::{Kind, SEND_REPORT},
    },
    notifications::send_email::{SendLetter, moment},
    report::{self, Period, Report},
    terms::Terms,
};

/// Sends one.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendReport {
    /// When its schedule fired: the week before is told of.
    tick: DateTime<Utc>,
}

impl Job for SendReport {
    const KIND: Kind = SEND_REPORT;
}

/// The letter with a report: to the team, or to this address.
pub fn letter(report: &Report, to: Option<&str>) -> SendLetter {
    let period = Period { from: report.from, to: report.to };
    let mut letter = SendLetter::to_team("weekly_report", &period.said()).to_address(to);
    letter = letter.with("from", moment(report.from)).with("to", moment(report.to));
    for line in report.said().into_iter().flat_map(|section| section.lines) {
        letter = letter.with(line.name, line.value);
    }
    letter
}

impl Pure for SendReport {
    type Facts = Option<Report>;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Self::Facts>, sqlx::Error> {
        let mut facts = Vec::with_capacity(jobs.len());
        for job in jobs {
            facts.push(match report::last_week(job.tick) {
                Some(period) => Some(report::of(db, period).await?),
                None => None,
            });
        }
        Ok(facts)
    }

    fn run(&self, facts: &Self::Facts, _: &Terms) -> Result<Effects, JobError> {
        let report = facts.as_ref().ok_or_else(|| JobError::Dead(format!("{} has no week before it", self.tick)))?;
        let letter = letter(report, None);
        let job = letter.job(format!("{}:{}", letter.letter, letter.about), None);
        Ok(Effects { follow_ups: vec![job], ..Effects::done() })
    }
}
