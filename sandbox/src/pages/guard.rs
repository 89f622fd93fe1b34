//! What keeps other sites' pages out of these.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest;

use crate::{failure::Failure, message::Request};

/// Whether a request is for this sandbox, and not sent by another site's page. A browser always says whom it asks for, and where what it
/// sends comes from; other clients need not.
///
/// A name other than `localhost` is not ours even when it leads here: a site could have let its own name do so. Where others are meant to
/// reach the sandbox (`--public`), any name may be its own.
pub(crate) fn is_own(url: &str, is_public: bool, request: &Request) -> bool {
    let host = request.header("host");
    if !is_public && host.is_some_and(|host| !is_local(host)) {
        return false;
    }
    let Some(origin) = request.header("origin") else { return true };
    origin == url || origin.split_once("://").is_some_and(|(_, named)| Some(named) == host)
}

/// What another site's page is told.
pub(crate) fn foreign() -> Failure {
    let told = "This was sent from another site's page, or to a name that is not this machine's: ask 127.0.0.1 or localhost, or start the \
                sandbox with --public.";
    Failure::new(403, "invalid_request_error", told)
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

/// Headers of every page. The one style is allowed by its hash. `form-action` is left out on purpose: browsers apply it to where a
/// form is redirected to as well, which is the caller's own site.
pub(super) fn headers(style: &str) -> Vec<(&'static str, String)> {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'");
    vec![
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff".to_owned()),
        ("Cache-Control", "no-store".to_owned()),
        // Not `no-referrer`, which would take the origin from our own forms.
        ("Referrer-Policy", "same-origin".to_owned()),
    ]
}
