//! Grant a purchase: a paid one-time checkout grants the credits of the package that was paid, once per session.
//!
//! Rules
//! - `checkout.session.completed` with `payment_status` unpaid is not money; `…async_payment_succeeded` is (Stripe: checkout,
//!   delayed payment methods). Both carry the session, and the session is the key: one purchase, one grant.
//! - Metadata is input, not truth: `metadata.credits` must be what the package grants whose price id was paid, or whose price
//!   equals `amount_subtotal` (before discounts and tax). Otherwise the job is dead with the reason; nothing is guessed.
//! - A session that names no user is not ours.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    credits::Credits,
    event::{self, Event, Metadata, OfEvent, user_of},
    job::{Effects, Job, JobError, Pure},
    kinds::{GRANT_PURCHASE, Kind},
    ledger::Posting,
    terms::Terms,
};

/// Grants what one checkout session bought.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantPurchase(OfEvent);

impl Job for GrantPurchase {
    const KIND: Kind = GRANT_PURCHASE;
}

#[derive(Debug, Deserialize)]
struct Session {
    id: String,
    mode: Option<String>,
    payment_status: Option<String>,
    amount_subtotal: Option<i64>,
    currency: Option<String>,
    client_reference_id: Option<String>,
    metadata: Option<Metadata>,
    line_items: Option<Lines>,
}

#[derive(Debug, Deserialize)]
struct Lines {
    data: Vec<Line>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Debug, Deserialize)]
struct Line {
    price: Option<Price>,
    quantity: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Price {
    id: String,
}

impl Pure for GrantPurchase {
    type Facts = Event;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Event>, sqlx::Error> {
        event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await
    }

    fn run(&self, event: &Event, terms: &Terms) -> Result<Effects, JobError> {
        if let Some(reason) = event.foreign(terms) {
            return Ok(Effects::skip(reason));
        }
        let session: Session = event.object()?;
        if session.mode.as_deref() != Some("payment") {
            return Ok(Effects::skip(format!(
                "a checkout in mode {:?} sells no package",
                session.mode.unwrap_or_default()
            )));
        }
        match session.payment_status.as_deref() {
            Some("paid" | "no_payment_required") => {}
            Some("unpaid") => {
                return Ok(Effects::skip("not paid yet: checkout.session.async_payment_succeeded will tell"));
            }
            other => return Err(JobError::Dead(format!("payment_status is {other:?}: neither paid nor unpaid"))),
        }
        let Some(user) = user_of(session.metadata.as_ref(), session.client_reference_id.as_deref())? else {
            return Ok(Effects::skip("not ours: the session names no user (metadata.user_id or client_reference_id)"));
        };
        let paid_for = paid_for(&session, terms)?;
        let asked = asked(session.metadata.as_ref())?;
        if asked != paid_for {
            return Err(JobError::Dead(format!(
                "metadata.credits says {asked}, but what was paid for grants {paid_for}"
            )));
        }
        let mut posting = Posting::grant("purchase", format!("purchase:{}", session.id), &user, paid_for);
        posting.event_id = Some(event.id.clone());
        posting.reference = Some(session.id);
        Ok(Effects { postings: vec![posting], ..Effects::done() })
    }
}

/// The credits that the metadata asks for.
fn asked(metadata: Option<&Metadata>) -> Result<Credits, JobError> {
    let text = metadata
        .and_then(|m| m.get("credits"))
        .ok_or_else(|| JobError::Dead("metadata.credits is missing: set it to the package's credits".into()))?;
    match text.parse::<Credits>() {
        Ok(credits) if credits.is_positive() => Ok(credits),
        Ok(_) => Err(JobError::Dead(format!("metadata.credits is {text:?}: not more than zero"))),
        Err(error) => Err(JobError::Dead(format!("metadata.credits is {text:?}: {error}"))),
    }
}

/// The credits of what was paid: by price id where the lines are there, else by the amount before discounts and tax.
fn paid_for(session: &Session, terms: &Terms) -> Result<Credits, JobError> {
    if let Some(lines) = &session.line_items
        && let Some(credits) = by_price(lines, terms)
    {
        return Ok(credits);
    }
    let (amount, currency) = session
        .amount_subtotal
        .zip(session.currency.as_deref())
        .ok_or_else(|| JobError::Dead("the session says neither its lines' prices nor its amount_subtotal".into()))?;
    terms.package_of_amount(amount, currency).map(|package| package.credits).ok_or_else(|| {
        JobError::Dead(format!(
            "no package costs {} before discounts and tax; add it to the packages of bursar.toml, then retry this job",
            crate::money::format(amount, currency)
        ))
    })
}

fn by_price(lines: &Lines, terms: &Terms) -> Option<Credits> {
    if lines.has_more || lines.data.is_empty() {
        return None;
    }
    let total = lines.data.iter().try_fold(0_i64, |sum, line| {
        let package = terms.package_of_price(&line.price.as_ref()?.id)?;
        sum.checked_add(package.credits.times(line.quantity.unwrap_or(1))?.micros())
    })?;
    Some(Credits::from_micros(total))
}
