//! What is said while it works: words on stderr, one short line a step with its duration; what to paste on stdout.

use std::{
    io::{self, Write},
    time::Instant,
};

use bursar_jobs::base::clock;

/// A step that takes its time.
pub(super) struct Step {
    begun: Instant,
}

impl Step {
    pub(super) fn begin() -> Self {
        Self { begun: clock::monotonic() }
    }

    /// Says what it came to.
    pub(super) fn done(self, name: &str, what: &str) {
        say(name, &format!("{what} ({:.1} s)", self.begun.elapsed().as_secs_f64()));
    }
}

/// Says something that took no time.
pub(super) fn say(name: &str, what: &str) {
    // Whoever closed stderr does not want to hear it.
    writeln!(io::stderr(), "{name:<9} {what}").unwrap_or_default();
}

/// Prints what is there to be used.
pub(super) fn show(text: &str) {
    writeln!(io::stdout(), "{text}").unwrap_or_default();
}
