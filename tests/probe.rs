//! A worker whose jobs crash, hang, panic and wait at a barrier on demand, as a process that tests can kill and freeze.
//!
//! `DATABASE_URL`, then optionally `PROBE_BARRIER` (an advisory lock that `probe_post` waits for before it looks at its facts) and
//! `PROBE_LEASE_MS`. It performs the probe kinds only; with `PROBE_STRIPE` and `PROBE_STRIPE_KEY` the real ones instead, against that
//! Stripe (`PROBE_RATE` requests a second, where set), and ends itself at the point of a call that `PROBE_KILL_AT` names; the team is told
//! at `PROBE_NOTIFY`, signed with `PROBE_NOTIFY_SECRET`. SIGTERM drains it. With `PROBE_OWN_SERVER` it is no worker, but the owner of a
//! Stripe, and ends itself at the point of a call that `PROBE_KILL_AT` names; the team is told
//! at `PROBE_NOTIFY`, signed with `PROBE_NOTIFY_SECRET`; letters leave by the mail server at `PROBE_SMTP`. SIGTERM drains it. With `PROBE_OWN_SERVER` it is no worker, but the owner of a
//! private PostgreSQL in that folder, until its standard input ends.

use std::{sync::Arc, time::Duration};

use bursar::{queue, stop};
use bursar_jobs::{
    Stripe, StripeConfig,
    base::credits::Credits,
    engine::{
        batch::Performer,
        context::Points,
        job::{Effects, Job, JobError, Pure},
        kind::Kind,
    },
    ledger::Posting,
    terms::{PayoutTerms, Terms},
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

const fn kind(name: &'static str, max_attempts: i32, batch: i32) -> Kind {
    Kind { name, max_attempts, timeout: Duration::from_secs(30), batch }
}

/// Posts one credit under a key of its own for each run, so that a second effect would show.
#[derive(Debug, Serialize, Deserialize)]
struct Post {
    user: String,
    #[serde(default)]
    abort: bool,
}

impl Job for Post {
    const KIND: Kind = kind("probe_post", 3, 10);
}

#[expect(clippy::disallowed_methods, reason = "a probe's settings are its own")]
fn setting(name: &str) -> Option<i64> {
    std::env::var(name).ok()?.parse().ok()
}

impl Pure for Post {
    type Facts = ();

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<()>, sqlx::Error> {
        if let Some(barrier) = setting("PROBE_BARRIER") {
            // The barrier is the test's, and longer than any lock that a job should wait for.
            sqlx::raw_sql("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0").execute(&mut *db).await?;
            sqlx::query("SELECT pg_advisory_xact_lock_shared($1)").bind(barrier).execute(db).await?;
        }
        Ok(vec![(); jobs.len()])
    }

    fn run(&self, (): &(), _: &Terms) -> Result<Effects, JobError> {
        if self.abort {
            std::process::abort();
        }
        let key = format!("probe:{}:{}", self.user, uuid::Uuid::new_v4());
        let posting = Posting::grant("admin_grant", key, &self.user, Credits::from_micros(1_000_000));
        Ok(Effects { postings: vec![posting], ..Effects::done() })
    }
}

/// Panics.
#[derive(Debug, Serialize, Deserialize)]
struct Panic {}

impl Job for Panic {
    const KIND: Kind = kind("probe_panic", 2, 5);
}

impl Pure for Panic {
    type Facts = ();

    async fn gather(_: &mut PgConnection, jobs: &[Self]) -> Result<Vec<()>, sqlx::Error> {
        Ok(vec![(); jobs.len()])
    }

    fn run(&self, (): &(), _: &Terms) -> Result<Effects, JobError> {
        panic!("the probe panics")
    }
}

/// Never ends by itself.
#[derive(Debug, Serialize, Deserialize)]
struct Hang {}

impl Job for Hang {
    const KIND: Kind = Kind { timeout: Duration::from_millis(300), ..kind("probe_hang", 2, 5) };
}

impl Pure for Hang {
    type Facts = ();

    async fn gather(_: &mut PgConnection, _: &[Self]) -> Result<Vec<()>, sqlx::Error> {
        std::future::pending().await
    }

    fn run(&self, (): &(), _: &Terms) -> Result<Effects, JobError> {
        Ok(Effects::done())
    }
}

/// Goes wrong each time, and asks for half a minute.
#[derive(Debug, Serialize, Deserialize)]
struct Fail {}

impl Job for Fail {
    const KIND: Kind = kind("probe_fail", 5, 5);
}

impl Pure for Fail {
    type Facts = ();

    async fn gather(_: &mut PgConnection, jobs: &[Self]) -> Result<Vec<()>, sqlx::Error> {
        Ok(vec![(); jobs.len()])
    }

    fn run(&self, (): &(), _: &Terms) -> Result<Effects, JobError> {
        let source = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the other side hung up");
        Err(JobError::Retry { after: Some(Duration::from_secs(30)), source: source.into() })
    }
}

/// Starts a server, leaves a word in its data, and keeps it.
async fn own_server(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    use bursar::dev::postgres::{Postgres, StartOptions};
    let options = StartOptions { folder, fresh: false, temporary: false, progress: &|_| {} };
    let server = Postgres::start(&options).await?;
    let mut db = <PgConnection as sqlx::Connection>::connect(&server.url("postgres")).await?;
    sqlx::raw_sql("CREATE TABLE notes (word text); INSERT INTO notes VALUES ('before')").execute(&mut db).await?;
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    Ok(server.stop().await?)
}

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "a probe's settings are its own")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Ok(folder) = std::env::var("PROBE_OWN_SERVER") {
        return own_server(std::path::Path::new(&folder)).await;
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("info,sqlx=warn").init();
    let url = std::env::var("DATABASE_URL")?;
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy(&url)?;
    let mut options = queue::Options {
        performers: vec![
            Performer::of::<Post>(),
            Performer::of::<Panic>(),
            Performer::of::<Hang>(),
            Performer::of::<Fail>(),
        ],
        listen_url: Some(url),
        ..queue::Options::default()
    };
    if let Some(lease) = setting("PROBE_LEASE_MS") {
        options.lease = Duration::from_millis(lease.try_into()?);
    }
    if let (Ok(url), Ok(key)) = (std::env::var("PROBE_STRIPE"), std::env::var("PROBE_STRIPE_KEY")) {
        options.performers = bursar_jobs::performers();
        options.requests_per_second = setting("PROBE_RATE").map(u32::try_from).transpose()?;
        options.stripe = Some(Stripe::new(StripeConfig::new(url, key))?);
    }
    if let (Ok(url), Ok(secret)) = (std::env::var("PROBE_NOTIFY"), std::env::var("PROBE_NOTIFY_SECRET")) {
        options.notify = Some(bursar_jobs::Outgoing::new(&url, &secret)?);
    }
    if let Ok(url) = std::env::var("PROBE_SMTP") {
        use bursar_jobs::letters::{Config, Postbox, Smtp, Way};
        let way = Way::Smtp(Smtp::new(&url, None)?);
        let (from, team) = ("Acme <billing@acme.example>", Some("ops@acme.example"));
        let config = Config { from, team, locale: "en", templates: None, portal_url: None, way };
        options.letters = Some(Postbox::new(config)?);
    }
    if let Ok(point) = std::env::var("PROBE_KILL_AT") {
        options.points = Points(Some(Arc::new(move |reached| {
            if reached == point {
                // As good as kill -9: no destructor runs, and nobody is told.
                std::process::abort();
            }
            Box::pin(std::future::ready(()))
        })));
    }
    let terms = Terms {
        tiers: Vec::new(),
        packages: Vec::new(),
        skills: std::collections::BTreeMap::new(),
        payout: PayoutTerms { minor_units_per_credit: 50, currency: "usd".into(), ..Default::default() },
        initial_credits: Credits::ZERO,
        livemode: false,
        stripe_on: true,
        grace: std::time::Duration::ZERO,
        selling: bursar_jobs::terms::Selling::default(),
        dunning: bursar_jobs::dunning::Dunning::default(),
    };
    let (stopper, stop) = stop::channel();
    tokio::spawn(async move {
        if stop::signalled().await.is_ok() {
            stopper.stop();
        }
    });
    queue::run(pool, options, Arc::new(terms), stop).await?;
    Ok(())
}
