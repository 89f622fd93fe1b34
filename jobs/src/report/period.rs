//! Which time a report is about: a week by ISO 8601, or from a day to a day, in UTC.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Utc, Weekday};

/// A time with a beginning and an end, which is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub from: DateTime<Utc>,
    /// The first moment after it.
    pub to: DateTime<Utc>,
}

/// `2026-W46`: from its Monday to the next.
pub fn week(text: &str) -> Option<Period> {
    let (year, week) = text.split_once("-W")?;
    let digits = |text: &str, many| text.len() == many && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(year, 4) || !digits(week, 2) {
        return None;
    }
    Period::from_monday(NaiveDate::from_isoywd_opt(year.parse().ok()?, week.parse().ok()?, Weekday::Mon)?)
}

/// The last week that is over at a moment.
pub fn last_week(now: DateTime<Utc>) -> Option<Period> {
    let monday = now.date_naive().week(Weekday::Mon).checked_first_day()?;
    Period::from_monday(monday.checked_sub_days(Days::new(7))?)
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

impl Period {
    fn from_monday(monday: NaiveDate) -> Option<Self> {
        Some(Self { from: midnight(monday), to: midnight(monday.checked_add_days(Days::new(7))?) })
    }

    /// From the beginning of a day to the end of another.
    pub fn days(first: NaiveDate, last: NaiveDate) -> Option<Self> {
        let to = last.checked_add_days(Days::new(1))?;
        (first <= last).then(|| Self { from: midnight(first), to: midnight(to) })
    }

    /// The week that it is, if it is one.
    pub fn week(&self) -> Option<String> {
        let iso = self.from.date_naive().iso_week();
        let word = format!("{:04}-W{:02}", iso.year(), iso.week());
        (week(&word) == Some(*self)).then_some(word)
    }

    /// As a person calls it: `2026-W46`, or `2026-11-01 to 2026-11-10`, both days with it.
    pub fn said(&self) -> String {
        let day = |at: DateTime<Utc>| at.format("%Y-%m-%d");
        self.week().unwrap_or_else(|| format!("{} to {}", day(self.from), day(self.to - chrono::TimeDelta::seconds(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_week_is_from_monday_to_monday_by_iso_8601() {
        let of = week("2026-W46").unwrap();
        assert_eq!((of.from, of.to), (at("2026-11-09T00:00:00Z"), at("2026-11-16T00:00:00Z")));
        assert_eq!(of.week().as_deref(), Some("2026-W46"));
        assert_eq!(week("2026-W53").unwrap().from, at("2026-12-28T00:00:00Z"));
        for bad in ["", "2026", "2026-46", "2026-W6", "2026-W54", "2025-W53", "2026-W00", "26-W46", "2026-W4٦"] {
            assert_eq!(week(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_week_is_over() {
        for (now, word) in [
            ("2026-11-16T00:00:00Z", "2026-W46"),
            ("2026-11-15T23:59:59Z", "2026-W45"),
            ("2027-01-03T12:00:00Z", "2026-W52"),
        ] {
            assert_eq!(last_week(at(now)).unwrap().week().as_deref(), Some(word), "{now}");
        }
    }

    #[test]
    fn days_are_whole_and_both_ends_belong_to_it() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let of = Period::days(day("2026-11-01"), day("2026-11-10")).unwrap();
        assert_eq!((of.to, of.said().as_str()), (at("2026-11-11T00:00:00Z"), "2026-11-01 to 2026-11-10"));
        assert_eq!(Period::days(day("2026-11-02"), day("2026-11-01")), None);
        assert_eq!(Period::days(day("2026-11-09"), day("2026-11-15")).unwrap().said(), "2026-W46");
    }
}
