//! Subscriptions as Stripe has them, and what their grants stand on. Whoever changes either holds the subscription
//! ([`plan::hold`](crate::subscriptions::service_month::hold)) since before it decided.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::engine::apply::{Change, changes};
use crate::{
    engine::{enqueue, job::Effects},
    notifications::notify_team::NotifyTeam,
    selling::expire_checkout,
    subscriptions::charged_share::Months,
};

/// A subscription as Stripe answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// `sub_…`
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// `cus_…`
    pub customer_id: Option<String>,
    /// Stripe's word.
    pub status: String,
    /// `price_…`
    pub price: Option<String>,
    /// The tier that it sells.
    pub tier: Option<String>,
    /// How many.
    pub quantity: i64,
    /// `month`, `year` …, and how many of them.
    pub interval: Option<(String, i32)>,
    /// What a month grants, in millionths.
    pub plan_value: i64,
    /// The paid period.
    pub period: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// What months are counted from.
    pub anchor: Option<DateTime<Utc>>,
    /// When its trial ends.
    pub trial_end: Option<DateTime<Utc>>,
    /// When it will be cancelled.
    pub cancel_at: Option<DateTime<Utc>>,
    /// Whether at the end of its period.
    pub cancel_at_period_end: bool,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// What becomes of invoices while the collection is paused.
    pub paused: Option<String>,
    /// `sub_sched_…`
    pub schedule_id: Option<String>,
    /// Until when it gives access.
    pub access_until: Option<DateTime<Utc>>,
    /// When that is surely over.
    pub lapses_at: Option<DateTime<Utc>>,
    /// When Stripe was asked.
    pub asked_at: DateTime<Utc>,
}

/// A month of service that was refilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Month {
    /// `sub_…`
    pub subscription_id: String,
    /// When it begins.
    pub start_at: DateTime<Utc>,
    /// When the next may begin.
    pub end_at: DateTime<Utc>,
    /// Whose.
    pub user_id: String,
    /// What its refill granted, in millionths.
    pub value: i64,
    /// What its plan grants in a month that is paid in full: more than `value` where it was paid in part.
    pub plan_value: i64,
    /// How many months the period pays for that begins with it, where that does not follow from its length.
    pub paid: Option<Months>,
    /// What was left of refills at its start, with its own.
    pub left_over: i64,
    /// What plan changes granted in it.
    pub extra: i64,
    /// In how many postings.
    pub changes: i32,
    /// The posting that refilled it.
    pub refill_key: String,
    /// Whether it took the place of what was left of the month before, for which Stripe gave the money back.
    pub replaces: bool,
}

/// A change of a plan's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanChange {
    /// `sub_…`
    pub subscription_id: String,
    /// By the signed event's word.
    pub at: DateTime<Utc>,
    /// Before, in millionths a month.
    pub old_value: i64,
    /// After.
    pub new_value: i64,
    /// The event that told of it.
    pub event_id: Option<String>,
    /// Whether anything bills it: as long as that is not known, it grants nothing.
    pub billed: bool,
}

/// The mail address of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `cus_…`
    pub customer: String,
    /// As Stripe has it; none where it has none.
    pub email: Option<String>,
    /// The languages that it prefers, the dearest first, with commas.
    pub locales: Option<String>,
    /// When Stripe was asked; an event's own word counts only until then.
    pub asked_at: Option<DateTime<Utc>>,
}

/// Makes the changes of a batch that concern subscriptions.
pub(crate) async fn apply(db: &mut PgConnection, batch: &[Effects]) -> Result<(), sqlx::Error> {
    let all = changes(batch, Some);
    for (_, change) in all {
        match change {
            Change::SetSubscription(row) => set(db, row).await?,
            Change::RefillMonth(month) => refill(db, month).await?,
            Change::SetExtra(month) => {
                sqlx::query!(
                    "UPDATE bursar.service_month SET extra = $3, changes = $4 WHERE subscription_id = $1 AND start_at = $2",
                    month.subscription_id,
                    month.start_at,
                    month.extra,
                    month.changes,
                )
                .execute(&mut *db)
                .await?;
            }
            Change::EndMonth { subscription_id, start_at, end_at } => {
                sqlx::query!(
                    "UPDATE bursar.service_month SET end_at = $3 WHERE subscription_id = $1 AND start_at = $2 AND $3 > start_at",
                    subscription_id,
                    start_at,
                    end_at,
                )
                .execute(&mut *db)
                .await?;
            }
            Change::NotePlanChange(change) => {
                sqlx::query!(
                    "INSERT INTO bursar.plan_change (subscription_id, at, old_value, new_value, event_id, billed) VALUES ($1, $2, $3, $4, $5, $6)
                     ON CONFLICT (subscription_id, at, old_value, new_value) DO UPDATE SET billed = true
                     WHERE excluded.billed AND NOT plan_change.billed",
                    change.subscription_id,
                    change.at,
                    change.old_value,
                    change.new_value,
                    change.event_id,
                    change.billed,
                )
                .execute(&mut *db)
                .await?;
            }
            Change::KeepAddress(address) => {
                sqlx::query!(
                    "UPDATE bursar.customer SET email = $2, email_asked_at = $3, locales = $4
                     WHERE id = $1 AND (email_asked_at IS NULL OR email_asked_at < $3)",
                    address.customer,
                    address.email.as_ref().map(|email| email.replace('\0', "\u{fffd}")),
                    address.asked_at,
                    address.locales,
                )
                .execute(&mut *db)
                .await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sets what Stripe answered, and wakes what waits for the subscription to be paid again.
async fn set(db: &mut PgConnection, row: &SubscriptionRow) -> Result<(), sqlx::Error> {
    let (start, end) = row.period.unzip();
    let (interval, count) = row.interval.clone().unzip();
    sqlx::query!(
        "INSERT INTO bursar.subscription AS s (id, user_id, customer_id, status, price, tier, quantity, interval, interval_count, plan_value,
             period_start, period_end, anchor, trial_end, cancel_at, cancel_at_period_end, ended_at, paused, schedule_id, access_until,
             lapses_at, asked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
         ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, customer_id = excluded.customer_id, status = excluded.status,
             price = excluded.price, tier = excluded.tier, quantity = excluded.quantity, interval = excluded.interval,
             interval_count = excluded.interval_count, plan_value = excluded.plan_value, period_start = excluded.period_start,
             period_end = excluded.period_end, anchor = excluded.anchor, trial_end = excluded.trial_end, cancel_at = excluded.cancel_at,
             cancel_at_period_end = excluded.cancel_at_period_end, ended_at = excluded.ended_at, paused = excluded.paused,
             schedule_id = excluded.schedule_id, access_until = excluded.access_until, lapses_at = excluded.lapses_at,
             asked_at = excluded.asked_at, changed_at = bursar.now()
         WHERE s.asked_at < excluded.asked_at",
        row.id,
        row.user_id,
        row.customer_id,
        row.status,
        row.price,
        row.tier,
        row.quantity,
        interval,
        count,
        row.plan_value,
        start,
        end,
        row.anchor,
        row.trial_end,
        row.cancel_at,
        row.cancel_at_period_end,
        row.ended_at,
        row.paused,
        row.schedule_id,
        row.access_until,
        row.lapses_at,
        row.asked_at,
    )
    .execute(&mut *db)
    .await?;
    if row.status == "past_due" {
        crate::dunning::apply::keep_promise(&mut *db, &row.id).await?;
    }
    if matches!(row.status.as_str(), "canceled" | "incomplete_expired") {
        fail_checkout(db, &row.id).await?;
    }
    expire_checkout::expire_others(db, &row.user_id).await?;
    // While the user's checkouts are held: one that is about to wait for this has begun to wait by now, or sees what was set.
    sqlx::query!(
        "UPDATE apalis.jobs SET run_at = bursar.now() WHERE status = 'Pending' AND waits_for = 'subscription:' || $1::text",
        row.id
    )
    .execute(&mut *db)
    .await?;
    tell_of_a_second(db, &row.user_id).await
}

/// A subscription is over whose first payment was still to come: so is the checkout that began it.
async fn fail_checkout(db: &mut PgConnection, subscription: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bursar.checkout SET state = 'failed', reason = 'the first payment of its subscription never came', changed_at = bursar.now()
         WHERE subscription_id = $1 AND state = 'complete' AND payment_status = 'unpaid'
           AND NOT EXISTS (SELECT FROM bursar.service_month m WHERE m.subscription_id = $1)",
        subscription
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A user pays twice where two checkouts that were open at a time were both gone through: the team hears of it, once for the two.
async fn tell_of_a_second(db: &mut PgConnection, user: &str) -> Result<(), sqlx::Error> {
    // Of two that come at once, the second sees the first.
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('subscriber:' || $1, 0::bigint))", user)
        .execute(&mut *db)
        .await?;
    let subscriptions = sqlx::query_scalar!(
        r#"SELECT source AS "source!" FROM bursar.user_flag WHERE flag = 'second_subscription' AND user_id = $1 ORDER BY source"#,
        user
    )
    .fetch_all(&mut *db)
    .await?;
    if subscriptions.is_empty() {
        return Ok(());
    }
    let key = format!("second_subscription:{}", subscriptions.join(":"));
    let data = serde_json::json!({ "user_id": user, "subscriptions": subscriptions });
    let job = NotifyTeam::of("subscription.second", &key, &data, None);
    enqueue::enqueue(db, &[job]).await.map(drop)
}

/// A month that is known stays as it is, with what came of it since.
async fn refill(db: &mut PgConnection, month: &Month) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO bursar.service_month (subscription_id, start_at, end_at, user_id, value, left_over, extra, changes, refill_key, replaces,
                                           plan_value, paid_num, paid_den)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING",
        month.subscription_id,
        month.start_at,
        month.end_at,
        month.user_id,
        month.value,
        month.left_over,
        month.extra,
        month.changes,
        month.refill_key,
        month.replaces,
        month.plan_value,
        month.paid.map(|paid| paid.num),
        month.paid.map(|paid| paid.den),
    )
    .execute(db)
    .await?;
    Ok(())
}
