//! `bursar payouts reverse`: an operator takes back what was paid for a job.

use bursar_jobs::{
    base::{audit::Via, money},
    desk::{
        reverse,
        reverse_payout::{self, Became},
    },
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::no_such;
use crate::operate::{Failure, Screen, values::operator};

/// What is asked for.
pub(super) struct Asked<'a> {
    pub job: &'a str,
    pub why: &'a str,
    /// Show what it would mean, and do nothing.
    pub dry_run: bool,
    /// As it was typed.
    pub amount: Option<&'a str>,
    pub after_saved_failure: bool,
}

/// What became of it, under the names that programs rely on.
#[derive(Serialize)]
struct Answer<'a> {
    job_id: &'a str,
    /// `begun`, `undone` where nothing was sent, `already`.
    result: &'static str,
    /// Which of the payout's reversals it is.
    reversal: Option<i32>,
    /// What it takes back, in minor units.
    amount: Option<i64>,
}

/// Asks for it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, asked: &Asked<'_>) -> Result<(), Failure> {
    let job = asked.job;
    let currency = sqlx::query_scalar!("SELECT currency FROM bursar.payout WHERE job_id = $1", job)
        .fetch_optional(&mut *db)
        .await?
        .ok_or_else(|| no_such(job))?;
    let amount = asked.amount.map(|text| read(text, &currency)).transpose()?;
    let who = operator();
    let dry_run = asked.dry_run;
    let asked = reverse_payout::Asked {
        job_id: job,
        amount,
        who: &who,
        via: Via::Cli,
        why: asked.why,
        after_saved_failure: asked.after_saved_failure,
    };
    if dry_run {
        let meaning = reverse::preview(db, asked).await?.ok_or_else(|| no_such(job))?;
        return Ok(screen.done(&meaning, &meaning.said.join("\n"))?);
    }
    let mut tx = db.begin().await?;
    let became = reverse_payout::ask(&mut tx, asked).await?;
    let nothing = |result| Answer { job_id: job, result, reversal: None, amount: None };
    match became {
        Became::NoSuch => Err(no_such(job)),
        Became::Refused(why, hint) => Err(Failure::refused(why, hint)),
        Became::Already(how) => Ok(screen.done(&nothing("already"), &format!("nothing to do: {how}"))?),
        Became::Undone(how) => {
            tx.commit().await?;
            Ok(screen.done(&nothing("undone"), &how)?)
        }
        Became::Begun { n, amount, currency } => {
            tx.commit().await?;
            let answer = Answer { job_id: job, result: "begun", reversal: Some(n), amount: Some(amount) };
            let said = money::format(amount, &currency);
            Ok(screen
                .done(&answer, &format!("taking back {said}; see what becomes of it: bursar payouts show {job}"))?)
        }
    }
}

fn read(text: &str, currency: &str) -> Result<i64, Failure> {
    reverse::amount(text, currency)
        .map_err(|why| Failure::WrongUse { why: format!("--amount: {why}"), hint: "like: --amount 0.50".to_owned() })
}
