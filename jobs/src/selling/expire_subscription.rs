//! Expire a subscription: one whose first payment never came makes way where its user begins another checkout.
//!
//! Rules
//! - Its first invoice is made void. Stripe does that to an invoice that is open and has no payment under way, and to no other: so the
//!   invoice is paid, or it never will be, and there are never two subscriptions. With its first invoice void, a subscription that was
//!   incomplete has expired (Stripe: subscription statuses); one that began while its first payment was under way is cancelled.
//! - Nothing is cancelled before that: whoever was faster and has paid keeps the subscription, and the checkout ends as failed, for the
//!   user subscribes already.
//! - Where Stripe refuses, it is asked how the subscription stands. While a payment is under way the checkout ends as failed; once that
//!   has come to its end, another can begin.
//! - The checkout waits for the subscription, as it is known here: see [`create_checkout`](crate::selling::create_checkout).

use bursar_stripe::{Client, Request, Seen, subscriptions};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob},
        kind::{EXPIRE_SUBSCRIPTION, Kind},
    },
    selling::change::Change,
    subscriptions::sync_subscription::SyncSubscription,
    terms::Terms,
};

/// Expires one subscription, for one checkout.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExpireSubscription {
    /// `sub_…`
    subscription: String,
    /// The checkout that waits for it.
    checkout: String,
    /// When that was asked for.
    since: DateTime<Utc>,
    /// Where it stands.
    step: Step,
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Look at the subscription and its first invoice.
    Ask,
    /// Make the invoice void.
    Void {
        /// `in_…`
        invoice: String,
    },
    /// Look at what became of the subscription.
    Check {
        /// What Stripe said when it did not make the invoice void.
        refused: Option<String>,
    },
    /// End a subscription whose first invoice is void, and which goes on all the same.
    Cancel,
}

/// What is read of Stripe's object.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    status: String,
    latest_invoice: Option<Latest>,
}

/// The newest invoice: expanded where it was asked for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Latest {
    Id(String),
    Whole { id: String, status: Option<String>, billing_reason: Option<String> },
}

impl Object {
    fn read(object: &Value) -> Result<Self, JobError> {
        Self::deserialize(object).map_err(|error| JobError::Dead(format!("the subscription does not read: {error}")))
    }

    fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }

    /// Its first invoice, if that is the newest and open: it was never paid.
    fn unpaid_invoice(self) -> Option<String> {
        let was_never_paid = matches!(self.status.as_str(), "incomplete" | "past_due" | "unpaid");
        match self.latest_invoice? {
            Latest::Whole { id, status, billing_reason } => (was_never_paid
                && status.as_deref() == Some("open")
                && billing_reason.as_deref() == Some("subscription_create"))
            .then_some(id),
            Latest::Id(id) => (self.status == "incomplete").then_some(id),
        }
    }
}

impl ExpireSubscription {
    /// The job that begins to expire one for a checkout.
    pub(crate) fn of(subscription: &str, checkout: &str, since: DateTime<Utc>) -> NewJob {
        Self { subscription: subscription.to_owned(), checkout: checkout.to_owned(), since, step: Step::Ask }.job()
    }

    fn job(&self) -> NewJob {
        let step = match self.step {
            Step::Ask => "ask",
            Step::Void { .. } => "void",
            Step::Check { .. } => "check",
            Step::Cancel => "cancel",
        };
        NewJob {
            kind: EXPIRE_SUBSCRIPTION.name,
            key: format!("{}:{}:{step}", self.checkout, self.subscription),
            args: serde_json::json!({ "subscription": self.subscription, "checkout": self.checkout, "since": self.since, "step": self.step }),
            max_attempts: EXPIRE_SUBSCRIPTION.max_attempts,
            delay_ms: 0,
            cause: Some(format!("checkout:{}", self.checkout)),
        }
    }

    fn then(&self, step: Step) -> Effects {
        Effects { follow_ups: vec![Self { step, ..self.clone() }.job()], ..Effects::done() }
    }

    fn send(&self, what: &str, request: Request) -> Plan {
        let subject = format!("expire:{}:{}:{what}", self.checkout, self.subscription);
        Plan::Send { subject, request, since: self.since, marks: Vec::new() }
    }

    /// What became of it is kept, and whoever waits for it goes on.
    fn synced(&self) -> NewJob {
        SyncSubscription::of(&self.subscription, &format!("expire:{}", self.checkout))
    }

    /// The checkout begins no page.
    fn fails(&self, why: String) -> Effects {
        let change = Change::Unbegun { id: self.checkout.clone(), why: why.clone() };
        Effects { changes: vec![change.into()], follow_ups: vec![self.synced()], ..Effects::skip(why) }
    }

    /// What follows from how it stands, before anything was done about it.
    fn asked(&self, now: Object) -> Effects {
        let status = now.status.clone();
        if now.is_over() || matches!(status.as_str(), "active" | "trialing") {
            return Effects { follow_ups: vec![self.synced()], ..Effects::skip(format!("it is {status}")) };
        }
        match now.unpaid_invoice() {
            Some(invoice) => self.then(Step::Void { invoice }),
            None => self.fails(format!("{} is {status}, and its first invoice is not open", self.subscription)),
        }
    }

    /// What follows from how it stands after that.
    fn checked(&self, now: &Object, refused: Option<&str>) -> Effects {
        let status = &now.status;
        match refused {
            _ if now.is_over() => Effects { follow_ups: vec![self.synced()], ..Effects::done() },
            None => self.then(Step::Cancel),
            Some(_) if matches!(status.as_str(), "active" | "trialing") => {
                Effects { follow_ups: vec![self.synced()], ..Effects::skip("its first payment came: it stays") }
            }
            Some(refused) => self.fails(format!(
                "the first payment of {} may be under way (Stripe: {refused}): wait until it has come or has failed, then begin another checkout",
                self.subscription
            )),
        }
    }
}

impl Job for ExpireSubscription {
    const KIND: Kind = EXPIRE_SUBSCRIPTION;
}

impl Call for ExpireSubscription {
    /// How the checkout stands.
    type Facts = Option<String>;

    async fn gather(&self, db: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar!("SELECT state FROM bursar.checkout WHERE id = $1", self.checkout).fetch_optional(db).await
    }

    fn intent(&self, state: &Option<String>, _: &Terms) -> Result<Plan, JobError> {
        Ok(match &self.step {
            Step::Ask if state.as_deref() != Some("asked") => {
                let state = state.as_deref().unwrap_or("not there");
                Plan::Nothing(Effects::skip(format!("its checkout is {state}: nothing waits for it")))
            }
            Step::Ask => Plan::Ask(subscriptions::retrieve_with_invoice(&self.subscription)),
            Step::Void { invoice } => self.send("void", subscriptions::void(invoice)),
            Step::Check { .. } => Plan::Ask(subscriptions::retrieve(&self.subscription)),
            Step::Cancel => self.send("cancel", subscriptions::cancel(&self.subscription)),
        })
    }

    async fn look(&self, _: &Option<String>, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let (request, over) = match &self.step {
            Step::Void { invoice } => (subscriptions::invoice(invoice), "void"),
            _ => (subscriptions::retrieve(&self.subscription), "canceled"),
        };
        let object = stripe.send(&request, None).await.into_success()?;
        Ok(if object["status"] == over { Looked::Found(object) } else { Looked::Nothing })
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        vec![Change::Unbegun { id: self.checkout.clone(), why: why.to_owned() }.into()]
    }

    fn resolve(&self, _: &Option<String>, answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        match (answer, &self.step) {
            (Answer::Fact(object, _), Step::Check { refused }) => {
                Ok(self.checked(&Object::read(object)?, refused.as_deref()))
            }
            (Answer::Fact(object, _), _) => Ok(self.asked(Object::read(object)?)),
            (Answer::Made(_), Step::Void { .. }) => Ok(self.then(Step::Check { refused: None })),
            (Answer::Made(_), _) => Ok(Effects { follow_ups: vec![self.synced()], ..Effects::done() }),
            (Answer::Refused { error, .. }, Step::Void { invoice }) => {
                let effects = self.then(Step::Check { refused: Some(error.to_string()) });
                let why = format!("Stripe did not make {invoice} void: asking how its subscription stands ({error})");
                Ok(Effects { follow_ups: effects.follow_ups, ..Effects::skip(why) })
            }
            // It was there when the step before asked.
            (Answer::Refused { error, .. }, _) if error.code.as_deref() == Some("resource_missing") => {
                Ok(Effects { follow_ups: vec![self.synced()], ..Effects::skip("it is over already") })
            }
            (Answer::Refused { error, .. }, _) => Err(JobError::Dead(format!(
                "Stripe refused to cancel {}, whose first invoice is void: {error}. Cancel it there",
                self.subscription
            ))),
            (Answer::Gone(error), _) => Ok(self.fails(format!("Stripe does not know {}: {error}", self.subscription))),
            (Answer::Unknown(_), _) => Ok(Effects::done()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(step: Step) -> ExpireSubscription {
        ExpireSubscription { subscription: "sub_1".into(), checkout: "c1".into(), since: DateTime::UNIX_EPOCH, step }
    }

    /// The kinds of the jobs that follow, with a step where they have one.
    fn follow(effects: &Effects) -> Vec<String> {
        effects.follow_ups.iter().map(|job| format!("{} {}", job.kind, job.key)).collect()
    }

    #[test]
    fn only_a_first_invoice_that_is_open_is_made_void() {
        let stands = |status: &str, invoice: Value| {
            let object = json!({"id": "sub_1", "status": status, "latest_invoice": invoice});
            follow(&one(Step::Ask).asked(Object::read(&object).unwrap()))
        };
        let invoice = |status: &str, reason: &str| json!({"id": "in_1", "status": status, "billing_reason": reason});
        let (void, sync) = (["expire_subscription c1:sub_1:void"], ["sync_subscription sub_1:expire:c1"]);
        for status in ["incomplete", "past_due", "unpaid"] {
            assert_eq!(stands(status, invoice("open", "subscription_create")), void, "{status}");
            assert_eq!(stands(status, invoice("paid", "subscription_create")), sync, "{status}");
            assert_eq!(stands(status, invoice("open", "subscription_cycle")), sync, "{status}");
            assert_eq!(stands(status, json!(null)), sync, "{status}");
        }
        for status in ["active", "trialing", "canceled", "incomplete_expired", "paused"] {
            assert_eq!(stands(status, invoice("open", "subscription_create")), sync, "{status}");
        }
    }

    #[test]
    fn what_was_paid_meanwhile_stays_and_what_is_void_is_ended() {
        let refused = || Some("This invoice isn't open".to_owned());
        for (status, refused, follows, fails) in [
            ("incomplete_expired", None, "sync_subscription sub_1:expire:c1", false),
            ("canceled", refused(), "sync_subscription sub_1:expire:c1", false),
            ("active", refused(), "sync_subscription sub_1:expire:c1", false),
            ("incomplete", refused(), "sync_subscription sub_1:expire:c1", true),
            ("past_due", refused(), "sync_subscription sub_1:expire:c1", true),
            ("past_due", None, "expire_subscription c1:sub_1:cancel", false),
            ("active", None, "expire_subscription c1:sub_1:cancel", false),
        ] {
            let now = Object { status: status.into(), latest_invoice: None };
            let effects = one(Step::Check { refused: refused.clone() }).checked(&now, refused.as_deref());
            assert_eq!(follow(&effects), [follows], "{status} {refused:?}");
            assert_eq!(!effects.changes.is_empty(), fails, "{status} {refused:?}");
        }
    }
}
