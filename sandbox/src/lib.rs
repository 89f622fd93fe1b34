//! `bursar sandbox`: a local Stripe, so that money code can be built and broken without an account, a key or a network.
//!
//! It speaks a part of Stripe's v1 API, keeps what it is told in memory, treats idempotency keys as Stripe does, and fails on
//! request in the ways that cost money. Its clock is ahead of the real one by what `/_sandbox/advance` was told, and moves nobody
//! else's. What it does is one state machine without I/O ([`world`], [`dispatch`]); the rest of this room is its HTTP.

mod admin;
mod body;
mod cards;
mod chaos;
mod clock;
mod deliver;
mod deliveries;
mod dispatch;
mod endpoint;
mod event_faults;
mod events;
mod failure;
mod faults;
mod idempotency;
mod layout;
mod ledger;
mod list;
mod listen;
mod message;
mod money;
mod pages;
mod params;
mod plans;
mod requests;
mod routes;
mod server;
mod settings;
mod setup;
mod shared;
mod signature;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod turns;
mod v1;
mod view;
mod world;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
};

use chaos::Chaos;
use shared::Shared;
use world::World;

/// The port it listens on when none is named.
pub const PORT: u16 = 12111;
/// A key that it lets in unless it is told to want another.
pub const KEY: &str = "sk_test_bursar_sandbox";
/// What each currency's balance starts with, in minor units.
const BALANCE: i64 = 100_000_000;

/// How to run it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// That others than this machine may reach it is meant.
    pub public: bool,
    /// The only key that is let in; any `sk_test_…` of 12 or more characters when there is none.
    pub key: Option<String>,
    /// Who hears of events from the start.
    pub webhooks: Vec<Webhook>,
    /// What ids derive from; a new one each time when there is none, so that two runs never share an id.
    pub seed: Option<u64>,
    /// What each currency's available balance starts with, in minor units.
    pub balance: i64,
    /// Seconds that its clock is ahead from the start: where it goes on beside jobs whose time was moved.
    pub ahead: i64,
    /// What events are signed with for `stripe listen`; one is made when there is none.
    pub listen_secret: Option<String>,
    /// The probability with which a request meets a fault; the seed decides which.
    pub chaos: Option<f64>,
}

/// An endpoint that gets every event.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// `http://` on this machine.
    pub url: String,
    /// What events are signed with.
    pub secret: String,
    /// Whether it hears of what happens on connected accounts, or of the rest. One that wants both is named twice.
    pub connect: bool,
}

/// One that runs.
#[derive(Debug)]
pub struct Sandbox {
    /// Its base URL, for `STRIPE_API_BASE`.
    pub url: String,
    /// A key that it lets in, for `STRIPE_SECRET_KEY`.
    pub key: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What its ids and its chaos derive from: the same seed and the same requests give the same run.
    pub seed: u64,
    shared: Arc<Shared>,
    stopper: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Others than this machine could reach it.
    #[error(
        "the sandbox lets any test key in, and its admin routes ask for none: it listens on {0}, where others can reach it, \
         only when --public says that this is meant"
    )]
    Public(IpAddr),
    /// The port cannot be had.
    #[error("cannot listen on {0}: {1}. Name a free port with --port")]
    Listen(SocketAddr, #[source] io::Error),
    /// An endpoint is elsewhere.
    #[error("{0}")]
    Webhook(String),
    /// It is no probability.
    #[error("chaos is a probability, between 0 and 1, and not {0}")]
    Chaos(f64),
    /// It panicked.
    #[error("the sandbox ended by itself: {0}")]
    Ended(#[from] JoinError),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, PORT).into(),
            public: false,
            key: None,
            webhooks: Vec::new(),
            seed: None,
            balance: BALANCE,
            ahead: 0,
            listen_secret: None,
            chaos: None,
        }
    }
}

/// Starts one. Dropping it stops it too, without waiting.
pub async fn start(options: Options) -> Result<Sandbox, SandboxError> {
    if !options.address.ip().is_loopback() && !options.public {
        return Err(SandboxError::Public(options.address.ip()));
    }
    for webhook in &options.webhooks {
        v1::webhook_endpoints::check_url(&webhook.url).map_err(SandboxError::Webhook)?;
    }
    if let Some(rate) = options.chaos.filter(|rate| !chaos::is_rate(*rate)) {
        return Err(SandboxError::Chaos(rate));
    }
    let failed = |error| SandboxError::Listen(options.address, error);
    let listener = TcpListener::bind(options.address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let url = format!("http://{}", reachable(address));
    let key = options.key.clone().unwrap_or_else(|| KEY.to_owned());
    let seed = options.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let mut world = World::new(url.clone(), options.key, seed, options.balance);
    world.ahead = options.ahead;
    world.is_public = options.public;
    world.tick(clock::now());
    world.sessions.set_secret(options.listen_secret);
    world.chaos = Chaos::new(options.chaos.unwrap_or_default(), seed);
    for webhook in &options.webhooks {
        let all = ["*".to_owned()];
        v1::webhook_endpoints::register(&mut world, &webhook.url, &webhook.secret, webhook.connect, &all);
    }
    let (sender, deliveries) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::new(world, sender));
    let (stopper, stop) = watch::channel(false);
    let served = Arc::clone(&shared);
    let serving = tokio::spawn(async move {
        let delivering = tokio::spawn(deliver::run(deliveries, Arc::downgrade(&served)));
        server::serve(listener, served, stop).await;
        delivering.abort();
    });
    Ok(Sandbox { url, key, address, seed, shared, stopper, serving })
}

impl Sandbox {
    /// Opens a connected account for one of our users, active as if its owner had clicked through Stripe's pages; under a known id where
    /// it was opened in an earlier sandbox, for this one remembers nothing. Events about it are sent as Stripe would.
    pub fn open_account(&self, user: &str, id: Option<&str>) {
        let put = self.shared.change(|world| {
            let id = v1::accounts::open(world, user, id);
            v1::accounts::put(world, &id, v1::accounts::State::Active)
        });
        if put.is_err() {
            tracing::warn!(user, "the account was not opened");
        }
    }

    /// Sells something by the month under a price id of the caller's, as if it had been set up at Stripe long ago: no event tells of it.
    /// `amount` is in cents of a US dollar.
    pub fn sell(&self, price: &str, name: &str, amount: i64) {
        let sold = self.shared.change(|world| v1::prices::sell(world, price, name, amount));
        if sold.is_err() {
            tracing::warn!(price, "the price was not made");
        }
    }

    /// Saves the customer portal's settings, as is done in Stripe's Dashboard before the first session.
    pub fn set_up_portal(&self) {
        self.shared.change(v1::billing_portal::configurations::default);
    }

    /// The requests of a client, known by how its `User-Agent` begins, that Stripe's API has no path or parameter for. A test asks for
    /// them at its end: a job may well hide what it was refused.
    pub fn strange_requests(&self, agent: &str) -> Vec<String> {
        self.shared.world().requests.strange_of(agent)
    }

    /// Stops it: what is being answered is, except what a fault makes slow.
    pub async fn stop(self) -> Result<(), SandboxError> {
        self.stopper.send_replace(true);
        Ok(self.serving.await?)
    }
}

/// The address that a client on this machine uses.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { (Ipv4Addr::LOCALHOST, address.port()).into() } else { address }
}
