//! What a line of an invoice charges of the full price, and so how many months of service it pays for. Pure arithmetic, exact in integers.
//!
//! Rules
//! - The full price is that of the line's quantity before discounts and tax. A line that charges it pays for the price's whole interval.
//! - A line that charges less, or more, pays for that part of the interval: a first period that ends at `billing_cycle_anchor`, one that
//!   ends at `cancel_at` or begins at the end of a trial, time before a subscription that was backdated. Whether Stripe calls the line a
//!   proration does not matter.
//! - A month of service is the interval of a monthly price, a twelfth of a yearly one; an interval of 28 to 45 days counts as a month. A
//!   price by fewer days pays for parts of its own interval.
//! - Month k of a period, from 0, grants what the line pays for beyond k months, and at most one month's credits; the last month of the
//!   period takes all that is left. So the months together come to what was paid for.
//! - The full price is known from the line (before 2025-03-31.basil it holds the whole price), from Stripe's price where it was asked
//!   for, or from a line that shows its unit amount and charges less. On a proration line Stripe's unit amount may be that of the part,
//!   so one that equals the amount says nothing. Where that leaves it open, Stripe is asked.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{base::calendar, subscriptions::invoice::Line};

/// A price of Stripe's, as far as it says what a line costs in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// `price_…`
    pub id: String,
    #[serde(default)]
    currency: String,
    unit_amount: Option<i64>,
    unit_amount_decimal: Option<String>,
    recurring: Option<Recurring>,
    transform_quantity: Option<Packs>,
    currency_options: Option<BTreeMap<String, Amount>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recurring {
    interval: String,
    interval_count: Option<i64>,
}

/// What is charged for is packs of so many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Packs {
    divide_by: i64,
    round: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Amount {
    unit_amount: Option<i64>,
    unit_amount_decimal: Option<String>,
}

/// So many months of service, as an exact fraction above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Months {
    /// The numerator.
    pub num: i64,
    /// The denominator.
    pub den: i64,
}

/// What a line charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// The full price of a whole interval, which is of so many days where it is shorter than a month.
    Whole { days: Option<i64> },
    /// Another amount than that: it pays for so many months, or intervals of so many days.
    Part { months: Months, days: Option<i64> },
    /// What the full price is must be asked.
    Unknown,
}

/// A minor unit in the decimals of `unit_amount_decimal` (Stripe: twelve at most).
const SCALE: u32 = 12;

/// Shorter intervals than this are no months.
const DAYS_OF_A_MONTH: i64 = 28;

impl Price {
    /// What so many of it cost an interval, in 10⁻¹² minor units; none where it has no single amount in that currency.
    fn full(&self, quantity: i64, currency: Option<&str>) -> Option<i128> {
        let units = match &self.transform_quantity {
            None => quantity,
            Some(Packs { divide_by, round }) if *divide_by > 0 => {
                let up = i64::from(round == "up" && quantity % divide_by > 0);
                quantity / divide_by + up
            }
            Some(_) => return None,
        };
        let other = currency.filter(|currency| !self.currency.is_empty() && *currency != self.currency);
        let unit = match other {
            None => decimal(self.unit_amount, self.unit_amount_decimal.as_deref()),
            Some(other) => {
                let amount = self.currency_options.as_ref()?.get(other)?;
                decimal(amount.unit_amount, amount.unit_amount_decimal.as_deref())
            }
        }?;
        unit.checked_mul(i128::from(units))
    }

    /// Its interval in months of service, as a fraction, and in days where it is shorter than a month.
    fn interval(&self) -> Option<((i64, i64), Option<i64>)> {
        let recurring = self.recurring.as_ref()?;
        let count = recurring.interval_count.unwrap_or(1).max(1);
        let days = match recurring.interval.as_str() {
            "month" => return Some(((count, 1), None)),
            "year" => return Some(((count.checked_mul(12)?, 1), None)),
            "week" => count.checked_mul(7)?,
            "day" => count,
            _ => return None,
        };
        Some(match days {
            ..DAYS_OF_A_MONTH => ((1, 1), Some(days)),
            _ if TimeDelta::days(days) <= calendar::MORE_THAN_A_MONTH => ((1, 1), None),
            _ => ((days.checked_mul(12)?, 365), None),
        })
    }
}

impl Months {
    /// A fraction in its lowest terms; none where it is not above zero, or cannot be counted.
    fn new(num: i128, den: i128) -> Option<Self> {
        let common = gcd(num, den);
        if num <= 0 || den <= 0 {
            return None;
        }
        Some(Self { num: i64::try_from(num / common).ok()?, den: i64::try_from(den / common).ok()? })
    }

    /// Whether it is exactly so many.
    fn is(self, count: usize) -> bool {
        self.den == 1 && i64::try_from(count).is_ok_and(|count| count == self.num)
    }

    /// What month `k` of `count` grants of a month's credits, in millionths, rounded down; none where it cannot be counted.
    pub(crate) fn share(self, credits: i64, k: usize, count: usize) -> Option<i64> {
        let (num, den) = (i128::from(self.num), i128::from(self.den));
        let beyond = num.checked_sub(den.checked_mul(i128::try_from(k).ok()?)?)?.max(0);
        let part = if k + 1 < count { beyond.min(den) } else { beyond };
        i64::try_from(i128::from(credits).checked_mul(part)? / den).ok()
    }
}

/// What a line of a subscription's item charges. `prices` are those that were asked for.
pub(crate) fn of(line: &Line, prices: &BTreeMap<String, Price>) -> Charge {
    let asked = line.price.as_ref().and_then(|price| prices.get(price));
    let known = asked.or(line.full_price.as_ref()).and_then(|price| of_price(line, price));
    known.or_else(|| by_line(line)).unwrap_or(Charge::Unknown)
}

fn of_price(line: &Line, price: &Price) -> Option<Charge> {
    let full = price.full(line.quantity, line.currency.as_deref()).filter(|full| *full >= 0)?;
    let ((num, den), days) = price.interval()?;
    if full == 0 || line.amount == 0 {
        return Some(Charge::Whole { days });
    }
    let charged = i128::from(line.amount).checked_mul(10_i128.pow(SCALE))?;
    // Stripe rounds a line to a minor unit.
    let is_full = (charged - full).abs() < 10_i128.pow(SCALE);
    let of_days = days.is_some() || den != 1;
    let months = if is_full {
        Months::new(num.into(), den.into())?
    } else {
        let common = gcd(charged, full);
        Months::new((charged / common).checked_mul(num.into())?, (full / common).checked_mul(den.into())?)?
    };
    let whole = is_full && (of_days || months.is(starts(line).unwrap_or(1)));
    Some(if whole { Charge::Whole { days } } else { Charge::Part { months, days } })
}

/// What the line alone leaves no doubt about.
fn by_line(line: &Line) -> Option<Charge> {
    let charged = i128::from(line.amount).checked_mul(10_i128.pow(SCALE))?;
    let unit = decimal(None, line.unit_amount.as_deref());
    if charged == 0 {
        return Some(Charge::Whole { days: line.days().filter(|days| *days < DAYS_OF_A_MONTH) });
    }
    let (start, end) = (line.start?, line.end?);
    let full = unit.map_or(Some(charged), |unit| unit.checked_mul(line.quantity.into()))?;
    if (charged - full).abs() < 10_i128.pow(SCALE) {
        return is_whole_months(start, end).then_some(Charge::Whole { days: None });
    }
    // Of one, with no packs to reckon with, the unit amount is the full price; and by it the interval is about a month.
    let seconds = i128::from((end - start).num_seconds());
    let interval = seconds.checked_mul(full)? / charged;
    let about_a_month = (27 * DAY + DAY / 2..=31 * DAY + DAY / 2).contains(&interval);
    let months = (line.quantity == 1 && charged < full && about_a_month).then(|| Months::new(charged, full))??;
    Some(Charge::Part { months, days: None })
}

const DAY: i128 = 24 * 60 * 60;

/// The months of service of a line's period.
fn starts(line: &Line) -> Option<usize> {
    let (start, end) = (line.start?, line.end?);
    Some(calendar::starts(start, start, end).len())
}

/// Whether a period is of whole months, by the anchor of some day of the month: Jan 31 to Feb 28, Feb 28 to Mar 31.
fn is_whole_months(start: DateTime<Utc>, end: DateTime<Utc>) -> bool {
    let last = |at: DateTime<Utc>| {
        let next = NaiveDate::from_ymd_opt(at.year(), at.month(), 1)
            .and_then(|day| day.checked_add_months(chrono::Months::new(1)));
        next.and_then(|day| day.pred_opt()).map_or(31, |day| day.day())
    };
    let on = |day: u32| day.min(last(start)) == start.day() && day.min(last(end)) == end.day();
    let apart = (end.year(), end.month()) > (start.year(), start.month());
    apart && start.time() == end.time() && (1..=31).any(on)
}

/// An amount in 10⁻¹² minor units.
fn decimal(amount: Option<i64>, text: Option<&str>) -> Option<i128> {
    let Some(text) = text else { return i128::from(amount?).checked_mul(10_i128.pow(SCALE)) };
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let width = usize::try_from(SCALE).ok()?;
    if whole.is_empty() || !digits(whole) || !digits(rest) || rest.len() > width {
        return None;
    }
    format!("{whole}{rest:0<width$}").parse().ok()
}

const fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    if a == 0 { 1 } else { a }
}

#[cfg(test)]
mod tests;
