//! What a process counts of itself. Every handle is made when the process starts, so that counting is an atomic addition: no lock, no
//! allocation, and every series is there from 0.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bursar_jobs::{Lane, base::clock, engine::kind};
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Metric, Registry},
};

use super::{
    histogram::{Durations, PATIENT, QUICK},
    names,
};

/// Names and values of labels, all known beforehand.
type Labels = Vec<(&'static str, &'static str)>;
type Histograms = Family<Labels, Durations, fn() -> Durations>;

/// What this process registered. Locked at the start and by a scrape, never while counting.
static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(|| Mutex::new(Registry::default()));

/// Registers a metric under its name, as [`names`] describes it.
pub(super) fn register<M: Metric>(registry: &mut Registry, name: &str, metric: M) {
    let known = names::named(name);
    // The library puts `_total` behind a counter's name itself.
    registry.register(name.trim_end_matches("_total"), known.help, metric);
}

fn counters(name: &str) -> Family<Labels, Counter> {
    kept(name, Family::default())
}

fn gauges(name: &str) -> Family<Labels, Gauge> {
    kept(name, Family::default())
}

fn histograms(name: &str, make: fn() -> Durations) -> Histograms {
    kept(name, Family::new_with_constructor(make))
}

fn kept<M: Metric + Clone + Debug>(name: &str, metric: M) -> M {
    register(&mut REGISTRY.lock().unwrap_or_else(PoisonError::into_inner), name, metric.clone());
    metric
}

/// All that was counted, in OpenMetrics' text without its end.
pub(super) fn encode(into: &mut String) -> Result<(), std::fmt::Error> {
    PROCESS.uptime.set(PROCESS.started.elapsed().as_secs_f64());
    text::encode_registry(into, &REGISTRY.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Begins to count, and the time for which it has counted.
pub(super) fn begin() {
    LazyLock::force(&PROCESS);
}

/// Every process.
pub(super) static PROCESS: LazyLock<Process> = LazyLock::new(|| {
    let version = Family::<Labels, Gauge>::default();
    version.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))]).set(1);
    kept("bursar_build_info", version);
    Process {
        started: clock::monotonic(),
        uptime: kept("bursar_process_uptime_seconds", Gauge::default()),
        pool: kept("bursar_database_pool_connections", Family::default()),
        spans_dropped: kept("bursar_spans_dropped_total", Counter::default()),
    }
});

#[derive(Debug)]
pub(super) struct Process {
    started: Instant,
    uptime: Gauge<f64, std::sync::atomic::AtomicU64>,
    pub pool: Family<Labels, Gauge>,
    pub spans_dropped: Counter,
}

/// Servers whose requests are counted: the scrapes themselves are not.
const SERVERS: [&str; 2] = ["web", "api"];

/// What they count.
static HTTP: LazyLock<HashMap<&'static str, Served>> = LazyLock::new(|| {
    let requests = counters("bursar_http_requests_total");
    let durations = histograms("bursar_http_request_duration_seconds", || Durations::new(QUICK));
    let (open, limit) = (gauges("bursar_http_connections"), gauges("bursar_http_connections_limit"));
    let closed = counters("bursar_http_connections_closed_total");
    let refused = counters("bursar_http_bodies_refused_total");
    let served = |server| Served {
        open: open.get_or_create_owned(&vec![("server", server)]),
        limit: limit.get_or_create_owned(&vec![("server", server)]),
        closed: CLOSED.map(|reason| closed.get_or_create_owned(&vec![("server", server), ("reason", reason)])),
        bodies_refused: refused.get_or_create_owned(&vec![("server", server)]),
        classes: ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .map(|class| requests.get_or_create_owned(&vec![("server", server), ("class", class)])),
        took: durations.get_or_create_owned(&vec![("server", server)]),
    };
    SERVERS.map(|server| (server, served(server))).into()
});

#[derive(Debug)]
struct Served {
    classes: [Counter; 5],
    took: Durations,
    open: Gauge,
    limit: Gauge,
    closed: [Counter; 3],
    bodies_refused: Counter,
}

/// Why a connection was closed, or a request on it refused, before its sender wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Closed {
    /// All were taken, and it was the idlest.
    Full,
    /// Its address had as many as it may.
    Address,
    /// All were at work, and its request waited for a place in vain.
    Busy,
}

const CLOSED: [&str; 3] = ["full", "address", "busy"];

/// What is counted of a server; nothing of one that is not of those.
fn of_server(server: &str) -> Option<&'static Served> {
    SERVERS.contains(&server).then(|| HTTP.get(server)).flatten()
}

/// How many connections a server may have.
pub(crate) fn connections_limit(server: &str, most: u32) {
    if let Some(of) = of_server(server) {
        of.limit.set(most.into());
    }
}

/// How many connections a server has.
pub(crate) fn connections(server: &str, open: usize) {
    if let Some(of) = of_server(server) {
        of.open.set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}

/// Counts a connection that was closed for others.
pub(crate) fn closed(server: &str, why: Closed) {
    if let Some(of) = of_server(server) {
        of.closed[why as usize].inc();
    }
}

/// Counts a body that there was no memory for.
pub(crate) fn body_refused(server: &str) {
    if let Some(of) = of_server(server) {
        of.bodies_refused.inc();
    }
}

/// Counts an answer of a server.
pub(crate) fn answered(server: &'static str, status: u16, took: Duration) {
    let Some(of) = of_server(server) else { return };
    if let Some(class) = of.classes.get(usize::from(status / 100).wrapping_sub(1)) {
        class.inc();
    }
    of.took.observe(took);
}

/// Why an event was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refused {
    /// Its signature is not accepted.
    Signature,
    /// Its body is too large, too slow or cut off.
    Body,
    /// It is signed, and yet no event.
    NotAnEvent,
    /// Its id is known with another body.
    Conflict,
}

const REASONS: [&str; 4] = ["signature", "body", "not_an_event", "conflict"];
const SOURCES: [&str; 2] = ["stripe", "verification"];
const OTHER: &str = "other";

/// What `web` counts.
#[derive(Debug)]
pub(crate) struct Web {
    /// By source, then type.
    received: [HashMap<&'static str, Counter>; 2],
    duplicate: [Counter; 2],
    rejected: [[Counter; 4]; 2],
    unavailable: [Counter; 2],
}

/// What `web` counts.
pub(crate) static WEB: LazyLock<Web> = LazyLock::new(|| {
    let received = counters("bursar_events_received_total");
    let (duplicate, unavailable) =
        (counters("bursar_events_duplicate_total"), counters("bursar_events_unavailable_total"));
    let rejected = counters("bursar_events_rejected_total");
    let of_stripe: Vec<&str> = kind::STRIPE_EVENTS.iter().map(|(name, _)| *name).chain([OTHER]).collect();
    let own = vec!["job.verified", "job.rejected", "user.created", OTHER];
    let types = [(SOURCES[0], of_stripe), (SOURCES[1], own)];
    LazyLock::force(&HTTP);
    Web {
        received: types.map(|(source, types)| {
            types
                .into_iter()
                .map(|name| (name, received.get_or_create_owned(&vec![("source", source), ("type", name)])))
                .collect()
        }),
        duplicate: SOURCES.map(|source| duplicate.get_or_create_owned(&vec![("source", source)])),
        rejected: SOURCES.map(|source| {
            REASONS.map(|reason| rejected.get_or_create_owned(&vec![("source", source), ("reason", reason)]))
        }),
        unavailable: SOURCES.map(|source| unavailable.get_or_create_owned(&vec![("source", source)])),
    }
});

fn nth(source: &str) -> usize {
    usize::from(source != SOURCES[0])
}

impl Web {
    /// An event was stored for the first time.
    pub fn received(&self, source: &str, kind: &str) {
        let types = &self.received[nth(source)];
        if let Some(count) = types.get(kind).or_else(|| types.get(OTHER)) {
            count.inc();
        }
    }

    /// An event was known.
    pub fn duplicate(&self, source: &str) {
        self.duplicate[nth(source)].inc();
    }

    /// An event was refused.
    pub fn rejected(&self, source: &str, why: Refused) {
        self.rejected[nth(source)][why as usize].inc();
    }

    /// An event could not be stored.
    pub fn unavailable(&self, source: &str) {
        self.unavailable[nth(source)].inc();
    }
}

/// Makes the series of `api`.
pub(crate) fn of_api() {
    LazyLock::force(&HTTP);
}

/// What an attempt can come to.
const OUTCOMES: [&str; 6] = ["done", "skip", "snooze", "retry", "dead", "lost"];
/// What can come of a request of Stripe.
pub(super) const REPLIES: [&str; 9] =
    ["success", "rejected", "limited", "busy", "key_misuse", "unauthorized", "unknown", "not_sent", "cut_off"];

/// What `worker` counts.
#[derive(Debug)]
pub(crate) struct Worker {
    kinds: HashMap<&'static str, OfKind>,
    pub(super) calls: HashMap<&'static str, (Counter, Durations)>,
    pub(super) limited: Counter,
    /// By lane.
    pub(super) waits: [Durations; 4],
    pub(super) refused: [Counter; 4],
}

#[derive(Debug)]
struct OfKind {
    outcomes: [Counter; 6],
    stale: Counter,
    took: Durations,
    receipt: Durations,
}

/// What `worker` counts.
pub(crate) static WORKER: LazyLock<Worker> = LazyLock::new(|| {
    let settled = counters("bursar_jobs_settled_total");
    let stale = counters("bursar_stale_settlements_total");
    let took = histograms("bursar_job_duration_seconds", || Durations::new(QUICK));
    let receipt = histograms("bursar_receipt_to_effect_seconds", || Durations::new(PATIENT));
    let calls = counters("bursar_stripe_requests_total");
    let call_took = histograms("bursar_stripe_request_duration_seconds", || Durations::new(QUICK));
    let waits = histograms("bursar_stripe_turn_wait_seconds", || Durations::new(QUICK));
    let refused = counters("bursar_stripe_turns_refused_total");
    let of_kind = |kind: &'static str| OfKind {
        outcomes: OUTCOMES.map(|outcome| settled.get_or_create_owned(&vec![("kind", kind), ("outcome", outcome)])),
        stale: stale.get_or_create_owned(&vec![("kind", kind)]),
        took: took.get_or_create_owned(&vec![("kind", kind)]),
        receipt: if becomes(kind) {
            receipt.get_or_create_owned(&vec![("kind", kind)])
        } else {
            Durations::new(PATIENT)
        },
    };
    let of_call = |outcome| {
        let labels = vec![("outcome", outcome)];
        (outcome, (calls.get_or_create_owned(&labels), call_took.get_or_create_owned(&labels)))
    };
    Worker {
        kinds: kind::ALL.iter().map(|kind| (kind.name, of_kind(kind.name))).collect(),
        calls: REPLIES.map(of_call).into(),
        limited: kept("bursar_stripe_rate_limited_total", Counter::default()),
        waits: Lane::ALL.map(|lane| waits.get_or_create_owned(&vec![("lane", lane.word())])),
        refused: Lane::ALL.map(|lane| refused.get_or_create_owned(&vec![("lane", lane.word())])),
    }
});

/// Whether an event can become a job of this kind.
fn becomes(kind: &str) -> bool {
    let own = [kind::RECORD_PAYOUT, kind::RETURN_SPEND, kind::OPEN_ACCOUNT, kind::NOTE_EVENT];
    kind::STRIPE_EVENTS.iter().map(|(_, kind)| kind).chain(&own).any(|of_event| of_event.name == kind)
}

impl Worker {
    /// An attempt was settled. Kinds of a test are not counted.
    pub fn settled(&self, kind: &str, outcome: &str) {
        let nth = OUTCOMES.iter().position(|known| *known == outcome);
        if let (Some(of), Some(nth)) = (self.kinds.get(kind), nth) {
            of.outcomes[nth].inc();
        }
    }

    /// A settlement changed nothing.
    pub fn stale(&self, kind: &str) {
        if let Some(of) = self.kinds.get(kind) {
            of.stale.inc();
        }
    }

    /// A batch was claimed and settled.
    pub fn took(&self, kind: &str, took: Duration) {
        if let Some(of) = self.kinds.get(kind) {
            of.took.observe(took);
        }
    }

    /// An event's job was done, so long after its receipt.
    pub fn effect(&self, kind: &str, since: Duration) {
        if let Some(of) = self.kinds.get(kind) {
            of.receipt.observe(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What counting costs an event, beside what an event costs: its commit alone is some hundred microseconds.
    #[test]
    fn counting_costs_an_event_next_to_nothing() {
        const EVENTS: u32 = 200_000;
        LazyLock::force(&WEB);
        let begun = clock::monotonic();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..EVENTS {
                        WEB.received("stripe", "invoice.paid");
                        answered("web", 200, Duration::from_micros(700));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let each = begun.elapsed() / EVENTS;
        assert!(each < Duration::from_micros(20), "{each:?} an event, unoptimised, two threads at once");
    }
}
