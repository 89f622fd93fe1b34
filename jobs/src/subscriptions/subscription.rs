//! A subscription as Stripe has it, read in both of its layouts, and what it lets a user do.
//!
//! Access
//! - `active` and `trialing`: until the period's end, or until it is cancelled, if that is sooner.
//! - `past_due`: what is paid for stays, and after it the grace.
//! - Periods are those of the item that sells the tier, whatever the intervals of the other items.
//! - `canceled`: until it ended, which at the end of a period is that end.
//! - Collection paused: until the end of the last month that was refilled.
//! - `unpaid`, `paused`, `incomplete`, `incomplete_expired` and any word that is new to us: none.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgExecutor;

use bursar_stripe::Reference;

use crate::{
    base::credits::Credits,
    engine::job::JobError,
    inbox::event::Metadata,
    terms::{Terms, Tier},
};

/// What is read of Stripe's object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// `sub_…`
    pub id: String,
    /// `cus_…`
    pub customer: Option<String>,
    /// Stripe's word.
    pub status: String,
    /// `user_id`, if it names one.
    pub metadata: Metadata,
    /// What is sold.
    pub items: Vec<Item>,
    /// What periods are counted from.
    pub anchor: Option<DateTime<Utc>>,
    /// When a trial ends.
    pub trial_end: Option<DateTime<Utc>>,
    /// When it will be cancelled.
    pub cancel_at: Option<DateTime<Utc>>,
    /// Whether it is cancelled at the end of its period.
    pub cancel_at_period_end: bool,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// What becomes of invoices while the collection is paused.
    pub paused: Option<String>,
    /// `sub_sched_…`
    pub schedule: Option<String>,
}

/// One price of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `si_…`
    pub id: String,
    /// `price_…`
    pub price: Option<String>,
    /// How many.
    pub quantity: i64,
    /// `month`, `year` …, and how many of them.
    pub interval: Option<(String, i32)>,
    /// Its paid period: in the flexible billing mode each item may have one of its own.
    pub period: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// Entries of a list within an object that Stripe shows at most.
const SHOWN: usize = 10;

#[derive(Deserialize)]
struct Wire {
    id: String,
    customer: Option<Reference>,
    status: Option<String>,
    metadata: Option<Metadata>,
    items: Option<WireItems>,
    /// Before basil; since, the items have them.
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
    billing_cycle_anchor: Option<i64>,
    trial_end: Option<i64>,
    cancel_at: Option<i64>,
    cancel_at_period_end: Option<bool>,
    ended_at: Option<i64>,
    pause_collection: Option<Pause>,
    schedule: Option<Reference>,
}

#[derive(Deserialize)]
struct WireItems {
    #[serde(default)]
    data: Vec<WireItem>,
    has_more: Option<bool>,
}

impl WireItems {
    /// Whether these are all of them. `previous_attributes` may not say so.
    fn are_all(&self) -> bool {
        self.has_more.map_or(self.data.len() < SHOWN, |more| !more)
    }
}

#[derive(Deserialize)]
struct WireItem {
    #[serde(default)]
    id: String,
    price: Option<WirePrice>,
    plan: Option<WirePlan>,
    quantity: Option<i64>,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
}

#[derive(Deserialize)]
struct WirePrice {
    id: String,
    recurring: Option<WirePlan>,
}

#[derive(Deserialize)]
struct WirePlan {
    id: Option<String>,
    interval: Option<String>,
    interval_count: Option<i32>,
}

#[derive(Deserialize)]
struct Pause {
    behavior: Option<String>,
}

fn moment(seconds: Option<i64>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds?, 0)
}

impl From<WireItem> for Item {
    fn from(wire: WireItem) -> Self {
        let (price, recurring) = wire.price.map_or((None, None), |p| (Some(p.id), p.recurring));
        let of_plan = wire.plan.as_ref().and_then(|plan| plan.id.clone());
        let interval = recurring.or(wire.plan).and_then(|r| Some((r.interval?, r.interval_count.unwrap_or(1))));
        let period = moment(wire.current_period_start).zip(moment(wire.current_period_end));
        Self { id: wire.id, price: price.or(of_plan), quantity: wire.quantity.unwrap_or(1), interval, period }
    }
}

impl Item {
    /// The days of its period, where it is counted in days.
    fn days(&self) -> Option<i64> {
        let (interval, count) = self.interval.as_ref()?;
        match interval.as_str() {
            "day" => Some(i64::from(*count)),
            "week" => Some(i64::from(*count) * 7),
            _ => None,
        }
    }
}

impl Subscription {
    /// Reads the object, in either layout. Enums are open: no word that is new fails.
    pub fn read(object: &Value) -> Result<Self, JobError> {
        let wire = Wire::deserialize(object)
            .map_err(|error| JobError::Dead(format!("the subscription does not read: {error}")))?;
        let items = wire.items.unwrap_or(WireItems { data: Vec::new(), has_more: None });
        if items.has_more == Some(true) {
            // An answer's are read to the last page before this: see `bursar_stripe::embedded`.
            return Err(JobError::Dead(format!("{} has more items than were read", wire.id)));
        }
        let period = moment(wire.current_period_start).zip(moment(wire.current_period_end));
        let items = items.data.into_iter().map(Item::from);
        Ok(Self {
            id: wire.id,
            customer: wire.customer.map(Reference::into_id),
            status: wire.status.unwrap_or_default(),
            metadata: wire.metadata.unwrap_or_default(),
            items: items.map(|item| Item { period: item.period.or(period), ..item }).collect(),
            anchor: moment(wire.billing_cycle_anchor),
            trial_end: moment(wire.trial_end),
            cancel_at: moment(wire.cancel_at),
            cancel_at_period_end: wire.cancel_at_period_end.unwrap_or_default(),
            ended_at: moment(wire.ended_at),
            paused: wire.pause_collection.map(|pause| pause.behavior.unwrap_or_else(|| "paused".into())),
            schedule: wire.schedule.map(Reference::into_id),
        })
    }

    /// The item that sells a tier, with the tier.
    pub fn tier<'a, 'b>(&'a self, terms: &'b Terms) -> Option<(&'a Item, &'b Tier)> {
        self.items.iter().find_map(|item| Some((item, terms.tier_of_price(item.price.as_deref()?)?)))
    }

    /// The item that the subscription is seen by: the one that sells a tier, else its first.
    pub fn main_item(&self, terms: &Terms) -> Option<&Item> {
        self.tier(terms).map(|(item, _)| item).or(self.items.first())
    }

    /// The paid period: that of the item that sells a tier. An add-on's may be a year, or begin on another day.
    pub fn period(&self, terms: &Terms) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        self.main_item(terms)?.period
    }

    /// What a month of it grants.
    pub fn value(&self, terms: &Terms) -> Result<Credits, JobError> {
        value_of(&self.items, terms)
    }

    /// Until when it gives access, and when that is surely over.
    pub fn access(&self, terms: &Terms, paid_until: Option<DateTime<Utc>>) -> Access {
        let (grace, (start, end)) = (terms.grace, self.period(terms).unzip());
        let to = |until: Option<DateTime<Utc>>| Access { until, lapses: until };
        match self.status.as_str() {
            "active" | "trialing" if self.paused.is_some() => to(paid_until.or(self.trial_end)),
            "active" | "trialing" => {
                let ends =
                    self.cancel_at_period_end || self.cancel_at.is_some_and(|at| end.is_none_or(|end| at <= end));
                let until = match self.cancel_at.filter(|_| ends) {
                    Some(at) => Some(end.map_or(at, |end| end.min(at))),
                    None => end,
                };
                Access { until, lapses: if ends { until } else { until.map(|until| until + grace) } }
            }
            "past_due" => to(start.map(|start| start + grace).max(paid_until)),
            "canceled" => to(self.ended_at.or(end)),
            _ => to(None),
        }
    }
}

/// What a month of these items grants, or a shorter period of theirs.
pub fn value_of(items: &[Item], terms: &Terms) -> Result<Credits, JobError> {
    items.iter().try_fold(Credits::ZERO, |sum, item| {
        let Some(tier) = item.price.as_deref().and_then(|price| terms.tier_of_price(price)) else { return Ok(sum) };
        tier.grants(item.quantity, item.days())
            .and_then(|credits| credits.micros().checked_add(sum.micros()))
            .filter(|micros| *micros >= 0)
            .map(Credits::from_micros)
            .ok_or_else(|| JobError::Dead(format!("{} of the tier {} cannot be counted", item.quantity, tier.name)))
    })
}

/// What `previous_attributes` of an event say of the items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// They did not change.
    Same,
    /// What they were.
    Items(Vec<Item>),
    /// They changed, but the event does not show all of them: before or after.
    Partly,
}

/// What the items were before an event.
pub fn items_before(object: &Value, previous: &Value) -> Before {
    #[derive(Deserialize)]
    struct Previous {
        items: Option<WireItems>,
        plan: Option<WirePlan>,
        quantity: Option<i64>,
    }
    let Ok(previous) = Previous::deserialize(previous) else { return Before::Same };
    let shows_all = object.get("items").is_none_or(|items| items["has_more"] != true);
    if let Some(items) = previous.items {
        if !shows_all || !items.are_all() {
            return Before::Partly;
        }
        return Before::Items(items.data.into_iter().map(Item::from).collect());
    }
    // An older layout: a subscription of one item, whose plan and quantity stand on the subscription too.
    if previous.plan.is_none() && previous.quantity.is_none() {
        return Before::Same;
    }
    let items = Subscription::read(object).map(|now| now.items).unwrap_or_default();
    let Ok([now]) = <[Item; 1]>::try_from(items) else { return Before::Same };
    let price = previous.plan.and_then(|plan| plan.id).or_else(|| now.price.clone());
    Before::Items(vec![Item { price, quantity: previous.quantity.unwrap_or(now.quantity), ..now }])
}

/// Until when a subscription gives access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// By its own terms; none where it gives none.
    pub until: Option<DateTime<Utc>>,
    /// When it is surely over: a renewal is told a little after it happened.
    pub lapses: Option<DateTime<Utc>>,
}

/// What a user's subscription lets them do, for the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfUser {
    /// `sub_…`
    pub id: String,
    /// `cus_…`
    pub customer_id: Option<String>,
    /// Stripe's word.
    pub status: String,
    /// What it grants by; none where its price sells no tier.
    pub tier: Option<String>,
    /// `price_…`
    pub price: Option<String>,
    /// How many.
    pub quantity: i64,
    /// The end of the paid period.
    pub period_end: Option<DateTime<Utc>>,
    /// Until when it gives access, by its own terms.
    pub access_until: Option<DateTime<Utc>>,
    /// When it will be cancelled.
    pub cancel_at: Option<DateTime<Utc>>,
    /// Whether at the end of its period.
    pub cancel_at_period_end: bool,
    /// When its trial ends.
    pub trial_end: Option<DateTime<Utc>>,
    /// Whether it gives access now. It may, for a while, past `access_until`: the word of a renewal takes its time.
    pub has_access: bool,
    /// Whether it is not over yet.
    pub is_open: bool,
}

/// The subscription of a user that counts: one that gives access before any other, then the one that gave it last. Read without a lock.
pub async fn of_user(db: impl PgExecutor<'_>, user: &str) -> Result<Option<OfUser>, sqlx::Error> {
    sqlx::query_as!(
        OfUser,
        r#"SELECT id, customer_id, status, tier, price, quantity, period_end, access_until, cancel_at, cancel_at_period_end, trial_end,
                  coalesce(lapses_at > (SELECT bursar.now()), false) AS "has_access!",
                  status NOT IN ('canceled', 'incomplete_expired') AS "is_open!"
           FROM bursar.subscription WHERE user_id = $1
           ORDER BY coalesce(lapses_at > (SELECT bursar.now()), false) DESC, status NOT IN ('canceled', 'incomplete_expired') DESC,
                    status <> 'incomplete' DESC, access_until DESC NULLS LAST, changed_at DESC LIMIT 1"#,
        user
    )
    .fetch_optional(db)
    .await
}
