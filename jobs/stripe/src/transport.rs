//! The way there and back: one pool of connections, one time limit over connecting, asking and reading.

use std::{error::Error, pin::pin, time::Duration};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{HeaderMap, Request, body::Bytes};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use crate::answer::{Answer, Lost};

/// An unused connection is let go before a load balancer between us and Stripe would drop it, usually after a minute.
const IDLE: Duration = Duration::from_secs(30);
/// Unused connections kept; more are opened while more requests are under way.
const IDLE_CONNECTIONS: usize = 32;

/// A pooled HTTP client.
pub(crate) struct Transport {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    body_limit: usize,
}

impl Transport {
    /// Over TLS alone, or over plain TCP as well for the sandbox. Fails where TLS cannot be set up.
    pub fn new(plain: bool, body_limit: usize) -> Result<Self, rustls::Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls =
            HttpsConnectorBuilder::new().with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?;
        let connector = if plain { tls.https_or_http() } else { tls.https_only() }.enable_http1().wrap_connector(tcp);
        // A request that meets a connection which the other side closed meanwhile is repeated on another one only where none of it
        // was written yet; and it carries the same key.
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Ok(Self { http, body_limit })
    }

    /// Sends it once.
    pub async fn exchange(&self, request: Request<Full<Bytes>>, limit: Duration) -> Result<Answer, Lost> {
        self.exchange_with_head(request, limit).await.map(|(answer, _)| answer)
    }

    /// Sends it once, for whoever wants all headers of the answer too.
    pub async fn exchange_with_head(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<(Answer, HeaderMap), Lost> {
        let mut deadline = pin!(tokio::time::sleep(limit));
        let answer = tokio::select! {
            biased;
            answer = self.http.request(request) => answer.map_err(|error| {
                let lost = if error.is_connect() { Lost::NoConnection } else { Lost::Broken };
                lost(chain(&error))
            })?,
            () = &mut deadline => return Err(Lost::TimedOut),
        };
        let (head, body) = answer.into_parts();
        let body = tokio::select! {
            biased;
            body = Limited::new(body, self.body_limit).collect() => match body {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => Err(Lost::TooLong),
                Err(error) => Err(Lost::Broken(chain(error.as_ref()))),
            },
            () = &mut deadline => Err(Lost::TimedOut),
        };
        Ok((Answer::of(head.status.as_u16(), &head.headers, body), head.headers))
    }
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
