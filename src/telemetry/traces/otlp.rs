//! The exporter: batches of spans to an OTLP endpoint, by HTTP and protobuf. A collector that is away costs spans, and nothing else.

use std::{fmt, time::Duration};

use bursar_jobs::base::clock;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{Item, Span, wire};
use crate::telemetry::counts::PROCESS;

/// Spans in one request.
const MOST: usize = 512;
/// A batch that is not full leaves after this.
const EVERY: Duration = Duration::from_secs(1);
/// For one request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of an answer's body is read, and for how long: it says nothing that is needed, but its connection can then be used again.
const ANSWER: usize = 64 << 10;
const AFTERWARDS: Duration = Duration::from_millis(500);
/// Before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// Where traces go.
#[derive(Clone)]
pub struct Destination {
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}

/// Why traces cannot go there. It quotes nothing: an address and a header may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// The address.
    #[error("is no http:// or https:// address without a query")]
    Endpoint,
    /// The headers.
    #[error("is not of the form name=value,name=value")]
    Headers,
}

impl Destination {
    /// The base of an OTLP endpoint (`/v1/traces` is put behind it), and headers as `name=value,name=value`.
    pub fn new(endpoint: &str, headers: Option<&str>) -> Result<Self, DestinationError> {
        let uri: Uri =
            format!("{}/v1/traces", endpoint.trim_end_matches('/')).parse().map_err(|_| DestinationError::Endpoint)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() || endpoint.contains(['?', '#'])
        {
            return Err(DestinationError::Endpoint);
        }
        let header = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
        };
        let pairs = headers.unwrap_or_default().split(',').filter(|pair| !pair.trim().is_empty());
        let headers = pairs.map(|pair| header(pair).ok_or(DestinationError::Headers)).collect::<Result<_, _>>()?;
        Ok(Self { uri, headers })
    }

    /// For the log, without what may be secret.
    pub(super) fn shown(&self) -> String {
        let port = self.uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.uri.scheme_str().unwrap_or_default(), self.uri.host().unwrap_or_default())
    }
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends what comes until nobody can send any more.
pub(super) async fn run(destination: Destination, role: &'static str, mut items: mpsc::Receiver<Item>) {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let tls = HttpsConnectorBuilder::new().with_provider_and_webpki_roots(rustls::crypto::ring::default_provider());
    let Ok(tls) = tls else {
        tracing::error!("no traces: TLS cannot be set up");
        return;
    };
    let http: Http =
        Client::builder(TokioExecutor::new()).build(tls.https_or_http().enable_http1().wrap_connector(tcp));
    let mut is_well = true;
    while let Some(item) = items.recv().await {
        let mut batch = Vec::new();
        let mut flushed = Vec::new();
        take(item, &mut batch, &mut flushed);
        let until = Instant::from_std(clock::monotonic() + EVERY);
        while batch.len() < MOST && flushed.is_empty() {
            match timeout_at(until, items.recv()).await {
                Ok(Some(item)) => take(item, &mut batch, &mut flushed),
                Ok(None) | Err(_) => break,
            }
        }
        let count = batch.len();
        if count > 0 {
            let sent = send(&http, &destination, wire::bytes(role, batch).into()).await;
            if let Err(error) = &sent {
                PROCESS.spans_dropped.inc_by(u64::try_from(count).unwrap_or_default());
                if is_well {
                    tracing::warn!(
                        endpoint = destination.shown(),
                        error,
                        "traces could not be sent; said once until they can"
                    );
                }
            }
            is_well = sent.is_ok();
        }
        for done in flushed {
            // Whoever waited may have given up.
            done.send(()).unwrap_or_default();
        }
    }
}

fn take(item: Item, batch: &mut Vec<Span>, flushed: &mut Vec<tokio::sync::oneshot::Sender<()>>) {
    match item {
        Item::Spans(spans) => batch.extend(spans),
        Item::Flush(done) => flushed.push(done),
    }
}

/// Three tries, where repeating makes sense (OTLP: failures).
async fn send(http: &Http, destination: &Destination, body: Bytes) -> Result<(), String> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let mut request = Request::post(destination.uri.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &destination.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.clone())).map_err(|error| error.to_string())?;
        let answer = async {
            let answer =
                timeout(PATIENCE, http.request(request)).await.map_err(|_| format!("no answer within {PATIENCE:?}"))?;
            let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
            // Whatever becomes of it, its head has said what became of the spans.
            drop(timeout(AFTERWARDS, Limited::new(body, ANSWER).collect()).await);
            Ok::<StatusCode, String>(head.status)
        };
        let error = match answer.await {
            Ok(status) if status.is_success() => return Ok(()),
            Ok(status) if !matches!(status.as_u16(), 429 | 502 | 503 | 504) => {
                return Err(format!("it answers {status}"));
            }
            Ok(status) => format!("it answers {status}"),
            Err(error) => error,
        };
        let Some(pause) = pauses.next() else { return Err(error) };
        sleep(pause).await;
    }
}
