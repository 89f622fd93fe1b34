//! Repairing what a run found: one finding a job, through the doors that events go through.
//!
//! Rules
//! - What was paid and not granted comes into the inbox as the event that never came, made of the object as Stripe has it now, under an id of
//!   the object's own: `reconcile:in_…:paid`. The ordinary job runs, under the ordinary keys: if the event comes after all, it changes nothing.
//! - A refund, a dispute or a reversal is checked as after an event. A payout is let go as by an operator, and only one that is looked for
//!   before anything can leave.
//! - Each repair is on record in the transaction that makes it. A finding that is not open any more is repaired by nobody.

use bursar_stripe::{API_VERSION, Client, Seen, credit_notes, lists};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob},
        kind::{Kind, RECONCILE_REPAIR},
    },
    inbox::envelope::Envelope,
    reconciliation::{Run, change::Change, entry::Changed, finding::BY_REPAIR},
    subscriptions::{self, change::PlanChange, refill_month::RefillMonth, sync_subscription::SyncSubscription},
    terms::Terms,
};

/// Repairs the next finding of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Repair {
    run: String,
    /// The finding before it.
    after: i64,
}

impl Repair {
    /// The job that repairs what comes after a finding, or ends the run.
    pub fn after(run: &str, after: i64) -> NewJob {
        NewJob {
            kind: RECONCILE_REPAIR.name,
            key: format!("{run}:{after}"),
            args: json!({ "run": run, "after": after }),
            max_attempts: RECONCILE_REPAIR.max_attempts,
            delay_ms: 0,
            cause: None,
        }
    }
}

impl Job for Repair {
    const KIND: Kind = RECONCILE_REPAIR;
}

/// The run, and the finding that is next.
#[derive(Debug)]
pub(crate) struct Facts {
    run: Option<Run>,
    next: Option<Found>,
}

#[derive(Debug)]
struct Found {
    id: i64,
    what: String,
    object: String,
    evidence: Value,
    /// Whether an event was made of it before, and came to nothing.
    heard: bool,
    /// The event that told of the payment of a period, for a month of it.
    told: Option<String>,
}

/// A month that was not refilled, as the evidence has it.
#[derive(Deserialize)]
struct Month {
    subscription: String,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    nth: usize,
}

impl Call for Repair {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let run = Run::load(&mut *db, &self.run).await?;
        let next = sqlx::query_as!(
            Found,
            r#"SELECT f.id, f.type AS what, f.object, f.evidence,
                      EXISTS (SELECT FROM bursar.event e WHERE e.source = 'stripe'
                              AND e.id IN ('reconcile:' || f.object || ':paid', 'reconcile:' || f.object || ':back',
                                           'reconcile:' || f.object || ':reversed')) AS "heard!",
                      (SELECT p.event_id FROM bursar.service_month m JOIN bursar.posting p ON p.key = m.refill_key
                       WHERE m.subscription_id = f.evidence ->> 'subscription'::text AND m.start_at = (f.evidence ->> 'start'::text)::timestamptz) AS told
               FROM bursar.finding f WHERE f.run = $1 AND f.id > $2 AND f.state = 'open' AND f.automatic ORDER BY f.id LIMIT 1"#,
            self.run,
            self.after
        )
        .fetch_optional(db)
        .await?;
        Ok(Facts { run, next })
    }

    fn intent(&self, facts: &Facts, _: &Terms) -> Result<Plan, JobError> {
        match (&facts.run, &facts.next) {
            (None, _) => Err(JobError::Dead(format!("there is no run {}", self.run))),
            (Some(run), _) if run.state != "running" => {
                Ok(Plan::Nothing(Effects::skip(format!("{} is {}", run.id, run.state))))
            }
            (Some(run), None) => {
                let end = Change::End { run: run.id.clone() };
                Ok(Plan::Nothing(Effects { changes: vec![end.into()], ..Effects::done() }))
            }
            (Some(run), Some(found)) => match found.asks_for() {
                Some(id) => lists::object(id).map(Plan::Ask).ok_or_else(|| JobError::Dead(format!("{id} is no id"))),
                None => self.plainly(run, found).map(Plan::Nothing),
            },
        }
    }

    async fn look(&self, _: &Facts, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::Stop { run: self.run.clone(), why: why.to_owned() }.into()]
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        let (Some(run), Some(found)) = (&facts.run, &facts.next) else {
            return Ok(Effects::skip("the finding was closed meanwhile"));
        };
        let object = match answer {
            Answer::Fact(object, _) => object,
            // It is there no more: the finding stays, for somebody to look at.
            Answer::Gone(_) => {
                return Ok(Effects { follow_ups: vec![Self::after(&self.run, found.id)], ..Effects::done() });
            }
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let what = match object["object"].as_str() {
            Some("invoice") => "invoice.paid",
            Some("checkout.session") => "checkout.session.completed",
            Some("transfer") => "transfer.reversed",
            other => return Err(JobError::Dead(format!("{} is {other:?}", found.object))),
        };
        let mut effects = self.heard(run, found, what, object, terms.livemode)?;
        if let Some((noted, sync)) = found.rise(run)? {
            effects.changes.push(noted.into());
            effects.follow_ups.push(sync);
        }
        Ok(effects)
    }
}

impl Found {
    /// The object that an event is to be made of.
    fn asks_for(&self) -> Option<&str> {
        match (self.what.as_str(), self.object.split_once('_')?.0) {
            // The invoice says what was paid for the rise, which a refund of it must know.
            ("missing_grant", _) if !self.evidence["change"].is_null() => self.evidence["invoice"].as_str(),
            ("missing_grant", "in" | "cs") => Some(&self.object),
            ("reversal_not_booked", _) => self.evidence["transfer"].as_str(),
            _ => None,
        }
    }

    /// The rise of plan that nobody told of, where it is one, and the job that grants what it is worth.
    fn rise(&self, run: &Run) -> Result<Option<(subscriptions::change::Change, NewJob)>, JobError> {
        if self.evidence["change"].is_null() {
            return Ok(None);
        }
        let rise: Changed =
            serde_json::from_value(self.evidence["change"].clone()).map_err(|error| self.does_not_read(&error))?;
        let sync = SyncSubscription::of(&rise.subscription, &self.occasion(run));
        let noted = subscriptions::change::Change::NotePlanChange(PlanChange {
            subscription_id: rise.subscription,
            at: rise.at,
            old_value: rise.old_value,
            new_value: rise.new_value,
            event_id: None,
            billed: true,
        });
        Ok(Some((noted, sync)))
    }

    fn occasion(&self, run: &Run) -> String {
        format!("reconcile:{}:{}", run.id, self.id)
    }

    fn does_not_read(&self, error: &serde_json::Error) -> JobError {
        JobError::Dead(format!("the evidence of finding {} does not read: {error}", self.id))
    }
}

impl Repair {
    /// The repair that needs nothing of Stripe's yet: the job that it leads to asks.
    fn plainly(&self, run: &Run, found: &Found) -> Result<Effects, JobError> {
        let charge = || found.evidence["charge"].as_str().unwrap_or_default();
        let occasion = found.occasion(run);
        let mut effects = match found.what.as_str() {
            "refund_not_clawed" if credit_notes::is_id(&found.object) => {
                let object = json!({ "id": found.object, "object": "credit_note", "invoice": charge() });
                return self.heard_of(run, found, "credit_note.updated", &object, None);
            }
            "refund_not_clawed" => {
                let object = json!({ "id": charge(), "object": "charge" });
                return self.heard_of(run, found, "charge.refunded", &object, None);
            }
            "dispute_not_taken" => {
                let object = json!({ "id": found.object, "object": "dispute", "charge": charge() });
                return self.heard_of(run, found, "charge.dispute.updated", &object, None);
            }
            "unknown_transfer" | "payout_stuck" => {
                let job_id = found.evidence["job_id"].as_str().unwrap_or(&found.object).to_owned();
                let release = Change::Release { job_id };
                Effects { changes: vec![release.into()], ..Effects::done() }
            }
            "missing_grant" => {
                let month: Month =
                    serde_json::from_value(found.evidence.clone()).map_err(|error| found.does_not_read(&error))?;
                let told = found.told.clone().unwrap_or_else(|| occasion.clone());
                let refill =
                    RefillMonth::again(&month.subscription, (month.start, month.end), month.nth, &told, &occasion);
                Effects { follow_ups: vec![refill], ..Effects::done() }
            }
            other => return Err(JobError::Dead(format!("nothing repairs a finding of the type {other}"))),
        };
        let how = effects.follow_ups.first().map_or_else(
            || format!("the payout for {} was let go", found.evidence["job_id"].as_str().unwrap_or(&found.object)),
            |job| format!("job {} {}", job.kind, job.key),
        );
        effects.changes.push(done(run, found, how).into());
        effects.follow_ups.push(Self::after(&self.run, found.id));
        Ok(effects)
    }

    fn heard(&self, run: &Run, found: &Found, what: &str, object: &Value, live: bool) -> Result<Effects, JobError> {
        let live = object["livemode"].as_bool().unwrap_or(live);
        self.heard_of(run, found, what, object, Some(live))
    }

    /// The event that never came, in the layout that our own questions are answered in.
    fn heard_of(
        &self,
        run: &Run,
        found: &Found,
        what: &str,
        object: &Value,
        live: Option<bool>,
    ) -> Result<Effects, JobError> {
        let told = match what {
            "invoice.paid" | "checkout.session.completed" => "paid",
            "transfer.reversed" => "reversed",
            _ => "back",
        };
        let again = if found.heard { format!(":{}", run.id) } else { String::new() };
        let id = format!("reconcile:{}:{told}{again}", found.object);
        let created = object.pointer("/status_transitions/paid_at").and_then(Value::as_i64);
        let event = json!({
            "id": id, "object": "event", "type": what, "api_version": API_VERSION, "livemode": live,
            "created": created.or_else(|| object["created"].as_i64()),
            "data": { "object": object },
            // Whoever reads the inbox sees that Stripe has not sent it.
            "made_by": { "reconciliation": run.id, "finding": found.id },
        });
        let body = event.to_string().into_bytes();
        let envelope = Envelope::stripe(&body)
            .map_err(|error| JobError::Dead(format!("the event for finding {} cannot be made: {error}", found.id)))?;
        let changes = vec![
            Change::Hear { envelope: Box::new(envelope), body }.into(),
            done(run, found, format!("event {id}")).into(),
        ];
        Ok(Effects { changes, follow_ups: vec![Self::after(&self.run, found.id)], ..Effects::done() })
    }
}

/// A finding whose repair is under way.
fn done(run: &Run, found: &Found, how: String) -> Change {
    Change::Repaired {
        finding: found.id,
        subject: found.object.clone(),
        how,
        who: run.repair_by.clone().unwrap_or_else(|| run.asked_by.clone()),
        via: run.repair_via,
        why: format!("{} ({BY_REPAIR}, run {})", found.what, run.id),
    }
}
