//! Why settings are refused: which one, what is wrong with it, and what to do.

use std::fmt;

/// A setting that is missing or malformed. Never shows a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    setting: String,
    problem: String,
    remedy: String,
}

impl SettingsError {
    /// About the setting at a key of the file, such as `web.port`; its variable is named along with it.
    pub(super) fn new(key: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let variable = super::layers::variable_of(key);
        Self { setting: format!("{variable} (`{key}`)"), problem: problem.into(), remedy: remedy.into() }
    }

    /// About something that has no key: a file, or a variable beside the settings.
    pub(super) fn about(what: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { setting: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Which setting, and what is wrong with it.
    pub fn seen(&self) -> String {
        format!("{} {}", self.setting, self.problem)
    }

    /// What to do.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    pub(super) fn missing(key: &str, remedy: impl Into<String>) -> Self {
        Self::new(key, "is not set", remedy)
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}. {}", self.setting, self.problem, self.remedy)
    }
}

impl std::error::Error for SettingsError {}
