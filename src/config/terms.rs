//! The terms of trade, judged: what is sold must be told apart by its price, and every amount must be one.

use std::{collections::BTreeMap, time::Duration};

use bursar_jobs::{
    base::{credits::Credits, money},
    terms::{Package, Policy, RefillTerms, Selling, Terms, Tier},
};

use super::{
    SettingsError, Stripe, dunning, number, payout,
    raw::{self, Raw},
};

pub(super) fn read(raw: &Raw, stripe: &Stripe) -> Result<Terms, SettingsError> {
    let mut tiers = Vec::new();
    for (name, tier) in &raw.tiers {
        let at = |field: &str| format!("tiers.{name}.{field}");
        let credits = positive(&at("credits"), &tier.credits.0)?;
        for price in &tier.prices.0 {
            price_id(&at("prices"), price)?;
        }
        tiers.push(Tier { name: name.clone(), credits, prices: tier.prices.0.clone(), refill: refill(name, tier)? });
    }
    let mut packages = Vec::new();
    for (name, package) in &raw.packages {
        let at = |field: &str| format!("packages.{name}.{field}");
        let currency = currency(&at("currency"), &package.currency.0)?;
        let price = package.price.as_ref().map(|price| price.0.clone());
        if let Some(price) = &price {
            price_id(&at("price"), price)?;
        }
        packages.push(Package {
            name: name.clone(),
            credits: positive(&at("credits"), &package.credits.0)?,
            amount: amount(&at("amount"), &package.amount.0, &currency)?,
            currency,
            price,
        });
    }
    let selling = selling(raw)?;
    tell_apart(&tiers, &packages, &selling.metered)?;

    let skills =
        raw.skills.iter().map(|(name, cost)| Ok((name.clone(), positive(&format!("skills.{name}"), &cost.0)?)));
    let initial_credits = credits("credits.initial", &raw.credits.initial.0)?;
    if initial_credits < Credits::ZERO {
        return Err(SettingsError::new("credits.initial", format!("is {initial_credits}"), "Write 0 or more."));
    }
    let terms = Terms {
        skills: skills.collect::<Result<_, SettingsError>>()?,
        payout: payout::read(&raw.payout, &raw.skills)?,
        initial_credits,
        livemode: stripe.livemode,
        stripe_on: stripe.is_on(),
        selling,
        dunning: dunning::read(&raw.dunning, raw.letters.portal_url.as_ref())?,
        grace: grace(&raw.subscriptions.grace_days.0)?,
        tiers,
        packages,
    };
    payout::judge(&terms)?;
    Ok(terms)
}

/// What purchases by amount cost. A minor unit must be worth a whole number of millionths of a credit, or an amount could not be exact.
fn selling(raw: &Raw) -> Result<Selling, SettingsError> {
    const LIST: &str = "checkout.currencies";
    const RATE: &str = "checkout.credits_per_unit";
    let mut metered = Vec::new();
    for (skill, meter) in &raw.meters {
        for price in &meter.prices.0 {
            price_id(&format!("meters.{skill}.prices"), price)?;
            metered.push(price.clone());
        }
    }
    let titles =
        raw.packages.iter().filter_map(|(name, package)| Some((name.clone(), package.title.as_ref()?.0.clone())));
    let codes = raw.checkout.currencies.0.iter().map(|code| currency(LIST, code));
    let selling = Selling {
        currencies: codes.collect::<Result<_, _>>()?,
        credits_per_unit: positive(RATE, &raw.checkout.credits_per_unit.0)?,
        metered,
        titles: titles.collect(),
    };
    if selling.currencies.is_empty() {
        return Err(SettingsError::new(LIST, "is empty", "Write at least one, like usd."));
    }
    match selling.currencies.iter().find(|code| selling.credits_for(1, code).is_none()) {
        Some(code) => {
            let problem = format!(
                "is {}: the smallest amount of {code} is no whole number of millionths",
                selling.credits_per_unit
            );
            Err(SettingsError::new(RATE, problem, "Write fewer decimals."))
        }
        None => Ok(selling),
    }
}

fn grace(text: &str) -> Result<Duration, SettingsError> {
    const KEY: &str = "subscriptions.grace_days";
    match number::<u32>(KEY, text, "a whole number of days")? {
        days @ 0..=365 => Ok(Duration::from_hours(24 * u64::from(days))),
        days => Err(SettingsError::new(KEY, format!("is {days}"), "Write a whole number of days, at most 365.")),
    }
}

fn refill(name: &str, tier: &raw::Tier) -> Result<RefillTerms, SettingsError> {
    let (policy, months) = (format!("tiers.{name}.policy"), format!("tiers.{name}.cap_months"));
    let cap =
        tier.cap_months.as_ref().map(|text| number::<u32>(&months, &text.0, "a whole number from 1")).transpose()?;
    let policy = match (tier.policy.as_ref().map_or("rollover", |policy| policy.0.as_str()), cap) {
        ("rollover", None) => Policy::Rollover,
        ("reset", None) => Policy::Reset,
        ("cap", Some(months @ 1..)) => Policy::Cap { months },
        ("cap", _) => {
            return Err(SettingsError::new(
                &months,
                "is missing or 0",
                "Write how many months' worth may be kept, from 1.",
            ));
        }
        ("rollover" | "reset", Some(_)) => {
            return Err(SettingsError::new(&months, "is set", "It goes with policy = \"cap\" only."));
        }
        (other, _) => {
            return Err(SettingsError::new(&policy, format!("is {other:?}"), "Write rollover, reset or cap."));
        }
    };
    let key = format!("tiers.{name}.trial_credits");
    let trial = tier.trial_credits.as_ref().map(|text| credits(&key, &text.0)).transpose()?.unwrap_or_default();
    if trial < Credits::ZERO {
        return Err(SettingsError::new(&key, format!("is {trial}"), "Write 0 or more."));
    }
    Ok(RefillTerms { policy, trial, free: tier.free })
}

/// A payment is told by its Stripe price, or by its amount: neither may mean two things.
fn tell_apart(tiers: &[Tier], packages: &[Package], metered: &[String]) -> Result<(), SettingsError> {
    let of_tiers =
        tiers.iter().flat_map(|tier| tier.prices.iter().map(|price| (price, format!("tiers.{}.prices", tier.name))));
    let of_packages = packages
        .iter()
        .filter_map(|package| Some((package.price.as_ref()?, format!("packages.{}.price", package.name))));
    let mut prices = BTreeMap::new();
    for (price, key) in of_tiers.chain(of_packages) {
        if let Some(other) = prices.insert(price, key.clone()) {
            let problem = format!("holds {price}, and `{other}` too");
            return Err(SettingsError::new(&key, problem, "Give each Stripe price to one tier or package."));
        }
    }
    if let Some((price, key)) = metered.iter().find_map(|price| prices.get_key_value(price)) {
        let problem = format!("holds {price}, and a meter does too");
        return Err(SettingsError::new(
            key,
            problem,
            "A price that is charged by use (`[meters.SKILL] prices`) sells no credits.",
        ));
    }
    let mut amounts = BTreeMap::new();
    for package in packages {
        let key = format!("packages.{}.amount", package.name);
        if let Some(other) = amounts.insert((package.amount, &package.currency), key.clone()) {
            let problem = format!("is {}, and `{other}` too", money::format(package.amount, &package.currency));
            return Err(SettingsError::new(
                &key,
                problem,
                "A payment is told by its amount: give each package another.",
            ));
        }
    }
    Ok(())
}

fn credits(key: &str, text: &str) -> Result<Credits, SettingsError> {
    text.parse().map_err(|error| SettingsError::new(key, format!("is {text:?}"), format!("Mend it: {error}.")))
}

fn positive(key: &str, text: &str) -> Result<Credits, SettingsError> {
    let amount = credits(key, text)?;
    if amount.is_positive() {
        return Ok(amount);
    }
    Err(SettingsError::new(key, format!("is {amount}"), "Write more than 0 credits."))
}

pub(super) fn currency(key: &str, text: &str) -> Result<String, SettingsError> {
    let code = text.to_ascii_lowercase();
    if code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase()) {
        return Ok(code);
    }
    Err(SettingsError::new(key, format!("is {text:?}"), "Write a currency's three letters, like usd."))
}

fn amount(key: &str, text: &str, currency: &str) -> Result<i64, SettingsError> {
    let amount = money::parse(text, currency).filter(|amount| *amount > 0).ok_or_else(|| {
        let places = money::decimals(currency);
        let remedy = format!("Write an amount of {currency} above 0 with at most {places} decimals, in quotes.");
        SettingsError::new(key, format!("is {text:?}"), remedy)
    })?;
    match money::off_step(amount, money::charge_step(currency), currency) {
        None => Ok(amount),
        Some(why) => {
            let remedy = format!("Stripe takes no other amounts of {currency}: {why}.");
            Err(SettingsError::new(key, format!("is {text:?}"), remedy))
        }
    }
}

fn price_id(key: &str, id: &str) -> Result<(), SettingsError> {
    if !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let remedy = "Copy the price's id (price_…) from Stripe's dashboard, with a comma between several.";
    Err(SettingsError::new(key, format!("holds {id:?}"), remedy))
}
