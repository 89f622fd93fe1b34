//! `bursar payouts reverse`: an operator takes back what was paid for a job.

use bursar_jobs::{
    audit::Via,
    money,
    reverse_payout::{self, Became},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::no_such;
use crate::operate::{Failure, Screen, values::operator};

/// What is asked for.
pub(super) struct Asked<'a> {
    pub job: &'a str,
    pub why: &'a str,
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
    let mut tx = db.begin().await?;
    let currency = sqlx::query_scalar!("SELECT currency FROM bursar.payout WHERE job_id = $1", job)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| no_such(job))?;
    let amount = asked.amount.map(|text| read(text, &currency)).transpose()?;
    let who = operator();
    let asked = reverse_payout::Asked {
        job_id: job,
        amount,
        who: &who,
        via: Via::Cli,
        why: asked.why,
        after_saved_failure: asked.after_saved_failure,
    };
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

/// More than nothing, exact in the currency.
fn read(text: &str, currency: &str) -> Result<i64, Failure> {
    money::parse(text, currency).filter(|amount| *amount > 0).ok_or_else(|| Failure::WrongUse {
        why: format!("--amount is {text:?}, which is no amount of {currency} above 0"),
        hint: format!("write it with at most {} decimals, without the currency", money::decimals(currency)),
    })
}
