//! Where events come in. It verifies, stores and answers, and does nothing else: it holds the webhook secrets and no Stripe key,
//! and it never calls out. An answer of 2xx means that the event is on disk.

mod counters;
mod hmac;
mod readiness;
mod reply;
mod routes;
pub mod standard_webhooks;
pub mod stripe_signature;

use std::{io, net::SocketAddr, sync::Arc};

use hyper::{Request, body::Incoming};
use sqlx::PgPool;
use tokio::net::TcpListener;

use self::{counters::Counters, readiness::Readiness};
pub use crate::http::{Limits, Proxies};
use crate::{
    http::{self, reply::Reply},
    stop::Stop,
};

const VERIFICATIONS: &str = "/api/verifications";
const HEALTH: &str = "/healthz";
const READY: &str = "/readyz";

/// The paths that are not Stripe's; no webhook path may be one of them.
pub const OWN_PATHS: &[&str] = &[VERIFICATIONS, HEALTH, READY];

/// What `web` needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the listener is to be bound.
    pub address: SocketAddr,
    /// Where Stripe's events come in.
    pub webhook_paths: Vec<String>,
    /// The secrets of Stripe's endpoints; none where Stripe is off.
    pub stripe: Option<stripe_signature::Secrets>,
    /// The secrets shared with the application; none where verifications are off.
    pub verifications: Option<standard_webhooks::Secrets>,
    /// Whether an application's event of a type that nothing acts on is refused, instead of stored and told to the team.
    pub refuse_unknown_types: bool,
    /// What one sender, and all of them, may take.
    pub limits: Limits,
}

/// Why `web` could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The listener is of no use.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
}

/// What every connection shares.
#[derive(Debug)]
struct Web {
    settings: Settings,
    pool: PgPool,
    stop: Stop,
    readiness: Readiness,
    counters: Counters,
}

impl http::Service for Web {
    const NAME: &'static str = "web";

    fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    fn stop(&self) -> &Stop {
        &self.stop
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        routes::answer(self, request).await
    }
}

/// Serves until stop is said and what was accepted is answered.
///
/// # Panics
/// When the limits contradict each other: see [`Limits::drain`].
pub async fn run(settings: Settings, pool: PgPool, listener: TcpListener, stop: Stop) -> Result<(), WebError> {
    let web = Arc::new(Web { settings, pool, stop, readiness: Readiness::default(), counters: Counters::new() });
    http::serve(&web, listener).await?;
    web.counters.log();
    Ok(())
}
