//! What is on the balances: the platform's and those of connected accounts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::failure::Failure;

/// The currencies the sandbox deals in, in lower case; a part of Stripe's.
const CURRENCIES: &[&str] = &[
    "aed", "aud", "bgn", "bhd", "brl", "cad", "chf", "czk", "dkk", "eur", "gbp", "hkd", "huf", "idr", "ils", "inr",
    "isk", "jod", "jpy", "krw", "kwd", "mxn", "myr", "nok", "nzd", "omr", "php", "pln", "ron", "sar", "sek", "sgd",
    "thb", "tnd", "try", "twd", "uah", "ugx", "usd", "vnd", "zar",
];
/// Currencies without decimals, and with three (Stripe: supported currencies).
const ZERO: &[&str] =
    &["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"];
const THREE: &[&str] = &["bhd", "jod", "kwd", "omr", "tnd"];
/// Currencies without decimals that the API writes with two, in steps of a whole unit (Stripe: currencies, special cases).
const WHOLE: &[&str] = &["isk", "ugx"];
/// Stripe: the least that is charged, in minor units; about half a dollar.
const LEAST: &[(&str, i64)] =
    &[("usd", 50), ("eur", 50), ("cad", 50), ("aud", 50), ("chf", 50), ("gbp", 30), ("jpy", 50)];

/// How many of an amount's digits stand behind the point.
pub(super) fn decimals(currency: &str) -> usize {
    if ZERO.contains(&currency) {
        0
    } else if THREE.contains(&currency) {
        3
    } else {
        2
    }
}

/// Refuses what no card network moves: a currency of three decimals is charged in steps of ten of its minor unit, and one that has none in
/// life in whole units.
pub(super) fn check(amount: i64, currency: &str, param: &str) -> Result<(), Failure> {
    if decimals(currency) == 3 && amount % 10 != 0 {
        let message = format!(
            "Invalid {param}: amounts in {} have three decimals, of which the last must be 0.",
            currency.to_uppercase()
        );
        return Err(Failure::invalid(message).param(param));
    }
    if WHOLE.contains(&currency) && amount % 100 != 0 {
        let message = format!(
            "Invalid amount. Currency {} has become effectively zero-decimal and charged amounts must be evenly divisible by 100.",
            currency.to_uppercase()
        );
        return Err(Failure::invalid(message).code("invalid_charge_amount_no_decimal_compatible").param(param));
    }
    Ok(())
}

/// The least that is charged in a currency.
pub(crate) fn least(currency: &str) -> i64 {
    LEAST.iter().find(|(of, _)| *of == currency).map_or(0, |(_, least)| *least)
}

/// The balance of the platform itself.
pub(super) const PLATFORM: &str = "";
/// Seconds until a payment is available (two days, as in the United States).
pub(super) const PENDING: i64 = 2 * 24 * 60 * 60;

/// Balances in minor units, by owner and currency.
#[derive(Debug)]
pub(super) struct Money {
    available: BTreeMap<(String, String), i64>,
    /// When, what currency, how much: payments to the platform that are on their way.
    pending: Vec<(i64, String, i64)>,
    /// What the platform had of each currency before anything moved; an admin who sets a balance sets this too.
    start: BTreeMap<String, i64>,
}

impl Money {
    pub fn new(start: i64) -> Self {
        let available = CURRENCIES.iter().map(|c| ((PLATFORM.to_owned(), (*c).to_owned()), start)).collect();
        let start = CURRENCIES.iter().map(|c| ((*c).to_owned(), start)).collect();
        Self { available, pending: Vec::new(), start }
    }

    /// The currency in lower case, if it is one.
    pub fn currency(text: &str) -> Option<&'static str> {
        CURRENCIES.iter().find(|known| known.eq_ignore_ascii_case(text)).copied()
    }

    pub fn available(&mut self, owner: &str, currency: &str, now: i64) -> i64 {
        self.arrive(now);
        self.available.get(&(owner.to_owned(), currency.to_owned())).copied().unwrap_or_default()
    }

    /// Moves `amount`, which may be negative, to `owner`; where it comes from is the caller's matter.
    pub fn add(&mut self, owner: &str, currency: &str, amount: i64) {
        let balance = self.available.entry((owner.to_owned(), currency.to_owned())).or_default();
        // An admin may have set any number.
        *balance = balance.saturating_add(amount);
    }

    /// What is available of a currency is so much from now on, as if it had started with that much more or less.
    pub fn set(&mut self, currency: &str, amount: i64, now: i64) {
        let more = amount.saturating_sub(self.available(PLATFORM, currency, now));
        let start = self.start.entry(currency.to_owned()).or_default();
        *start = start.saturating_add(more);
        self.available.insert((PLATFORM.to_owned(), currency.to_owned()), amount);
    }

    /// Moves `amount` to the platform or, when it is negative, from it: at once, or as pending until a later time.
    pub fn book(&mut self, currency: &str, amount: i64, available_on: i64, now: i64) {
        if available_on > now {
            self.pending.push((available_on, currency.to_owned(), amount));
        } else {
            self.add(PLATFORM, currency, amount);
        }
    }

    /// What the platform started with, by currency.
    pub fn starts(&self) -> impl Iterator<Item = (&str, i64)> {
        self.start.iter().map(|(currency, amount)| (currency.as_str(), *amount))
    }

    /// What the platform has of a currency, available or pending.
    pub fn total(&mut self, currency: &str, now: i64) -> i64 {
        let available = self.available(PLATFORM, currency, now);
        let pending: i64 = self.pending.iter().filter(|(_, of, _)| of == currency).map(|(_, _, amount)| amount).sum();
        available.saturating_add(pending)
    }

    /// Stripe's `balance` object.
    pub fn shown(&mut self, owner: &str, now: i64) -> Value {
        self.arrive(now);
        let entry = |currency: &str, amount: i64| json!({ "amount": amount, "currency": currency, "source_types": { "card": amount } });
        let mut pending: BTreeMap<&str, i64> = BTreeMap::new();
        for (_, currency, amount) in self.pending.iter().filter(|_| owner == PLATFORM) {
            *pending.entry(currency).or_default() += amount;
        }
        let mut available: BTreeMap<&str, i64> = BTreeMap::from([("usd", 0)]);
        for ((of, currency), amount) in &self.available {
            if of == owner {
                available.insert(currency, *amount);
            }
        }
        let pending_of = |currency: &str| entry(currency, pending.get(currency).copied().unwrap_or_default());
        json!({
            "object": "balance",
            "available": available.iter().map(|(currency, amount)| entry(currency, *amount)).collect::<Vec<_>>(),
            "connect_reserved": available.keys().map(|c| json!({ "amount": 0, "currency": c })).collect::<Vec<_>>(),
            "livemode": false,
            "pending": available.keys().map(|currency| pending_of(currency)).collect::<Vec<_>>(),
        })
    }

    fn arrive(&mut self, now: i64) {
        let (due, waiting) = std::mem::take(&mut self.pending).into_iter().partition(|(at, ..)| *at <= now);
        self.pending = waiting;
        let due: Vec<(i64, String, i64)> = due;
        for (_, currency, amount) in due {
            self.add(PLATFORM, &currency, amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn three_decimals_end_in_a_zero() {
        assert!(
            check(1_230, "kwd", "amount").is_ok()
                && check(1_234, "usd", "amount").is_ok()
                && check(7, "jpy", "amount").is_ok()
        );
        for currency in ["bhd", "jod", "kwd", "omr", "tnd"] {
            assert_eq!(check(1_234, currency, "amount").unwrap_err().status, 400, "{currency}");
        }
    }
}
