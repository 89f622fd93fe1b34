//! What operators type: read strictly, so that a slip of the finger is wrong use (exit 2) and never an effect.

use std::time::Duration;

use bursar_jobs::{
    base::{audit::Via, credits::Credits},
    desk::{Operator, State},
    engine::kind,
};
use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use nix::unistd::{User, getuid};

/// How many rows a list shows.
#[derive(Debug, Clone, Copy, Args)]
pub struct Limit {
    /// The most to show, newest first.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl Limit {
    /// One more than is shown, so that a list can tell that there are more.
    pub fn probe(self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Cuts a list that was asked with [`Self::probe`] to what is shown; true when something was cut.
    pub fn cut<T>(self, rows: &mut Vec<T>) -> bool {
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > most;
        rows.truncate(most);
        more
    }
}

/// The id of a user, a key, a name: 1 to 255 bytes without control characters.
pub fn word(text: &str) -> Result<String, String> {
    match text {
        "" => Err("must not be empty".into()),
        long if long.len() > 255 => Err(format!("is {} bytes long, at most 255 are allowed", long.len())),
        odd if odd.chars().any(char::is_control) => Err("must not hold control characters".into()),
        sane => Ok(sane.to_owned()),
    }
}

/// Words of a person: why they did it.
pub fn sentence(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.len() {
        0 => Err("must not be empty".into()),
        1..=2000 => Ok(text.to_owned()),
        long => Err(format!("is {long} bytes long, at most 2000 are allowed")),
    }
}

/// An amount of credits to move: more than none.
pub fn amount(text: &str) -> Result<Credits, String> {
    match text.parse::<Credits>() {
        Ok(amount) if amount.is_positive() => Ok(amount),
        Ok(_) => Err("must be more than 0 credits".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// A length of time: `90s`, `15m`, `2h`, `7d`, `4w`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "is a number and a unit, like 90s, 15m, 2h, 7d or 4w".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds: u64 = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    // A century is longer than any inbox; more would overflow a calendar.
    let count = digits.parse::<u32>().map_err(|_| wrong())?;
    match u64::from(count) * seconds {
        0..=3_153_600_000 => Ok(Duration::from_secs(u64::from(count) * seconds)),
        _ => Err("is more than a century".into()),
    }
}

/// The kinds of this version; any other is refused with this list.
pub fn known_kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(kind::ALL.iter().map(|kind| kind.name))
}

/// The word that a value of an enum is typed and shown as.
pub fn word_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

/// Who is at the keyboard: what a posting says of who made it, unless `--by` says otherwise.
pub fn operator() -> String {
    let uid = getuid();
    User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// Whoever is at the keyboard, as an operator.
pub fn at_keyboard() -> Operator {
    Operator { who: operator(), via: Via::Cli }
}

/// The words of a job's states.
pub fn state(word: &str) -> Result<State, String> {
    State::of(word).ok_or_else(|| format!("is one of {}", State::ALL.map(State::word).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        assert_eq!(duration("15m"), Ok(Duration::from_mins(15)));
        assert_eq!(duration("4w"), Ok(Duration::from_hours(672)));
        for bad in ["", "15", "m", "-1h", "1.5h", "1 h", "1y", "4294967295w", "99999999999s", "١m"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_amount_is_more_than_none() {
        assert_eq!(amount("2.5"), Ok(Credits::from_micros(2_500_000)));
        for bad in ["0", "0.000000", "-5", "NaN", "1e9", "inf", "9223372036855", "1.0000001", ""] {
            assert!(amount(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_word_is_short_and_printable() {
        assert_eq!(word("user 1"), Ok("user 1".into()));
        for bad in ["", "a\nb", "\u{7f}", &"é".repeat(128)] {
            assert!(word(bad).is_err(), "{bad:?}");
        }
    }
}
