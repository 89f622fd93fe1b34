//! `Stripe-Signature` (Stripe: webhooks, signatures): one `v1` for each secret that holds, while one rolls over to the next.

use ring::hmac;
use serde_json::Value;

use super::store::{number, text};

/// The secrets of an endpoint that hold now, the newest first.
pub(super) fn secrets(endpoint: &Value, now: i64) -> Vec<String> {
    let mut secrets = vec![text(endpoint, "_secret").to_owned()];
    let older = endpoint.get("_old_secret").filter(|older| number(older, "until") > now);
    secrets.extend(older.map(|older| text(older, "secret").to_owned()));
    secrets
}

/// The header, at `time` in seconds: real time, for the receiver judges the age by its own clock, which the sandbox does not move.
pub(super) fn sign<'a>(secrets: impl IntoIterator<Item = &'a String>, time: i64, body: &str) -> String {
    let mut header = format!("t={time}");
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("{time}.{body}").as_bytes());
        header.push_str(",v1=");
        let digits = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
        header.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    }
    header
}
