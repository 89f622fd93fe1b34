//! Refill a month: a period of several months that was paid once, such as a year, is refilled each month, by schedule.
//!
//! Rules
//! - Month k of the period begins k months after the anchor that Stripe says (see [`calendar`]); the first one is refilled by the
//!   invoice. Each has its own key, by its own start, the same whichever came first, and is never refilled twice.
//! - It grants what the plan was worth when the month began: the plan as Stripe has it now, less the changes since that were heard of.
//! - After a downtime all that is due is refilled, one after the other.
//! - Its grant is for the invoice that paid for the period, so that a refund takes its share of every month, of those to come too.
//! - It ends with the paid period, with the subscription, or where another period took this one's place.
//! - Where the period was paid in part, it grants what that leaves for the month: see [`charged_share`](crate::subscriptions::charged_share).
//! - A price that sells no tier (a setting that went missing, say) leaves the month to an operator: dead, with the price.
//! - While the subscription is unpaid, paused or incomplete it waits.

use std::time::Duration;

use bursar_stripe::{Client, Seen, subscriptions};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    base::{calendar, clock, credits::Credits},
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome, Snooze},
        kind::{Kind, REFILL_MONTH},
    },
    inbox::event::{self, Event, OfEvent},
    subscriptions::{
        change::Change,
        refill::advice,
        service_month::{self, Standing},
        subscription::Subscription,
        sync_subscription::told,
    },
    terms::Terms,
};

/// Refills one month of a paid period, and sees to the next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefillMonth {
    /// `sub_…`
    subscription: String,
    /// The paid period.
    start: DateTime<Utc>,
    /// Its end.
    end: DateTime<Utc>,
    /// Which month of it, from 0: that one is the invoice's, and only the next is seen to.
    month: usize,
    /// The event that told of the payment.
    event: String,
}

impl RefillMonth {
    /// The job that sees to the months after the first of a paid period.
    pub fn plan(subscription: &str, start: DateTime<Utc>, end: DateTime<Utc>, event: &Event) -> NewJob {
        Self { subscription: subscription.to_owned(), start, end, month: 0, event: event.id.clone() }.job(0)
    }

    /// The job that sees to a month of a period once more: it was due, and was not refilled.
    pub(crate) fn again(
        subscription: &str,
        (start, end): (DateTime<Utc>, DateTime<Utc>),
        month: usize,
        event: &str,
        occasion: &str,
    ) -> NewJob {
        let job = Self { subscription: subscription.to_owned(), start, end, month, event: event.to_owned() }.job(0);
        NewJob { key: format!("{}:{occasion}", job.key), ..job }
    }

    fn job(&self, delay_ms: i64) -> NewJob {
        NewJob {
            kind: REFILL_MONTH.name,
            key: format!("{}:{}:{}", self.subscription, service_month::seconds(self.start), self.month),
            args: serde_json::json!({ "subscription": self.subscription, "start": self.start, "end": self.end, "month": self.month,
                                      "event": self.event }),
            max_attempts: REFILL_MONTH.max_attempts,
            delay_ms,
            cause: Some(self.event.clone()),
        }
    }
}

impl Job for RefillMonth {
    const KIND: Kind = REFILL_MONTH;
}

/// What its grants stand on, and the time.
#[derive(Debug)]
pub struct Facts {
    standing: Standing,
    balance: i64,
    now: DateTime<Utc>,
    /// The invoice that paid for the period: what comes back of it comes back of every month.
    invoice: Option<String>,
    /// What was heard of it since the paid period began, and may not have been noted yet.
    heard: Vec<Event>,
}

impl Call for RefillMonth {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let now = clock::business(&mut *db).await?;
        let mut standings = service_month::hold(db, std::slice::from_ref(&self.subscription)).await?;
        let user = standings.get(&self.subscription).and_then(Standing::user);
        let balances = service_month::count(db, user.as_slice(), &mut standings).await?;
        let balance = user.and_then(|user| balances.get(&user).copied()).unwrap_or_default();
        let heard = sqlx::query_scalar!(
            "SELECT id FROM bursar.event WHERE source = 'stripe' AND object_id = $1 AND type = 'customer.subscription.updated'
             AND created >= $2 AND body IS NOT NULL",
            self.subscription,
            self.start
        )
        .fetch_all(&mut *db)
        .await?;
        let invoice =
            sqlx::query_scalar!("SELECT object_id FROM bursar.event WHERE source = 'stripe' AND id = $1", self.event)
                .fetch_optional(&mut *db)
                .await?
                .flatten();
        let heard: Vec<OfEvent> = heard.into_iter().map(|event| OfEvent { source: "stripe".into(), event }).collect();
        let heard = event::load(db, &heard.iter().collect::<Vec<_>>()).await?;
        Ok(Facts { standing: standings.remove(&self.subscription).unwrap_or_default(), balance, now, invoice, heard })
    }

    fn intent(&self, _: &Facts, _: &Terms) -> Result<Plan, JobError> {
        Ok(Plan::Ask(subscriptions::retrieve(&self.subscription)))
    }

    async fn look(&self, _: &Facts, _: &Client) -> Result<Looked, Box<Seen>> {
        Ok(Looked::Nothing)
    }

    fn resolve(&self, facts: &Facts, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        let object = match answer {
            Answer::Fact(object, _) => object,
            Answer::Gone(error) => return Ok(Effects::skip(format!("Stripe does not know the subscription: {error}"))),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let subscription = Subscription::read(object)?;
        let anchor = subscription.anchor.unwrap_or(self.start);
        let starts = calendar::starts(anchor, self.start, self.end);
        let Some(start) = starts.get(self.month).copied() else {
            return Ok(Effects::skip("the paid period is over"));
        };
        let mut effects = Effects::done();
        if let Some(next) = starts.get(self.month + 1) {
            let delay = (*next - facts.now).num_milliseconds().max(0);
            effects.follow_ups.push(Self { month: self.month + 1, ..self.clone() }.job(delay));
        }
        if self.month == 0 {
            let end_at = starts.get(1).copied().unwrap_or(self.end);
            let month = Change::EndMonth { subscription_id: self.subscription.clone(), start_at: start, end_at };
            return Ok(Effects { changes: vec![month.into()], ..effects });
        }
        if let Some(why) = self.is_over(&subscription, start, terms) {
            return Ok(Effects::skip(why));
        }
        if matches!(subscription.status.as_str(), "unpaid" | "paused" | "incomplete") {
            // It goes on once it is paid again; whatever became of it by then is seen then.
            return Ok(Effects::snooze(Snooze {
                reason: format!("the subscription is {}", subscription.status),
                fact: Some(format!("subscription:{}", self.subscription)),
                limit: Duration::from_hours(10 * 365 * 24),
            }));
        }
        if start > facts.now {
            return Ok(Effects::snooze(Snooze {
                reason: "its month has not begun".into(),
                fact: None,
                limit: Duration::from_hours(10 * 365 * 24),
            }));
        }
        if facts.standing.months.iter().any(|month| month.start_at == start) {
            return Ok(Effects { follow_ups: effects.follow_ups, ..Effects::skip("the month was refilled before") });
        }
        let prices: Vec<&str> = subscription.items.iter().filter_map(|item| item.price.as_deref()).collect();
        if subscription.tier(terms).is_none() && !prices.is_empty() {
            // The months after this one come all the same; this one waits for an operator.
            effects.outcome = Outcome::Dead(format!(
                "a month of what was paid for is due, and {}, the subscription's price now, sells no tier: {}",
                prices.join(", "),
                advice("it", "retry this job", "cancel this job")
            ));
            return Ok(effects);
        }
        let (mut standing, now) = (facts.standing.clone(), subscription.value(terms)?.micros());
        for event in facts.heard.iter().filter(|event| event.foreign(terms).is_none()) {
            if let Some(change) = told(event, &standing, now, terms)? {
                standing.note(change);
            }
        }
        let plan_value = standing.value_at(start, now);
        let first = facts.standing.months.iter().find(|month| month.start_at == self.start);
        let value = match first.and_then(|month| month.paid) {
            Some(paid) => paid
                .share(plan_value, self.month, starts.len())
                .ok_or_else(|| JobError::Dead(format!("{plan_value} millionths of a credit cannot be counted")))?,
            None => plan_value,
        };
        let user = facts.standing.user();
        let (Some((_, tier)), Some(user), true) = (subscription.tier(terms), user, value > 0) else {
            return Ok(Effects {
                follow_ups: effects.follow_ups,
                ..Effects::skip("its plan grants nothing now, or the paid part of the period is over")
            });
        };
        let refill = service_month::Refill {
            subscription: &self.subscription,
            user: &user,
            start,
            end: starts.get(self.month + 1).copied().unwrap_or(self.end),
            grants: vec![(tier, Credits::from_micros(value))],
            plan_value,
            paid: None,
            replaces: false,
        };
        let mut balance = facts.balance;
        let (postings, changes) = service_month::refill(&mut standing, &mut balance, &refill);
        effects.postings = postings;
        for posting in &mut effects.postings {
            posting.event_id = Some(self.event.clone());
            posting.reference = facts.invoice.clone().or_else(|| Some(self.subscription.clone()));
        }
        effects.changes = changes.into_iter().map(AnyChange::from).collect();
        Ok(effects)
    }
}

impl RefillMonth {
    /// Why no month of this period begins any more at `start`, if so.
    fn is_over(&self, subscription: &Subscription, start: DateTime<Utc>, terms: &Terms) -> Option<String> {
        if let Some(ended) = subscription.ended_at.filter(|ended| *ended <= start) {
            return Some(format!("the subscription ended on {}", ended.date_naive()));
        }
        if subscription.status == "incomplete_expired" {
            return Some("the subscription was never paid".into());
        }
        let (now, _) = subscription.period(terms)?;
        // A later period that begins within this one took its place: its own invoice refills it.
        (now > self.start && now < self.end && now <= start)
            .then(|| format!("a period that began on {} took its place", now.date_naive()))
    }
}
