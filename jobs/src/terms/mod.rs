//! The terms of trade: what is sold, for how much, and what is paid out. Read from the settings once, then only looked at.

use std::{collections::BTreeMap, time::Duration};

pub mod dunning;

use crate::{
    base::{credits::Credits, money},
    terms::dunning::Dunning,
};

/// Everything a job must know of this deployment's trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Subscriptions that refill credits.
    pub tiers: Vec<Tier>,
    /// One-time purchases.
    pub packages: Vec<Package>,
    /// What one use of a skill costs.
    pub skills: BTreeMap<String, Credits>,
    /// What receivers are paid.
    pub payout: PayoutTerms,
    /// Credits a new user starts with.
    pub initial_credits: Credits,
    /// The mode of this deployment: an event of the other mode has no effect.
    pub livemode: bool,
    /// Whether Stripe is on. Off, payouts are recorded as skipped.
    pub stripe_on: bool,
    /// How long an unpaid renewal keeps access.
    pub grace: Duration,
    /// How purchases are priced that are of no package.
    pub selling: Selling,
    /// How failed renewals are chased.
    pub dunning: Dunning,
}

/// How an amount of money becomes credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selling {
    /// What is paid in: lower-case ISO codes, the usual one first.
    pub currencies: Vec<String>,
    /// Credits for 1.00 of a currency, before tax.
    pub credits_per_unit: Credits,
    /// Stripe prices that are charged by use: they sell no tier, and are no mistake.
    pub metered: Vec<String>,
    /// What buyers read, by package; a package without a title has its name only.
    pub titles: BTreeMap<String, String>,
}

impl Default for Selling {
    fn default() -> Self {
        Self {
            currencies: vec!["usd".into()],
            credits_per_unit: Credits::whole(1).unwrap_or_default(),
            metered: Vec::new(),
            titles: BTreeMap::new(),
        }
    }
}

impl Selling {
    /// What an amount in minor units buys: exact, or none. Another currency buys nothing.
    pub fn credits_for(&self, amount: i64, currency: &str) -> Option<Credits> {
        if amount <= 0 || !self.currencies.iter().any(|known| known == currency) {
            return None;
        }
        let units = 10_i128.pow(u32::try_from(money::decimals(currency)).ok()?);
        let micros = i128::from(amount) * i128::from(self.credits_per_unit.micros());
        let exact = micros % units == 0;
        exact
            .then(|| i64::try_from(micros / units).ok())
            .flatten()
            .map(Credits::from_micros)
            .filter(|c| c.is_positive())
    }
}

/// A subscription tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Its name, part of the key of every refill: never reuse one for other terms.
    pub name: String,
    /// Credits a month.
    pub credits: Credits,
    /// The Stripe prices that sell it: monthly, annual, grandfathered.
    pub prices: Vec<String>,
    /// What becomes of its refills.
    pub refill: RefillTerms,
}

/// How a tier's credits are given and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefillTerms {
    /// What becomes of what is left of one refill when the next comes.
    pub policy: Policy,
    /// What a trial grants; none by default.
    pub trial: Credits,
    /// Its price is 0: what costs nothing is a refill, and no trial.
    pub free: bool,
}

/// A period of so many days is a month, or more; a shorter one grants by its days.
const DAYS_OF_A_MONTH: i64 = 28;

impl Tier {
    /// What so many of it grant in one period: a month's credits, or, where the period is of days and shorter than a month (a price by the
    /// week, by the day), 12/365 of them for each day, so that a year comes to twelve months. None where that cannot be counted.
    pub fn grants(&self, quantity: i64, days: Option<i64>) -> Option<Credits> {
        let month = self.credits.times(quantity)?;
        let Some(days) = days.filter(|days| (1..DAYS_OF_A_MONTH).contains(days)) else { return Some(month) };
        i64::try_from(i128::from(month.micros()) * i128::from(days) * 12 / 365).ok().map(Credits::from_micros)
    }
}

/// What becomes of what is left of one refill when the next comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// It stays.
    #[default]
    Rollover,
    /// It expires.
    Reset,
    /// It stays, up to so many months' worth together with the new refill.
    Cap {
        /// From 1.
        months: u32,
    },
}

/// A package of credits for one payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Credits it grants.
    pub credits: Credits,
    /// Its price before discounts and tax, in the currency's minor unit.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// The Stripe price that sells it, where there is one.
    pub price: Option<String>,
}

/// How a payout follows from a skill's cost, and what holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PayoutTerms {
    /// Minor units of money for one credit of the skill's cost.
    pub minor_units_per_credit: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// Skills that are paid otherwise.
    pub skills: BTreeMap<String, SkillRate>,
    /// What holds payouts, for each currency that has any limit.
    pub limits: BTreeMap<String, Limits>,
}

/// What is paid for one skill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillRate {
    /// Minor units of money for one credit of the skill's cost.
    pub minor_units_per_credit: i64,
    /// Lower-case ISO code.
    pub currency: String,
}

impl SkillRate {
    /// What a receiver is owed for a cost in credits: exact, or what is wrong with it.
    pub fn owed(&self, cost: Credits) -> Result<i64, String> {
        let scaled = i128::from(cost.micros()) * i128::from(self.minor_units_per_credit);
        let of = format!("{cost} credits at {} a credit", self.minor_units_per_credit);
        let amount = i64::try_from(scaled / 1_000_000).ok().filter(|amount| *amount > 0 && scaled % 1_000_000 == 0);
        let amount =
            amount.ok_or_else(|| format!("{of} is no whole, positive amount of {}'s minor unit", self.currency))?;
        match money::off_step(amount, money::payout_step(&self.currency), &self.currency) {
            None => Ok(amount),
            Some(why) => Err(format!("{of} is no amount that Stripe pays out: {why}")),
        }
    }
}

/// What holds payouts in one currency; in its minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// What must be held for a receiver before it is sent; 0: it is sent at once.
    pub minimum: i64,
    /// What may leave for one receiver on a UTC day.
    pub daily_cap_per_receiver: Option<i64>,
    /// What may leave for all of them on a UTC day.
    pub daily_cap: Option<i64>,
}

impl PayoutTerms {
    /// What is paid for a skill.
    pub fn rate(&self, skill: &str) -> SkillRate {
        let usual =
            || SkillRate { minor_units_per_credit: self.minor_units_per_credit, currency: self.currency.clone() };
        self.skills.get(skill).cloned().unwrap_or_else(usual)
    }

    /// What holds payouts in a currency.
    pub fn limits(&self, currency: &str) -> Limits {
        self.limits.get(currency).copied().unwrap_or_default()
    }
}

impl Terms {
    /// The tier that a Stripe price sells.
    pub fn tier_of_price(&self, price: &str) -> Option<&Tier> {
        self.tiers.iter().find(|tier| tier.prices.iter().any(|p| p == price))
    }

    /// Whether a Stripe price is charged by use, by the settings.
    pub fn is_metered(&self, price: &str) -> bool {
        self.selling.metered.iter().any(|known| known == price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_by_the_week_grants_by_its_days_and_a_year_of_it_twelve_months() {
        let credits = Credits::whole(365).unwrap();
        let tier = Tier { name: "pro".into(), credits, prices: Vec::new(), refill: RefillTerms::default() };
        let grants = |quantity, days| tier.grants(quantity, days).unwrap().to_string();
        assert_eq!((grants(1, Some(7)), grants(2, Some(1))), ("84".into(), "24".into()));
        assert_eq!(
            (grants(1, Some(28)), grants(1, None), grants(1, Some(0))),
            ("365".into(), "365".into(), "365".into())
        );
        assert_eq!(tier.grants(i64::MAX, Some(7)), None);
    }

    #[test]
    fn a_receiver_is_owed_what_stripe_pays_out() {
        let owed = |cost: &str, rate: i64, currency: &str| {
            SkillRate { minor_units_per_credit: rate, currency: currency.into() }.owed(cost.parse().unwrap())
        };
        assert_eq!(owed("2", 50, "usd"), Ok(100));
        assert_eq!(owed("2", 50, "huf"), Ok(100));
        for (cost, rate, currency, wanted) in [
            ("0.5", 1, "usd", "no whole, positive amount"),
            ("1", 50, "huf", "0.50 HUF is no multiple of 1.00 HUF"),
            ("3", 50, "twd", "1.50 TWD is no multiple"),
            ("3", 50, "ugx", "1.50 UGX is no multiple"),
            ("1", 55, "kwd", "0.055 KWD is no multiple of 0.010 KWD"),
        ] {
            let refused = owed(cost, rate, currency).unwrap_err();
            assert!(refused.contains(wanted), "{refused}");
        }
    }

    #[test]
    fn an_amount_of_any_currency_buys_exactly_its_worth() {
        let selling = |per: &str| Selling {
            currencies: ["usd", "jpy", "kwd", "ugx", "isk"].map(str::to_owned).to_vec(),
            credits_per_unit: per.parse().unwrap(),
            ..Selling::default()
        };
        let buys = |per: &str, amount, currency: &str| {
            selling(per).credits_for(amount, currency).map(|credits| credits.to_string())
        };
        assert_eq!(buys("1", 2500, "usd").as_deref(), Some("25"));
        assert_eq!(buys("1", 1, "usd").as_deref(), Some("0.01"));
        assert_eq!(buys("1", 2500, "jpy").as_deref(), Some("2500"));
        assert_eq!(buys("1", 2500, "kwd").as_deref(), Some("2.5"));
        assert_eq!(buys("1", 1_200_000, "ugx").as_deref(), Some("12000"), "Stripe writes it with two decimals");
        assert_eq!(buys("1", 500, "isk").as_deref(), Some("5"));
        assert_eq!(buys("0.000001", 1, "usd"), None, "less than a millionth");
        assert_eq!(buys("9000000000000", 99_999_999, "jpy"), None, "more than can be counted");
        for (amount, currency) in [(0, "usd"), (-5, "usd"), (5, "eur"), (5, "USD")] {
            assert_eq!(buys("1", amount, currency), None, "{amount} {currency}");
        }
    }
}
