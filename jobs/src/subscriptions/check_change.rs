//! Check a change: whether anything bills a change of a plan.
//!
//! Rules
//! - A change with prorations makes proration invoice items, at once or waiting for the next invoice: it is billed, and grants what it is
//!   worth. One with `proration_behavior=none` makes none: the new price is charged at the renewal only, and so it grants nothing before
//!   (Stripe: subscriptions, prorations; <https://docs.stripe.com/billing/subscriptions/prorations>).
//! - The items are those of the subscription that were made since its change before, within the time that an update may wait for its
//!   payment (Stripe: pending updates, 23 hours).
//! - A change that is billed is looked at again by `sync_subscription`, which grants for it.

use bursar_stripe::{Client, Reply, Seen, lists, subscriptions};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        job::{Effects, Job, JobError, NewJob},
        kind::{CHECK_CHANGE, Kind},
    },
    subscriptions::{
        change::{Change, PlanChange},
        service_month::{self, Standing},
        sync_subscription::SyncSubscription,
    },
    terms::Terms,
};

/// How long an update may wait for its payment, whose items are made when it is asked for.
const PENDING: TimeDelta = TimeDelta::hours(24);

/// Stripe makes an event and the items of the same request within seconds.
const AT_ONCE: TimeDelta = TimeDelta::seconds(5);

/// Asks whether anything bills one change.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckChange {
    /// `sub_…`
    subscription: String,
    /// `cus_…`
    customer: String,
    /// When it changed.
    at: DateTime<Utc>,
    /// From what, in millionths a month.
    old_value: i64,
    /// To what.
    new_value: i64,
    /// The event that told of it.
    event: Option<String>,
    /// Since when its items can have been made.
    since: DateTime<Utc>,
}

impl CheckChange {
    /// The job that asks about a change; none for a subscription without a customer, which nobody bills.
    pub(crate) fn of(change: &PlanChange, customer: Option<&str>, standing: &Standing) -> Option<NewJob> {
        let before = standing.changes.iter().map(|known| known.at).filter(|at| *at < change.at).max();
        // What was seen without an event may have happened at any time since the change before.
        let pending = match change.event_id {
            Some(_) => change.at - PENDING,
            None => standing.months.last().map_or(change.at - PENDING, |month| month.start_at - AT_ONCE),
        };
        let this = Self {
            subscription: change.subscription_id.clone(),
            customer: customer?.to_owned(),
            at: change.at,
            old_value: change.old_value,
            new_value: change.new_value,
            event: change.event_id.clone(),
            since: before.map_or(pending, |before| pending.max(before)),
        };
        Some(NewJob {
            kind: CHECK_CHANGE.name,
            key: format!(
                "{}:{}:{}:{}",
                this.subscription,
                service_month::seconds(this.at),
                this.old_value,
                this.new_value
            ),
            args: json!(this),
            max_attempts: CHECK_CHANGE.max_attempts,
            delay_ms: 0,
            cause: this.event.clone(),
        })
    }

    fn change(&self) -> PlanChange {
        PlanChange {
            subscription_id: self.subscription.clone(),
            at: self.at,
            old_value: self.old_value,
            new_value: self.new_value,
            event_id: self.event.clone(),
            billed: true,
        }
    }

    /// Whether an invoice item is a proration of the subscription, in either layout.
    fn is_billed_by(&self, item: &Value) -> bool {
        let parent = &item["parent"]["subscription_details"]["subscription"];
        let of = parent.as_str().or_else(|| item["subscription"].as_str());
        item["proration"] == true && of == Some(self.subscription.as_str())
    }
}

impl Job for CheckChange {
    const KIND: Kind = CHECK_CHANGE;
}

impl Call for CheckChange {
    type Facts = ();

    async fn gather(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        service_month::hold(db, std::slice::from_ref(&self.subscription)).await.map(drop)
    }

    fn intent(&self, (): &(), _: &Terms) -> Result<Plan, JobError> {
        Ok(Plan::AskAll)
    }

    async fn look(&self, (): &(), stripe: &Client) -> Result<Looked, Box<Seen>> {
        let time = (self.since.timestamp(), (self.at + AT_ONCE).timestamp());
        let mut after: Option<String> = None;
        loop {
            let request = subscriptions::invoice_items(&self.customer, time, after.as_deref());
            let seen = stripe.send(&request, None).await;
            let Reply::Success(page) = seen.reply else { return Err(Box::new(seen)) };
            let Some(page) = lists::read(page) else {
                return Ok(Looked::Different("the page of items is not whole".into()));
            };
            let billed = page.data.iter().any(|item| self.is_billed_by(item));
            after = page.data.last().and_then(|item| item["id"].as_str()).map(str::to_owned);
            if billed || !page.has_more || after.is_none() {
                return Ok(Looked::Found(json!({ "billed": billed })));
            }
        }
    }

    fn resolve(&self, (): &(), answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        match answer {
            Answer::Fact(found, _) if found["billed"] == true => Ok(Effects {
                changes: vec![Change::NotePlanChange(self.change()).into()],
                follow_ups: vec![SyncSubscription::billed(&self.change())],
                ..Effects::done()
            }),
            Answer::Fact(..) => Ok(Effects::skip(
                "nothing bills the change (Stripe made no proration of it): it grants nothing before the renewal",
            )),
            Answer::Gone(error) => Err(JobError::Dead(format!("Stripe does not list invoice items: {error}"))),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                Err(JobError::Dead("a question has no effect".into()))
            }
        }
    }
}
