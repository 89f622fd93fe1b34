//! The client: what every request carries, and what never leaves.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::Full;
use hyper::{
    HeaderMap, Uri,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, USER_AGENT},
};
use stripe_client_core::{CustomizedStripeRequest, RequestStrategy, StripeClient};

use crate::{
    API_VERSION,
    answer::{Answer, Lost},
    gate::{Gate, Lane, Turn},
    key::KEY_LIMIT,
    reply::Reply,
    request::{Method, Request},
    seen::Seen,
    transport::Transport,
    watch::Watch,
};

/// How to reach Stripe, and as whom.
#[derive(Clone)]
pub struct Config {
    /// Scheme and host, without the version: `https://api.stripe.com`, or the sandbox's `http://127.0.0.1:…`.
    pub api_base: String,
    /// `sk_…` or `rk_…`.
    pub secret_key: String,
    /// For connecting, asking and reading the whole answer together.
    pub timeout: Duration,
    /// A longer body is not read, in bytes.
    pub body_limit: usize,
}

impl Config {
    /// Ten seconds, 4 MiB: a page of a hundred of Stripe's largest objects is well below one.
    pub fn new(api_base: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            api_base: api_base.into(),
            secret_key: secret_key.into(),
            timeout: Duration::from_secs(10),
            body_limit: 4 * 1024 * 1024,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("api_base", &self.api_base)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an address.
    #[error(
        "Stripe's address {0:?} is no http:// or https:// URL of a host: set STRIPE_API_BASE, or leave it out for Stripe's own"
    )]
    Base(String),
    /// Not a key.
    #[error("Stripe's secret key is empty, or holds a space or a line break: copy it again from Stripe's dashboard")]
    Key,
    /// A live key would travel unencrypted.
    #[error("a live key is not sent over http: use an https:// address, or a test key (sk_test_…)")]
    InClear,
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// What was seen of a request that reads, and what the answer's head says beside it.
#[derive(Debug, Clone)]
pub struct Looked {
    /// What was seen.
    pub seen: Seen,
    /// `Date`: Stripe's clock when it answered, in seconds since 1970.
    pub date: Option<i64>,
    /// `Stripe-Version`: the version of the API that was answered in.
    pub version: Option<String>,
}

/// Speaks to Stripe. Cheap to clone; clones share one pool of connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    gate: Option<Arc<dyn Gate>>,
    watch: Option<Arc<dyn Watch>>,
    lane: Lane,
}

struct Inner {
    transport: Transport,
    base: String,
    secret: String,
    authorization: HeaderValue,
    timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.inner.base).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let base = config.api_base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_| ConfigError::Base(config.api_base.clone()))?;
        let plain = match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => false,
            (Some("http"), Some(_)) => true,
            _ => return Err(ConfigError::Base(config.api_base)),
        };
        if uri.query().is_some() {
            return Err(ConfigError::Base(config.api_base));
        }
        let secret = config.secret_key;
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::Key);
        }
        if plain && secret.contains("_live_") {
            return Err(ConfigError::InClear);
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {secret}")).map_err(|_| ConfigError::Key)?;
        authorization.set_sensitive(true);
        let transport = Transport::new(plain, config.body_limit)?;
        let inner = Inner { transport, base, secret, authorization, timeout: config.timeout };
        Ok(Self { inner: Arc::new(inner), gate: None, watch: None, lane: Lane::default() })
    }

    /// The same client, whose every request waits for its turn.
    #[must_use]
    pub fn behind(self, gate: Arc<dyn Gate>) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// The same client, whose every request somebody is told of.
    #[must_use]
    pub fn watched_by(self, watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// The same client, for requests that matter so much.
    #[must_use]
    pub fn in_lane(&self, lane: Lane) -> Self {
        Self { lane, ..self.clone() }
    }

    /// Waits for the turn of one request. Where that would take too long, what is seen is [`Seen::kept_back`].
    pub async fn turn(&self) -> Result<Turn, Box<Seen>> {
        match &self.gate {
            None => Ok(Turn(())),
            Some(gate) => match gate.turn(self.lane).await {
                Ok(()) => Ok(Turn(())),
                Err(wait) => Err(Box::new(Seen::unanswered(Reply::Limited { after: Some(wait) }))),
            },
        }
    }

    /// Sends a request once, when its turn has come. Every POST needs a key and nothing else takes one: what breaks this is
    /// [`Reply::NotSent`].
    pub async fn send(&self, request: &Request, idempotency_key: Option<&str>) -> Seen {
        match self.turn().await {
            Ok(turn) => self.send_in(turn, request, idempotency_key).await,
            Err(kept_back) => *kept_back,
        }
    }

    /// Sends a request once and now: for whoever must look once more at something between its turn and the sending.
    pub async fn send_in(&self, _: Turn, request: &Request, idempotency_key: Option<&str>) -> Seen {
        let leaving = self.watch.as_ref().map(|watch| watch.leaves(request));
        let seen = match self.http(request, idempotency_key) {
            Ok(http) => Seen::of(self.exchange(http, self.inner.timeout).await.as_ref()),
            Err(why) => Seen::unanswered(Reply::NotSent { why }),
        };
        if let Some(leaving) = leaving {
            leaving.came(&seen);
        }
        seen
    }

    /// Sends a request that reads once, and keeps what the answer's head says beside it. With `ours` it is asked in our version of the API,
    /// else in the account's own.
    pub async fn look(&self, request: &Request, ours: bool) -> Looked {
        let unseen = |seen| Looked { seen, date: None, version: None };
        let mut http = match self.http(request, None) {
            Ok(http) => http,
            Err(why) => return unseen(Seen::unanswered(Reply::NotSent { why })),
        };
        if !ours {
            http.headers_mut().remove("Stripe-Version");
        }
        let turn = self.turn().await;
        if let Err(kept_back) = turn {
            return unseen(*kept_back);
        }
        match self.exchange_with_head(http, self.inner.timeout).await {
            Ok((answer, head)) => {
                let text = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
                let date = text(DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok());
                let date = date.and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
                Looked {
                    seen: Seen::of(Ok(&answer)),
                    date: date.and_then(|date| i64::try_from(date.as_secs()).ok()),
                    version: text("stripe-version").map(str::to_owned),
                }
            }
            Err(lost) => unseen(Seen::of(Err(&lost))),
        }
    }

    /// After a turn.
    async fn exchange(&self, http: hyper::Request<Full<Bytes>>, limit: Duration) -> Result<Answer, Lost> {
        self.exchange_with_head(http, limit).await.map(|(answer, _)| answer)
    }

    async fn exchange_with_head(
        &self,
        http: hyper::Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<(Answer, HeaderMap), Lost> {
        let (mut answer, head) = self.inner.transport.exchange_with_head(http, limit).await?;
        if let Some(gate) = &self.gate
            && answer.is_of_the_rate()
        {
            gate.limited(answer.retry_after).await;
        }
        // What echoes the key, a proxy's error page say, must not carry it into the database and onto a screen.
        if let Ok(body) = &mut answer.body {
            let text = String::from_utf8_lossy(body);
            if text.contains(&self.inner.secret) {
                *body = text.replace(&self.inner.secret, "[secret key]").into();
            }
        }
        Ok((answer, head))
    }

    /// The request as it goes out, or the fault for which it does not.
    fn http(&self, request: &Request, key: Option<&str>) -> Result<hyper::Request<Full<Bytes>>, &'static str> {
        let mut uri = format!("{}{}", self.inner.base, request.path);
        let mut body = Bytes::new();
        match (request.method, key) {
            (Method::Post, None) => return Err("a POST without an idempotency key"),
            (Method::Get | Method::Delete, Some(_)) => return Err("an idempotency key on what is not a POST"),
            (Method::Post, Some(key)) => {
                if key.is_empty() || key.len() > KEY_LIMIT || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err("an idempotency key that is not 1 to 255 visible ASCII characters");
                }
                body = Bytes::copy_from_slice(request.form.as_bytes());
            }
            (Method::Get | Method::Delete, None) if request.form.is_empty() => {}
            (Method::Get | Method::Delete, None) => uri = format!("{uri}?{}", request.form),
        }
        if !request.path.starts_with("/v1/") {
            return Err("a path outside of /v1/");
        }
        let mut http = hyper::Request::builder()
            .method(request.method.as_str())
            .uri(uri)
            .header(AUTHORIZATION, self.inner.authorization.clone())
            .header("Stripe-Version", API_VERSION)
            .header(USER_AGENT, concat!("bursar/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = key {
            http = http.header("Idempotency-Key", key).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        http.body(Full::new(body)).map_err(|_| "a path or fields that are no part of an address")
    }
}

/// So that a generated builder can be sent directly where its typed answer is wanted. Nothing is ever sent twice, and a POST goes out
/// with [`RequestStrategy::Idempotent`] only.
impl StripeClient for Client {
    type Err = Box<Seen>;

    async fn execute(&self, request: CustomizedStripeRequest) -> Result<Bytes, Self::Err> {
        let (built, overrides) = request.into_pieces();
        let key = match &overrides.request_strategy {
            Some(RequestStrategy::Idempotent(key)) => Some(key.as_str()),
            Some(RequestStrategy::Once | RequestStrategy::Retry(_) | RequestStrategy::ExponentialBackoff(_)) | None => {
                None
            }
        };
        let request = Request::built(built);
        let http = match overrides.account_id {
            // Left out, it would act on the platform instead of the account.
            Some(_) => Err("a request in the name of a connected account"),
            None => self.http(&request, key),
        }
        .map_err(|why| Box::new(Seen::unanswered(Reply::NotSent { why })))?;
        drop(self.turn().await?);
        let leaving = self.watch.as_ref().map(|watch| watch.leaves(&request));
        let came = self.exchange(http, overrides.timeout.unwrap_or(self.inner.timeout)).await;
        let seen = Seen::of(came.as_ref());
        if let Some(leaving) = leaving {
            leaving.came(&seen);
        }
        match (seen.reply, came) {
            (Reply::Success(_), Ok(Answer { body: Ok(body), .. })) => Ok(body),
            (reply, _) => Err(Box::new(Seen { reply, ..seen })),
        }
    }
}
