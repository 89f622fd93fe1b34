//! `bursar subscriptions show`: one subscription, and what was granted for it.

use bursar_jobs::credits::Credits;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::{Subscription, as_credits, no_such};
use crate::operate::{Failure, Screen, screen::stamp};

/// A month that was refilled.
#[derive(Debug, Serialize)]
struct Month {
    start_at: DateTime<Utc>,
    end_at: DateTime<Utc>,
    /// What its refill granted.
    #[serde(serialize_with = "as_credits")]
    refilled: i64,
    /// What changes of the plan granted in it.
    #[serde(serialize_with = "as_credits")]
    by_plan_changes: i64,
}

#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    subscription: &'a Subscription,
    months: &'a [Month],
}

/// Shows it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, id: &str) -> Result<(), Failure> {
    let one = sqlx::query_as!(
        Subscription,
        r#"SELECT id, user_id, status, tier, price, quantity, access_until, coalesce(lapses_at > bursar.now(), false) AS "has_access!",
                  plan_value AS credits_a_month, interval, interval_count, period_start, period_end, cancel_at, cancel_at_period_end,
                  trial_end, ended_at, paused, schedule_id, customer_id, asked_at, changed_at
           FROM bursar.subscription WHERE id = $1"#,
        id,
    )
    .fetch_optional(&mut *db)
    .await?
    .ok_or_else(|| no_such(id))?;
    let months = sqlx::query_as!(
        Month,
        "SELECT start_at, end_at, value AS refilled, extra AS by_plan_changes FROM bursar.service_month
         WHERE subscription_id = $1 ORDER BY start_at DESC LIMIT 36",
        id,
    )
    .fetch_all(db)
    .await?;
    if screen.is_json() {
        screen.object(&Page { subscription: &one, months: &months })?;
        return Ok(());
    }
    let every = one.interval.as_ref().map(|interval| match one.interval_count {
        Some(count) if count > 1 => format!("every {count} {interval}s"),
        _ => format!("every {interval}"),
    });
    let then = one.then();
    let facts = [
        ("subscription", Some(one.id.clone())),
        ("user", Some(one.user_id.clone())),
        ("status", Some(one.status.clone())),
        ("tier", Some(one.tier.clone().unwrap_or_else(|| "none: its price sells no tier".into()))),
        ("price", one.price.as_ref().map(|price| format!("{} × {price}", one.quantity))),
        ("a month", Some(format!("{} credits", Credits::from_micros(one.credits_a_month)))),
        ("paid", every),
        ("period", one.period_start.zip(one.period_end).map(|(from, to)| format!("{} to {}", stamp(from), stamp(to)))),
        ("access until", Some(one.access_until.map_or_else(|| "no access".into(), |at| screen.moment(at)))),
        ("trial ends", one.trial_end.map(stamp)),
        ("then", Some(then)),
        ("customer", one.customer_id.clone()),
        ("asked", Some(screen.moment(one.asked_at))),
    ];
    for (label, text) in facts {
        if let Some(text) = text {
            screen.fact(label, &text)?;
        }
    }
    for month in &months {
        let extra = match month.by_plan_changes {
            0 => String::new(),
            extra => format!(", and {} by changes of the plan", Credits::from_micros(extra)),
        };
        let refilled = Credits::from_micros(month.refilled);
        screen.fact("refilled", &format!("{}: {refilled} credits{extra}", stamp(month.start_at)))?;
    }
    screen.fact("next", &format!("bursar credits history {}", one.user_id))?;
    Ok(())
}
