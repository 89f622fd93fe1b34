//! Open a case of dunning: a renewal's payment failed, and Stripe, asked how the invoice stands now, says that it is still owed.
//!
//! Rules
//! - One case for each invoice, for ever: twins, later failures and replays find it there. It counts from the earliest failure heard of.
//! - A first invoice is not chased: its subscription is incomplete, and expires by itself. Neither is what no renewal made, nor what is not
//!   collected by card.
//! - A failure that is told after the payment opens nothing: Stripe is asked.
//! - How the subscription stands is asked of Stripe afterwards (`sync_subscription`), whatever comes of this.

use bursar_stripe::{
    Client, Seen,
    invoices::{self, Standing},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    base::clock,
    customers::identify_customer::AskCustomer,
    dunning::{
        change::{Change, NewCase},
        decide,
    },
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob},
        kind::{Kind, OPEN_DUNNING},
    },
    inbox::event::{self, Event, OfEvent, check_user},
    subscriptions::{invoice::Invoice, sync_subscription::SyncSubscription},
    terms::Terms,
};

/// Opens the case of the invoice of one event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpenDunning(OfEvent);

impl Job for OpenDunning {
    const KIND: Kind = OPEN_DUNNING;
}

/// The event, whom its customer is linked to, and whether its invoice has a case.
#[derive(Debug)]
pub struct Facts {
    event: Event,
    linked: Option<String>,
    has_case: bool,
    now: DateTime<Utc>,
}

/// What an event tells beside what every invoice does.
#[derive(Deserialize)]
struct Told {
    billing_reason: Option<String>,
}

impl Facts {
    /// When it failed, by the event's own word.
    fn failed_at(&self) -> DateTime<Utc> {
        self.event.created.unwrap_or(self.event.received_at)
    }

    fn sync(&self, invoice: &Invoice) -> Vec<NewJob> {
        invoice.subscriptions().iter().map(|id| SyncSubscription::after(id, &self.event.id)).collect()
    }
}

/// Why an invoice of this kind is not chased.
fn is_no_renewal(billing_reason: Option<&str>) -> Option<String> {
    match billing_reason {
        // The last is what older invoices of a period say.
        Some("subscription_cycle" | "subscription_threshold" | "subscription") => None,
        Some("subscription_create") => Some("a first invoice is not chased: its subscription is incomplete".into()),
        Some(other) => Some(format!("no renewal: the invoice was made by {other}")),
        None => Some("no renewal: the invoice does not say why it was made".into()),
    }
}

impl Call for OpenDunning {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let event = event::load(&mut *db, &[&self.0]).await?.pop();
        let event = event.ok_or_else(|| sqlx::Error::Protocol("no event for the one job".into()))?;
        // An event that does not read is judged by intent(); here it just has no customer.
        let invoice = event.object::<Invoice>().ok();
        let customer = invoice.as_ref().and_then(|invoice| invoice.customer.clone());
        let linked = sqlx::query_scalar!("SELECT user_id FROM bursar.customer WHERE id = $1", customer)
            .fetch_optional(&mut *db)
            .await?;
        let has_case = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM bursar.dunning_case WHERE invoice_id = $1) AS "has!""#,
            invoice.map(|invoice| invoice.id)
        )
        .fetch_one(&mut *db)
        .await?;
        Ok(Facts { event, linked, has_case, now: clock::business(db).await? })
    }

    fn intent(&self, facts: &Facts, terms: &Terms) -> Result<Plan, JobError> {
        if let Some(reason) = facts.event.foreign(terms) {
            return Ok(Plan::Nothing(Effects::skip(reason)));
        }
        let invoice: Invoice = facts.event.object()?;
        let follow_ups = facts.sync(&invoice);
        if invoice.subscriptions().is_empty() {
            return Ok(Plan::Nothing(Effects::skip("not ours: it is about no subscription")));
        }
        if let Some(reason) = is_no_renewal(facts.event.object::<Told>()?.billing_reason.as_deref()) {
            return Ok(Plan::Nothing(Effects { follow_ups, ..Effects::skip(reason) }));
        }
        if facts.has_case {
            let why = format!("{} has its case", invoice.id);
            let heard = Change::Heard { invoice: invoice.id, failed_at: facts.failed_at() };
            let changes: Vec<AnyChange> = vec![heard.into()];
            return Ok(Plan::Nothing(Effects { changes, follow_ups, ..Effects::skip(why) }));
        }
        Ok(Plan::AskAll)
    }

    async fn look(&self, facts: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Ok(invoice) = facts.event.object::<Invoice>() else { return Ok(Looked::Nothing) };
        let standing = invoices::standing(stripe, &invoice.id).await?;
        Ok(serde_json::to_value(standing).map_or_else(|error| Looked::Different(error.to_string()), Looked::Found))
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        let invoice: Invoice = facts.event.object()?;
        let follow_ups = facts.sync(&invoice);
        let skip = |why: String| Ok(Effects { follow_ups: follow_ups.clone(), ..Effects::skip(why) });
        let standing = match answer {
            Answer::Fact(value, _) => Standing::deserialize(value)
                .map_err(|error| JobError::Dead(format!("the invoice does not read: {error}")))?,
            Answer::Gone(error) => return skip(format!("Stripe does not know {}: {error}", invoice.id)),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        if let Some((_, why)) = decide::over(&standing)? {
            return skip(format!("nothing to chase: {why}"));
        }
        let Some(subscription) = &standing.subscription else { return skip("it is about no subscription".into()) };
        if let Some(reason) = is_no_renewal(standing.invoice.billing_reason.as_deref()) {
            return skip(reason);
        }
        if subscription.status == "incomplete" {
            return skip("a first invoice is not chased: its subscription is incomplete".into());
        }
        if standing.invoice.collection_method.as_deref() == Some("send_invoice") {
            return skip("it is not collected by card: its customer pays when asked".into());
        }
        let mut named = invoice.users();
        named.extend(subscription.metadata.get("user_id").filter(|user| !user.is_empty()).cloned());
        named.sort_unstable();
        named.dedup();
        let user_id = match (named.as_slice(), &facts.linked) {
            ([], Some(linked)) => linked.clone(),
            ([one], None) => one.clone(),
            ([one], Some(linked)) if one == linked => one.clone(),
            ([], None) => {
                let sells = |price: &String| terms.tier_of_price(price).is_some();
                if !invoice.lines.iter().filter_map(|line| line.price.as_ref()).any(sells) {
                    return skip("not ours: it names no user, and its price sells no tier".into());
                }
                let mut follow_ups = follow_ups;
                follow_ups.extend(AskCustomer::about(invoice.customer.as_deref(), &facts.event.id, terms));
                let wait = AskCustomer::wait(&invoice.id, invoice.customer.as_deref());
                return Ok(Effects { follow_ups, ..Effects::snooze(wait) });
            }
            (named, linked) => {
                return Err(JobError::Dead(format!(
                    "whose is {}? It names {named:?}, and its customer is linked to {linked:?}: put the metadata right at Stripe, then \
                     retry this job",
                    invoice.id
                )));
            }
        };
        check_user(&user_id)?;
        let case = NewCase {
            invoice_id: invoice.id.clone(),
            subscription_id: subscription.id.clone(),
            customer_id: standing.invoice.customer.clone().or(invoice.customer),
            user_id,
            failed_at: facts.failed_at(),
            amount: standing.invoice.amount_remaining,
            currency: standing.invoice.currency.clone(),
            schedule: terms.dunning.schedule.clone(),
            event_id: facts.event.id.clone(),
            now: facts.now,
        };
        let changes: Vec<AnyChange> = vec![Change::Open(Box::new(case)).into()];
        Ok(Effects { changes, follow_ups, ..Effects::done() })
    }
}
