//! What a process says of itself: logs (words on stderr, so that stdout stays data), numbers for a scraper, and traces.

pub(crate) mod counts;
mod drift;
mod expose;
mod gauges;
mod histogram;
pub mod names;
mod quiet;
pub(crate) mod stripe;
pub mod traces;

pub use expose::{Exposed, listen};
pub(crate) use quiet::quiet;

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people; coloured on a terminal. The default everywhere, because a command's words are also read from a pipe.
    Text,
    /// A JSON object a line, for a log collector.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[log] format`.
    pub format: Format,
    /// `[log] filter`: directives like `info,sqlx=warn`.
    pub filter: String,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is malformed.
    #[error("BURSAR_LOG__FILTER (`log.filter`) is {0:?}. Write directives like info,sqlx=warn")]
    Filter(String),
    /// Logging was set up before, in this process.
    #[error("logging was already set up: {0}")]
    Again(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging, for the whole process.
pub fn init(settings: &Settings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(|_| TelemetryError::Filter(settings.filter.clone()))?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let start = tracing_subscriber::registry().with(filter);
    match settings.format {
        Format::Text => start.with(lines.with_target(false).with_ansi(std::io::stderr().is_terminal())).try_init()?,
        Format::Json => start.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_filter_is_refused_by_name() {
        let settings = Settings { format: Format::Text, filter: "info,sqlx=louder".to_owned() };
        let error = init(&settings).unwrap_err().to_string();
        assert!(error.contains("BURSAR_LOG__FILTER") && error.contains("sqlx=louder"), "{error}");
    }
}
