//! Subscriptions as Stripe has them, and what their grants stand on. Whoever changes either holds the subscription
//! ([`service_month::hold`](crate::subscriptions::service_month::hold)) since before it decided.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    engine::{change::changes, domain::ApplyContext, enqueue},
    notifications::notify_team::NotifyTeam,
    subscriptions::{
        change::{Change, ChangePaid, ExtraSet, InvoicePaid, Month, PaidChange, SubscriptionChanged, SubscriptionRow},
        revenue_rows,
    },
};

/// Makes the changes of a batch that concern subscriptions.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let all: Vec<(usize, &Change)> = changes(context.batch, Some);
    for (owner, change) in all {
        match change {
            Change::SetSubscription(row) => set(context, row).await?,
            Change::RefillMonth(month) => refill(&mut *context.db, month).await?,
            Change::SetExtra(month) => set_extra(context, month).await?,
            Change::EndMonth { subscription_id, start_at, end_at } => {
                sqlx::query!(
                    "UPDATE bursar.service_month SET end_at = $3 WHERE subscription_id = $1 AND start_at = $2 AND $3 > start_at",
                    subscription_id,
                    start_at,
                    end_at,
                )
                .execute(&mut *context.db)
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
                .execute(&mut *context.db)
                .await?;
            }
            Change::InvoicePaid { invoice } => context.record(InvoicePaid { invoice: invoice.clone() }),
            Change::PayChange(paid) => pay_change(context, owner, paid).await?,
            Change::NoteWorth(_) => {}
        }
    }
    revenue_rows::apply(context).await
}

/// Keeps what Stripe answered, unless a later question was answered before.
async fn set(context: &mut ApplyContext<'_>, row: &SubscriptionRow) -> Result<(), sqlx::Error> {
    let (start, end) = row.period.unzip();
    let (interval, count) = row.interval.clone().unzip();
    let kept = sqlx::query!(
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
    .execute(&mut *context.db)
    .await?;
    if kept.rows_affected() > 0 {
        let (id, user_id, status) = (row.id.clone(), row.user_id.clone(), row.status.clone());
        context.record(SubscriptionChanged { id, user_id, status });
    }
    tell_of_a_second(&mut *context.db, &row.user_id).await
}

/// Gives access by a subscription whose payment is overdue at least until then.
pub(crate) async fn extend_access(
    db: &mut PgConnection,
    subscription: &str,
    until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bursar.subscription SET access_until = greatest(access_until, $2), lapses_at = greatest(lapses_at, $2)
         WHERE id = $1 AND status = 'past_due'",
        subscription,
        until
    )
    .execute(db)
    .await
    .map(drop)
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

/// Sets what plan changes granted in a month.
async fn set_extra(context: &mut ApplyContext<'_>, month: &Month) -> Result<(), sqlx::Error> {
    let set = sqlx::query!(
        "UPDATE bursar.service_month SET extra = $3, changes = $4 WHERE subscription_id = $1 AND start_at = $2",
        month.subscription_id,
        month.start_at,
        month.extra,
        month.changes,
    )
    .execute(&mut *context.db)
    .await?;
    if set.rows_affected() > 0 {
        let (subscription_id, start_at, changes) = (month.subscription_id.clone(), month.start_at, month.changes);
        context.record(ExtraSet { subscription_id, start_at, changes });
    }
    Ok(())
}

/// Notes which invoice paid for a change of a plan.
async fn pay_change(context: &mut ApplyContext<'_>, owner: usize, paid: &PaidChange) -> Result<(), sqlx::Error> {
    let noted = sqlx::query!(
        "INSERT INTO bursar.plan_change_paid (subscription_id, at, invoice, amount, value) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
        paid.subscription_id,
        paid.at,
        paid.invoice,
        paid.amount,
        paid.value
    )
    .execute(&mut *context.db)
    .await?;
    if noted.rows_affected() > 0 {
        context.verdicts[owner].new = true;
        let (subscription_id, invoice) = (paid.subscription_id.clone(), paid.invoice.clone());
        context.record(ChangePaid { subscription_id, at: paid.at, invoice });
    }
    Ok(())
}
