//! `bursar doctor`: what an operator wants to know before going live, and when something is wrong.
//!
//! It looks at the settings, at the account at Stripe, at the database and the queue, at the ways letters and events take; it changes
//! nothing, sends nothing, and never shows a secret. Topics are looked at beside each other, each within its time; where one part is
//! missing, the checks that need it say so, and the others go on.

mod check;
mod database;
mod endpoints;
mod letters;
mod meters;
mod money;
mod neighbours;
mod permissions;
mod prices;
mod print;
mod queue;
mod reach;
mod secrets;
mod selling;
mod stripe;

use std::{io, path::PathBuf, time::Duration};

use crate::config::{Settings, SettingsError};

use self::check::within;
pub use self::check::{Check, Verdict};

/// For all checks of one topic; all topics run at once.
const TOPIC: Duration = Duration::from_secs(12);

/// What to look at, and how to say it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where web is reached from outside, in place of `[web] public_url`.
    pub url: Option<String>,
    /// One object a line.
    pub json: bool,
    /// Where letters go without a mail server, where no setting says so.
    pub maildir: PathBuf,
}

/// Looks at everything and prints it; whether nothing fails.
pub async fn run(settings: Result<Settings, SettingsError>, options: &Options) -> io::Result<bool> {
    let checks = match settings {
        Ok(settings) => Box::pin(look(&settings, options)).await,
        // Without them it is not known where to look.
        Err(error) => vec![Check::setting("settings", &error)],
    };
    print::print(&checks, options.json)?;
    Ok(checks.iter().all(|check| check.result != Verdict::Fail))
}

async fn look(settings: &Settings, options: &Options) -> Vec<Check> {
    let (url, mut checks) = match (&options.url, settings.public_url()) {
        (Some(url), _) => (Some(url.trim_end_matches('/').to_owned()), Vec::new()),
        (None, Ok(url)) => (url, Vec::new()),
        (None, Err(error)) => (None, vec![Check::setting("web.url", &error)]),
    };
    let url = url.as_deref();
    checks.extend(secrets::look(settings));
    // Which packages are on sale is the database's to say, and what they cost is compared with Stripe.
    let (tell, on_sale) = tokio::sync::oneshot::channel();
    let (reached, stripe, database, letters, notify) = tokio::join!(
        within("web.url", TOPIC, reach::look(settings, url)),
        within("stripe", TOPIC, stripe::look(settings, url, on_sale)),
        within("database", TOPIC, database::look(settings, tell)),
        within("letters", TOPIC, letters::look(settings, &options.maildir)),
        within("notify", TOPIC, reach::notify(settings)),
    );
    for topic in [reached, stripe, database, letters, notify] {
        checks.extend(topic);
    }
    let secrets = settings.secrets();
    checks.into_iter().map(|check| check.without(&secrets)).collect()
}
