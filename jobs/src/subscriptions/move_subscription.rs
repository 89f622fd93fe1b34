//! Move a subscription to another price, as an operator asked: at its renewal, by a schedule at Stripe, or now, with prorations.
//!
//! Rules
//! - What is moved is the item that sells a tier, or the only one there is; its quantity stays.
//! - At renewal: a schedule is made of the subscription as it is, then given two phases, the present one until the period's end and
//!   the new one after it; then the schedule lets go. Nothing is prorated, and the price at Stripe changes only then, so that nothing
//!   is granted before it is paid. A schedule that is there already is somebody else's plan, and is left alone.
//! - A price that sells no tier is refused.
//! - Each request goes under an intent of its own; one whose answer was lost is looked for at Stripe before it is sent again.
//! - Once a schedule stands its user is told by a letter, once for each move: from when, and what it costs before and after, as Stripe
//!   says. Whoever cancelled meanwhile is not told.
//! - What follows for credits follows from Stripe's events, as for any other change.

use bursar_stripe::{
    Client, Request, Seen, embedded,
    subscriptions::{self, Phase},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        job::{Effects, Job, JobError, NewJob, Outcome},
        kind::{Kind, MOVE_SUBSCRIPTION},
    },
    notifications::send_email::{self, SendLetter},
    subscriptions::{
        price_change::Price,
        subscription::{Item, Subscription},
        sync_subscription::SyncSubscription,
    },
    terms::Terms,
};

/// One step of a move.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MoveSubscription {
    /// Names the move, for ever: the keys of its requests derive from it.
    pub id: String,
    /// `sub_…`
    pub subscription: String,
    /// `price_…`
    pub price: String,
    /// Since when it could have been sent.
    pub since: DateTime<Utc>,
    /// Where it stands.
    pub step: Step,
}

/// Where a move stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Look at the subscription, to move it now.
    AskNow,
    /// Look at the subscription, to move it at its renewal.
    AskRenewal,
    /// Put the price into the item.
    Change {
        /// `si_…`
        item: String,
    },
    /// Make a schedule.
    Schedule {
        /// Its two phases, to be set next.
        phases: Vec<Stretch>,
    },
    /// Tell the user, once the schedule stands.
    Announce {
        /// The price until then.
        from: String,
        /// How many of it.
        quantity: i64,
        /// When the new one begins, in seconds since 1970.
        at: i64,
    },
    /// Set its phases.
    Phases {
        /// `sub_sched_…`
        schedule: String,
        /// Its two phases.
        phases: Vec<Stretch>,
    },
}

/// One phase, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    start: Option<i64>,
    end: Option<i64>,
    items: Vec<(String, i64)>,
}

impl MoveSubscription {
    /// The job of this step.
    pub fn job(&self) -> NewJob {
        let step = match self.step {
            Step::AskNow | Step::AskRenewal => "ask",
            Step::Change { .. } => "change",
            Step::Schedule { .. } => "schedule",
            Step::Phases { .. } => "phases",
            Step::Announce { .. } => "announce",
        };
        NewJob {
            kind: MOVE_SUBSCRIPTION.name,
            key: format!("{}:{step}", self.id),
            args: serde_json::json!({ "id": self.id, "subscription": self.subscription, "price": self.price, "since": self.since,
                                      "step": self.step }),
            max_attempts: MOVE_SUBSCRIPTION.max_attempts,
            delay_ms: 0,
            cause: Some(format!("move:{}", self.id)),
        }
    }

    fn then(&self, step: Step) -> Effects {
        Effects { follow_ups: vec![Self { step, ..self.clone() }.job()], ..Effects::done() }
    }

    fn send(&self, what: &str, request: Request) -> Plan {
        Plan::Send { subject: format!("move:{}:{what}", self.id), request, since: self.since, marks: Vec::new() }
    }

    /// What follows from how the subscription stands.
    fn after_asking(&self, now: &Subscription, terms: &Terms) -> Result<Effects, JobError> {
        if matches!(now.status.as_str(), "canceled" | "incomplete_expired") {
            return Err(JobError::Dead(format!("{} is {}: there is nothing to move", now.id, now.status)));
        }
        if terms.tier_of_price(&self.price).is_none() {
            return Err(JobError::Dead(format!(
                "{} sells no tier: add it to a tier's prices (STRIPE_PRICE_…), then retry this job",
                self.price
            )));
        }
        let item = match (now.tier(terms), now.items.as_slice()) {
            (Some((item, _)), _) => item,
            (None, [only]) => only,
            (None, _) => return Err(JobError::Dead(format!("{} has several items, and none sells a tier", now.id))),
        };
        if item.price.as_deref() == Some(&self.price) && now.schedule.is_none() {
            return Ok(Effects::skip(format!("{} has the price {} already", now.id, self.price)));
        }
        if let Some(schedule) = &now.schedule {
            return Err(JobError::Dead(format!(
                "{} follows the schedule {schedule} already: release it at Stripe first",
                now.id
            )));
        }
        if self.step == Step::AskNow {
            return Ok(self.then(Step::Change { item: item.id.clone() }));
        }
        let Some((start, end)) = item.period else {
            return Err(JobError::Dead(format!("Stripe does not say when the period of {} ends", now.id)));
        };
        let with = |price: &dyn Fn(&Item) -> Option<String>| -> Vec<(String, i64)> {
            now.items.iter().filter_map(|item| Some((price(item)?, item.quantity))).collect()
        };
        let present = with(&|of| of.price.clone());
        let next = with(&|of| if of.id == item.id { Some(self.price.clone()) } else { of.price.clone() });
        let (start, end) = (Some(start.timestamp()), Some(end.timestamp()));
        let phases = vec![Stretch { start, end, items: present }, Stretch { start: end, end: None, items: next }];
        Ok(self.then(Step::Schedule { phases }))
    }

    /// Telling the user of what the phases come to.
    fn announcement(&self, phases: &[Stretch]) -> Option<NewJob> {
        let [present, next] = phases else { return None };
        let mut pairs = present.items.iter().zip(&next.items);
        let (from, _) = pairs.find(|(old, new)| new.0 == self.price && old.0 != self.price)?;
        let step = Step::Announce { from: from.0.clone(), quantity: from.1, at: next.start? };
        Some(Self { step, ..self.clone() }.job())
    }

    /// The letter that tells it.
    fn letter(&self, prices: &Value, user: Option<&String>, quantity: i64, at: i64) -> Result<Effects, JobError> {
        let read = |side: &str| -> Result<Price, JobError> {
            let price = serde_json::from_value(prices[side].clone());
            price.map_err(|error| JobError::Dead(format!("the {side} price does not read: {error}")))
        };
        let (old, new) = (read("old")?, read("new")?);
        let now = Subscription::read(&prices["subscription"])?;
        let ends = now.cancel_at_period_end || now.cancel_at.is_some_and(|cancel| cancel.timestamp() <= at);
        if ends || matches!(now.status.as_str(), "canceled" | "incomplete_expired") {
            return Ok(Effects::skip(format!("{} will not move any more: nobody is told", self.subscription)));
        }
        let (Some(user), Some(at)) = (user, DateTime::from_timestamp(at, 0)) else {
            return Ok(Effects::skip(format!("whose is {}? Nobody is told", self.subscription)));
        };
        let letter = SendLetter::to_user("price_change", user, &self.subscription).with("when", send_email::date(at));
        let letter = new.fill(old.fill(letter, "old", quantity), "new", quantity);
        let job = letter.job(format!("price_change:{}", self.id), Some(format!("move:{}", self.id)));
        Ok(Effects { follow_ups: vec![job], ..Effects::done() })
    }

    fn phases(phases: &[Stretch]) -> Vec<Phase> {
        phases.iter().map(|p| Phase { period: (p.start, p.end), items: p.items.clone() }).collect()
    }

    /// The prices of a schedule's last phase.
    fn last_prices(schedule: &Value) -> Vec<&str> {
        let phases = schedule.get("phases").and_then(Value::as_array);
        let items = phases.and_then(|phases| phases.last()?.get("items")?.as_array());
        items.into_iter().flatten().filter_map(|item| item["price"].as_str().or(item["price"]["id"].as_str())).collect()
    }
}

impl Job for MoveSubscription {
    const KIND: Kind = MOVE_SUBSCRIPTION;
}

fn id_of(object: &Value) -> Result<String, JobError> {
    let id = object.get("id").and_then(Value::as_str).map(str::to_owned);
    id.ok_or_else(|| JobError::Retry { after: None, source: "the schedule that Stripe answered has no id".into() })
}

async fn get(stripe: &Client, request: &Request) -> Result<Value, Box<Seen>> {
    embedded::whole(stripe, stripe.send(request, None).await).await.into_success()
}

impl Call for MoveSubscription {
    /// Whose it is.
    type Facts = Option<String>;

    async fn gather(&self, db: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar!("SELECT user_id FROM bursar.subscription WHERE id = $1", self.subscription)
            .fetch_optional(db)
            .await
    }

    fn intent(&self, _: &Option<String>, _: &Terms) -> Result<Plan, JobError> {
        Ok(match &self.step {
            Step::AskNow | Step::AskRenewal => Plan::Ask(subscriptions::retrieve(&self.subscription)),
            Step::Announce { .. } => Plan::AskAll,
            Step::Change { item } => {
                self.send("change", subscriptions::change_price(&self.subscription, item, &self.price))
            }
            Step::Schedule { .. } => self.send("schedule", subscriptions::schedule_of(&self.subscription)),
            Step::Phases { schedule, phases } => {
                self.send("phases", subscriptions::set_phases(schedule, &Self::phases(phases)))
            }
        })
    }

    async fn look(&self, _: &Option<String>, stripe: &Client) -> Result<Looked, Box<Seen>> {
        if let Step::Announce { from, .. } = &self.step {
            let old = get(stripe, &subscriptions::price(from)).await?;
            let new = get(stripe, &subscriptions::price(&self.price)).await?;
            let now = get(stripe, &subscriptions::retrieve(&self.subscription)).await?;
            return Ok(Looked::Found(serde_json::json!({ "old": old, "new": new, "subscription": now })));
        }
        let object = get(stripe, &subscriptions::retrieve(&self.subscription)).await?;
        let found = |is: bool, object: Value| if is { Looked::Found(object) } else { Looked::Nothing };
        Ok(match &self.step {
            Step::AskNow | Step::AskRenewal | Step::Announce { .. } => Looked::Nothing,
            Step::Change { item } => {
                let moved = Subscription::read(&object).is_ok_and(|now| {
                    now.items.iter().any(|i| i.id == *item && i.price.as_deref() == Some(&self.price))
                });
                found(moved, object)
            }
            Step::Schedule { .. } => match Subscription::read(&object).ok().and_then(|now| now.schedule) {
                Some(schedule) => Looked::Found(get(stripe, &subscriptions::schedule(&schedule)).await?),
                None => Looked::Nothing,
            },
            Step::Phases { schedule, .. } => {
                let schedule = get(stripe, &subscriptions::schedule(schedule)).await?;
                found(Self::last_prices(&schedule).contains(&self.price.as_str()), schedule)
            }
        })
    }

    fn resolve(&self, user: &Option<String>, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        match (answer, &self.step) {
            (Answer::Fact(prices, _), Step::Announce { quantity, at, .. }) => {
                self.letter(prices, user.as_ref(), *quantity, *at)
            }
            (Answer::Gone(error), Step::Announce { .. }) => Err(JobError::Dead(format!(
                "{} will move to {}, but Stripe does not say what that costs, and its user is not told: {error}",
                self.subscription, self.price
            ))),
            (Answer::Fact(object, _), _) => self.after_asking(&Subscription::read(object)?, terms),
            (Answer::Gone(error), _) => {
                Err(JobError::Dead(format!("Stripe does not know {}: {error}", self.subscription)))
            }
            (Answer::Made(object), Step::Schedule { phases }) => {
                Ok(self.then(Step::Phases { schedule: id_of(object)?, phases: phases.clone() }))
            }
            (Answer::Made(_), _) => {
                let sync = SyncSubscription::of(&self.subscription, &format!("move:{}", self.id));
                // A change now is told by an event; a schedule shows on the subscription.
                let Step::Phases { phases, .. } = &self.step else { return Ok(Effects::done()) };
                let follow_ups = std::iter::once(sync).chain(self.announcement(phases)).collect();
                Ok(Effects { follow_ups, ..Effects::done() })
            }
            (Answer::Refused { error, .. }, _) => {
                let why = format!("Stripe refused to move {}: {error}", self.subscription);
                Ok(Effects { outcome: Outcome::Dead(why), ..Effects::done() })
            }
            (Answer::Unknown(_), _) => Ok(Effects::done()),
        }
    }
}
