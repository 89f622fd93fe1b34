//! Months of service, counted from an anchor.
//!
//! Rules (Stripe: subscriptions, billing cycle anchor)
//! - Month k begins k months after the anchor, on its day of the month or, where the month has no such day, on its last: Jan 31,
//!   Feb 28 or 29, Mar 31, Apr 30. Always counted from the anchor, never from the month before, or the 31st would be lost in February.
//! - The time of day is the anchor's, in UTC.

use chrono::{DateTime, Months, TimeDelta, Utc};

/// A paid period longer than this holds more than one month of service.
pub(crate) const MORE_THAN_A_MONTH: TimeDelta = TimeDelta::days(45);

/// Whether a paid period holds several months of service.
pub fn is_longer_than_a_month(start: DateTime<Utc>, end: DateTime<Utc>) -> bool {
    end - start > MORE_THAN_A_MONTH
}

/// The days of a period that is of whole ones: what a price by the day or by the week is for.
pub fn whole_days(start: DateTime<Utc>, end: DateTime<Utc>) -> Option<i64> {
    let period = end - start;
    (TimeDelta::days(period.num_days()) == period).then(|| period.num_days())
}

/// The start of the month that is `months` after the anchor; `None` past the end of the calendar.
pub fn month(anchor: DateTime<Utc>, months: u32) -> Option<DateTime<Utc>> {
    anchor.checked_add_months(Months::new(months))
}

/// The starts of the months of service within a paid period; the first is the period's own start. Where the period does not begin
/// on a month of the anchor, its own start is the anchor.
pub fn starts(anchor: DateTime<Utc>, start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut starts = vec![start];
    if !is_longer_than_a_month(start, end) {
        return starts;
    }
    let (anchor, mut k) = match since(anchor, start) {
        Some(k) => (anchor, k),
        None => (start, 0),
    };
    // A century of months: a period that is longer is not Stripe's.
    for _ in 0..1200 {
        k += 1;
        match month(anchor, k) {
            Some(next) if next < end => starts.push(next),
            _ => break,
        }
    }
    starts
}

/// When the month of service ends that begins at `start`, within a period that ends at `end`.
pub fn end_of_month(anchor: DateTime<Utc>, start: DateTime<Utc>, end: DateTime<Utc>) -> DateTime<Utc> {
    starts(anchor, start, end).get(1).copied().unwrap_or(end)
}

/// How many months after the anchor a moment is, if it is the start of one.
fn since(anchor: DateTime<Utc>, at: DateTime<Utc>) -> Option<u32> {
    let days = (at - anchor).num_days();
    if days < 0 {
        return None;
    }
    // A month is 28 to 31 days: the right count is within one of the estimate by the mean.
    let near = u32::try_from(days * 10_000 / 304_369).ok()?;
    (near.saturating_sub(1)..=near + 1).find(|k| month(anchor, *k) == Some(at))
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_31st_comes_back_after_a_february() {
        let anchor = at("2027-01-31T10:00:00Z");
        let days: Vec<String> = (0..14).map(|k| month(anchor, k).unwrap().format("%m-%d").to_string()).collect();
        let expected =
            ["01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30"];
        assert_eq!(days[..11], expected);
        assert_eq!(month(anchor, 13).unwrap(), at("2028-02-29T10:00:00Z"));
    }

    #[test]
    fn a_year_of_a_leap_day_keeps_its_day() {
        let anchor = at("2024-02-29T00:00:00Z");
        let starts = starts(anchor, at("2025-02-28T00:00:00Z"), at("2026-02-28T00:00:00Z"));
        assert_eq!(starts.len(), 12);
        assert_eq!(starts[1], at("2025-03-29T00:00:00Z"));
    }

    #[test]
    fn a_month_and_a_week_are_one_refill_each() {
        let start = at("2027-01-31T00:00:00Z");
        for end in ["2027-02-07T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-03T00:00:00Z"] {
            assert_eq!(starts(start, start, at(end)), [start], "{end}");
        }
    }

    #[test]
    fn a_period_off_the_anchor_counts_from_itself() {
        let start = at("2027-01-15T00:00:00Z");
        let starts = starts(at("2027-01-31T00:00:00Z"), start, at("2028-01-15T00:00:00Z"));
        assert_eq!((starts.len(), starts[1]), (12, at("2027-02-15T00:00:00Z")));
    }

    proptest! {
        #[test]
        fn every_year_has_twelve_months_on_the_anchors_day(
            day in 0i64..20_000, seconds in 0i64..86_400, year in 0u32..40, every in prop::sample::select(vec![3u32, 6, 12, 24])
        ) {
            let anchor = DateTime::from_timestamp(day * 86_400 + seconds, 0).unwrap();
            let (start, end) = (month(anchor, year * 12).unwrap(), month(anchor, year * 12 + every).unwrap());
            let starts = starts(anchor, start, end);
            prop_assert_eq!(starts.len(), usize::try_from(every).unwrap());
            prop_assert_eq!(starts[0], start);
            prop_assert!(starts.windows(2).all(|two| two[0] < two[1]) && starts.iter().all(|at| *at < end));
            for at in starts {
                let last = NaiveDate::from_ymd_opt(at.year(), at.month(), 1).unwrap().checked_add_months(Months::new(1)).unwrap()
                    .pred_opt().unwrap().day();
                prop_assert_eq!(at.day(), anchor.day().min(last));
                prop_assert_eq!(at.time(), anchor.time());
            }
        }

        #[test]
        fn a_start_is_known_again(day in 0i64..20_000, months in 0u32..600) {
            let anchor = DateTime::from_timestamp(day * 86_400, 0).unwrap();
            prop_assert_eq!(since(anchor, month(anchor, months).unwrap()), Some(months));
        }
    }
}
