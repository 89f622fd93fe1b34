//! Whether letters could leave: no letter is sent.

use std::{path::Path, time::Duration};

use crate::config::Settings;

use super::check::Check;

const NAME: &str = "letters";
/// For connecting, TLS and the password.
const PATIENCE: Duration = Duration::from_secs(8);

pub(super) async fn look(settings: &Settings, maildir: &Path) -> Vec<Check> {
    let postbox = match settings.postbox(maildir) {
        Ok(postbox) => postbox,
        Err(error) => return vec![Check::setting(NAME, &error)],
    };
    let place = postbox.place();
    let tried = tokio::time::timeout(PATIENCE, postbox.try_out()).await;
    vec![match (tried, postbox.folder().is_some()) {
        (Ok(Ok(())), true) => Check::warn(
            NAME,
            format!("written into {place}, and nobody receives them"),
            "Set SMTP_URL and `[letters] from` before users are to be told of anything.",
        ),
        (Ok(Ok(())), false) => Check::ok(NAME, format!("{place} lets us in; none was sent")),
        (Ok(Err(why)), true) => Check::fail(
            NAME,
            format!("{place} cannot be written to: {why}"),
            "Make that folder writable, name another as `[letters] maildir`, or set SMTP_URL.",
        ),
        (Ok(Err(why)), false) => {
            Check::fail(NAME, why, "Check SMTP_URL: the host, the port, TLS, the user and the password.")
        }
        (Err(_), _) => Check::fail(
            NAME,
            format!("{place} did not answer within {} s", PATIENCE.as_secs()),
            "Check the host and the port in SMTP_URL, and whether a firewall keeps this machine from them.",
        ),
    }]
}
