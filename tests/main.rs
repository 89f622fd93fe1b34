//! The tests of the processes, in one binary: one PostgreSQL for all of them, a database for each.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why on the way"
)]
#![expect(clippy::disallowed_methods, reason = "a test measures how long it waits, and passes the PATH on")]

mod api;
mod business_time;
mod chaos;
mod clawbacks;
mod connect;
mod console;
// It looks into /proc.
#[cfg(target_os = "linux")]
mod dev_crash;
mod dev_postgres;
mod dev_run;
mod doctor;
mod dunning;
mod facts;
mod fences;
mod jobs;
mod kills;
mod ledger;
mod letters;
mod metrics;
mod operate;
mod outage;
mod payout_limits;
mod payouts;
mod pooler;
mod queue;
mod reconcile;
mod report;
mod reversals;
mod sandbox;
mod schedules;
mod sdk;
mod stripe_cli;
mod subscriptions;
mod support;
mod traps;
mod turns;
mod usage;
mod watch;
mod web;
