//! Webhooks that we send: signed by the Standard Webhooks scheme (standardwebhooks.com), to one address of the operator's.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::Full;
use hyper::{
    Method, Uri,
    body::Bytes,
    header::{CONTENT_TYPE, USER_AGENT},
};
use ring::hmac;

use crate::{
    answer::{Answer, Lost},
    transport::Transport,
};

/// For connecting, asking and reading the answer together. The scheme advises 15 to 30 seconds.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read. Nothing of it is used.
const BODY_LIMIT: usize = 64 * 1024;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// Not an address.
    #[error("is no http:// or https:// URL of a host")]
    Url,
    /// Not a secret.
    #[error("is not base64 of 24 to 64 bytes, with or without whsec_ before it")]
    Secret,
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Sends webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Outgoing(Arc<Inner>);

struct Inner {
    transport: Transport,
    url: Uri,
    key: hmac::Key,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("host", &self.0.url.host()).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// A sender to this address, signing with this secret (`whsec_` and base64).
    pub fn new(url: &str, secret: &str) -> Result<Self, OutgoingError> {
        let url: Uri = url.parse().map_err(|_| OutgoingError::Url)?;
        let plain = match (url.scheme_str(), url.host()) {
            (Some("https"), Some(_)) => false,
            (Some("http"), Some(_)) => true,
            _ => return Err(OutgoingError::Url),
        };
        let secret = secret.trim();
        let bytes =
            STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).map_err(|_| OutgoingError::Secret)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(OutgoingError::Secret);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Ok(Self(Arc::new(Inner { transport: Transport::new(plain, BODY_LIMIT)?, url, key })))
    }

    /// The host that it is sent to; the address itself may hold a secret.
    pub fn host(&self) -> &str {
        self.0.url.host().unwrap_or_default()
    }

    /// Whether anybody answers there, whatever the status: a HEAD request, so that nothing is told.
    pub async fn answers(&self, limit: Duration) -> Result<u16, Lost> {
        let request = hyper::Request::builder()
            .method(Method::HEAD)
            .uri(self.0.url.clone())
            .header(USER_AGENT, concat!("bursar/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::new()))
            .map_err(|_| Lost::Broken("it is no part of a request".into()))?;
        self.0.transport.exchange(request, limit).await.map(|answer| answer.status)
    }

    /// Sends it once, signed for this second (Unix time). A redirect is an answer like any other: it is not followed.
    pub async fn send(&self, id: &str, seconds: i64, body: &str) -> Result<Answer, Lost> {
        let signed = hmac::sign(&self.0.key, format!("{id}.{seconds}.{body}").as_bytes());
        let request = hyper::Request::builder()
            .method(Method::POST)
            .uri(self.0.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("bursar/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", format!("v1,{}", STANDARD.encode(signed)))
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|_| Lost::Broken("its id is no part of a header".into()))?;
        self.0.transport.exchange(request, TIMEOUT).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    #[test]
    fn only_an_address_and_a_secret_will_do() {
        assert!(Outgoing::new("https://example.com/hook?team=1", SECRET).is_ok());
        for url in ["", "example.com", "ftp://example.com", "file:///etc/passwd", "https://"] {
            assert!(Outgoing::new(url, SECRET).is_err(), "{url}");
        }
        for secret in ["", "whsec_", "not base64!", "c2hvcnQ="] {
            assert!(Outgoing::new("https://example.com", secret).is_err(), "{secret}");
        }
    }
}
