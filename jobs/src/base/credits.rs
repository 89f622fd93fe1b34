//! An amount of credits, exact to the millionth.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// Millionths of a credit in one credit.
const MICROS: i64 = 1_000_000;

/// An amount of credits. Kept in millionths, written and read as a decimal: `150`, `2.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Credits(i64);

/// Why a text is not an amount of credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreditsError {
    /// Something other than digits with at most one point; `NaN` and `1e9` are such.
    #[error("an amount of credits is digits with at most six decimals, like 150 or 2.5")]
    Malformed,
    /// More than can be counted in 64 bits of millionths.
    #[error("an amount of credits can be at most 9223372036854")]
    TooLarge,
    /// A number with more digits than JSON's numbers are read with.
    #[error("a number of more than 15 digits is not exact: write the amount as a string")]
    Inexact,
}

impl Credits {
    /// No credits.
    pub const ZERO: Self = Self(0);

    /// An amount given in millionths, as the ledger keeps it.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// An amount in whole credits; `None` when it cannot be counted.
    pub const fn whole(credits: i64) -> Option<Self> {
        match credits.checked_mul(MICROS) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// The amount in millionths.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This amount times a count; `None` when it cannot be counted.
    pub const fn times(self, count: i64) -> Option<Self> {
        match self.0.checked_mul(count) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// Whether it is more than none.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, all) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let (whole, rest) = (all / MICROS.unsigned_abs(), all % MICROS.unsigned_abs());
        let decimals = if rest == 0 { String::new() } else { format!(".{rest:06}") };
        f.pad(&format!("{sign}{whole}{}", decimals.trim_end_matches('0')))
    }
}

impl FromStr for Credits {
    type Err = CreditsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, decimals) = digits.split_once('.').map_or((digits, None), |(w, d)| (w, Some(d)));
        let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !number(whole) || decimals.is_some_and(|d| !number(d) || d.len() > 6) {
            return Err(CreditsError::Malformed);
        }
        let scaled = format!("{whole}{:0<6}", decimals.unwrap_or_default());
        let micros: i64 = scaled.parse().map_err(|_| CreditsError::TooLarge)?;
        Ok(Self(if negative { -micros } else { micros }))
    }
}

impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Digits that a JSON number carries exactly on its way through 64 bits of floating point.
const EXACT_DIGITS: usize = 15;

/// Reads a decimal string or a JSON number, however the number is written: `0.000001`, `1e-6`.
impl<'de> Deserialize<'de> for Credits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;
        impl Visitor<'_> for Amount {
            type Value = Credits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of credits, as a decimal string or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Credits, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, whole: i64) -> Result<Credits, E> {
                Credits::whole(whole).ok_or_else(|| E::custom(CreditsError::TooLarge))
            }

            fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Credits, E> {
                i64::try_from(whole).ok().and_then(Credits::whole).ok_or_else(|| E::custom(CreditsError::TooLarge))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Credits, E> {
                // Without an exponent, in as few digits as tell it from its neighbours.
                let text = number.to_string();
                let amount = text.parse::<Credits>().map_err(E::custom)?;
                let digits = text.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
                if digits > EXACT_DIGITS {
                    return Err(E::custom(CreditsError::Inexact));
                }
                Ok(amount)
            }
        }
        deserializer.deserialize_any(Amount)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(micros in -i64::MAX..=i64::MAX) {
            let amount = Credits::from_micros(micros);
            prop_assert_eq!(amount.to_string().parse::<Credits>(), Ok(amount));
        }

        #[test]
        fn any_text_is_an_amount_or_an_error(text in ".*") {
            if let Ok(amount) = text.parse::<Credits>() {
                prop_assert_eq!(amount.to_string().parse::<Credits>(), Ok(amount));
            }
        }
    }

    #[test]
    fn a_number_is_read_however_it_is_written_and_only_where_it_is_exact() {
        let read = |text: &str| serde_json::from_str::<Credits>(text).map(Credits::micros);
        for (text, micros) in [
            ("0.000001", 1),
            ("1e-6", 1),
            ("2.5", 2_500_000),
            ("150", 150_000_000),
            ("1e3", 1_000_000_000),
            ("-0.25", -250_000),
            ("123456789.123456", 123_456_789_123_456),
            ("\"9223372036854.775807\"", i64::MAX),
        ] {
            assert_eq!(read(text).unwrap(), micros, "{text}");
        }
        for bad in
            ["1e-7", "0.0000001", "1e300", "9223372036855", "9223372036854.775807", "\"1e-6\"", "null", "[1]", "true"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_decimals_and_nothing_else() {
        assert_eq!("150".parse(), Ok(Credits::from_micros(150_000_000)));
        assert_eq!("2.5".parse(), Ok(Credits::from_micros(2_500_000)));
        for bad in ["", "-", ".", "1.", ".5", "NaN", "1e9", "+1", " 1", "1,5", "1.0000001", "١"] {
            assert_eq!(bad.parse::<Credits>(), Err(CreditsError::Malformed), "{bad:?}");
        }
        assert_eq!("9223372036855".parse::<Credits>(), Err(CreditsError::TooLarge));
    }
}
