//! `bursar dev`: everything on one machine by one command, to try it and to build against it.
//!
//! A private PostgreSQL where no database is named, then the schema, then web, api and worker in this process. What it makes for itself
//! (data, secrets, where it can be reached) is kept in `.bursar` of the folder it was started in.

pub mod advance;
mod compose;
mod hints;
mod http;
mod instance;
pub mod postgres;
mod secrets;
pub mod send;
mod steps;

use std::{io, path::PathBuf};

use sqlx::migrate::MigrateError;

pub use instance::{Instance, running_instance};

use crate::{config::SettingsError, queue::QueueError, stop, web::WebError};

/// The folder of its state, in the folder where it was started.
const STATE: &str = ".bursar";
/// Prices that the fixtures name, where the settings name none.
const PRICES: [(&str, &str); 3] =
    [("STRIPE_PRICE_STARTER", "price_starter"), ("STRIPE_PRICE_PRO", "price_pro"), ("STRIPE_PRICE_TEAM", "price_team")];

/// How to run it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Wipe the private database first.
    pub fresh: bool,
}

/// Why it does not run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The folder it was started in cannot be told.
    #[error("the current folder cannot be used: {0}")]
    Here(#[source] io::Error),
    /// One runs here already.
    #[error("a `bursar dev` runs in this folder already: stop it first, or work in another folder")]
    AlreadyRuns,
    /// Something of its state cannot be kept.
    #[error("{} cannot be used: {source}. Make it writable, or work in another folder", path.display())]
    State {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state is not what was written.
    #[error("{} cannot be read: {source}. Remove it; another is made", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A database is named, and that is not ours to wipe.
    #[error(
        "--fresh wipes the private database only, and DATABASE_URL names another: unset DATABASE_URL, or leave --fresh out"
    )]
    NotOursToWipe,
    /// A setting is missing or malformed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no private PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] postgres::PostgresError),
    /// The database does not answer.
    #[error("the database does not answer: {0}. Check DATABASE_URL, or unset it to use a private one")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought to this version's.
    #[error("the migrations failed: {0}. Where the data was only for trying, begin anew with --fresh")]
    Migrate(#[from] MigrateError),
    /// No port.
    #[error("cannot listen on {0}: {1}. Set PORT to a port that this user may use")]
    Listen(std::net::SocketAddr, #[source] io::Error),
    /// Signals cannot be heard.
    #[error("signals cannot be heard: {0}")]
    Signals(#[source] io::Error),
    /// The database has worked with Stripe in another way than the settings say.
    #[error(transparent)]
    Mode(#[from] crate::boot::BootError),
    /// The local Stripe failed.
    #[error("sandbox: {0}")]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// It cannot be spoken to.
    #[error("sandbox: {0}")]
    Client(#[from] bursar_jobs::StripeConfigError),
    /// api failed.
    #[error("api: {0}")]
    Api(#[source] io::Error),
    /// web failed.
    #[error("web: {0}")]
    Web(#[from] WebError),
    /// The worker failed.
    #[error("worker: {0}")]
    Queue(#[from] QueueError),
}

/// Runs it until Ctrl-C or SIGTERM; then web answers what it has, the worker ends its jobs, and PostgreSQL goes last.
pub async fn run(options: Options) -> Result<(), DevError> {
    let here = std::env::current_dir().map_err(DevError::Here)?;
    let mut claim = instance::Claim::take(&here)?;
    let prepared = tokio::select! {
        prepared = compose::prepare(&here, options) => prepared?,
        // What was begun ends with us: a half-made cluster has no name yet, a server has its watchdog.
        heard = stop::signalled() => return heard.map_err(DevError::Signals),
    };
    claim.publish(&prepared.instance)?;
    steps::show(&hints::next(&here, &prepared.instance));
    prepared.run().await
}
