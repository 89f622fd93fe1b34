//! What keeps other sites' pages out of these.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest;

use crate::world::Request;

/// Whether a form comes from one of our own pages. A browser always says where a form comes from; other clients need not.
///
/// A name other than `localhost` is not ours even when it leads here: a site could have let its own name do so.
pub(super) fn is_own(url: &str, request: &Request) -> bool {
    let Some(origin) = request.header("origin") else { return true };
    if origin == url {
        return true;
    }
    let host = request.header("host").unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let is_address = name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    is_address && origin.strip_prefix("http://") == Some(host)
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
