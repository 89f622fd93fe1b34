//! Months of service of a period that was paid for several, such as a year: each that began in the month must have been refilled.

use chrono::{DateTime, Months, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{
    Run,
    compare::Judged,
    finding::{Finding, Type},
};
use crate::{
    base::calendar,
    subscriptions::{charged_share, service_month},
};

/// Subscriptions that are looked at in one job.
const PAGE: i64 = 200;

/// A month's refill is a job that asks Stripe first; one that has just begun may be under way.
const UNDER_WAY: TimeDelta = TimeDelta::hours(1);

/// A page of the subscriptions that are paid by the year, or otherwise for longer than a month.
pub(super) async fn page(db: &mut PgConnection, run: &Run, after: Option<&str>) -> Result<Judged, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT s.id, s.user_id, s.status, s.plan_value, s.anchor, s.period_start AS "start!", s.period_end AS "end!", s.ended_at,
                  s.interval, s.interval_count, bursar.now() AS "now!",
                  (SELECT min(m.start_at) FROM bursar.service_month m WHERE m.subscription_id = s.id) AS first_month,
                  (SELECT pg_catalog.array_agg(m.start_at ORDER BY m.start_at) FROM bursar.service_month m WHERE m.subscription_id = s.id) AS months,
                  (SELECT pg_catalog.array_agg(coalesce(m.paid_num, 0) ORDER BY m.start_at) FROM bursar.service_month m
                   WHERE m.subscription_id = s.id) AS nums,
                  (SELECT pg_catalog.array_agg(coalesce(m.paid_den, 0) ORDER BY m.start_at) FROM bursar.service_month m
                   WHERE m.subscription_id = s.id) AS dens
           FROM bursar.subscription s
           WHERE s.id > $1 AND s.period_end - s.period_start > interval '45 days' AND s.tier IS NOT NULL AND s.plan_value > 0
             AND s.status NOT IN ('incomplete', 'incomplete_expired', 'trialing')
           ORDER BY s.id LIMIT $2"#,
        after.unwrap_or_default(),
        PAGE
    )
    .fetch_all(db)
    .await?;
    let more = i64::try_from(rows.len()).is_ok_and(|read| read == PAGE);
    let after = rows.last().filter(|_| more).map(|row| row.id.clone());
    let mut findings = Vec::new();
    for row in rows {
        let refilled = row.months.unwrap_or_default();
        let anchor = row.anchor.unwrap_or(row.start);
        let length = match (row.interval.as_deref(), row.interval_count.and_then(|n| u32::try_from(n).ok())) {
            (Some("year"), Some(years)) => years.saturating_mul(12),
            (Some("month"), Some(months)) => months,
            _ => 0,
        };
        // The period before counts where the year was renewed since the month began, and it was ours then.
        let before = row
            .start
            .checked_sub_months(Months::new(length))
            .filter(|start| length > 0 && row.first_month.is_some_and(|first| first <= *start + TimeDelta::days(1)));
        let periods = before.map(|start| (start, row.start)).into_iter().chain([(row.start, row.end)]);
        let paid: Vec<(i64, i64)> =
            row.nums.unwrap_or_default().into_iter().zip(row.dens.unwrap_or_default()).collect();
        for (start, end) in periods {
            let first = refilled.iter().position(|at| *at == start).and_then(|nth| paid.get(nth));
            let paid =
                first.filter(|(num, _)| *num > 0).map(|(num, den)| charged_share::Months { num: *num, den: *den });
            let starts = calendar::starts(anchor, start, end);
            for (month, at) in starts.iter().copied().enumerate().skip(1) {
                // What its first month says was paid for may leave less for this one, or nothing.
                let due = paid.map_or(Some(row.plan_value), |paid| paid.share(row.plan_value, month, starts.len()));
                let due = due.unwrap_or(row.plan_value);
                let over = row.ended_at.is_some_and(|ended| ended <= at) || at + UNDER_WAY > row.now;
                if !run.holds(at) || over || due == 0 || refilled.contains(&at) {
                    continue;
                }
                let evidence = json!({ "subscription": row.id, "status": row.status, "start": start, "end": end, "nth": month, "begins": at });
                let found = Finding::new(Type::MissingGrant, object(&row.id, at), evidence).of_user(Some(&row.user_id));
                let found = found.credits(due);
                let waits = matches!(row.status.as_str(), "unpaid" | "paused");
                findings.push(if waits {
                    found.by_hand(format!("the subscription is {}: its month waits until that is over", row.status))
                } else {
                    found.by_repair()
                });
            }
        }
    }
    Ok(Judged { findings, after, ..Judged::default() })
}

fn object(subscription: &str, at: DateTime<Utc>) -> String {
    format!("{subscription}:{}", service_month::seconds(at))
}
