//! Whether what is metered is charged: the meter at Stripe counts our events as we mean them, and the prices charge by that meter.

use bursar_jobs::{
    Stripe as Client, StripeSeen,
    stripe_setup::{self as setup, Meter as Counted},
    usage::meters::Meter,
};

use crate::config::Settings;

use super::{
    check::Check,
    prices::{Found, there},
    stripe::unseen,
};

pub(super) async fn look(client: &Client, settings: &Settings, found: &Found) -> Vec<Check> {
    let declared = match settings.calendar() {
        Ok(calendar) => calendar.meters,
        Err(error) => return vec![Check::setting("stripe.meter", &error)],
    };
    if declared.is_empty() {
        return Vec::new();
    }
    let counted = setup::meters(client).await;
    let prices = settings.metered_prices();
    let each = declared.iter().map(|meter| {
        let prices: Vec<&str> =
            prices.iter().filter(|(skill, _)| *skill == meter.skill).map(|(_, price)| price.as_str()).collect();
        judge(meter, &prices, &counted, found)
    });
    each.collect()
}

fn judge(meter: &Meter, prices: &[&str], counted: &Result<Vec<Counted>, Box<StripeSeen>>, found: &Found) -> Check {
    let name = format!("stripe.meter.{}", meter.skill);
    for id in prices {
        if let Some(check) = of_price(&name, id, found) {
            return check;
        }
    }
    let counted = match counted {
        Ok(counted) => counted,
        Err(seen) => return unseen(&name, seen),
    };
    let (event, skill) = (&meter.event_name, &meter.skill);
    let Some(one) = counted.iter().find(|one| one.event_name == *event) else {
        let remedy =
            format!("Make a meter of the event {event} at Stripe (formula sum), or mend `[meters.{skill}] event`.");
        return Check::fail(name, format!("no active meter counts {event}: what is used is never charged"), remedy);
    };
    if let Some(why) = one.misreads() {
        let remedy = "Make another meter at Stripe, with the formula sum and Stripe's own keys: bursar sends an hour's sum at a time.";
        return Check::fail(name, format!("{} counts {event} otherwise than it is sent: {why}", one.id), remedy);
    }
    let other = prices.iter().find_map(|id| {
        let of = there(&name, id, found).ok()?.recurring.as_ref()?.meter.as_deref()?;
        (of != one.id).then(|| format!("{id} charges by {of}, and {event} is counted by {}", one.id))
    });
    if let Some(seen) = other {
        let remedy =
            format!("Name a price of {} in `[meters.{skill}] prices`, or the event of the price's meter.", one.id);
        return Check::fail(name, seen, remedy);
    }
    if prices.is_empty() {
        let remedy = format!(
            "Name the prices that charge by {} in `[meters.{skill}] prices`: an invoice with one waits else.",
            one.id
        );
        return Check::warn(name, format!("{} counts {event}, and no price is named that charges it", one.id), remedy);
    }
    Check::ok(name, format!("{} counts {event}, charged by {}", one.id, prices.join(", ")))
}

/// What is wrong with a price by itself.
fn of_price(name: &str, id: &str, found: &Found) -> Option<Check> {
    let price = match there(name, id, found) {
        Err(check) => return Some(check),
        Ok(price) => price,
    };
    if price.recurring.as_ref().and_then(|recurring| recurring.usage_type.as_deref()) != Some("metered") {
        let remedy = "Name a price that is charged by use (usage type metered, with the skill's meter).";
        return Some(Check::fail(name, format!("{id} is not charged by use"), remedy));
    }
    if !price.active {
        let remedy = "Activate the price in Stripe's dashboard, or name one that is active.";
        return Some(Check::fail(name, format!("{id} is not sold any more"), remedy));
    }
    None
}
