//! Dunning: chasing a renewal whose payment failed, one case for each invoice.
//!
//! Rules
//! - Every step counts from the time of the first failure, by the event's word, and goes by the schedule that the case was opened with.
//! - A step is one for ever, by its row: its job asks Stripe how the invoice stands now, and acts by one call or one letter, or says why not.
//! - Where Stripe tries again by itself (`next_payment_attempt`) we do not; what came too late to be done in its turn is left out, so that
//!   nobody gets two letters, or two charges, at once.
//! - After a hard decline, or where the card's owner must authenticate, a card is asked for, once, and nothing is tried until another is
//!   there (Stripe: declines, hard declines; STRIPE.md 11).
//! - The final step acts once it is known that no try took the money, and never before a deadline that a letter named.
//! - Whatever ends the matter (paid, void, uncollectible, the subscription over, an operator) stands the rest down.

pub(crate) mod apply;
pub(crate) mod cancel_subscription;
pub(crate) mod case;
pub mod change;
pub(crate) mod close_dunning;
pub(crate) mod decide;
pub(crate) mod dunning_step;
pub(crate) mod letters;
pub(crate) mod open_dunning;
pub(crate) mod pause_subscription;
pub(crate) mod resume_subscription;
pub(crate) mod retry_invoice;

use crate::engine::domain::Domain;

use std::{fmt, str::FromStr};

use bursar_stripe::invoices::Attempt;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),
    react: Some(|context| Box::pin(apply::react(context))),
    ..Domain::of("dunning", |change| change.of::<change::Change>().is_some())
};

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

/// The declines after which the same card is not charged again (Stripe: declines, hard declines; STRIPE.md 11), in the words of `code`,
/// `decline_code` and a charge's `outcome`.
const HARD: &[&str] = &[
    "lost_card",
    "stolen_card",
    "pickup_card",
    "incorrect_number",
    "revocation_of_authorization",
    "revocation_of_all_authorizations",
    "authentication_required",
    "highest_risk_level",
    "payment_intent_authentication_failure",
    "invoice_payment_intent_requires_action",
];

/// Whether a try ended so that only the card's owner can help.
pub(crate) fn is_hard(attempt: &Attempt) -> bool {
    let words = [&attempt.code, &attempt.decline_code, &attempt.outcome];
    attempt.status == "requires_action" || words.into_iter().flatten().any(|word| HARD.contains(&word.as_str()))
}

/// What a try came to, in words.
pub(crate) fn said(attempt: &Attempt) -> String {
    if attempt.status == "requires_action" {
        return "its owner must authenticate it".to_owned();
    }
    let words = [&attempt.decline_code, &attempt.code, &attempt.outcome];
    words.into_iter().flatten().next().cloned().unwrap_or_else(|| attempt.status.clone())
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

    #[test]
    fn hard_declines_are_those_that_stripe_lists_and_no_others() {
        let by = |code: &str| Attempt { decline_code: Some(code.into()), ..Attempt::default() };
        for code in HARD {
            assert!(is_hard(&by(code)), "{code}");
        }
        for code in ["insufficient_funds", "generic_decline", "fraudulent", "try_again_later", "a_new_one"] {
            assert!(!is_hard(&by(code)), "{code}");
        }
        assert!(is_hard(&Attempt { status: "requires_action".into(), ..Attempt::default() }));
        let blocked = Attempt { outcome: Some("highest_risk_level".into()), ..by("fraudulent") };
        assert!(is_hard(&blocked), "what Radar stopped");
    }
}
