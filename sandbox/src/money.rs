//! What is on the balances: the platform's and those of connected accounts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The currencies the sandbox deals in, in lower case; a part of Stripe's.
const CURRENCIES: &[&str] = &[
    "aed", "aud", "bgn", "bhd", "brl", "cad", "chf", "czk", "dkk", "eur", "gbp", "hkd", "huf", "idr", "ils", "inr",
    "jod", "jpy", "krw", "kwd", "mxn", "myr", "nok", "nzd", "omr", "php", "pln", "ron", "sar", "sek", "sgd", "thb",
    "tnd", "try", "twd", "uah", "usd", "vnd", "zar",
];
/// The balance of the platform itself.
pub(super) const PLATFORM: &str = "";
/// Seconds until a payment is available (two days, as in the United States).
const PENDING: i64 = 2 * 24 * 60 * 60;

/// Balances in minor units, by owner and currency.
#[derive(Debug)]
pub(super) struct Money {
    available: BTreeMap<(String, String), i64>,
    /// When, what currency, how much: payments to the platform that are on their way.
    pending: Vec<(i64, String, i64)>,
}

impl Money {
    pub fn new(start: i64) -> Self {
        let available = CURRENCIES.iter().map(|c| ((PLATFORM.to_owned(), (*c).to_owned()), start)).collect();
        Self { available, pending: Vec::new() }
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

    /// What is available of a currency is so much from now on.
    pub fn set(&mut self, currency: &str, amount: i64) {
        self.available.insert((PLATFORM.to_owned(), currency.to_owned()), amount);
    }

    /// A payment to the platform.
    pub fn earn(&mut self, currency: &str, amount: i64, now: i64) {
        self.pending.push((now + PENDING, currency.to_owned(), amount));
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
