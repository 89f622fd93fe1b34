//! What the application asks, in private: sell credits, spend them, see what a user may do. Every request carries the token.
//!
//! It holds no Stripe key and never calls out. What must happen at Stripe is written down as a job; a worker makes it happen, and the
//! request waits a little for its answer. Amounts of credits are decimal strings, amounts of money integers in minor units.

mod acts;
mod checkout;
mod connect;
mod console;
mod credits;
mod input;
mod offer;
mod portal;
mod routes;
mod subscriptions;
mod token;
mod wait;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bursar_jobs::terms::Terms;
use hyper::{Request, body::Incoming};
use sqlx::PgPool;
use tokio::{net::TcpListener, sync::Semaphore};

pub(crate) use self::input::is_url;
pub use self::token::Token;
use crate::{
    http::{self, Limits, reply::Reply},
    stop::Stop,
    telemetry::Exposed,
};

/// What `api` needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the listener is to be bound.
    pub address: SocketAddr,
    /// What every request must carry.
    pub token: Token,
    /// Whether operators reach the console over TLS: its cookie is then for TLS alone.
    pub is_over_tls: bool,
    /// Whether only this machine is meant to reach it, by its own names: in a development run.
    pub is_for_this_machine: bool,
    /// Who sells.
    pub seller: Seller,
    /// How a checkout looks.
    pub checkout: Checkout,
    /// How receivers are onboarded.
    pub connect: Connect,
    /// What is sold.
    pub terms: Terms,
    /// What one sender, and all of them, may take.
    pub limits: Limits,
    /// How long a request waits for what a worker does.
    pub patience: Duration,
}

/// Who sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seller {
    /// Stripe.
    Stripe,
    /// Nobody: what is asked for is granted at once, without a payment.
    Dummy,
    /// Nobody: nothing is sold.
    Off,
}

/// How a checkout looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Where a buyer comes back to who has paid; `{CHECKOUT_SESSION_ID}` in it becomes the session.
    pub success_url: String,
    /// Where one who has not.
    pub cancel_url: Option<String>,
    /// Where the portal leads back to.
    pub return_url: Option<String>,
    /// Days of a subscription before the first payment.
    pub trial_days: u32,
    /// Whether promotion codes can be typed in.
    pub allow_promotion_codes: bool,
    /// Whether Stripe computes tax.
    pub automatic_tax: bool,
    /// Whether a one-time purchase makes an invoice.
    pub invoice_creation: bool,
    /// How many checkouts and pages of the portal a user may begin in a minute; and, apart from them, how many links to the onboarding.
    pub per_minute: u32,
}

/// How receivers are onboarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Where the onboarding ends, whatever came of it.
    pub return_url: String,
    /// Where a link leads that was used, or is over: a page of the application that asks for another.
    pub refresh_url: String,
    /// The country of new accounts; without one, the platform's.
    pub country: Option<String>,
}

/// The limits of this server: it waits for workers, and must outlive that at its end.
pub fn limits(connections: u32) -> Limits {
    Limits {
        connections,
        body_bytes: 64 << 10,
        // A browser's cookies.
        head_bytes: 16 << 10,
        buffer_bytes: 32 << 10,
        store: Duration::from_secs(14),
        drain: Duration::from_secs(40),
        ..Limits::default()
    }
}

/// What a request waits for a worker. Less than a page's user would.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What every connection shares.
#[derive(Debug)]
struct Api {
    settings: Settings,
    /// Who has lately failed to sign in to the console.
    failures: console::session::Failures,
    /// Who has lately sent what is no token.
    guesses: console::session::Failures,
    /// Sessions that nobody here made and that Stripe was asked for.
    strangers: checkout::Strangers,
    exposed: Exposed,
    /// Room for the pages that are read at once.
    pages: Arc<Semaphore>,
    pool: PgPool,
    stop: Stop,
}

impl http::Service for Api {
    const NAME: &'static str = "api";

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
pub async fn run(settings: Settings, pool: PgPool, listener: TcpListener, stop: Stop) -> io::Result<()> {
    let (failures, guesses) = (console::session::Failures::default(), console::session::Failures::default());
    let exposed = Exposed::of_api(pool.clone());
    let (pages, strangers) = (Arc::new(console::reading::places(&pool)), checkout::Strangers::default());
    let api = Api { settings, failures, guesses, strangers, exposed, pages, pool, stop };
    http::serve(&Arc::new(api), listener).await
}
