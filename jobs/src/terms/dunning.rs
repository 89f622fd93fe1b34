//! The schedule by which failed renewals are chased.

use std::{fmt, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// How failed renewals are chased, by the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dunning {
    /// The schedule of cases that are opened from now on.
    pub schedule: Schedule,
    /// Where users look after their cards; none: the page of the invoice at Stripe.
    pub portal_url: Option<String>,
}

/// What is done on which day, counted from the first failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Days of retries: ascending, from 1.
    pub retry_days: Vec<u32>,
    /// Days of letters: ascending, from 0.
    pub letter_days: Vec<u32>,
    /// The day of the last step, not before any other.
    pub final_day: u32,
    /// What the last step does.
    #[serde(rename = "final")]
    pub last: Final,
}

/// What the last step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Final {
    /// The collection of the subscription is paused.
    Pause,
    /// The subscription is cancelled.
    Cancel,
    /// Nothing: the case is left as it is.
    None,
}

impl Default for Dunning {
    fn default() -> Self {
        let schedule =
            Schedule { retry_days: vec![1, 3, 5, 7], letter_days: vec![0, 3, 5], final_day: 7, last: Final::Pause };
        Self { schedule, portal_url: None }
    }
}

/// The longest that a case may take: days. Stripe's own retries go on for two months at most.
pub const MOST_DAYS: u32 = 60;

/// One step of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A letter, on a day.
    Letter(u32),
    /// A try to take the money, on a day.
    Retry(u32),
    /// The last step, on a day.
    Final(u32),
    /// The collection that we paused goes on.
    Resume,
}

impl Step {
    /// Its day.
    pub const fn day(self) -> u32 {
        match self {
            Self::Letter(day) | Self::Retry(day) | Self::Final(day) => day,
            Self::Resume => 0,
        }
    }

    /// When it is due.
    pub fn due(self, failed_at: DateTime<Utc>) -> DateTime<Utc> {
        failed_at + TimeDelta::days(i64::from(self.day()))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter(day) => write!(f, "letter:{day}"),
            Self::Retry(day) => write!(f, "retry:{day}"),
            Self::Final(day) => write!(f, "final:{day}"),
            Self::Resume => f.write_str("resume"),
        }
    }
}

/// A step that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no step of dunning that this version knows: run the version that made it")]
pub struct UnknownStep(String);

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, UnknownStep> {
        let unknown = || UnknownStep(text.to_owned());
        if text == "resume" {
            return Ok(Self::Resume);
        }
        let (what, day) = text.split_once(':').ok_or_else(unknown)?;
        let day = day.parse().map_err(|_| unknown())?;
        match what {
            "letter" => Ok(Self::Letter(day)),
            "retry" => Ok(Self::Retry(day)),
            "final" => Ok(Self::Final(day)),
            _ => Err(unknown()),
        }
    }
}

impl Schedule {
    /// Its steps, in the order in which they are due; of one day the try first, then the letter that tells of it, and the last step last.
    pub fn steps(&self) -> Vec<Step> {
        let letters = self.letter_days.iter().map(|day| Step::Letter(*day));
        let retries = self.retry_days.iter().map(|day| Step::Retry(*day));
        let mut steps: Vec<Step> = retries.chain(letters).chain([Step::Final(self.final_day)]).collect();
        steps.sort_by_key(|step| step.day());
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_as_it_is_written() {
        for step in Dunning::default().schedule.steps().into_iter().chain([Step::Resume]) {
            assert_eq!(step.to_string().parse::<Step>().unwrap(), step);
        }
        for odd in ["", "letter", "letter:", "letter:-1", "dance:3", "resume:1"] {
            assert!(odd.parse::<Step>().is_err(), "{odd}");
        }
    }

    #[test]
    fn the_steps_of_a_day_have_an_order() {
        let steps: Vec<String> = Dunning::default().schedule.steps().iter().map(Step::to_string).collect();
        assert_eq!(steps, ["letter:0", "retry:1", "retry:3", "letter:3", "retry:5", "letter:5", "retry:7", "final:7"]);
    }
}
