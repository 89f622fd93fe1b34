//! Whether what the settings sell is for sale at Stripe, for the same money.

use std::collections::{BTreeMap, BTreeSet};

use bursar_jobs::{
    Stripe as Client, StripeReply, StripeSeen,
    base::money,
    stripe_setup::{self as setup, Price},
    terms::{Package, Tier},
};
use tokio::{sync::oneshot::Receiver, task::JoinSet, time::timeout};

use crate::config::Settings;

use super::{
    check::{Check, Verdict},
    meters,
    stripe::{PATIENCE, unseen},
};

/// What came back for each price id.
pub(super) type Found = BTreeMap<String, Result<Price, StripeSeen>>;

/// `on_sale` tells the packages, where the database can be asked; else those of the settings are looked at.
pub(super) async fn look(client: &Client, settings: &Settings, on_sale: Receiver<Vec<Package>>) -> Vec<Check> {
    let terms = match settings.terms() {
        Ok(terms) => terms,
        Err(error) => return vec![Check::setting("stripe.prices", &error)],
    };
    let packages = match timeout(PATIENCE, on_sale).await {
        Ok(Ok(packages)) => packages,
        Ok(Err(_)) | Err(_) => terms.packages,
    };
    let metered = settings.metered_prices();
    let ids: BTreeSet<&String> = terms
        .tiers
        .iter()
        .flat_map(|tier| &tier.prices)
        .chain(packages.iter().filter_map(|package| package.price.as_ref()))
        .chain(metered.iter().map(|(_, price)| price))
        .collect();
    let mut asked = JoinSet::new();
    for id in ids {
        let (client, id) = (client.clone(), id.clone());
        asked.spawn(async move {
            let seen = client.look(&setup::price(&id), true).await.seen;
            (id, seen.read().map_err(|seen| *seen))
        });
    }
    let mut found = Found::new();
    while let Some(one) = asked.join_next().await {
        found.extend(one.ok());
    }
    let of_tiers = terms.tiers.iter().map(|tier| {
        let check = of_tier(tier, &found, &terms.selling.currencies);
        let odd = (check.result == Verdict::Ok).then(|| out_of_order(tier, &terms.tiers, &found)).flatten();
        odd.unwrap_or(check)
    });
    let mut checks: Vec<Check> = of_tiers.collect();
    checks.extend(packages.iter().map(|package| of_package(package, &found)));
    checks.extend(meters::look(client, settings, &found).await);
    checks
}

/// A price that is there, or what to say of it.
pub(super) fn there<'a>(name: &str, id: &str, found: &'a Found) -> Result<&'a Price, Check> {
    match found.get(id) {
        Some(Ok(price)) => Ok(price),
        Some(Err(seen)) => match &seen.reply {
            StripeReply::Rejected { .. } if seen.status == Some(404) => Err(Check::fail(
                name,
                format!("{id} is not there"),
                "Copy the price's id from Stripe's dashboard, of the same account and the same mode as the key.",
            )),
            _ => Err(unseen(name, seen)),
        },
        None => Err(Check::skip(name, format!("{id} was not looked at"))),
    }
}

fn of_tier(tier: &Tier, found: &Found, currencies: &[String]) -> Check {
    let name = format!("stripe.tier.{}", tier.name);
    if tier.prices.is_empty() {
        let remedy = format!(
            "Set STRIPE_PRICE_{} (or `[tiers.{}] prices`), or take the tier out.",
            tier.name.to_uppercase(),
            tier.name
        );
        return Check::fail(&name, "no price sells it, and nothing refills it", remedy);
    }
    let (mut sells, mut seen, mut odd) = (false, Vec::new(), None);
    for id in &tier.prices {
        let price = match there(&name, id, found) {
            Ok(price) => price,
            Err(check) => return check,
        };
        let Some(recurring) = &price.recurring else {
            let remedy = "Make a recurring price at Stripe, and name that one: a tier is a subscription.";
            return Check::fail(&name, format!("{id} is paid once"), remedy);
        };
        if recurring.usage_type.as_deref() == Some("metered") {
            let remedy = "Name a licensed price here, and this one as `[meters.SKILL] prices`.";
            return Check::fail(&name, format!("{id} is charged by use"), remedy);
        }
        if !currencies.contains(&price.currency) {
            odd = Some((
                format!("{id} is in {}", price.currency),
                "Add the currency to `[checkout] currencies`, or name a price in one of them.",
            ));
        }
        if price.unit_amount == Some(0) && !tier.refill.free {
            let remedy =
                "Write `free = true` for the tier: an invoice of 0 is else taken for a trial, and refills nothing.";
            odd = Some((format!("{id} costs nothing"), remedy));
        }
        sells |= price.active;
        let amount = price
            .unit_amount
            .map_or_else(|| "by its steps".to_owned(), |amount| money::format(amount, &price.currency));
        let packs =
            price.transform_quantity.as_ref().map_or_else(String::new, |packs| format!(" for {}", packs.divide_by));
        let every = match recurring.interval_count.unwrap_or(1) {
            1 => recurring.interval.clone(),
            count => format!("{count} {}s", recurring.interval),
        };
        seen.push(format!("{id} {amount}{packs} a {every}{}", if price.active { "" } else { ", not sold any more" }));
    }
    let seen = seen.join("; ");
    match odd {
        _ if !sells => {
            Check::fail(&name, seen, "Activate the price in Stripe's dashboard, or name one that is active.")
        }
        Some((odd, remedy)) => Check::warn(&name, odd, remedy),
        None => Check::ok(&name, seen),
    }
}

/// Fewer credits for more money in the same time: two prices were mistaken for each other, and each buyer gets the other's credits.
fn out_of_order(tier: &Tier, tiers: &[Tier], found: &Found) -> Option<Check> {
    let sold = |tier: &Tier| {
        let prices = tier.prices.iter().filter_map(|id| found.get(id)?.as_ref().ok()).filter(|price| price.active);
        prices.cloned().collect::<Vec<_>>()
    };
    let every = |price: &Price| {
        let recurring = price.recurring.as_ref()?;
        Some((price.currency.clone(), recurring.interval.clone(), recurring.interval_count.unwrap_or(1)))
    };
    let own = sold(tier);
    for bigger in tiers.iter().filter(|other| other.credits > tier.credits) {
        for (mine, theirs) in own.iter().flat_map(|mine| sold(bigger).into_iter().map(move |theirs| (mine, theirs))) {
            let (Some(dear), Some(cheap @ 1..)) = (mine.unit_amount, theirs.unit_amount) else { continue };
            if dear > cheap && every(mine) == every(&theirs) {
                let said = |amount| money::format(amount, &mine.currency);
                let seen = format!(
                    "{} credits cost {} ({}), and the {} of {} cost {} ({})",
                    tier.credits,
                    said(dear),
                    mine.id,
                    bigger.credits,
                    bigger.name,
                    said(cheap),
                    theirs.id
                );
                let remedy = "Check that the two price ids were not mistaken for each other: buyers get the credits of the tier that names their price.";
                return Some(Check::warn(format!("stripe.tier.{}", tier.name), seen, remedy));
            }
        }
    }
    None
}

fn of_package(package: &Package, found: &Found) -> Check {
    let name = format!("stripe.package.{}", package.name);
    let asked = money::format(package.amount, &package.currency);
    let Some(id) = &package.price else {
        return Check::ok(&name, format!("{asked}, sold by its amount"));
    };
    let price = match there(&name, id, found) {
        Ok(price) => price,
        Err(check) => return check,
    };
    if price.recurring.is_some() {
        let remedy = "Make a one-time price at Stripe, and name that one: a package is bought once.";
        return Check::fail(&name, format!("{id} is paid again and again"), remedy);
    }
    if price.currency != package.currency || price.unit_amount != Some(package.amount) {
        let at_stripe = price
            .unit_amount
            .map_or_else(|| "by its steps".to_owned(), |amount| money::format(amount, &price.currency));
        let remedy = "Write the price's own amount and currency into the package, or name another price.";
        return Check::fail(&name, format!("{id} costs {at_stripe} at Stripe, and {asked} here"), remedy);
    }
    if !price.active {
        let remedy = "Activate the price in Stripe's dashboard, or name one that is active.";
        return Check::fail(&name, format!("{id} is not sold any more"), remedy);
    }
    Check::ok(&name, format!("{id} {asked}"))
}
