//! Refill a tier: a paid invoice for a tier's price grants the tier's credits for the period that the line pays for, once.
//!
//! Rules
//! - The key is subscription, tier and the start of the line's own period: `invoice.paid` and `invoice.payment_succeeded`, either
//!   layout, and either order come to the same key.
//! - `invoice.paid` includes payment out of band and by customer balance: a full refill. A line of amount zero is a trial: none.
//!   Amounts on lines are before discounts, so a coupon of 100 % refills.
//! - Proration lines adjust a period that was paid for; they are a plan change, not a refill. A quantity multiplies.
//! - A user who paid for a subscription price that sells no tier is an operator's matter: dead, with the price. Without a user it is
//!   not ours.
//! - The user is named by metadata, or is the one the customer is linked to; where neither is known yet the job waits for the link.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    credits::Credits,
    effects::{Change, Link},
    event::{self, Event, OfEvent, check_user},
    invoice::{Invoice, Line},
    job::{Effects, Job, JobError, NewJob, Pure, Snooze},
    kinds::{ASK_CUSTOMER, Kind, REFILL_TIER},
    ledger::Posting,
    terms::{Terms, Tier},
};

/// Stripe retries a webhook for three days: a link that has not come by then will not come by itself.
const WAIT_FOR_LINK: Duration = Duration::from_hours(72);

/// Refills for one paid invoice.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RefillTier(OfEvent);

impl Job for RefillTier {
    const KIND: Kind = REFILL_TIER;
}

/// The event, and whom its customer is linked to.
#[derive(Debug)]
pub struct Facts {
    event: Event,
    linked: Option<String>,
}

impl Pure for RefillTier {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let events = event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await?;
        // An event that does not read is judged by run(); here it just has no customer.
        let customers: Vec<Option<String>> =
            events.iter().map(|event| event.object::<Invoice>().ok().and_then(|invoice| invoice.customer)).collect();
        let wanted: Vec<String> = customers.iter().flatten().cloned().collect();
        let links: HashMap<String, String> =
            sqlx::query!("SELECT id, user_id FROM bursar.customer WHERE id = ANY ($1)", &wanted)
                .fetch_all(db)
                .await?
                .into_iter()
                .map(|row| (row.id, row.user_id))
                .collect();
        Ok(events
            .into_iter()
            .zip(customers)
            .map(|(event, customer)| Facts { event, linked: customer.and_then(|id| links.get(&id).cloned()) })
            .collect())
    }

    fn run(&self, facts: &Facts, terms: &Terms) -> Result<Effects, JobError> {
        let event = &facts.event;
        if let Some(reason) = event.foreign(terms) {
            return Ok(Effects::skip(reason));
        }
        let invoice: Invoice = event.object()?;
        if !invoice.paid {
            return Ok(Effects::skip("the invoice is not paid"));
        }
        if invoice.has_more {
            return Err(JobError::Dead(format!(
                "{} has more lines than its event carries, and this version reads only those: grant by hand",
                invoice.id
            )));
        }
        let refills = refills(&invoice, terms)?;
        if refills.is_empty() {
            let ours = facts.linked.is_some() || !invoice.users.is_empty();
            if let Some(price) = paid_without_tier(&invoice, terms).filter(|_| ours) {
                return Err(JobError::Dead(format!(
                    "a user paid for {price}, which sells no tier: add it to a tier's prices (STRIPE_PRICE_…), then retry this job"
                )));
            }
            return Ok(Effects::skip(nothing_to_refill(&invoice, terms)));
        }
        let user = match (invoice.users.as_slice(), &facts.linked) {
            ([], Some(linked)) => linked.clone(),
            ([named], None) => named.clone(),
            ([named], Some(linked)) if named == linked => named.clone(),
            ([], None) => {
                let follow_ups = ask(&invoice, event, terms);
                return Ok(Effects { follow_ups, ..Effects::snooze(wait_for_link(&invoice)) });
            }
            (named, linked) => {
                return Err(JobError::Dead(format!(
                    "whose is {}? Its metadata names {named:?}, its customer is linked to {linked:?}",
                    invoice.id
                )));
            }
        };
        check_user(&user)?;
        let mut effects = Effects::done();
        for (refill, amount) in refills {
            let mut posting = Posting::grant("refill", refill.key(), &user, amount);
            posting.event_id = Some(event.id.clone());
            posting.reference = Some(invoice.id.clone());
            effects.postings.push(posting);
        }
        if let (None, Some(customer)) = (&facts.linked, invoice.customer) {
            let link = Link { id: customer, user_id: user, event_id: event.id.clone() };
            effects.changes.push(Change::LinkCustomer(link));
        }
        Ok(effects)
    }
}

/// What makes a refill the same refill.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Refill {
    subscription: String,
    tier: String,
    start: DateTime<Utc>,
}

impl Refill {
    fn key(&self) -> String {
        let start = self.start.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!("refill:{}:{}:{start}", self.subscription, self.tier)
    }
}

/// The refills that an invoice pays for; two lines for one tier and period are one refill of their sum.
fn refills(invoice: &Invoice, terms: &Terms) -> Result<BTreeMap<Refill, Credits>, JobError> {
    let mut refills: BTreeMap<Refill, Credits> = BTreeMap::new();
    for line in &invoice.lines {
        let Some(tier) = tier_paid_by(line, terms) else { continue };
        let (Some(subscription), Some(start)) = (line.subscription.clone(), line.start) else {
            return Err(JobError::Dead(format!(
                "a line of {} sells the tier {} but says no subscription or period",
                invoice.id, tier.name
            )));
        };
        let refill = Refill { subscription, tier: tier.name.clone(), start };
        let sum = refills.entry(refill).or_default();
        let more = tier.credits.times(line.quantity).and_then(|c| c.micros().checked_add(sum.micros()));
        *sum = more.map(Credits::from_micros).filter(|c| c.is_positive()).ok_or_else(|| {
            JobError::Dead(format!("{} of the tier {} on {} cannot be counted", line.quantity, tier.name, invoice.id))
        })?;
    }
    Ok(refills)
}

fn tier_paid_by<'a>(line: &Line, terms: &'a Terms) -> Option<&'a Tier> {
    if line.proration || line.amount <= 0 {
        return None;
    }
    terms.tier_of_price(line.price.as_deref()?)
}

/// A price that a subscription was paid for and that sells no tier of ours.
fn paid_without_tier<'a>(invoice: &'a Invoice, terms: &Terms) -> Option<&'a str> {
    let paid = |line: &&Line| line.subscription.is_some() && !line.proration && line.amount > 0;
    invoice
        .lines
        .iter()
        .filter(paid)
        .filter_map(|line| line.price.as_deref())
        .find(|price| terms.tier_of_price(price).is_none())
}

fn nothing_to_refill(invoice: &Invoice, terms: &Terms) -> String {
    let of_tier = |line: &&Line| line.price.as_deref().is_some_and(|price| terms.tier_of_price(price).is_some());
    match invoice.lines.iter().find(of_tier) {
        Some(line) if line.proration => "only proration lines: a plan change, not a refill".into(),
        Some(_) => "a trial: the line for the tier costs nothing".into(),
        None => {
            let prices: Vec<&str> = invoice.lines.iter().filter_map(|line| line.price.as_deref()).collect();
            format!("not ours: no line sells a tier of this deployment (prices: {})", prices.join(", "))
        }
    }
}

/// Where Stripe can be asked whose customer it is, it is asked, once for each event.
fn ask(invoice: &Invoice, event: &Event, terms: &Terms) -> Vec<NewJob> {
    let ask = |customer: &String| NewJob {
        kind: ASK_CUSTOMER.name,
        key: format!("{customer}:{}", event.id),
        args: serde_json::json!({ "customer": customer, "event": event.id }),
        max_attempts: ASK_CUSTOMER.max_attempts,
        delay_ms: 0,
        cause: Some(event.id.clone()),
    };
    invoice.customer.iter().filter(|_| terms.stripe_on).map(ask).collect()
}

fn wait_for_link(invoice: &Invoice) -> Snooze {
    Snooze {
        reason: format!(
            "{} names no user, and its customer {} is not linked to one yet",
            invoice.id,
            invoice.customer.as_deref().unwrap_or("(none)")
        ),
        fact: invoice.customer.as_ref().map(|customer| format!("customer:{customer}")),
        limit: WAIT_FOR_LINK,
    }
}
