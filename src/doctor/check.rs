//! One check: what was looked at, what was seen, and what to do.

use std::{future::Future, time::Duration};

use serde::Serialize;

use crate::config::{Secret, SettingsError};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works; it should be looked at before money depends on it.
    Warn,
    /// It does not work, or money would be lost.
    Fail,
    /// It could not be looked at, or there is nothing to look at.
    Skip,
}

impl Verdict {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// A check under the names that programs rely on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at: `stripe.webhook`.
    pub check: String,
    /// How it came out.
    pub result: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do, in a sentence; none where nothing is to be done.
    pub remedy: Option<String>,
}

impl Check {
    pub(super) fn ok(check: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { check: check.into(), result: Verdict::Ok, seen: seen.into(), remedy: None }
    }

    pub(super) fn skip(check: impl Into<String>, why: impl Into<String>) -> Self {
        Self { check: check.into(), result: Verdict::Skip, seen: why.into(), remedy: None }
    }

    pub(super) fn warn(check: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), result: Verdict::Warn, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn fail(check: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), result: Verdict::Fail, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    /// A setting that is missing or malformed.
    pub(super) fn setting(check: impl Into<String>, error: &SettingsError) -> Self {
        Self::fail(check, error.seen(), error.remedy())
    }

    /// The same, with every secret cut down to what may be shown of it.
    pub(super) fn without(mut self, secrets: &[String]) -> Self {
        for text in std::iter::once(&mut self.seen).chain(self.remedy.as_mut()) {
            for secret in secrets.iter().filter(|secret| text.contains(secret.as_str())).collect::<Vec<_>>() {
                *text = text.replace(secret.as_str(), &shown(secret));
            }
        }
        self
    }
}

/// What may be seen of a secret: its prefix and its last four characters.
pub(super) fn masked(secret: &Secret) -> String {
    shown(secret.expose())
}

fn shown(secret: &str) -> String {
    const PREFIXES: [&str; 6] = ["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_", "bursar_dev_"];
    let prefix = PREFIXES.into_iter().find(|prefix| secret.starts_with(prefix)).unwrap_or_default();
    let rest: Vec<char> = secret.chars().skip(prefix.len()).collect();
    // Of a short one the last four would be much of it.
    let last: String = if rest.len() < 16 { String::new() } else { rest[rest.len() - 4..].iter().collect() };
    format!("{prefix}…{last}")
}

/// The checks of a topic, or that there was no end to them.
pub(super) async fn within(topic: &str, limit: Duration, checks: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    match tokio::time::timeout(limit, checks).await {
        Ok(checks) => checks,
        Err(_) => vec![Check::fail(
            topic,
            format!("not everything could be looked at within {} s", limit.as_secs()),
            "Something answers too slowly: try again, and look at the network between here and there.",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_the_prefix_and_the_last_four_are_shown() {
        assert_eq!(shown("sk_test_4eC39HqLyjWDarjtT1zdp7dc"), "sk_test_…p7dc");
        assert_eq!(shown("whsec_short"), "whsec_…");
        assert_eq!(shown("hunter2"), "…");
        let secrets = ["hunter2".to_owned()];
        let check = Check::fail("letters", "535 hunter2 is wrong", "Mend smtp://u:hunter2@h.").without(&secrets);
        assert_eq!((check.seen.as_str(), check.remedy.as_deref()), ("535 … is wrong", Some("Mend smtp://u:…@h.")));
    }

    #[tokio::test]
    async fn what_has_no_end_is_said_to_have_none() {
        let checks = within("stripe", Duration::from_millis(1), std::future::pending()).await;
        assert_eq!((checks[0].check.as_str(), checks[0].result), ("stripe", Verdict::Fail));
    }
}
