//! Report usage: one meter event at Stripe for what one user spent on one metered skill in one hour.
//!
//! Rules
//! - `identifier` and idempotency key derive from user, skill, hour and number: a repetition changes nothing (Stripe: meter events, an
//!   identifier counts once within 24 hours at least; requests, a key is answered once).
//! - The time of the use is the last second of its hour, so that a subscription that began within the hour is charged for it.
//! - Stripe counts whole numbers: how often, or whole credits; a fraction of a credit counts with what comes.
//! - The customer is the first that was linked to the user and is still there; a user without one waits for it.
//! - Stripe has no list of meter events, and forgets identifiers and keys after 24 hours. What is older (by the end of its hour, not by
//!   when this row was written: a restored database writes it anew) may have been sent before, and billed: it is an operator's matter,
//!   and so is an outcome that is not known and too old to be asked for again. `bursar usage release` lets it go, once; `bursar usage
//!   sent` says that Stripe has it. After days without a worker that is a command for all of them, which nobody should have to guess.

use std::time::Duration;

use bursar_stripe::{
    Client, Seen,
    meters::{self, MeterEvent, NewMeterEvent},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome, Snooze},
        kind::{Kind, REPORT_USAGE},
    },
    terms::Terms,
    usage::change::Change,
};

/// Stripe: meter events. Older use is not taken.
const OLDEST: Duration = Duration::from_hours(35 * 24);

/// Sends one report.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportUsage {
    report: i64,
}

impl ReportUsage {
    /// The job that sends a report.
    pub fn of(report: i64) -> NewJob {
        NewJob {
            kind: REPORT_USAGE.name,
            key: report.to_string(),
            args: serde_json::json!({ "report": report }),
            max_attempts: REPORT_USAGE.max_attempts,
            delay_ms: 0,
            cause: None,
        }
    }
}

impl Job for ReportUsage {
    const KIND: Kind = REPORT_USAGE;
}

/// The report, and whom it is about at Stripe.
#[derive(Debug)]
pub struct Facts {
    identifier: String,
    user_id: String,
    /// The beginning of the hour.
    hour: DateTime<Utc>,
    event_name: String,
    value: i64,
    state: String,
    customer: Option<String>,
    /// Whether Stripe surely remembers what was sent of that hour.
    young: bool,
    /// Whether a request may have left already.
    begun: bool,
    /// When an operator let it go, if that counts still.
    released: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

impl Facts {
    /// The last second that it is about.
    fn end(&self) -> DateTime<Utc> {
        self.hour + TimeDelta::hours(1) - TimeDelta::seconds(1)
    }
}

impl ReportUsage {
    fn moved(&self, state: &'static str, reason: Option<String>) -> Change {
        Change::MoveUsage { report: self.report, state, reason }
    }
}

impl Call for ReportUsage {
    type Facts = Option<Facts>;

    async fn gather(&self, db: &mut PgConnection) -> Result<Option<Facts>, sqlx::Error> {
        sqlx::query_as!(
            Facts,
            r#"SELECT r.identifier, r.user_id, r.hour, r.event_name, r.value, r.state, c.id AS "customer?",
                      bursar.is_young(r.hour + interval '1 hour') AS "young!",
                      EXISTS (SELECT FROM bursar.intent i WHERE i.subject = r.identifier) AS "begun!",
                      CASE WHEN bursar.is_young(r.released_at) THEN r.released_at END AS released, bursar.now() AS "now!"
               FROM bursar.usage_report r
               LEFT JOIN LATERAL (SELECT id, linked_at FROM bursar.customer
                                  WHERE user_id = r.user_id AND gone_at IS NULL ORDER BY linked_at, id LIMIT 1) c ON true
               WHERE r.id = $1 FOR UPDATE OF r"#,
            self.report
        )
        .fetch_optional(db)
        .await
    }

    fn intent(&self, facts: &Option<Facts>, _: &Terms) -> Result<Plan, JobError> {
        let Some(facts) = facts else { return Err(JobError::Dead(format!("there is no report {}", self.report))) };
        if facts.state == "sent" {
            return Ok(Plan::Nothing(Effects::skip("it was reported before")));
        }
        if facts.value == 0 {
            let why = "less than a whole credit: it counts with what comes";
            let changes: Vec<AnyChange> = vec![self.moved("sent", Some(why.to_owned())).into()];
            return Ok(Plan::Nothing(Effects { changes, ..Effects::skip(why) }));
        }
        let Some(customer) = &facts.customer else {
            let reason = format!("{} is no customer at Stripe yet", facts.user_id);
            return Ok(Plan::Nothing(Effects::snooze(Snooze { reason, fact: None, limit: OLDEST })));
        };
        let end = facts.end();
        if facts.state == "open" && (facts.now - end).to_std().is_ok_and(|age| age > OLDEST) {
            let why = "Stripe takes no report of use that is older than 35 days: charge it by hand".to_owned();
            let outcome = Outcome::Dead(why.clone());
            return Ok(Plan::Nothing(Effects {
                outcome,
                changes: vec![self.moved("refused", Some(why)).into()],
                ..Effects::done()
            }));
        }
        if !facts.young && !facts.begun && facts.released.is_none() {
            let id = self.report;
            let why = format!(
                "its hour is older than Stripe surely remembers what was sent of it, and this database may be a restored one: compare the \
                 meter's summary of {} to {}, then `bursar usage release {id}` to send it, or `bursar usage sent {id}` if it is there",
                facts.user_id,
                facts.hour.format("%Y-%m-%d %H:%M UTC")
            );
            let changes: Vec<AnyChange> = vec![self.moved("unknown", Some(why.clone())).into()];
            return Ok(Plan::Nothing(Effects { outcome: Outcome::Dead(why), changes, ..Effects::done() }));
        }
        let request = meters::create(&NewMeterEvent {
            event_name: &facts.event_name,
            identifier: &facts.identifier,
            timestamp: end.timestamp(),
            customer,
            value: facts.value,
        });
        let since = facts.released.unwrap_or(end);
        Ok(Plan::Send { subject: facts.identifier.clone(), request, since, marks: Vec::new() })
    }

    async fn look(&self, facts: &Option<Facts>, _: &Client) -> Result<Looked, Box<Seen>> {
        if facts.as_ref().is_some_and(|facts| facts.released.is_some()) {
            // An operator has looked.
            return Ok(Looked::Nothing);
        }
        let (identifier, id) = (facts.as_ref().map_or("it", |facts| facts.identifier.as_str()), self.report);
        Ok(Looked::Different(format!(
            "whether Stripe has {identifier} is not known, and Stripe has no list of meter events: compare the meter's summary of that hour, \
             then `bursar usage release {id}` to send it again, or `bursar usage sent {id}` if it is there"
        )))
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![self.moved("unknown", Some(why.to_owned())).into()]
    }

    fn resolve(&self, facts: &Option<Facts>, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        match answer {
            Answer::Made(object) => {
                let event: MeterEvent = serde_json::from_value(object.clone()).map_err(|error| JobError::Retry {
                    after: None,
                    source: format!("the meter event does not read: {error}").into(),
                })?;
                if facts.as_ref().is_none_or(|facts| facts.identifier != event.identifier) {
                    return Err(JobError::Dead(format!("Stripe took {} instead", event.identifier)));
                }
                Ok(Effects { changes: vec![self.moved("sent", None).into()], ..Effects::done() })
            }
            Answer::Unknown(why) => {
                Ok(Effects { changes: vec![self.moved("unknown", Some(why.to_owned())).into()], ..Effects::done() })
            }
            // It came before, under a key that is not known here.
            Answer::Refused { error, .. } if error.code.as_deref() == Some("duplicate_meter_event") => {
                Ok(Effects { changes: vec![self.moved("sent", Some(error.to_string())).into()], ..Effects::done() })
            }
            Answer::Refused { error, .. } => {
                let why = format!("Stripe refused it: {error}");
                let outcome = Outcome::Dead(why.clone());
                Ok(Effects { outcome, changes: vec![self.moved("refused", Some(why)).into()], ..Effects::done() })
            }
            Answer::Fact(..) | Answer::Gone(_) => Err(JobError::Dead("a report asks no question".into())),
        }
    }
}
