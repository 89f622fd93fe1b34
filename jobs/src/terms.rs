//! The terms of trade: what is sold, for how much, and what is paid out. Read from the settings once, then only looked at.

use std::{collections::BTreeMap, time::Duration};

use crate::{credits::Credits, dunning::Dunning, money};

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
}

impl Default for Selling {
    fn default() -> Self {
        Self { currencies: vec!["usd".into()], credits_per_unit: Credits::whole(1).unwrap_or_default() }
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

/// How a payout follows from a skill's cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutTerms {
    /// Minor units of money for one credit of the skill's cost.
    pub minor_units_per_credit: i64,
    /// Lower-case ISO code.
    pub currency: String,
}

impl Terms {
    /// The tier that a Stripe price sells.
    pub fn tier_of_price(&self, price: &str) -> Option<&Tier> {
        self.tiers.iter().find(|tier| tier.prices.iter().any(|p| p == price))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_of_any_currency_buys_exactly_its_worth() {
        let selling = |per: &str| Selling {
            currencies: ["usd", "jpy", "kwd"].map(str::to_owned).to_vec(),
            credits_per_unit: per.parse().unwrap(),
        };
        let buys = |per: &str, amount, currency: &str| {
            selling(per).credits_for(amount, currency).map(|credits| credits.to_string())
        };
        assert_eq!(buys("1", 2500, "usd").as_deref(), Some("25"));
        assert_eq!(buys("1", 1, "usd").as_deref(), Some("0.01"));
        assert_eq!(buys("1", 2500, "jpy").as_deref(), Some("2500"));
        assert_eq!(buys("1", 2500, "kwd").as_deref(), Some("2.5"));
        assert_eq!(buys("0.000001", 1, "usd"), None, "less than a millionth");
        assert_eq!(buys("9000000000000", 99_999_999, "jpy"), None, "more than can be counted");
        for (amount, currency) in [(0, "usd"), (-5, "usd"), (5, "eur"), (5, "USD")] {
            assert_eq!(buys("1", amount, currency), None, "{amount} {currency}");
        }
    }
}
