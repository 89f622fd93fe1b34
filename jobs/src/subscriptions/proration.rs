//! What each invoice paid for of the credits that plan changes granted. Pure arithmetic.
//!
//! Rules
//! - An upgrade is the invoice's whose proration lines begin when the plan changed: within a minute of it, or, where the lines were
//!   reckoned from another moment (Stripe: `proration_date`), earlier in that month and leading to the same plan.
//! - An upgrade granted what it is worth (see [`service_month`](crate::subscriptions::service_month)) less what a later downgrade gave back of it; the newest upgrade gives
//!   back first. So what a refund takes and what a downgrade takes never come to more than was granted.
//! - All together is never more than the month's plan changes were granted.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::subscriptions::{
    change::{Month, PaidChange},
    service_month::{Standing, Step, walk},
};

/// Stripe makes a change and reckons its lines within seconds.
const AT_ONCE: TimeDelta = TimeDelta::minutes(1);

/// What an invoice paid for in one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share<'a> {
    /// The month.
    pub month: &'a Month,
    /// `in_…`
    pub invoice: &'a str,
    /// Of what stands in the month's postings, in millionths.
    pub amount: i64,
}

/// An upgrade, and what is left of it.
struct Upgrade<'a> {
    at: DateTime<Utc>,
    value: i64,
    worth: i64,
    paid: Option<&'a PaidChange>,
}

/// What a step up added: units of a month's value, by which upgrade, and whether they only fill what a downgrade had taken.
struct Layer {
    upgrade: usize,
    units: i64,
    fills: bool,
}

/// What each invoice paid for, by month.
pub fn shares<'a>(standing: &'a Standing, paid: &'a [PaidChange]) -> Vec<Share<'a>> {
    let mut months: Vec<(&Month, Vec<Upgrade<'_>>)> = Vec::new();
    for (i, month) in standing.months.iter().enumerate() {
        months.push((month, upgrades(standing, month, standing.months.get(i + 1))));
    }
    // Those that were at once first: what is left over then is of another moment.
    for upgrade in months.iter_mut().flat_map(|(_, all)| all) {
        let near = paid.iter().filter(|paid| (paid.at - upgrade.at).abs() <= AT_ONCE);
        upgrade.paid = near.min_by_key(|paid| (paid.value != upgrade.value, (paid.at - upgrade.at).abs()));
    }
    let taken: Vec<&PaidChange> = months.iter().flat_map(|(_, all)| all).filter_map(|upgrade| upgrade.paid).collect();
    for (month, all) in &mut months {
        for upgrade in all.iter_mut().filter(|upgrade| upgrade.paid.is_none()) {
            let earlier = paid.iter().filter(|paid| paid.at >= month.start_at && paid.at <= upgrade.at);
            let same = earlier.filter(|paid| paid.value == upgrade.value && !taken.contains(paid));
            upgrade.paid = same.max_by_key(|paid| paid.at);
        }
    }
    let mut shares = Vec::new();
    for (month, all) in months {
        let mut left = month.extra;
        let mut of: BTreeMap<&str, i64> = BTreeMap::new();
        for upgrade in all {
            let amount = upgrade.worth.clamp(0, left);
            left -= amount;
            if let Some(paid) = upgrade.paid {
                *of.entry(paid.invoice.as_str()).or_default() += amount;
            }
        }
        shares.extend(of.into_iter().map(|(invoice, amount)| Share { month, invoice, amount }));
    }
    shares
}

/// A month's upgrades, oldest first, each with what later downgrades left of it.
fn upgrades<'a>(standing: &Standing, month: &Month, next: Option<&Month>) -> Vec<Upgrade<'a>> {
    let (end, until) = month.window(next);
    let within = standing.changes.iter().filter(|change| change.at >= month.start_at && change.at < end);
    let worth = |units: i64, at| month.worth(units, at, until);
    let mut upgrades: Vec<Upgrade<'_>> = Vec::new();
    let mut layers: Vec<Layer> = Vec::new();
    // Below what the month was refilled with: so far, and what that comes to.
    let (mut below, mut owed) = (0_i64, 0_i64);
    // What nothing bills is no invoice's, and gives nothing back.
    for Step { at, old, new, .. } in walk(month.plan_value, within).filter(|step| step.billed) {
        if new > old {
            let units = new.saturating_sub(old);
            let fills = units.min(below);
            below -= fills;
            let upgrade = upgrades.len();
            for (units, fills) in [(fills, true), (units - fills, false)] {
                layers.push(Layer { upgrade, units, fills });
            }
            upgrades.push(Upgrade { at, value: new, worth: worth(units, at), paid: None });
            continue;
        }
        let mut units = old.saturating_sub(new);
        while units > 0
            && let Some(newest) = layers.last_mut()
        {
            let takes = units.min(newest.units);
            newest.units -= takes;
            units -= takes;
            upgrades[newest.upgrade].worth -= worth(takes, at);
            below += if newest.fills { takes } else { 0 };
            if newest.units == 0 {
                layers.pop();
            }
        }
        below += units;
        owed = owed.saturating_add(worth(units, at));
    }
    for upgrade in upgrades.iter_mut().rev() {
        let gives = owed.min(upgrade.worth.max(0));
        upgrade.worth -= gives;
        owed -= gives;
    }
    upgrades
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::subscriptions::change::{Change, PlanChange};

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    /// A month of 3000 seconds with these changes: when, and to what.
    fn standing(value: i64, changes: &[(i64, i64)]) -> Standing {
        let mut before = value;
        let changes = changes.iter().map(|(at, new)| {
            let old_value = std::mem::replace(&mut before, *new);
            PlanChange {
                subscription_id: "sub_1".into(),
                at: second(*at),
                old_value,
                new_value: *new,
                event_id: None,
                billed: true,
            }
        });
        let month = Month {
            subscription_id: "sub_1".into(),
            start_at: second(0),
            end_at: second(3000),
            user_id: "alice".into(),
            value,
            plan_value: value,
            paid: None,
            left_over: 0,
            extra: 0,
            changes: 0,
            refill_key: "refill".into(),
            replaces: false,
        };
        let mut standing = Standing { months: vec![month], changes: changes.collect(), ..Standing::default() };
        for change in standing.settle().1 {
            if let Change::SetExtra(month) = change {
                standing.months = vec![month];
            }
        }
        standing
    }

    fn paid(invoice: &str, at: i64, value: i64) -> PaidChange {
        PaidChange { subscription_id: "sub_1".into(), at: second(at), invoice: invoice.into(), amount: 1, value }
    }

    fn of(standing: &Standing, paid: &[PaidChange]) -> Vec<(String, i64)> {
        shares(standing, paid).into_iter().map(|share| (share.invoice.to_owned(), share.amount)).collect()
    }

    fn wanted(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
        rows.iter().map(|(invoice, amount)| ((*invoice).to_owned(), *amount)).collect()
    }

    #[test]
    fn each_upgrade_is_its_own_invoices() {
        let standing = standing(300, &[(1000, 600), (2000, 900)]);
        let all = [paid("in_1", 1000, 600), paid("in_2", 2001, 900)];
        assert_eq!(of(&standing, &all), wanted(&[("in_1", 200), ("in_2", 100)]));
        assert_eq!(of(&standing, &all[1..]), wanted(&[("in_2", 100)]), "what nobody paid for is nobody's");
    }

    #[test]
    fn what_is_reckoned_from_an_earlier_moment_is_found_by_the_plan_that_it_leads_to() {
        let standing = standing(300, &[(1000, 600), (2000, 900)]);
        assert_eq!(of(&standing, &[paid("in_1", 700, 600)]), wanted(&[("in_1", 200)]));
        assert!(of(&standing, &[paid("in_1", 700, 500)]).is_empty(), "another plan");
        assert!(of(&standing, &[paid("in_1", 2500, 900)]).is_empty(), "a later moment");
        let two = [paid("in_1", 1000, 600), paid("in_2", 1500, 900)];
        assert_eq!(of(&standing, &two), wanted(&[("in_1", 200), ("in_2", 100)]));
    }

    #[test]
    fn a_downgrade_gives_back_of_the_newest_upgrade_first() {
        let standing = standing(300, &[(1000, 600), (1500, 900), (2000, 600)]);
        let all = [paid("in_1", 1000, 600), paid("in_2", 1500, 900), paid("in_3", 2000, 600)];
        assert_eq!(of(&standing, &all), wanted(&[("in_1", 200), ("in_2", 50)]));
    }

    #[test]
    fn what_was_taken_below_the_refill_is_filled_first() {
        let standing = standing(600, &[(1000, 300), (2000, 1200)]);
        assert_eq!(standing.months[0].extra, 100);
        assert_eq!(of(&standing, &[paid("in_2", 2000, 1200)]), wanted(&[("in_2", 100)]));
    }

    proptest! {
        #[test]
        fn the_shares_come_to_what_was_granted(
            value in 0i64..1_000_000_000, steps in prop::collection::vec((1i64..3000, 0i64..1_000_000_000), 0..8)
        ) {
            let mut steps = steps;
            steps.sort_unstable_by_key(|step| step.0);
            steps.dedup_by_key(|step| step.0);
            let standing = standing(value, &steps);
            let all: Vec<PaidChange> = steps.iter().map(|(at, new)| paid(&format!("in_{at}"), *at, *new)).collect();
            let sum: i64 = shares(&standing, &all).iter().map(|share| share.amount).sum();
            let extra = standing.months[0].extra;
            prop_assert!(sum <= extra && sum >= extra - 16, "{sum} of {extra}");
            prop_assert!(shares(&standing, &all).iter().all(|share| share.amount >= 0));
        }
    }
}
