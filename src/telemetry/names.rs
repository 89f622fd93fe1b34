//! Every metric there is: its name, what it counts, and who shows it. The README's table, the dashboard and the alerts speak of these and
//! of no others, and a test holds them together.
//!
//! Names go by Prometheus's conventions: base units (seconds), `_total` for what only grows. A label takes few values, all known beforehand:
//! never an id, a user or a path.

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Only grows, from 0 when its process starts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Where a number comes from, and so who shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Each process, of itself.
    Process,
    /// `web`, of itself.
    Web,
    /// `web` and `api`, each of itself.
    Http,
    /// `worker`, of itself.
    Worker,
    /// The database, the same for all: `worker` and `api` show it. Take `max`, never `sum`.
    Database,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As it is scraped; a histogram is scraped as `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// What kind of number.
    pub kind: Type,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Who shows it.
    pub from: From,
    /// What it counts.
    pub help: &'static str,
}

const fn of(name: &'static str, kind: Type, labels: &'static [&'static str], from: From, help: &'static str) -> Metric {
    Metric { name, kind, labels, from, help }
}

use self::{
    From::{Database, Http, Process, Web, Worker},
    Type::{Counter, Gauge, Histogram},
};

/// All of them.
pub const ALL: &[Metric] = &[
    of(
        "bursar_events_received_total",
        Counter,
        &["source", "type"],
        Web,
        "Events stored for the first time; a type on which no job acts is `other`",
    ),
    of("bursar_events_duplicate_total", Counter, &["source"], Web, "Events that were known and had no second effect"),
    of(
        "bursar_events_rejected_total",
        Counter,
        &["source", "reason"],
        Web,
        "Events refused: `signature`, `body` (too large, too slow, cut off), `not_an_event`, `conflict`",
    ),
    of(
        "bursar_events_unavailable_total",
        Counter,
        &["source"],
        Web,
        "Events answered 503, because they could not be stored",
    ),
    of(
        "bursar_http_requests_total",
        Counter,
        &["server", "class"],
        Http,
        "Requests answered, by class of status (`2xx` … `5xx`)",
    ),
    of("bursar_http_request_duration_seconds", Histogram, &["server"], Http, "From a request's head to its answer"),
    of(
        "bursar_jobs_settled_total",
        Counter,
        &["kind", "outcome"],
        Worker,
        "Attempts settled: `done`, `skip`, `snooze`, `retry`, `dead`; `lost` was swept up after another worker",
    ),
    of("bursar_http_connections", Gauge, &["server"], Http, "Open connections"),
    of("bursar_http_connections_limit", Gauge, &["server"], Http, "Connections that it may have (`max_connections`)"),
    of(
        "bursar_http_connections_closed_total",
        Counter,
        &["server", "reason"],
        Http,
        "Connections closed for others: `full` (the idlest, all were taken), `address` (its address had its share); `busy`: a request \
         that found all at work",
    ),
    of(
        "bursar_http_bodies_refused_total",
        Counter,
        &["server"],
        Http,
        "Bodies answered 503, because all bodies together hold the memory they may",
    ),
    of("bursar_job_duration_seconds", Histogram, &["kind"], Worker, "From the claim of a batch to its settlement"),
    of(
        "bursar_receipt_to_effect_seconds",
        Histogram,
        &["kind"],
        Worker,
        "From an event's receipt until the job that it became was done",
    ),
    of(
        "bursar_stale_settlements_total",
        Counter,
        &["kind"],
        Worker,
        "Settlements that changed nothing: the job was another worker's by then",
    ),
    of(
        "bursar_stripe_requests_total",
        Counter,
        &["outcome"],
        Worker,
        "Requests of Stripe by what came of them: `success`, `rejected`, `limited`, `busy`, `key_misuse`, `unauthorized`, `unknown`, `not_sent`, `cut_off`",
    ),
    of(
        "bursar_stripe_request_duration_seconds",
        Histogram,
        &["outcome"],
        Worker,
        "From a request of Stripe to its whole answer",
    ),
    of(
        "bursar_stripe_rate_limited_total",
        Counter,
        &[],
        Worker,
        "Answers 429: too many requests, or an object that is locked",
    ),
    of(
        "bursar_stripe_turn_wait_seconds",
        Histogram,
        &["lane"],
        Worker,
        "How long requests waited for their turn under the shared rate",
    ),
    of(
        "bursar_stripe_turns_refused_total",
        Counter,
        &["lane"],
        Worker,
        "Requests sent back to the queue, for their turn was too far away",
    ),
    of(
        "bursar_database_pool_connections",
        Gauge,
        &["state"],
        Process,
        "Connections of this process: `used`, `idle`, and the `most` it may have",
    ),
    of("bursar_build_info", Gauge, &["version"], Process, "1, with the version"),
    of("bursar_process_uptime_seconds", Gauge, &[], Process, "Since this process began to count"),
    of("bursar_spans_dropped_total", Counter, &[], Process, "Spans of traces that could not be sent"),
    of(
        "bursar_reading_ok",
        Gauge,
        &["reading"],
        Database,
        "1 where a group of the numbers below could be read; 0 where not, and then they are missing",
    ),
    of("bursar_jobs", Gauge, &["kind", "state"], Database, "Jobs that are `ready`, `scheduled`, `running` or `dead`"),
    of(
        "bursar_oldest_ready_age_seconds",
        Gauge,
        &[],
        Database,
        "How long the oldest ready job has waited; 0: none is ready",
    ),
    of("bursar_oldest_running_age_seconds", Gauge, &[], Database, "How long the oldest attempt runs; 0: none"),
    of("bursar_workers_alive", Gauge, &[], Database, "Workers whose lease holds"),
    of("bursar_kinds_paused", Gauge, &[], Database, "Kinds of job that an operator paused"),
    of(
        "bursar_payouts",
        Gauge,
        &["state", "currency"],
        Database,
        "Payouts that are not at their end: `held`, `sending`, `unknown`, `rejected`, `skipped`",
    ),
    of(
        "bursar_payouts_minor_units",
        Gauge,
        &["state", "currency"],
        Database,
        "Their sum, in the currency's minor unit",
    ),
    of("bursar_letters", Gauge, &["state"], Database, "Letters that were not sent yet"),
    of("bursar_last_event_age_seconds", Gauge, &[], Database, "Since the last event was received"),
    of(
        "bursar_event_watch_lag_seconds",
        Gauge,
        &[],
        Database,
        "How far the comparison of Stripe's events with the inbox is behind",
    ),
    of(
        "bursar_missed_events",
        Gauge,
        &[],
        Database,
        "Events that never arrived and were found at Stripe in the last 24 hours",
    ),
    of(
        "bursar_schedule_tick_age_seconds",
        Gauge,
        &["schedule"],
        Database,
        "Since the last tick of a schedule that fired",
    ),
    of(
        "bursar_schedule_overdue_seconds",
        Gauge,
        &["schedule"],
        Database,
        "How long a tick is overdue; 0: none is. Paused schedules have none",
    ),
    of(
        "bursar_ledger_drift_accounts",
        Gauge,
        &[],
        Database,
        "Accounts whose kept balance was seen to differ from their postings",
    ),
    of(
        "bursar_ledger_checked_accounts",
        Gauge,
        &[],
        Database,
        "Accounts checked for that since the process started; it goes round and round",
    ),
    of("bursar_dunning_cases", Gauge, &["state"], Database, "Dunning cases"),
    of("bursar_open_findings", Gauge, &["type"], Database, "What reconciliation found and nobody repaired or judged"),
];

/// One of them.
///
/// # Panics
/// When there is none of the name: a mistake of ours, and every process meets it when it starts.
pub fn named(name: &str) -> &'static Metric {
    ALL.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no metric is called {name}"))
}
