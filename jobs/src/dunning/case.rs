//! A case as a fact: the row and its steps, held until the end of the transaction.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, types::Json};

use super::{Schedule, Step};
use crate::base::clock;

/// A case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub invoice_id: String,
    pub subscription_id: String,
    pub user_id: String,
    /// `open`, or how it ended.
    pub state: String,
    pub reason: Option<String>,
    pub failed_at: DateTime<Utc>,
    pub schedule: Schedule,
    pub promised_until: Option<DateTime<Utc>>,
    pub card_asked: bool,
    pub steps: Vec<Planned>,
}

/// A step of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub step: Step,
    pub due_at: DateTime<Utc>,
    pub state: String,
    pub outcome: Option<String>,
}

impl Planned {
    /// Whether nothing more comes of it.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "done" | "skipped")
    }
}

/// What every job of a case looks at.
#[derive(Debug)]
pub struct Facts {
    /// Business time.
    pub now: DateTime<Utc>,
    /// The case; none where the invoice has none.
    pub case: Option<Case>,
}

impl Case {
    pub fn step(&self, step: Step) -> Option<&Planned> {
        self.steps.iter().find(|planned| planned.step == step)
    }

    pub fn is_open(&self) -> bool {
        self.state == "open"
    }

    /// Why nothing is done about it any more, in words.
    pub fn why_over(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("stood down: the case of {} is {}{reason}", self.invoice_id, self.state)
    }

    pub fn final_due(&self) -> DateTime<Utc> {
        self.failed_at + TimeDelta::days(i64::from(self.schedule.final_day))
    }

    /// The name of what its last step waits for: that a try is over.
    pub fn fact(invoice: &str) -> String {
        format!("dunning:{invoice}")
    }
}

/// Reads a case and holds it.
pub(crate) async fn hold(db: &mut PgConnection, invoice: &str) -> Result<Facts, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT invoice_id, subscription_id, user_id, state, reason, failed_at, schedule AS "schedule: Json<Schedule>", promised_until,
                  card_asked_at IS NOT NULL AS "card_asked!"
           FROM bursar.dunning_case WHERE invoice_id = $1 FOR UPDATE"#,
        invoice
    )
    .fetch_optional(&mut *db)
    .await?;
    let now = clock::business(&mut *db).await?;
    let Some(row) = row else { return Ok(Facts { now, case: None }) };
    let steps = sqlx::query!(
        "SELECT step, due_at, state, outcome FROM bursar.dunning_step WHERE invoice_id = $1 ORDER BY due_at, day, step",
        invoice
    )
    .fetch_all(db)
    .await?;
    let steps = steps
        .into_iter()
        .map(|row| {
            let step = row.step.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            Ok(Planned { step, due_at: row.due_at, state: row.state, outcome: row.outcome })
        })
        .collect::<Result<_, sqlx::Error>>()?;
    let case = Case {
        invoice_id: row.invoice_id,
        subscription_id: row.subscription_id,
        user_id: row.user_id,
        state: row.state,
        reason: row.reason,
        failed_at: row.failed_at,
        schedule: row.schedule.0,
        promised_until: row.promised_until,
        card_asked: row.card_asked,
        steps,
    };
    Ok(Facts { now, case: Some(case) })
}
