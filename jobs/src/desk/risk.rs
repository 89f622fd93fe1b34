//! What acting on jobs would mean for the money, said before it is done: how many are safe, how many had their effect already, and how
//! many are unknown; and how much money that is.
//!
//! *safe*: nothing has come of the job; retrying it makes its effect, once. *done*: its effect is there; retrying it finds that, and does
//! nothing more. *unknown*: something may have left; it is looked for, and never sent blindly.

use std::collections::BTreeMap;

use ring::digest;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::JobFilter;

/// What retrying a job would mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing has come of it.
    Safe,
    /// Its effect is there.
    Done,
    /// Something may have left.
    Unknown,
}

/// One job, judged.
#[derive(Debug, Clone, Serialize)]
pub struct Risk {
    /// The job.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// What retrying it would mean.
    pub verdict: Verdict,
    /// Why, in a few words.
    pub why: String,
    /// What is at stake, in minor units, where that is known.
    pub amount: Option<i64>,
    /// Of which currency.
    pub currency: Option<String>,
}

/// What acting on all that match would mean.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DryRun {
    /// How many match.
    pub matching: i64,
    /// Of them, nothing has come of so many.
    pub safe: i64,
    /// The effect of so many is there.
    pub done: i64,
    /// It is not known of so many.
    pub unknown: i64,
    /// What is at stake of the safe and the unknown ones: minor units by currency, as far as it is known.
    pub amounts: BTreeMap<String, i64>,
    /// Of so many it is not known how much.
    pub unpriced: i64,
    /// By kind.
    pub kinds: BTreeMap<String, i64>,
    /// The first of each verdict but the safe ones, to look at.
    pub examples: Vec<Risk>,
    /// What was shown: an act that is asked for with it is done only if the same jobs match still, judged as they were.
    pub seal: String,
}

/// Jobs judged at a time.
const PAGE: i64 = 200;
/// Examples shown.
const EXAMPLES: usize = 10;

/// Judges these jobs, newest first.
pub async fn judge(db: &mut PgConnection, ids: &[String]) -> Result<Vec<Risk>, sqlx::Error> {
    let rows = sqlx::query_file!("src/desk/risk.sql", ids).fetch_all(db).await?;
    rows.into_iter()
        .map(|row| {
            let (of_event, currency) = row.body.as_deref().and_then(paid).unzip();
            Ok(Risk {
                verdict: match row.verdict.as_str() {
                    "safe" => Verdict::Safe,
                    "done" => Verdict::Done,
                    "unknown" => Verdict::Unknown,
                    other => return Err(sqlx::Error::Protocol(format!("risk.sql says {other:?}"))),
                },
                id: row.id,
                kind: row.kind,
                why: row.why,
                amount: row.amount.or(of_event),
                currency: row.currency.or(currency),
            })
        })
        .collect()
}

/// Judges all that match.
pub async fn dry_run(db: &mut PgConnection, filter: &JobFilter) -> Result<DryRun, sqlx::Error> {
    all(db, filter).await.map(|(dry, _)| dry)
}

/// Judges all that match, page by page; and which they are.
pub(super) async fn all(db: &mut PgConnection, filter: &JobFilter) -> Result<(DryRun, Vec<String>), sqlx::Error> {
    let (mut dry, mut all) = (DryRun::default(), Vec::new());
    let mut seal = digest::Context::new(&digest::SHA256);
    loop {
        let ids = filter.ids(&mut *db, all.last().map(String::as_str), PAGE).await?;
        if ids.is_empty() {
            break;
        }
        for risk in judge(&mut *db, &ids).await? {
            seal.update(json!([risk.id, risk.verdict, risk.amount]).to_string().as_bytes());
            dry.add(risk);
        }
        all.extend(ids);
    }
    dry.seal = seal.finish().as_ref().iter().fold(String::with_capacity(64), |text, byte| format!("{text}{byte:02x}"));
    Ok((dry, all))
}

impl DryRun {
    /// The sum of these; without a seal, for it is not asked of them all at once.
    pub fn of(risks: Vec<Risk>) -> Self {
        let mut dry = Self::default();
        for risk in risks {
            dry.add(risk);
        }
        dry
    }

    fn add(&mut self, risk: Risk) {
        self.matching += 1;
        *self.kinds.entry(risk.kind.clone()).or_default() += 1;
        match risk.verdict {
            Verdict::Safe => self.safe += 1,
            Verdict::Done => self.done += 1,
            Verdict::Unknown => self.unknown += 1,
        }
        if risk.verdict != Verdict::Done {
            match (risk.amount, &risk.currency) {
                (Some(amount), Some(currency)) => {
                    let sum = self.amounts.entry(currency.clone()).or_default();
                    *sum = sum.saturating_add(amount);
                }
                _ => self.unpriced += 1,
            }
        }
        if risk.verdict != Verdict::Safe && self.examples.len() < EXAMPLES {
            self.examples.push(risk);
        }
    }
}

/// What an event says was paid: of an invoice, of a session.
fn paid(body: &[u8]) -> Option<(i64, String)> {
    let event: Value = serde_json::from_slice(body).ok()?;
    let object = event.get("data")?.get("object")?;
    let amount = ["amount_paid", "amount_total"].iter().find_map(|field| object.get(field)?.as_i64())?;
    Some((amount, object.get("currency")?.as_str()?.to_owned()))
}
