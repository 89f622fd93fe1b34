//! A time by the calendar, in UTC.

use std::{fmt, str::FromStr};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// A cron expression: five fields (minute, hour, day of the month, month, day of the week), six with the second before them, seven with
/// the year behind; or a word like `@hourly`. Days of the week are names.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    schedule: cron::Schedule,
}

/// Why a text is no such expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Another number of fields.
    #[error(
        "has {0} fields: five are wanted (minute, hour, day of the month, month, day of the week), or six with the second first"
    )]
    Fields(usize),
    /// A day of the week as a number, which one cron counts from Sunday as 0 and another as 1.
    #[error(
        "names a day of the week by a number, which is another day to every other cron: write Mon, Tue, Wed, Thu, Fri, Sat, Sun"
    )]
    DayNumber,
    /// Both days at once: one cron takes them for either, another for both.
    #[error(
        "restricts the day of the month and the day of the week, which every other cron reads differently: write * for one of them"
    )]
    BothDays,
    /// Something else.
    #[error("does not read: {0}")]
    Malformed(String),
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let whole = match fields.as_slice() {
            [word] if word.starts_with('@') => (*word).to_owned(),
            [_, _, _, _, _] => format!("0 {}", fields.join(" ")),
            [_, _, _, _, _, _] | [_, _, _, _, _, _, _] => fields.join(" "),
            _ => return Err(CronError::Fields(fields.len())),
        };
        let parts: Vec<&str> = whole.split(' ').collect();
        if let [_, _, _, day, _, weekday, ..] = parts.as_slice() {
            // A step may be a number: `*/2` names no day.
            if weekday
                .split(',')
                .any(|day| day.split('/').next().is_some_and(|day| day.contains(|c: char| c.is_ascii_digit())))
            {
                return Err(CronError::DayNumber);
            }
            if !["*", "?"].contains(day) && !["*", "?"].contains(weekday) {
                return Err(CronError::BothDays);
            }
        }
        let schedule = cron::Schedule::from_str(&whole).map_err(|error| CronError::Malformed(error.to_string()))?;
        Ok(Self { text: fields.join(" "), schedule })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    /// The first tick after a moment; none when its time never comes again.
    pub fn after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.schedule.after(&moment).next()
    }

    /// The last tick from `tick` up to `now`, itself a tick.
    pub fn last_until(&self, tick: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        // What comes before a moment excludes it, and `now` may be a tick itself; ticks are whole seconds.
        let last = self.schedule.after(&(now.trunc_subsecs(0) + TimeDelta::seconds(1))).next_back();
        last.filter(|last| *last > tick && *last <= now).unwrap_or(tick)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn five_fields_are_minutes_and_up() {
        let cron: Cron = "30 2 * * *".parse().unwrap();
        assert_eq!(cron.after(at("2026-11-21T05:00:00Z")), Some(at("2026-11-22T02:30:00Z")));
        assert_eq!(cron.last_until(at("2026-10-01T02:30:00Z"), at("2026-11-21T05:00:00Z")), at("2026-11-21T02:30:00Z"));
        let cron: Cron = "0 9 * * Mon-Fri".parse().unwrap();
        assert_eq!(cron.after(at("2026-11-20T10:00:00Z")), Some(at("2026-11-23T09:00:00Z")), "a Friday, then a Monday");
        assert!("@hourly".parse::<Cron>().is_ok());
        let cron: Cron = "* * * * *".parse().unwrap();
        let tick = at("2029-11-20T01:36:00Z");
        assert_eq!(cron.last_until(at("2026-10-01T02:30:00Z"), tick), tick, "a moment that is a tick");
    }

    #[test]
    fn a_tick_is_after_the_moment_and_leap_days_come() {
        let cron: Cron = "0 0 29 2 *".parse().unwrap();
        assert_eq!(cron.after(at("2026-11-21T00:00:00Z")), Some(at("2028-02-29T00:00:00Z")));
        assert_eq!(cron.after(at("2028-02-29T00:00:00Z")), Some(at("2032-02-29T00:00:00Z")));
    }

    #[test]
    fn what_every_cron_reads_differently_is_refused() {
        assert_eq!("0 0 * * 1".parse::<Cron>().unwrap_err(), CronError::DayNumber);
        assert_eq!("0 0 * * Mon,5".parse::<Cron>().unwrap_err(), CronError::DayNumber);
        assert_eq!("0 0 1 * Mon".parse::<Cron>().unwrap_err(), CronError::BothDays);
        for bad in ["", "* * * *", "* * * * * * * *"] {
            assert!(matches!(bad.parse::<Cron>(), Err(CronError::Fields(_))), "{bad:?}");
        }
        for bad in ["61 * * * *", "a b * d *", "@sometimes", "* * 32 * *"] {
            assert!(matches!(bad.parse::<Cron>(), Err(CronError::Malformed(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(text in "\\PC{0,40}|([0-9*/,-]{1,6} ){4,6}[*A-Za-z]{1,3}") {
            if let Ok(cron) = text.parse::<Cron>() {
                let now = at("2026-11-21T05:00:00Z");
                prop_assert!(cron.after(now).is_none_or(|next| next > now));
            }
        }

        #[test]
        fn the_last_tick_is_the_one_before_the_next(seconds in 0i64..100_000_000, every in 1u32..59) {
            let cron: Cron = format!("*/{every} * * * *").parse().unwrap();
            let now = DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap();
            let first = cron.after(at("2026-01-01T00:00:00Z")).unwrap();
            let last = cron.last_until(first, now);
            prop_assert!(last <= now && cron.after(last).unwrap() > now);
        }
    }
}
