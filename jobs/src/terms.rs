//! The terms of trade: what is sold, for how much, and what is paid out. Read from the settings once, then only looked at.

use std::{collections::BTreeMap, time::Duration};

use crate::credits::Credits;

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

    /// The package that a Stripe price sells.
    pub fn package_of_price(&self, price: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.price.as_deref() == Some(price))
    }

    /// The package that costs exactly this, before discounts and tax.
    pub fn package_of_amount(&self, amount: i64, currency: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.amount == amount && package.currency == currency)
    }
}
