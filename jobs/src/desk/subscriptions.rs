//! Subscriptions: what Stripe said last of each, and what was granted for it.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use sqlx::PgConnection;

use crate::base::credits::Credits;

/// Stripe's words for a subscription's state.
pub const STATES: &[&str] =
    &["active", "trialing", "past_due", "unpaid", "paused", "canceled", "incomplete", "incomplete_expired"];

/// Which subscriptions. Everything that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionFilter {
    /// In this state, in Stripe's word.
    pub status: Option<String>,
    /// Of this user.
    pub user: Option<String>,
    /// Of this tier.
    pub tier: Option<String>,
}

/// A subscription, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Subscription {
    /// `sub_…`
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Stripe's word.
    pub status: String,
    /// None: its price sells no tier.
    pub tier: Option<String>,
    /// The price that sells it.
    pub price: Option<String>,
    /// How many of it.
    pub quantity: i64,
    /// Until when it gives access; null: none.
    pub access_until: Option<DateTime<Utc>>,
    /// Whether it gives access now.
    pub has_access: bool,
    /// What a month grants: millionths of a credit; credits for programs.
    #[serde(serialize_with = "as_credits")]
    pub credits_a_month: i64,
    /// How often it is paid: day, week, month, year.
    pub interval: Option<String>,
    /// Every so many of those.
    pub interval_count: Option<i32>,
    /// The beginning of what is paid.
    pub period_start: Option<DateTime<Utc>>,
    /// Its end.
    pub period_end: Option<DateTime<Utc>>,
    /// When it is cancelled.
    pub cancel_at: Option<DateTime<Utc>>,
    /// Whether that is the end of the period.
    pub cancel_at_period_end: bool,
    /// The end of its trial.
    pub trial_end: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// What becomes of invoices while its collection is paused.
    pub paused: Option<String>,
    /// Stripe's schedule that it follows.
    pub schedule_id: Option<String>,
    /// `cus_…`
    pub customer_id: Option<String>,
    /// When Stripe was asked for all this.
    pub asked_at: DateTime<Utc>,
    /// When it last changed.
    pub changed_at: DateTime<Utc>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn as_credits<S: Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Credits::from_micros(*micros).serialize(serializer)
}

impl Subscription {
    /// What becomes of it next, in words. `at` says a moment as the reader wants it.
    pub fn then(&self, at: impl Fn(DateTime<Utc>) -> String) -> String {
        let cancelled = self.cancel_at.or(self.period_end.filter(|_| self.cancel_at_period_end));
        match (self.ended_at, cancelled, &self.paused, &self.schedule_id) {
            (Some(end), ..) => format!("ended {}", at(end)),
            (None, Some(end), ..) => format!("is cancelled {}", at(end)),
            (None, None, Some(how), _) => format!("its collection is paused ({how})"),
            (None, None, None, Some(schedule)) => format!("follows {schedule}"),
            (None, None, None, None) if matches!(self.status.as_str(), "past_due" | "unpaid" | "incomplete") => {
                "waits for its payment".to_owned()
            }
            (None, None, None, None) => "renews".to_owned(),
        }
    }

    /// How often it is paid, in words.
    pub fn every(&self) -> Option<String> {
        self.interval.as_ref().map(|interval| match self.interval_count {
            Some(count) if count > 1 => format!("every {count} {interval}s"),
            _ => format!("every {interval}"),
        })
    }
}

/// A place in the list: what comes after it changed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(DateTime<Utc>, String);

impl Place {
    /// The place of a subscription.
    pub fn of(one: &Subscription) -> Self {
        Self(one.changed_at, one.id.clone())
    }

    /// Reads what [`Self::word`] wrote.
    pub fn read(text: &str) -> Option<Self> {
        let (at, id) = text.split_once('.')?;
        Some(Self(DateTime::from_timestamp_micros(at.parse().ok()?)?, id.to_owned()))
    }

    /// The word for it.
    pub fn word(&self) -> String {
        format!("{}.{}", self.0.timestamp_micros(), self.1)
    }
}

impl SubscriptionFilter {
    /// The subscriptions that match, last changed first, after that place where one is said.
    pub async fn page(
        &self,
        db: &mut PgConnection,
        after: Option<&Place>,
        limit: i64,
    ) -> Result<Vec<Subscription>, sqlx::Error> {
        sqlx::query_as!(
            Subscription,
            r#"SELECT id, user_id, status, tier, price, quantity, access_until, coalesce(lapses_at > (SELECT bursar.now()), false) AS "has_access!",
                      plan_value AS credits_a_month, interval, interval_count, period_start, period_end, cancel_at, cancel_at_period_end,
                      trial_end, ended_at, paused, schedule_id, customer_id, asked_at, changed_at
               FROM bursar.subscription
               WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR user_id = $2) AND ($3::text IS NULL OR tier = $3)
                 AND ($4::timestamptz IS NULL OR (changed_at, id) < ($4, $5))
               ORDER BY changed_at DESC, id DESC LIMIT $6"#,
            self.status,
            self.user,
            self.tier,
            after.map(|place| place.0),
            after.map(|place| place.1.as_str()),
            limit,
        )
        .fetch_all(db)
        .await
    }
}

/// One subscription; none where there is none.
pub async fn one(db: &mut PgConnection, id: &str) -> Result<Option<Subscription>, sqlx::Error> {
    sqlx::query_as!(
        Subscription,
        r#"SELECT id, user_id, status, tier, price, quantity, access_until, coalesce(lapses_at > (SELECT bursar.now()), false) AS "has_access!",
                  plan_value AS credits_a_month, interval, interval_count, period_start, period_end, cancel_at, cancel_at_period_end,
                  trial_end, ended_at, paused, schedule_id, customer_id, asked_at, changed_at
           FROM bursar.subscription WHERE id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await
}

/// A month that was refilled, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Month {
    /// Its beginning.
    pub start_at: DateTime<Utc>,
    /// Its end.
    pub end_at: DateTime<Utc>,
    /// What its refill granted: millionths of a credit.
    #[serde(serialize_with = "as_credits")]
    pub refilled: i64,
    /// What changes of the plan granted in it.
    #[serde(serialize_with = "as_credits")]
    pub by_plan_changes: i64,
    /// The event that paid for it.
    #[serde(skip)]
    pub event_id: Option<String>,
    /// The refill's posting.
    #[serde(skip)]
    pub posting: Option<i64>,
}

/// The newest months that were refilled.
pub async fn months(db: &mut PgConnection, id: &str, most: i64) -> Result<Vec<Month>, sqlx::Error> {
    sqlx::query_as!(
        Month,
        r#"SELECT m.start_at, m.end_at, m.value AS refilled, m.extra AS by_plan_changes, p.event_id AS "event_id?", p.id AS "posting?"
           FROM bursar.service_month m LEFT JOIN bursar.posting p ON p.key = m.refill_key
           WHERE m.subscription_id = $1 ORDER BY m.start_at DESC LIMIT $2"#,
        id,
        most,
    )
    .fetch_all(db)
    .await
}

/// A change of the plan, as an event told of it.
#[derive(Debug, Clone)]
pub struct PlanChange {
    /// When.
    pub at: DateTime<Utc>,
    /// What a month granted before: millionths of a credit.
    pub old: i64,
    /// What it grants since.
    pub new: i64,
    /// What told of it; none: it was seen by looking.
    pub event_id: Option<String>,
    /// The invoice that paid for it.
    pub invoice: Option<String>,
}

/// The newest changes of the plan.
pub async fn plan_changes(db: &mut PgConnection, id: &str, most: i64) -> Result<Vec<PlanChange>, sqlx::Error> {
    sqlx::query_as!(
        PlanChange,
        r#"SELECT c.at, c.old_value AS old, c.new_value AS new, c.event_id,
                  (SELECT min(p.invoice) FROM bursar.plan_change_paid p WHERE p.subscription_id = c.subscription_id AND p.at = c.at) AS invoice
           FROM bursar.plan_change c WHERE c.subscription_id = $1 ORDER BY c.at DESC, c.new_value LIMIT $2"#,
        id,
        most,
    )
    .fetch_all(db)
    .await
}
