//! The calendar of subscriptions: every boundary is reckoned from the anchor, so that Jan 31 -> Feb 28 -> Mar 31.

use chrono::{DateTime, Months};
use serde_json::Value;

use crate::store::{number, text};

pub(crate) const DAY: i64 = 24 * 60 * 60;

/// `anchor` and so many intervals; nothing where the calendar ends.
pub(crate) fn step(anchor: i64, recurring: &Value, count: i64) -> Option<i64> {
    let count = count.checked_mul(number(recurring, "interval_count").max(1))?;
    let months = |months: i64| {
        let start = DateTime::from_timestamp(anchor, 0)?;
        let by = Months::new(u32::try_from(months.abs()).ok()?);
        let end = if months < 0 { start.checked_sub_months(by) } else { start.checked_add_months(by) };
        end.map(|end| end.timestamp())
    };
    match text(recurring, "interval") {
        "day" => anchor.checked_add(count.checked_mul(DAY)?),
        "week" => anchor.checked_add(count.checked_mul(7 * DAY)?),
        "year" => months(count.checked_mul(12)?),
        _ => months(count),
    }
}

/// The first boundary after `at`: the anchor itself while it is ahead.
pub(crate) fn after(anchor: i64, recurring: &Value, at: i64) -> i64 {
    if at < anchor {
        return anchor;
    }
    let count = number(recurring, "interval_count").max(1);
    // No interval is longer than this, so the guess is at or before the boundary that is looked for.
    let longest = match text(recurring, "interval") {
        "day" => DAY,
        "week" => 7 * DAY,
        "year" => 366 * DAY,
        _ => 31 * DAY,
    };
    let mut steps = (at - anchor) / longest.saturating_mul(count);
    loop {
        match step(anchor, recurring, steps) {
            Some(end) if end > at => return end,
            Some(_) => steps += 1,
            // Far beyond any clock that the sandbox can be set to.
            None => return i64::MAX,
        }
    }
}

/// The present period of a subscription: all its items have the same.
pub(crate) fn of(subscription: &Value) -> (i64, i64) {
    let item = subscription.pointer("/items/data/0");
    item.map(|item| (number(item, "current_period_start"), number(item, "current_period_end"))).unwrap_or_default()
}

/// How often a subscription is billed.
pub(crate) fn recurring(items: &[Value]) -> Value {
    items.first().map(|item| item["price"]["recurring"].clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(day: &str) -> i64 {
        DateTime::parse_from_rfc3339(&format!("{day}T10:20:30Z")).unwrap().timestamp()
    }

    #[test]
    fn months_are_reckoned_from_the_anchor() {
        let month = json!({ "interval": "month", "interval_count": 1 });
        let (mut now, mut days) = (at("2027-01-31"), Vec::new());
        for _ in 0..14 {
            now = after(at("2027-01-31"), &month, now);
            days.push(DateTime::from_timestamp(now, 0).unwrap().format("%m-%d").to_string());
        }
        assert_eq!(
            days,
            [
                "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30", "12-31",
                "01-31", "02-29", "03-31"
            ]
        );
    }

    #[test]
    fn leap_days_weeks_and_quarters() {
        let every = |interval: &str, count: i64| json!({ "interval": interval, "interval_count": count });
        let leap = at("2028-02-29");
        assert_eq!(after(leap, &every("year", 1), leap), at("2029-02-28"));
        assert_eq!(after(leap, &every("year", 1), at("2031-02-28")), at("2032-02-29"));
        assert_eq!(after(at("2027-11-30"), &every("month", 3), at("2027-11-30")), at("2028-02-29"));
        assert_eq!(after(at("2027-01-01"), &every("week", 2), at("2027-01-15")), at("2027-01-29"));
        assert_eq!(after(at("2027-01-01"), &every("day", 1), at("2027-01-01") - 5), at("2027-01-01"));
        assert_eq!(after(0, &every("year", 1_000_000), i64::MAX / 2), i64::MAX);
    }
}
