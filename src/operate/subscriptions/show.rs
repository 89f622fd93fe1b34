//! `bursar subscriptions show`: one subscription, and what was granted for it.

use bursar_jobs::{
    base::credits::Credits,
    desk::subscriptions::{self, Month, Subscription},
};
use serde::Serialize;
use sqlx::PgConnection;

use super::no_such;
use crate::operate::{Failure, Screen, screen::stamp};

#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    subscription: &'a Subscription,
    months: &'a [Month],
}

/// Shows it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, id: &str) -> Result<(), Failure> {
    let one = subscriptions::one(&mut *db, id).await?.ok_or_else(|| no_such(id))?;
    let months = subscriptions::months(&mut *db, id, 36).await?;
    if screen.is_json() {
        screen.object(&Page { subscription: &one, months: &months })?;
        return Ok(());
    }
    let then = one.then(stamp);
    let facts = [
        ("subscription", Some(one.id.clone())),
        ("user", Some(one.user_id.clone())),
        ("status", Some(one.status.clone())),
        ("tier", Some(one.tier.clone().unwrap_or_else(|| "none: its price sells no tier".into()))),
        ("price", one.price.as_ref().map(|price| format!("{} × {price}", one.quantity))),
        ("a month", Some(format!("{} credits", Credits::from_micros(one.credits_a_month)))),
        ("paid", one.every()),
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
