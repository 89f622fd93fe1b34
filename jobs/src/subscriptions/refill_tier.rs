//! Refill a tier: a paid invoice for a tier's price grants the tier's credits for the month that the line pays for, once.
//!
//! Rules
//! - The key is subscription, tier and the start of the line's own period: `invoice.paid` and `invoice.payment_succeeded`, either
//!   layout, and either order come to the same key.
//! - `invoice.paid` includes payment out of band and by customer balance: a full refill. A line of amount zero is a trial: none, or
//!   the tier's `trial_credits`, once per subscription. Amounts on lines are before discounts, so a coupon of 100 % refills.
//! - Proration lines adjust a period that was paid for; they are a plan change, not a refill: which invoice paid for it is noted, so that
//!   what comes back of the invoice finds what the change granted. A quantity multiplies.
//! - A line that charges a part of the full price grants that part, whether Stripe calls it a proration or not: see [`charged_share`](crate::subscriptions::charged_share).
//!   On a subscription's first invoice, and for the time after a cycle's end, a proration is no change of plan. Where the full price is
//!   not known, Stripe is asked (`read_invoice`).
//! - A line that is not for a subscription's item, such as a set-up fee, sells no tier; nor does a quantity of 0.
//! - A line for longer than a month pays for its first month here; the others follow by schedule (`refill_month`).
//! - A price by the day or by the week grants by its days; 28 days and more are a month. A tier that says it is `free` refills at price 0.
//! - A price that is charged by use grants nothing: lines before 2025-03-31.basil say so themselves, since then `[meters.SKILL] prices` does.
//! - What an earlier refill left over is dealt with by the tier's policy: see [`service_month`].
//! - An invoice with more lines than its event carries is read whole first (`read_invoice`).
//! - A user who paid for a subscription's price, on an invoice none of whose prices sells a tier, is an operator's matter: dead, with the
//!   price. Beside a tier it is an add-on. Without a user it is not ours.
//! - A month is granted once, also where its tier has another name by now, or its price belongs to another tier: see [`granted`].
//! - The user is named by metadata, or is the one the customer is linked to; where neither is known yet the job waits for the link.
//! - What is paid is chased no more: its case of dunning, if it has one, stands down at once.
//! - How the subscription stands is asked of Stripe afterwards (`sync_subscription`).

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    base::{calendar, credits::Credits},
    customers::{self, change::Link, identify_customer::AskCustomer},
    engine::{
        change::AnyChange,
        job::{Effects, Job, JobError, Outcome, Pure},
        kind::{Kind, REFILL_TIER},
    },
    inbox::event::{self, Event, OfEvent, check_user},
    ledger::{Posting, adjustment::correction},
    subscriptions::{
        change::Change,
        granted::{self, Granted},
        invoice::{Invoice, Line},
        read_invoice::ReadInvoice,
        refill::{Paid, Service, advice, nothing_to_refill, paid_without_tier, refills, trial_key},
        refill_month::RefillMonth,
        service_month::{self, Standing},
        sync_subscription::SyncSubscription,
    },
    terms::Terms,
};

/// Refills for one paid invoice.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RefillTier(OfEvent);

impl Job for RefillTier {
    const KIND: Kind = REFILL_TIER;
}

/// The event, whom its customer is linked to, and what its subscriptions' grants stand on.
#[derive(Debug)]
pub struct Facts {
    pub(crate) event: Event,
    linked: Option<String>,
    standings: HashMap<String, Standing>,
    balance: i64,
    /// What the invoice granted before.
    granted: Vec<Granted>,
}

impl Facts {
    /// Whether what a subscription's grants stand on was read, and is held.
    pub(crate) fn holds(&self, subscription: &str) -> bool {
        self.standings.contains_key(subscription)
    }
}

/// Two jobs of a batch that change the same things: each is then performed alone.
const ALONE: &str = "two jobs of a batch refill the same subscription or user";

/// Gathers the facts about invoices; `more` lines are those of an invoice that its event does not carry.
pub(crate) async fn gather(db: &mut PgConnection, jobs: &[(&OfEvent, &[Line])]) -> Result<Vec<Facts>, sqlx::Error> {
    let events = event::load(&mut *db, &jobs.iter().map(|(of, _)| *of).collect::<Vec<_>>()).await?;
    // An event that does not read is judged by run(); here it just has no customer.
    let invoices: Vec<Option<Invoice>> = events
        .iter()
        .zip(jobs)
        .map(|(event, (_, more))| {
            let mut invoice = event.object::<Invoice>().ok()?;
            invoice.lines.extend(more.iter().cloned());
            Some(invoice)
        })
        .collect();
    let wanted: Vec<String> = invoices.iter().flatten().filter_map(|invoice| invoice.customer.clone()).collect();
    let links: HashMap<String, String> =
        sqlx::query!("SELECT id, user_id FROM bursar.customer WHERE id = ANY ($1)", &wanted)
            .fetch_all(&mut *db)
            .await?
            .into_iter()
            .map(|row| (row.id, row.user_id))
            .collect();
    let linked = |invoice: &Option<Invoice>| links.get(invoice.as_ref()?.customer.as_ref()?).cloned();
    let users: Vec<Option<String>> = invoices
        .iter()
        .map(|invoice| linked(invoice).or_else(|| invoice.as_ref().and_then(|invoice| invoice.users().pop())))
        .collect();
    let subscriptions: Vec<Vec<String>> =
        invoices.iter().map(|invoice| invoice.as_ref().map(Invoice::subscriptions).unwrap_or_default()).collect();
    let ids: Vec<String> = subscriptions.iter().flatten().cloned().collect();
    let names: Vec<String> = users.iter().flatten().filter(|user| check_user(user).is_ok()).cloned().collect();
    if !are_distinct(&ids) || !are_distinct(&names) {
        return Err(sqlx::Error::Protocol(ALONE.into()));
    }
    let mut standings = service_month::hold(&mut *db, &ids).await?;
    let balances = service_month::count(&mut *db, &names, &mut standings).await?;
    // After its subscriptions are held: two jobs about one invoice see each other.
    let of: Vec<String> = invoices.iter().flatten().map(|invoice| invoice.id.clone()).collect();
    let granted = granted::by_invoice(db, &of).await?;
    Ok(events
        .into_iter()
        .zip(invoices.iter().zip(users).zip(subscriptions))
        .map(|(event, ((invoice, user), ids))| Facts {
            event,
            granted: invoice.as_ref().and_then(|invoice| granted.get(&invoice.id)).cloned().unwrap_or_default(),
            linked: linked(invoice),
            standings: ids.into_iter().filter_map(|id| standings.remove_entry(&id)).collect(),
            balance: user.and_then(|user| balances.get(&user).copied()).unwrap_or_default(),
        })
        .collect())
}

fn are_distinct(texts: &[String]) -> bool {
    let mut sorted: Vec<&String> = texts.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).all(|two| two[0] != two[1])
}

impl Pure for RefillTier {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        gather(db, &jobs.iter().map(|job| (&job.0, [].as_slice())).collect::<Vec<_>>()).await
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
            let follow_ups = vec![ReadInvoice::of(&self.0, &invoice.id)];
            let why = format!("{} has more lines than its event carries: it is read whole first", invoice.id);
            return Ok(Effects { changes: vec![is_paid(&invoice).into()], follow_ups, ..Effects::skip(why) });
        }
        if let Some(price) = invoice.unknown_price(|price| terms.tier_of_price(price).is_some()) {
            let follow_ups = vec![ReadInvoice::price(&self.0, &invoice.id, price)];
            let why = format!(
                "what {price} costs in full is asked for first: a line of {} may charge a part of it",
                invoice.id
            );
            return Ok(Effects { changes: vec![is_paid(&invoice).into()], follow_ups, ..Effects::skip(why) });
        }
        let mut effects = decide(facts, &invoice, terms)?;
        effects.changes.push(is_paid(&invoice).into());
        Ok(effects)
    }
}

fn is_paid(invoice: &Invoice) -> Change {
    Change::InvoicePaid { invoice: invoice.id.clone() }
}

/// What a paid invoice, read whole, refills.
pub(crate) fn decide(facts: &Facts, invoice: &Invoice, terms: &Terms) -> Result<Effects, JobError> {
    let event = &facts.event;
    let refills = refills(invoice, terms)?;
    let users = invoice.users();
    let ours = facts.linked.is_some() || !users.is_empty();
    let mut follow_ups = Vec::new();
    if terms.stripe_on && (ours || !refills.is_empty()) {
        follow_ups.extend(invoice.subscriptions().iter().map(|id| SyncSubscription::after(id, &event.id)));
    }
    let changes = invoice.paid_changes(terms).into_iter().map(|paid| Change::PayChange(paid).into()).collect();
    if refills.is_empty() {
        if let Some(price) = paid_without_tier(invoice, terms).filter(|_| ours) {
            return Err(JobError::Dead(format!(
                "a user paid for {price}, which sells no tier: {}",
                advice(price, "retry this job", "cancel this job")
            )));
        }
        return Ok(Effects { changes, follow_ups, ..Effects::skip(nothing_to_refill(invoice, terms)) });
    }
    let user = match (users.as_slice(), &facts.linked) {
        ([], Some(linked)) => linked.clone(),
        ([named], None) => named.clone(),
        ([named], Some(linked)) if named == linked => named.clone(),
        ([], None) => {
            let follow_ups = AskCustomer::about(invoice.customer.as_deref(), &event.id, terms);
            let snooze = AskCustomer::wait(&invoice.id, invoice.customer.as_deref());
            return Ok(Effects { follow_ups, ..Effects::snooze(snooze) });
        }
        (named, linked) => {
            return Err(JobError::Dead(format!(
                "whose is {}? Its metadata names {named:?}, its customer is linked to {linked:?}",
                invoice.id
            )));
        }
    };
    check_user(&user)?;
    let mut effects = Effects { changes, follow_ups, ..Effects::done() };
    if let Some(outcome) = granted_otherwise(facts, invoice, &refills, &user) {
        return Ok(Effects { outcome, ..effects });
    }
    let (mut balance, mut standings) = (facts.balance, facts.standings.clone());
    for (Service { subscription, start }, paid) in refills {
        let standing = standings.entry(subscription.clone()).or_default();
        let trials = paid
            .trials
            .into_iter()
            .map(|(tier, credits)| Posting::grant("refill", trial_key(&subscription, &tier.name), &user, credits));
        effects.postings.extend(trials);
        if paid.grants.is_empty() {
            continue;
        }
        if calendar::is_longer_than_a_month(start, paid.end) {
            effects.follow_ups.push(RefillMonth::plan(&subscription, start, paid.end, event));
        }
        let end = service_month::end_of(standing, start, paid.end);
        let refill = service_month::Refill {
            subscription: &subscription,
            user: &user,
            start,
            end,
            plan_value: paid.plan_value,
            paid: paid.months,
            grants: paid.grants.into_values().collect(),
            replaces: invoice.lines.iter().any(|line| {
                line.proration
                    && line.amount < 0
                    && line.subscription.as_ref() == Some(&subscription)
                    && line.start == Some(start)
            }),
        };
        let (postings, changes) = service_month::refill(standing, &mut balance, &refill);
        effects.postings.extend(postings);
        effects.changes.extend(changes.into_iter().map(AnyChange::from));
    }
    for posting in &mut effects.postings {
        posting.event_id = Some(event.id.clone());
        posting.reference = Some(invoice.id.clone());
    }
    if let (None, Some(customer)) = (&facts.linked, &invoice.customer) {
        let link = Link { id: customer.clone(), user_id: user, event_id: event.id.clone() };
        effects.changes.push(customers::change::Change::LinkCustomer(link).into());
    }
    Ok(effects)
}

/// What becomes of an invoice that granted the same months under another tier's name: nothing more is granted.
fn granted_otherwise(
    facts: &Facts,
    invoice: &Invoice,
    refills: &BTreeMap<Service, Paid<'_>>,
    user: &str,
) -> Option<Outcome> {
    let due: Vec<(String, i64)> = refills.iter().flat_map(|(service, paid)| paid.due(service)).collect();
    let keys: Vec<&str> = due.iter().map(|(key, _)| key.as_str()).collect();
    let other = *granted::otherwise_named(&facts.granted, &keys).first()?;
    let (was, now) =
        (granted::in_all(&facts.granted, &keys), due.iter().fold(0, |sum: i64, of| sum.saturating_add(of.1)));
    let before = format!("{} was refilled as {} before (posting {})", invoice.id, other.tier(), other.posting);
    if was == now && other.user == user {
        return Some(Outcome::Skip(format!("{before}, with the same credits: a tier's new name grants nothing again")));
    }
    let credits = Credits::from_micros;
    Some(Outcome::Dead(format!(
        "{before}, with {} credits; by the tiers of now it comes to {}. Nothing is granted again: put it right with `{}`, then cancel this job",
        credits(was),
        credits(now),
        correction((&other.user, was), (Some(user), now), &invoice.id),
    )))
}
