//! Check a charge: whatever event says that something of it came back, ask how the charge, all its refunds and all its disputes stand now,
//! and what it paid for. What follows for the credits is [`claw_back`](crate::clawbacks::claw_back)'s.
//!
//! Rules
//! - Events come late and out of order (Stripe: webhooks): what counts is what Stripe answers now, never the event's snapshot.
//! - A charge belongs to what it paid for: a session by its payment intent, an invoice by its payments, or by `charge.invoice` in layouts
//!   before 2025-03-31.basil.
//! - A credit note is asked for with all of its invoice. Its invoice takes the place of the charge: it may have been paid by several, or by
//!   none of Stripe's.
//! - An answer to an earlier question that comes later counts for nothing.

use bursar_stripe::{
    Client, Seen,
    charges::{self, Told},
    credit_notes,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use bursar_stripe::Reference;

use crate::{
    clawbacks::{change::Change, claw_back::ClawBack},
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError},
        kind::{CHECK_CHARGE, Kind},
    },
    inbox::event::{self, Event, OfEvent},
    terms::Terms,
};

/// Checks the charge of one event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckCharge(OfEvent);

impl Job for CheckCharge {
    const KIND: Kind = CHECK_CHARGE;
}

/// A charge, a refund or a dispute, as far as it names its charge.
#[derive(Deserialize)]
struct Object {
    id: String,
    #[serde(rename = "object")]
    what: Option<String>,
    charge: Option<Reference>,
    payment_intent: Option<Reference>,
    invoice: Option<Reference>,
}

impl Object {
    fn is_credit_note(&self) -> bool {
        self.what.as_deref() == Some("credit_note")
    }
}

impl Call for CheckCharge {
    type Facts = Event;

    async fn gather(&self, db: &mut PgConnection) -> Result<Event, sqlx::Error> {
        let event = event::load(db, &[&self.0]).await?.pop();
        event.ok_or_else(|| sqlx::Error::Protocol("one event was asked for, and none came back".into()))
    }

    fn intent(&self, event: &Event, terms: &Terms) -> Result<Plan, JobError> {
        if let Some(reason) = event.foreign(terms) {
            return Ok(Plan::Nothing(Effects::skip(reason)));
        }
        let object: Object = event.object()?;
        if object.is_credit_note() {
            if object.invoice.is_none() {
                return Err(JobError::Dead(format!("{} names no invoice", object.id)));
            }
            return Ok(Plan::AskAll);
        }
        if object.what.as_deref() != Some("charge") && object.charge.is_none() && object.payment_intent.is_none() {
            // Given back of a customer's cash balance, say: no charge of ours came back.
            let why = format!("not ours: {} names neither a charge nor a payment intent", object.id);
            return Ok(Plan::Nothing(Effects::skip(why)));
        }
        Ok(Plan::AskAll)
    }

    async fn look(&self, event: &Event, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Ok(object) = event.object::<Object>() else { return Ok(Looked::Nothing) };
        if object.is_credit_note() {
            let Some(invoice) = object.invoice.map(Reference::into_id) else { return Ok(Looked::Nothing) };
            let told = credit_notes::ask(stripe, &invoice).await?;
            return Ok(Looked::Found(serde_json::to_value(told).unwrap_or(Value::Null)));
        }
        let charge = match (object.what.as_deref(), object.charge, object.payment_intent) {
            (Some("charge"), _, _) => Some(object.id),
            (_, Some(charge), _) => Some(charge.into_id()),
            (_, None, Some(intent)) => charges::of_intent(stripe, &intent.into_id()).await?,
            (_, None, None) => None,
        };
        let Some(charge) = charge else { return Ok(Looked::Nothing) };
        let invoice = object.invoice.map(Reference::into_id);
        let told = charges::ask(stripe, &charge, invoice.as_deref()).await?;
        Ok(Looked::Found(serde_json::to_value(told).unwrap_or(Value::Null)))
    }

    fn resolve(&self, event: &Event, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let (told, asked_at) = match answer {
            Answer::Fact(Value::Null, _) => return Ok(Effects::skip("nothing was charged for it yet")),
            Answer::Fact(told, asked_at) => (told, asked_at),
            Answer::Gone(error) if error.code.as_deref() == Some("resource_missing") => {
                return Ok(Effects::skip(format!("not ours: Stripe does not know the charge: {error}")));
            }
            Answer::Gone(error) => return Err(JobError::Dead(format!("Stripe does not understand: {error}"))),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let told: Told = serde_json::from_value(told.clone())
            .map_err(|error| JobError::Dead(format!("the charge does not read: {error}")))?;
        if let Some(refund) = told.refunds.iter().find(|refund| refund.currency != told.charge.currency) {
            return Err(JobError::Dead(format!(
                "{} is in {}, but {} is in {}",
                refund.id, refund.currency, told.charge.id, told.charge.currency
            )));
        }
        let next = ClawBack::after_asking(&told.charge.id, asked_at, &event.id);
        let changes: Vec<AnyChange> = vec![Change::RecordCharge(Box::new(told), asked_at).into()];
        Ok(Effects { changes, follow_ups: vec![next], ..Effects::done() })
    }
}
