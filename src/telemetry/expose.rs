//! `/metrics`: all that a process counted and, where it is asked to, what the database says; in the format that the scraper asks for.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use sqlx::PgPool;
use tokio::net::TcpListener;

use super::{counts, gauges::Gauges};
use crate::{
    http::{
        self, Limits,
        reply::{Problem, Reply, only},
    },
    stop::Stop,
};

const PATH: &str = "/metrics";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a scrape shows.
#[derive(Debug)]
pub struct Exposed {
    pool: PgPool,
    /// What the database says, where this process shows it.
    gauges: Option<Gauges>,
}

impl Exposed {
    /// What `web` shows: itself alone.
    pub fn of_web(pool: PgPool) -> Self {
        counts::begin();
        std::sync::LazyLock::force(&counts::WEB);
        Self { pool, gauges: None }
    }

    /// What `worker` shows.
    pub fn of_worker(pool: PgPool) -> Self {
        counts::begin();
        std::sync::LazyLock::force(&counts::WORKER);
        Self { gauges: Some(Gauges::new(pool.clone())), pool }
    }

    /// What `api` shows.
    pub fn of_api(pool: PgPool) -> Self {
        counts::begin();
        counts::of_api();
        Self { gauges: Some(Gauges::new(pool.clone())), pool }
    }

    /// Answers a scrape. What cannot be read is missing from it; the scrape itself never fails.
    pub(crate) async fn answer(&self, headers: &HeaderMap) -> Reply {
        let of_pool = &counts::PROCESS.pool;
        let (size, idle) = (i64::from(self.pool.size()), i64::try_from(self.pool.num_idle()).unwrap_or(i64::MAX));
        for (state, value) in [
            ("used", (size - idle).max(0)),
            ("idle", idle),
            ("most", i64::from(self.pool.options().get_max_connections())),
        ] {
            of_pool.get_or_create(&vec![("state", state)]).set(value);
        }
        let mut text = String::new();
        if let Err(error) = counts::encode(&mut text) {
            tracing::error!(%error, "what was counted could not be written");
        }
        if let Some(gauges) = &self.gauges {
            text.push_str(&gauges.read().await);
        }
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let (kind, text) = if accept.contains("application/openmetrics-text") {
            (OPEN_METRICS, text + "# EOF\n")
        } else {
            (TEXT, plain(&text))
        };
        let mut reply = Reply::new(Full::new(Bytes::from(text)));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }
}

/// OpenMetrics' text as Prometheus's older format has it: there a counter's `# TYPE` carries the name that is scraped.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let counter = |line: &str| line.starts_with("# TYPE ") && line.ends_with(" counter");
        if counter(line) || (line.starts_with("# HELP ") && lines.peek().is_some_and(|next| counter(next))) {
            let mut words = line.splitn(4, ' ');
            let (hash, word, name, rest) = (words.next(), words.next(), words.next(), words.next());
            let [hash, word, name, rest] = [hash, word, name, rest].map(Option::unwrap_or_default);
            plain.extend([hash, " ", word, " ", name, "_total ", rest, "\n"]);
        } else {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

/// The private listener of a process that has no private server of its own.
struct Listener {
    exposed: Exposed,
    limits: Limits,
    stop: Stop,
}

impl http::Service for Listener {
    const NAME: &'static str = "metrics";
    const IS_BESIDE: bool = true;

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn stop(&self) -> &Stop {
        &self.stop
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        if request.uri().path() != PATH {
            return Problem::new(StatusCode::NOT_FOUND, "There is nothing at this path but GET /metrics.").into();
        }
        match only(request.method(), "GET, HEAD", &[Method::GET, Method::HEAD]) {
            Ok(()) => self.exposed.answer(request.headers()).await,
            Err(problem) => problem.into(),
        }
    }
}

/// Serves `/metrics` at an address until stop is said, beside the process. A port that is taken costs the metrics and nothing else: a second
/// worker on a machine is no reason to stop.
pub async fn listen(address: Option<SocketAddr>, exposed: Exposed, stop: Stop) {
    let Some(address) = address else { return };
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(
                wanted = %address, %error,
                "no metrics: their port cannot be had. Set `[metrics] web_port` or `worker_port` to a free one, or to off"
            );
            return;
        }
    };
    let seconds = Duration::from_secs;
    let limits = Limits {
        connections: 16,
        connections_per_address: 8,
        body_bytes: 0,
        bodies_bytes: 0,
        head: seconds(5),
        body: seconds(1),
        store: seconds(1),
        drain: seconds(8),
        ..Limits::default()
    };
    tokio::spawn(async move {
        if let Err(error) = http::serve(&Arc::new(Listener { exposed, limits, stop }), listener).await {
            tracing::warn!(%error, "the metrics are served no more");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_as_they_are_scraped() {
        let open = "# HELP a Things.\n# TYPE a counter\na_total{b=\"# TYPE x counter\"} 1\n# HELP g Other.\n# TYPE g gauge\ng 2\n";
        let old = "# HELP a_total Things.\n# TYPE a_total counter\na_total{b=\"# TYPE x counter\"} 1\n# HELP g Other.\n# TYPE g gauge\ng 2\n";
        assert_eq!(plain(open), old);
    }
}
