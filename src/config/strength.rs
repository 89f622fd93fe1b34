//! Whom strangers are told from: which secrets are too weak to start with, and which proxies are believed. What is short or repeats itself
//! can be guessed, and whoever guesses one moves money.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Secret, SettingsError};
use crate::http::Proxies;

/// 16 random letters or digits are 95 bits, 16 hexadecimal digits are 64: at the rate of guesses that api allows, both are out of reach.
const TOKEN_CHARACTERS: usize = 16;
/// 128 bits. One signed event that somebody has seen lets them guess at home, as fast as they can. Standard Webhooks wants 24.
const VERIFICATION_BYTES: usize = 16;
/// With `whsec_` before it. Stripe makes them, of 38; a shorter one was cut off.
const WEBHOOK_CHARACTERS: usize = 16;
/// Different ones among them: `aaaaaaaaaaaaaaaa` is long, too.
const DIFFERENT: usize = 6;

/// What is wrong with the token of api, if anything.
pub(super) fn token(token: &Secret) -> Result<(), String> {
    enough(token.expose().as_bytes(), TOKEN_CHARACTERS, "characters")
}

/// What is wrong with the secrets of verifications, or of the team's webhook, if anything. They are base64, as was seen before.
pub(super) fn verification(secrets: &Secret) -> Result<(), String> {
    secrets.expose().split(',').map(str::trim).try_for_each(|text| {
        let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).unwrap_or_default();
        enough(&bytes, VERIFICATION_BYTES, "bytes")
    })
}

/// What is wrong with Stripe's signing secrets, if anything.
pub(super) fn webhook(secrets: &Secret) -> Result<(), String> {
    secrets
        .expose()
        .split(',')
        .map(str::trim)
        .try_for_each(|text| enough(text.as_bytes(), WEBHOOK_CHARACTERS, "characters"))
}

/// The proxies that a section trusts.
pub(super) fn proxies(key: &str, all: &[String]) -> Result<Proxies, SettingsError> {
    Proxies::parse(all).map_err(|bad| {
        let remedy =
            "Write the addresses of your proxies, or their networks like 10.0.0.0/8, in a list or with commas.";
        SettingsError::new(key, format!("holds {bad:?}"), remedy)
    })
}

fn enough(secret: &[u8], least: usize, unit: &str) -> Result<(), String> {
    if secret.len() < least {
        return Err(format!("has {} {unit} and can be guessed: {least} are the least", secret.len()));
    }
    let mut different = secret.to_vec();
    different.sort_unstable();
    different.dedup();
    if different.len() < DIFFERENT {
        return Err(format!("repeats {} different {unit} and can be guessed", different.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_guessed_is_refused() {
        let secret = Secret::new;
        assert!(token(&secret("0123456789abcdef")).is_ok() && token(&secret("correct-horse-battery")).is_ok());
        assert_eq!(token(&secret("x")).unwrap_err(), "has 1 characters and can be guessed: 16 are the least");
        assert!(token(&secret("0123456789abcde")).is_err() && token(&secret("abababababababababab")).is_err());
        assert!(verification(&secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")).is_ok());
        let weak = verification(&secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD, eA==")).unwrap_err();
        assert!(weak.starts_with("has 1 bytes"), "{weak}");
        assert!(verification(&secret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")).is_err());
        assert!(
            webhook(&secret("whsec_test_secret")).is_ok() && webhook(&secret("whsec_test_secret,whsec_x")).is_err()
        );
    }
}
