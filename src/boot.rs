//! What the processes do between their settings and their work: judge every setting, then reach for the database.

use std::{future::Future, path::Path, str::FromStr, sync::Arc, time::Duration};

use bursar_jobs::{
    base::{clock, db},
    event_gaps::watch_events,
    selling::packages,
    terms::Terms,
};
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::net::TcpListener;

use crate::{
    api,
    config::{Provider, Settings, SettingsError, Stripe},
    migrate,
    queue::{self, QueueError},
    schedule, stop,
    telemetry::{self, Exposed, TelemetryError, traces},
    web::{self, WebError},
};

/// Waiting longer for a connection would outlast the patience of whoever sent the event.
const WEB_PATIENCE: Duration = Duration::from_secs(3);
/// Whoever asks may wait a little longer than an event.
const API_PATIENCE: Duration = Duration::from_secs(8);
/// A batch that gets no connection repeats; its lease is renewed meanwhile.
const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// What a start may take in the database. A lock that a stranger holds is said, and not waited for.
const BOOT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often it is looked who holds a start up.
const LOOK: Duration = Duration::from_secs(1);

/// Where letters go that no mail server is there for.
pub const MAILDIR: &str = "mail";

/// Why a process did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A setting is missing or malformed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Logging could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The database does not answer.
    #[error("the database does not answer: {0}. Check DATABASE_URL")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought to this version's.
    #[error("the migrations failed: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Another session stands in the way.
    #[error(
        "the database has not let the start go on within {} s: {holder} holds a lock that it needs. End that session \
         (SELECT pg_terminate_backend(pid)), or wait for it, and start again", BOOT_TIMEOUT.as_secs()
    )]
    Locked {
        /// Who, as far as the database says.
        holder: String,
    },
    /// The schema is not this version's.
    #[error("the database is not at this version's schema. Run `bursar migrate` first")]
    Behind,
    /// Stripe was on, and its key is gone.
    #[error(
        "STRIPE_SECRET_KEY is not set, but this database has worked with Stripe: without the key credits would be free and \
         payouts skipped. Set the key again, or set `[stripe] provider = \"off\"` if that is what you want"
    )]
    KeyLost,
    /// The settings lead to another Stripe.
    #[error(
        "STRIPE_SECRET_KEY and STRIPE_API_BASE lead to {found}, but this database has worked with {kept}: every event would be a \
         stranger's. Use what it has worked with, or another database"
    )]
    OtherStripe {
        /// What the database knows.
        kept: &'static str,
        /// What the settings say.
        found: &'static str,
    },
    /// The port cannot be had.
    #[error("cannot listen on {0}: {1}. Set PORT to a free one")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// The api's port cannot be had.
    #[error("cannot listen on {0}: {1}. Set API_PORT to a free one")]
    ListenApi(std::net::SocketAddr, #[source] std::io::Error),
    /// web failed.
    #[error(transparent)]
    Web(#[from] WebError),
    /// api failed.
    #[error("cannot listen: {0}")]
    Api(#[from] std::io::Error),
    /// The worker failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Runs `bursar web` until a signal. It starts without a database too, and answers 503 until there is one.
pub async fn web() -> Result<(), BootError> {
    let settings = Settings::load(&[])?;
    let (web, metrics, destination) = (settings.web()?, settings.web_metrics()?, settings.traces()?);
    telemetry::init(&settings.log()?)?;
    settings.warn();
    traces::start(destination, "web");
    let pool = lazily(settings.database_url()?.expose(), settings.database_max_connections()?, WEB_PATIENCE)?;
    let address = web.address;
    let listener = TcpListener::bind(address).await.map_err(|error| BootError::Listen(address, error))?;
    let stop = on_signal();
    telemetry::listen(metrics, Exposed::of_web(pool.clone()), stop.clone()).await;
    let ended = web::run(web, pool, listener, stop).await;
    traces::finish().await;
    Ok(ended?)
}

/// Runs `bursar api` until a signal.
pub async fn api() -> Result<(), BootError> {
    let settings = Settings::load(&[])?;
    let (api, destination) = (settings.api()?, settings.traces()?);
    telemetry::init(&settings.log()?)?;
    settings.warn();
    traces::start(destination, "api");
    let pool = lazily(settings.database_url()?.expose(), settings.database_max_connections()?, API_PATIENCE)?;
    timely(&pool, async {
        if !migrate::is_current(&pool).await? {
            return Err(BootError::Behind);
        }
        Ok(seed(&pool, &api.terms).await?)
    })
    .await?;
    match api.seller {
        api::Seller::Stripe => {}
        api::Seller::Dummy => {
            tracing::warn!("the provider is a dummy: whatever is asked for is granted, and nobody pays");
        }
        api::Seller::Off => {
            tracing::warn!("Stripe is off (`[stripe] provider`): nothing is sold, and credit checks pass");
        }
    }
    let address = api.address;
    let listener = TcpListener::bind(address).await.map_err(|error| BootError::ListenApi(address, error))?;
    let ended = api::run(api, pool, listener, on_signal()).await;
    traces::finish().await;
    Ok(ended?)
}

/// Does what a start does in the database, within its time. Where a lock holds it up, the error says who holds that.
async fn timely(pool: &PgPool, start: impl Future<Output = Result<(), BootError>>) -> Result<(), BootError> {
    let (mut start, deadline) = (std::pin::pin!(start), clock::monotonic() + BOOT_TIMEOUT);
    let mut holder = None;
    loop {
        match tokio::time::timeout(LOOK, start.as_mut()).await {
            Ok(Err(BootError::Database(sqlx::Error::Database(error)))) if error.code().as_deref() == Some("55P03") => {
                return Err(BootError::Locked { holder: holder.unwrap_or_else(|| "another session".to_owned()) });
            }
            Ok(done) => return done,
            Err(_) => holder = tokio::time::timeout(LOOK, holder_of(pool)).await.ok().flatten().or(holder),
        }
        if clock::monotonic() >= deadline {
            return match holder {
                Some(holder) => Err(BootError::Locked { holder }),
                None => Err(BootError::Database(sqlx::Error::PoolTimedOut)),
            };
        }
    }
}

/// Who holds the lock that a session of this deployment waits for.
async fn holder_of(pool: &PgPool) -> Option<String> {
    let mut db = PgConnection::connect_with(&pool.connect_options()).await.ok()?;
    let row: Option<(i32, String, String)> = sqlx::query_as(
        "SELECT h.pid, coalesce(h.usename, '?')::text, coalesce(h.application_name, '')
         FROM pg_catalog.pg_stat_activity w, LATERAL unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b (pid)
         JOIN pg_catalog.pg_stat_activity h ON h.pid = b.pid
         WHERE w.datname = current_database() AND w.usename = current_user AND w.pid <> pg_backend_pid() LIMIT 1",
    )
    .fetch_optional(&mut db)
    .await
    .ok()?;
    row.map(|(pid, role, program)| migrate::session(pid, &role, &program))
}

/// Takes the configuration's packages over into the database, where operators may change them.
pub async fn seed(pool: &PgPool, terms: &Terms) -> Result<(), sqlx::Error> {
    let mut tx = db::begin(pool).await?;
    let left_out = packages::seed(&mut tx, &terms.packages).await?;
    tx.commit().await?;
    for name in left_out {
        tracing::warn!(
            name,
            "a package of the configuration is left out: its price or amount is another's in bursar.credit_packages"
        );
    }
    Ok(())
}

/// Says in the database whether credit checks pass: where Stripe is off nobody could buy what is missing. The worker says it, for it alone
/// has the key.
pub async fn say_checks(pool: &PgPool, stripe: &Stripe, simulated: bool) -> Result<(), sqlx::Error> {
    let pass = !simulated && !stripe.is_on() && stripe.provider != Provider::Dummy;
    sqlx::query!(
        "INSERT INTO bursar.setting (name, value) VALUES ('credit_checks', $1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value, set_at = clock_timestamp() WHERE setting.value <> excluded.value",
        if pass { "pass" } else { "enforce" }
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Runs `bursar worker` until a signal; it then finishes what it runs.
pub async fn worker() -> Result<(), BootError> {
    let settings = Settings::load(&[])?;
    let (terms, stripe) = (settings.terms()?, settings.stripe()?);
    let calendar = settings.calendar()?;
    let (metrics, destination) = (settings.worker_metrics()?, settings.traces()?);
    let url = settings.database_url()?.expose();
    let options = queue::Options {
        listen_url: Some(settings.listen_url()?.expose().to_owned()),
        stripe: stripe.client()?,
        notify: settings.notify()?,
        requests_per_second: stripe.requests_per_second,
        letters: Some(settings.postbox(Path::new(MAILDIR))?),
        ..queue::Options::default()
    };
    telemetry::init(&settings.log()?)?;
    settings.warn();
    traces::start(destination, "worker");
    let pool = lazily(url, settings.database_max_connections()?, WORKER_PATIENCE)?;
    timely(&pool, async {
        if !migrate::is_current(&pool).await? {
            return Err(BootError::Behind);
        }
        remember_mode(&pool, &stripe).await?;
        if stripe.is_on() {
            watch_events::begin(&pool).await?;
        }
        seed(&pool, &terms).await?;
        say_checks(&pool, &stripe, false).await?;
        schedule::declare(&pool, &calendar).await?;
        Ok(())
    })
    .await?;
    say_terms(&terms, &stripe);
    if let Some(folder) = options.letters.as_ref().and_then(|postbox| postbox.folder()) {
        tracing::warn!("SMTP_URL is not set: letters are written into {}, and nobody receives them", folder.display());
    }
    let stop = on_signal();
    telemetry::listen(metrics, Exposed::of_worker(pool.clone()), stop.clone()).await;
    let ended = queue::run(pool, options, Arc::new(terms), stop).await;
    traces::finish().await;
    Ok(ended?)
}

/// Runs `bursar migrate`.
pub async fn migrate() -> Result<(), BootError> {
    let settings = Settings::load(&[])?;
    let terms = settings.terms()?;
    let pool = lazily(settings.database_url()?.expose(), 1, WORKER_PATIENCE)?;
    migrate::migrate(&pool).await?;
    Ok(seed(&pool, &terms).await?)
}

/// Which Stripe a database has worked with. It stays so: events and objects of another would be strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Real money.
    Live,
    /// Stripe's test mode.
    Test,
    /// A local Stripe. Only a database of this mode lets its business time be moved.
    Sandbox,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Live, Self::Test, Self::Sandbox];

    /// Where the settings lead.
    pub fn of(stripe: &Stripe) -> Self {
        match (stripe.livemode, stripe.is_local()) {
            (true, _) => Self::Live,
            (false, false) => Self::Test,
            (false, true) => Self::Sandbox,
        }
    }

    /// As the database keeps it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
            Self::Sandbox => "sandbox",
        }
    }

    /// The one that the database keeps by this word.
    pub fn kept(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }

    /// In words.
    pub fn said(self) -> &'static str {
        match self {
            Self::Live => "Stripe in live mode",
            Self::Test => "Stripe in test mode",
            Self::Sandbox => "a sandbox",
        }
    }
}

/// Keeps in the database that Stripe was on once, and which: a key that is lost must not quietly turn it off, and one of the
/// other mode must not make every event a stranger's.
pub async fn remember_mode(pool: &PgPool, stripe: &Stripe) -> Result<(), BootError> {
    if stripe.is_on() {
        return remember(pool, Mode::of(stripe)).await;
    }
    if stripe.provider != Provider::Stripe {
        return Ok(());
    }
    let was_on =
        sqlx::query_scalar!("SELECT value FROM bursar.setting WHERE name = 'stripe'").fetch_optional(pool).await?;
    if was_on.is_some() { Err(BootError::KeyLost) } else { Ok(()) }
}

/// Keeps which Stripe the database works with.
pub async fn remember(pool: &PgPool, mode: Mode) -> Result<(), BootError> {
    let word = sqlx::query_scalar!(
        "INSERT INTO bursar.setting (name, value) VALUES ('stripe', $1)
         ON CONFLICT (name) DO UPDATE SET set_at = setting.set_at RETURNING value",
        mode.word()
    )
    .fetch_one(pool)
    .await?;
    let kept = Mode::kept(&word);
    if kept == Some(mode) {
        return Ok(());
    }
    Err(BootError::OtherStripe { kept: kept.map_or("one this version does not know", Mode::said), found: mode.said() })
}

/// Says what an operator would otherwise find out from a dead job.
fn say_terms(terms: &Terms, stripe: &Stripe) {
    let mode = if terms.livemode { "live" } else { "test" };
    if stripe.is_on() {
        tracing::info!("Stripe is on, in {mode} mode");
    } else if stripe.provider == Provider::Dummy {
        tracing::warn!("the provider is a dummy: nobody pays, and payouts are recorded as skipped");
    } else {
        tracing::warn!(
            "Stripe is off: credit checks pass, and payouts are recorded as skipped, to be released later. Events of {mode} mode \
             count; set `[stripe] livemode` (BURSAR_STRIPE__LIVEMODE) if that is the wrong one"
        );
    }
    for tier in terms.tiers.iter().filter(|tier| tier.prices.is_empty()) {
        tracing::warn!(
            "no price sells the tier {0}: set STRIPE_PRICE_{1}, or nothing refills it",
            tier.name,
            tier.name.to_uppercase()
        );
    }
}

fn lazily(url: &str, connections: u32, patience: Duration) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?.application_name("bursar");
    Ok(PgPoolOptions::new().max_connections(connections).acquire_timeout(patience).connect_lazy_with(options))
}

fn on_signal() -> stop::Stop {
    let (stopper, stop) = stop::channel();
    tokio::spawn(async move {
        if let Err(error) = stop::signalled().await {
            tracing::error!(%error, "signals cannot be heard: stopping instead of running without them");
        }
        stopper.stop();
    });
    stop
}
