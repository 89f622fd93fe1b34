//! Sync a subscription: when anything is heard of one, ask Stripe how it stands now; keep that, and grant what a change of its plan is
//! worth.
//!
//! Rules
//! - Events come late, twice and out of order: what is kept is what Stripe answers, and an answer to an earlier question that comes
//!   later counts for nothing.
//! - When a plan changed, and from what to what, is what the signed events told; together they must lead to what Stripe has now, else
//!   the event that is missing is waited for. How it is counted: see [`service_month`].
//! - A change grants only what is billed: `check_change` asks Stripe, and has this job look again.
//! - A change grants nothing while the subscription is not active: an upgrade that is not paid yet waits for its payment.
//! - A subscription is a user's by its `metadata.user_id` or by its customer's link; one that sells no tier and names nobody is not ours.
//! - A trial that will end is told to its user where Stripe's answer says that it goes on and is charged: a letter, once for each end
//!   of a trial.

use std::time::Duration;

use bursar_stripe::{Client, Reference, Reply, Seen, customers, embedded, subscriptions};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    customers::{
        change::{Change as CustomerChange, Link},
        identify_customer::AskCustomer,
    },
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome, Snooze},
        kind::{Kind, SYNC_SUBSCRIPTION},
    },
    inbox::event::{self, Event, OfEvent, check_user},
    notifications::send_email::{self, SendLetter},
    subscriptions::{
        change::{Change, PlanChange, SubscriptionRow},
        check_change::CheckChange,
        invoice::Invoice,
        price_change,
        recurring_revenue::Worth,
        service_month::{self, Standing},
        subscription::{Before, Subscription, items_before, value_of},
    },
    terms::Terms,
};

/// Syncs the subscription of an event, or one that is named.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SyncSubscription {
    source: Option<String>,
    event: Option<String>,
    subscription: Option<String>,
}

impl SyncSubscription {
    /// The job that syncs a subscription after an event that is about something else.
    pub fn after(subscription: &str, event: &str) -> NewJob {
        let args = serde_json::json!({ "source": "stripe", "event": event, "subscription": subscription });
        Self::job(format!("{subscription}:{event}"), args, Some(event.to_owned()))
    }

    /// The job that looks at a subscription without an event, once for each occasion. A change of its plan that no event told of is
    /// taken to have happened when it is seen.
    pub fn of(subscription: &str, occasion: &str) -> NewJob {
        Self::job(format!("{subscription}:{occasion}"), serde_json::json!({ "subscription": subscription }), None)
    }

    /// The job that looks again after a change was found to be billed.
    pub(crate) fn billed(change: &PlanChange) -> NewJob {
        let occasion = format!("billed:{}:{}", service_month::seconds(change.at), change.new_value);
        match &change.event_id {
            None => Self::of(&change.subscription_id, &occasion),
            Some(event) => {
                let job = Self::after(&change.subscription_id, event);
                NewJob { key: format!("{}:{occasion}", job.key), ..job }
            }
        }
    }

    fn job(key: String, args: Value, cause: Option<String>) -> NewJob {
        let max_attempts = SYNC_SUBSCRIPTION.max_attempts;
        NewJob { kind: SYNC_SUBSCRIPTION.name, key, args, max_attempts, delay_ms: 0, cause }
    }

    fn of_event(&self) -> Option<OfEvent> {
        let event = self.event.clone()?;
        Some(OfEvent { source: self.source.clone().unwrap_or_else(|| "stripe".into()), event })
    }
}

impl Job for SyncSubscription {
    const KIND: Kind = SYNC_SUBSCRIPTION;
}

/// What an event's object says of a subscription.
#[derive(Deserialize)]
struct Object {
    id: Option<String>,
    #[serde(rename = "object")]
    what: Option<String>,
    customer: Option<Reference>,
    subscription: Option<Reference>,
}

/// The subscription and the customer of an event.
fn of_object(event: &Event) -> (Option<String>, Option<String>) {
    let Ok(object) = event.object::<Object>() else { return (None, None) };
    let customer = object.customer.map(Reference::into_id);
    let subscription = match object.what.as_deref() {
        Some("subscription") => object.id,
        Some("invoice") => event.object::<Invoice>().ok().and_then(|invoice| invoice.subscriptions().pop()),
        _ => object.subscription.map(Reference::into_id),
    };
    (subscription, customer)
}

/// What is known before Stripe is asked.
#[derive(Debug)]
pub struct Facts {
    event: Option<Event>,
    subscription: Option<String>,
    linked: Option<String>,
    standing: Standing,
}

impl Call for SyncSubscription {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let event = match self.of_event() {
            Some(of) => event::load(db, &[&of]).await?.pop(),
            None => None,
        };
        let (told, customer) = event.as_ref().map(of_object).unwrap_or_default();
        let subscription = self.subscription.clone().or(told);
        let mut standings = service_month::hold(db, subscription.as_slice()).await?;
        let standing = subscription.as_ref().and_then(|id| standings.remove(id)).unwrap_or_default();
        let customer = customer.or_else(|| standing.known.as_ref()?.1.clone());
        let linked = sqlx::query_scalar!("SELECT user_id FROM bursar.customer WHERE id = $1", customer)
            .fetch_optional(db)
            .await?;
        Ok(Facts { event, subscription, linked, standing })
    }

    fn intent(&self, facts: &Facts, terms: &Terms) -> Result<Plan, JobError> {
        if let Some(reason) = facts.event.as_ref().and_then(|event| event.foreign(terms)) {
            return Ok(Plan::Nothing(Effects::skip(reason)));
        }
        match &facts.subscription {
            Some(_) if facts.event.as_ref().is_some_and(|event| event.kind == TRIAL_WILL_END) => Ok(Plan::AskAll),
            Some(id) => Ok(Plan::Ask(subscriptions::retrieve(id))),
            None => Ok(Plan::Nothing(Effects::skip("not ours: it is about no subscription"))),
        }
    }

    async fn look(&self, facts: &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Some(id) = &facts.subscription else { return Ok(Looked::Nothing) };
        with_customer(stripe, id).await.map(Looked::Found)
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        let (object, asked_at) = match answer {
            Answer::Fact(object, asked_at) => (object, asked_at),
            Answer::Gone(error) => return Ok(Effects::skip(format!("Stripe does not know the subscription: {error}"))),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let now = Subscription::read(object)?;
        let event = facts.event.as_ref();
        let user = match self.whose(facts, &now, terms)? {
            Whose::User(user) => user,
            Whose::Ends(effects) => return Ok(*effects),
        };
        let mut standing = facts.standing.clone();
        let value = now.value(terms)?.micros();
        let noted = match event {
            Some(event) => told(event, &standing, value, terms)?.and_then(|change| standing.note(change)),
            None => unheard(&standing, &now.id, value, asked_at).and_then(|change| standing.note(change)),
        };
        let mut effects = Effects { follow_ups: letter(event, &now, object, &user, asked_at), ..Effects::done() };
        if standing.asked_at.is_some_and(|known| known >= asked_at) {
            effects.outcome = match noted {
                Some(_) => Outcome::Snooze(Snooze {
                    reason: "a later question was answered first: asking again".into(),
                    fact: None,
                    limit: Duration::from_hours(72),
                }),
                None => Outcome::Skip("a later question was answered first".into()),
            };
            return Ok(effects);
        }
        if let Some(Change::NotePlanChange(change)) = &noted {
            effects.follow_ups.extend(CheckChange::of(change, now.customer.as_deref(), &standing));
        }
        effects.changes.extend(noted.map(AnyChange::from));
        if let (None, Some(customer), Some(event)) = (&facts.linked, &now.customer, event) {
            let link = Link { id: customer.clone(), user_id: user.clone(), event_id: event.id.clone() };
            effects.changes.push(CustomerChange::LinkCustomer(link).into());
        }
        // What the events told must lead to what Stripe has: else there is one that has not come yet, and it will ask again.
        if now.status == "active" && standing.last_value().is_none_or(|known| known == value) {
            let (postings, changes) = standing.settle();
            effects.postings.extend(postings);
            effects.changes.extend(changes.into_iter().map(AnyChange::from));
            for posting in &mut effects.postings {
                posting.event_id = event.map(|event| event.id.clone());
            }
        }
        effects.changes.push(Change::NoteWorth(Box::new(Worth::of(object, &now, &user, asked_at))).into());
        let paid_until = standing.months.last().map(|month| month.end_at);
        effects
            .changes
            .push(Change::SetSubscription(Box::new(row(now, user, value, paid_until, asked_at, terms))).into());
        Ok(effects)
    }
}

const TRIAL_WILL_END: &str = "customer.subscription.trial_will_end";

/// The letter about a trial that will end, where that is what was heard and what Stripe has now: the event also comes when a trial is
/// ended at once, and while the subscription is cancelled or goes on without a charge.
fn letter(
    event: Option<&Event>,
    now: &Subscription,
    object: &Value,
    user: &str,
    asked_at: DateTime<Utc>,
) -> Vec<NewJob> {
    let Some(event) = event.filter(|event| event.kind == TRIAL_WILL_END) else { return Vec::new() };
    let Some(end) = now.trial_end.filter(|end| *end > asked_at && is_charged_after(now, object, *end)) else {
        return Vec::new();
    };
    let mut letter = SendLetter::to_user("trial_will_end", user, &now.id).with("deadline", send_email::date(end));
    if let Some(amount) = price_change::next_charge(object) {
        letter = letter.with("amount", amount);
    }
    vec![letter.job(format!("trial_will_end:{}:{}", now.id, end.timestamp()), Some(event.id.clone()))]
}

/// Whether a trial goes on into a time that is charged. Without a payment method it may be set to end or to pause instead (Stripe:
/// subscription trials, `trial_settings.end_behavior`).
fn is_charged_after(now: &Subscription, object: &Value, end: DateTime<Utc>) -> bool {
    let without_method = object["trial_settings"]["end_behavior"]["missing_payment_method"].as_str();
    let customer = &object["customer"];
    let methods = [
        &object["default_payment_method"],
        &object["default_source"],
        &customer["invoice_settings"]["default_payment_method"],
        &customer["default_source"],
    ];
    now.status == "trialing"
        && !now.cancel_at_period_end
        && now.cancel_at.is_none_or(|at| at > end)
        && now.paused.is_none()
        && object["collection_method"] != "send_invoice"
        && (!matches!(without_method, Some("cancel" | "pause")) || methods.iter().any(|method| !method.is_null()))
}

/// The subscription, with its customer: what else decides what is charged after a trial.
async fn with_customer(stripe: &Client, id: &str) -> Result<Value, Box<Seen>> {
    let mut object =
        embedded::whole(stripe, stripe.send(&subscriptions::retrieve(id), None).await).await.into_success()?;
    if let Some(customer) = object["customer"].as_str().map(str::to_owned) {
        let seen = stripe.send(&customers::retrieve(&customer), None).await;
        match seen.reply {
            Reply::Success(customer) => object["customer"] = customer,
            Reply::Rejected { .. } => {}
            _ => return Err(Box::new(seen)),
        }
    }
    Ok(object)
}

enum Whose {
    User(String),
    Ends(Box<Effects>),
}

impl SyncSubscription {
    fn whose(&self, facts: &Facts, now: &Subscription, terms: &Terms) -> Result<Whose, JobError> {
        let named = now.metadata.get("user_id").filter(|user| !user.is_empty());
        let known = facts.linked.as_ref().or(facts.standing.known.as_ref().map(|(user, _)| user));
        let user = match (named, known) {
            (Some(named), Some(known)) if named != known => {
                return Err(JobError::Dead(format!(
                    "whose is {}? Its metadata names {named}, and it is {known}'s",
                    now.id
                )));
            }
            (Some(user), _) | (None, Some(user)) => user.clone(),
            (None, None) if now.tier(terms).is_none() => {
                return Ok(Whose::Ends(Box::new(Effects::skip(
                    "not ours: it names no user, and its price sells no tier",
                ))));
            }
            (None, None) => {
                let snooze = AskCustomer::wait(&now.id, now.customer.as_deref());
                let cause = self.event.clone().unwrap_or_else(|| now.id.clone());
                let follow_ups = AskCustomer::about(now.customer.as_deref(), &cause, terms);
                return Ok(Whose::Ends(Box::new(Effects { follow_ups, ..Effects::snooze(snooze) })));
            }
        };
        check_user(&user)?;
        Ok(Whose::User(user))
    }
}

/// The change of a plan that an event tells of, if it tells of one. An event that does not show all items tells when the plan changed,
/// and to what is what it is worth `now`.
pub(crate) fn told(
    event: &Event,
    standing: &Standing,
    now: i64,
    terms: &Terms,
) -> Result<Option<PlanChange>, JobError> {
    #[derive(Deserialize)]
    struct Body {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        object: Value,
        previous_attributes: Option<Value>,
    }
    if event.kind != "customer.subscription.updated" {
        return Ok(None);
    }
    let Data { object, previous_attributes } = event.read::<Body>()?.data;
    let before = previous_attributes.map_or(Before::Same, |previous| items_before(&object, &previous));
    let Some(at) = event.created else { return Ok(None) };
    let before = match before {
        Before::Same => return Ok(None),
        Before::Items(before) => before,
        Before::Partly => {
            let id = object["id"].as_str().unwrap_or_default();
            let change = unheard(standing, id, now, at);
            return Ok(change.map(|change| PlanChange { event_id: Some(event.id.clone()), ..change }));
        }
    };
    let after = Subscription::read(&object)?;
    Ok(Some(PlanChange {
        old_value: value_of(&before, terms)?.micros(),
        new_value: after.value(terms)?.micros(),
        subscription_id: after.id,
        at,
        event_id: Some(event.id.clone()),
        billed: false,
    }))
}

/// A change that no event told of: it is taken to have happened when it is seen.
fn unheard(standing: &Standing, id: &str, now: i64, at: DateTime<Utc>) -> Option<PlanChange> {
    let known = standing.last_value().filter(|known| *known != now)?;
    Some(PlanChange {
        subscription_id: id.to_owned(),
        at,
        old_value: known,
        new_value: now,
        event_id: None,
        billed: false,
    })
}

fn row(
    now: Subscription,
    user_id: String,
    plan_value: i64,
    paid_until: Option<DateTime<Utc>>,
    asked_at: DateTime<Utc>,
    terms: &Terms,
) -> SubscriptionRow {
    let access = now.access(terms, paid_until);
    let tier = now.tier(terms).map(|(_, tier)| tier.name.clone());
    let item = now.main_item(terms).cloned();
    SubscriptionRow {
        price: item.as_ref().and_then(|item| item.price.clone()),
        quantity: item.as_ref().map_or(0, |item| item.quantity),
        period: item.as_ref().and_then(|item| item.period),
        interval: item.and_then(|item| item.interval),
        id: now.id,
        user_id,
        customer_id: now.customer,
        status: now.status,
        tier,
        plan_value,
        anchor: now.anchor,
        trial_end: now.trial_end,
        cancel_at: now.cancel_at,
        cancel_at_period_end: now.cancel_at_period_end,
        ended_at: now.ended_at,
        paused: now.paused,
        schedule_id: now.schedule,
        access_until: access.until,
        lapses_at: access.lapses,
        asked_at,
    }
}
