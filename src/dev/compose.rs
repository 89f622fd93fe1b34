//! What `bursar dev` is made of, and the order in which it comes and goes.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bursar_jobs::{
    desk::access::{self, Role},
    event_gaps::watch_events,
    terms::Terms,
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::net::TcpListener;

use super::{
    DevError, Options, PRICES,
    instance::Instance,
    postgres::{self, Postgres, StartOptions},
    secrets,
    steps::{Step, say},
};
use crate::{
    api, boot,
    config::{Provider, Settings},
    migrate, queue,
    sandbox::{self, Sandbox, Webhook},
    schedule, stop, web,
};

/// The port of the contract, tried before one that the system gives.
const USUAL_PORT: u16 = 3000;
/// How long connections have to say goodbye to a private PostgreSQL that stops anyhow.
const FAREWELL: Duration = Duration::from_secs(1);
/// Who signs in to the console of a private database.
const DEVELOPER: &str = "dev";
/// Whom the fixtures pay.
const RECEIVER: &str = "bob";
/// What the sandbox asks for a tier: as the packages of the defaults do.
const CENTS_PER_CREDIT: i64 = 20;
/// The database in the private PostgreSQL that every cluster has.
const DATABASE: &str = "postgres";

/// Everything that must be there before the first request.
pub(super) struct Prepared {
    pub(super) instance: Instance,
    postgres: Option<Postgres>,
    pool: PgPool,
    listener: TcpListener,
    web: web::Settings,
    api_listener: TcpListener,
    api: api::Settings,
    worker: queue::Options,
    terms: Arc<Terms>,
    sandbox: Option<Sandbox>,
}

/// Reads the settings, starts PostgreSQL, brings the schema up to date and takes a port.
pub(super) async fn prepare(here: &Path, options: Options) -> Result<Prepared, DevError> {
    let secrets = secrets::kept(here)?;
    let mut defaults = PRICES.to_vec();
    defaults.push(("STRIPE_WEBHOOK_SECRET", &secrets.webhook_secret));
    defaults.push(("VERIFICATION_SECRET", &secrets.verification_secret));
    defaults.push(("API_TOKEN", &secrets.api_token));
    let settings = Settings::load(&defaults)?;
    let named = settings.database_is_set();
    if named && options.fresh {
        return Err(DevError::NotOursToWipe);
    }
    let postgres = if named { None } else { Some(start_postgres(here, options).await?) };
    let url = postgres.as_ref().map(|postgres| postgres.url(DATABASE));
    if let Some(url) = &url {
        defaults.push(("DATABASE_URL", url));
    }
    let settings = Settings::load(&defaults)?;
    // Every setting is judged before anything is done with one.
    let (web, mut api, mut terms, stripe) = (settings.web()?, settings.api()?, settings.terms()?, settings.stripe()?);
    settings.warn();
    // Where it listens on this machine alone, no page of a stranger's name is to reach it.
    api.is_for_this_machine = api.address.ip().is_loopback() && !settings.api_is_public();
    let url = settings.database_url()?.expose().to_owned();
    let mut worker =
        queue::Options { listen_url: Some(settings.listen_url()?.expose().to_owned()), ..queue::Options::default() };

    let step = Step::begin();
    let pool = PgPoolOptions::new().max_connections(settings.database_max_connections()?).connect(&url).await?;
    migrate::migrate(&pool).await?;
    step.done("schema", "current");
    let simulates = stripe.secret_key.is_none() && stripe.provider == Provider::Stripe;
    if simulates {
        boot::remember(&pool, boot::Mode::Sandbox).await?;
    } else {
        boot::remember_mode(&pool, &stripe).await?;
    }
    boot::seed(&pool, &terms).await?;
    boot::say_checks(&pool, &stripe, simulates).await?;

    let listener = listen(web.address, USUAL_PORT).await?;
    let address = listener.local_addr().map_err(|error| DevError::Listen(web.address, error))?;
    let wanted = web.address.port();
    let taken =
        if [0, address.port()].contains(&wanted) { String::new() } else { format!(", for port {wanted} is taken") };
    say("web", &format!("http://{address}{taken}"));
    let api_listener = listen(api.address, 0).await?;
    let api_address = api_listener.local_addr().map_err(|error| DevError::Listen(api.address, error))?;
    let api_token = settings.api_token().map_or(secrets.api_token.as_str(), |token| token.expose()).to_owned();
    say("api", &format!("http://{api_address} (Authorization: Bearer {api_token})"));
    if postgres.is_some() {
        say("console", &format!("http://{api_address} (sign in with {})", console_token(&pool).await?));
    } else {
        say("console", &format!("http://{api_address} (make a token: bursar tokens create NAME --role payer)"));
    }
    let webhook_secret = settings.webhook_secret().map_or(secrets.webhook_secret, |s| s.expose().to_owned());
    let webhook_path = web.webhook_paths.first().cloned().unwrap_or_default();
    worker.stripe = stripe.client()?;
    worker.notify = settings.notify()?;
    worker.requests_per_second = stripe.requests_per_second.filter(|_| !simulates);
    if simulates || stripe.is_on() {
        watch_events::begin(&pool).await?;
    }
    let postbox = settings.postbox(&here.join(super::STATE).join("mail"))?;
    say("letters", &letters_go(here, &postbox));
    worker.letters = Some(postbox);
    schedule::declare(&pool, &settings.calendar()?).await?;
    let sandbox = if simulates {
        let sandbox = start_sandbox(&pool, &format!("http://{address}{webhook_path}"), &webhook_secret).await?;
        sell(&sandbox, &terms);
        sandbox.set_up_portal();
        worker.stripe = Some(sandbox_client(&sandbox)?);
        terms.stripe_on = true;
        // The defaults name an application that is not there: who pays in the demonstration comes back to a page all the same.
        let back = |url: &mut String, to: &str| {
            if url.starts_with("http://localhost:3000/") {
                *url = format!("{}/_sandbox/back/{to}", sandbox.url);
            }
        };
        back(&mut api.checkout.success_url, "checkout?session_id={CHECKOUT_SESSION_ID}");
        back(&mut api.connect.return_url, "connect");
        say("stripe", &format!("a sandbox at {}, for STRIPE_SECRET_KEY is not set", sandbox.url));
        Some(sandbox)
    } else {
        say("stripe", if stripe.is_on() { "on" } else { "off: payouts are recorded as skipped" });
        None
    };
    let instance = Instance {
        url: format!("http://{address}"),
        webhook_path,
        database_url: url,
        webhook_secret,
        api: format!("http://{api_address}"),
        api_token,
        sandbox: sandbox.as_ref().map(|sandbox| sandbox.url.clone()),
        verification_secret: settings
            .verification_secret()
            .map_or(secrets.verification_secret, |s| s.expose().to_owned()),
        pid: std::process::id(),
    };
    Ok(Prepared { instance, postgres, pool, listener, web, api_listener, api, worker, terms: Arc::new(terms), sandbox })
}

impl Prepared {
    /// Serves until a signal, or until one of them ends by itself, which takes the others along.
    pub(super) async fn run(self) -> Result<(), DevError> {
        let (stopper, stop) = stop::channel();
        let (worker_stopper, worker_stop) = stop::channel();
        let both = async {
            let servers = async {
                let web = async {
                    let ended = web::run(self.web, self.pool.clone(), self.listener, stop.clone()).await;
                    stopper.stop();
                    ended.map_err(DevError::from)
                };
                let api = async {
                    let ended = api::run(self.api, self.pool.clone(), self.api_listener, stop.clone()).await;
                    stopper.stop();
                    ended.map_err(DevError::Api)
                };
                let (web, api) = tokio::join!(web, api);
                // The worker goes on as long as requests come in, and hears of the end last.
                worker_stopper.stop();
                web.and(api)
            };
            let worker = async {
                let ended = queue::run(self.pool.clone(), self.worker, self.terms, worker_stop).await;
                stopper.stop();
                ended
            };
            let (servers, worker) = tokio::join!(servers, worker);
            servers.and(worker.map_err(DevError::from))
        };
        tokio::pin!(both);
        let ended = tokio::select! {
            ended = &mut both => ended,
            heard = stop::signalled() => {
                heard.map_err(DevError::Signals)?;
                say("stopping", "web answers what it has, running jobs end; Ctrl-C again cuts them off");
                stopper.stop();
                tokio::select! {
                    ended = both => ended,
                    // Jobs that are cut off start again with the next worker.
                    heard = stop::signalled() => heard.map_err(DevError::Signals),
                }
            }
        };
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await?;
        }
        if let Some(postgres) = self.postgres {
            let ending = Step::begin();
            // Connections that were cut off are never given back.
            tokio::time::timeout(FAREWELL, self.pool.close()).await.unwrap_or_default();
            postgres.stop().await?;
            ending.done("postgres", "stopped");
        }
        ended
    }
}

/// A token for the console, anew each time: the database keeps none that could be shown again.
async fn console_token(pool: &PgPool) -> Result<String, sqlx::Error> {
    let mut tx = pool.begin().await?;
    access::revoke(&mut *tx, DEVELOPER).await?;
    let token = access::create(&mut *tx, DEVELOPER, Role::Payer, "bursar dev").await?;
    tx.commit().await?;
    token.ok_or_else(|| sqlx::Error::Protocol("the token was made by another at this moment".into()))
}

/// A local Stripe whose events come to our web. It remembers nothing of an earlier run, but the database does: the receivers' accounts are
/// opened again under the ids that are known, and bob's, whom the fixtures pay.
async fn start_sandbox(pool: &PgPool, url: &str, secret: &str) -> Result<Sandbox, DevError> {
    let hears = |connect| Webhook { url: url.to_owned(), secret: secret.to_owned(), connect };
    let options = sandbox::Options {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        webhooks: vec![hears(false), hears(true)],
        // The jobs' time was moved along with that of a sandbox before this one.
        ahead: sqlx::query_scalar!(r#"SELECT extract(epoch FROM bursar.ahead())::bigint AS "ahead!""#)
            .fetch_one(pool)
            .await?,
        // What `stripe listen` passes on is taken without a setting.
        listen_secret: Some(secret.to_owned()),
        ..sandbox::Options::default()
    };
    let sandbox = sandbox::start(options).await?;
    let known = sqlx::query!(
        r#"SELECT user_id, account_id AS "account_id!" FROM bursar.receiver WHERE account_id IS NOT NULL"#
    )
    .fetch_all(pool)
    .await?;
    for receiver in &known {
        sandbox.open_account(&receiver.user_id, Some(&receiver.account_id));
    }
    if known.iter().all(|receiver| receiver.user_id != RECEIVER) {
        sandbox.open_account(RECEIVER, None);
    }
    Ok(sandbox)
}

/// The tiers, for sale by the month under the price ids that the settings name.
fn sell(sandbox: &Sandbox, terms: &Terms) {
    for tier in &terms.tiers {
        // The usual tiers at the prices of the documentation.
        let amount = match tier.name.as_str() {
            "starter" => 1000,
            "pro" => 2500,
            "team" => 7500,
            _ => (tier.credits.micros() / 1_000_000 * CENTS_PER_CREDIT).max(CENTS_PER_CREDIT),
        };
        for price in &tier.prices {
            sandbox.sell(price, &tier.name, amount);
        }
    }
}

/// Where letters go, in words.
fn letters_go(here: &Path, postbox: &bursar_jobs::letters::Postbox) -> String {
    match postbox.folder() {
        Some(folder) => {
            let folder = folder.strip_prefix(here).unwrap_or(folder).display();
            format!("into {folder}/new, for SMTP_URL is not set; nobody receives them")
        }
        None => format!("by {}", postbox.place()),
    }
}

fn sandbox_client(sandbox: &Sandbox) -> Result<bursar_jobs::Stripe, DevError> {
    let config = bursar_jobs::StripeConfig::new(&sandbox.url, &sandbox.key);
    Ok(bursar_jobs::Stripe::new(config)?)
}

async fn start_postgres(here: &Path, options: Options) -> Result<Postgres, DevError> {
    let step = Step::begin();
    let folder = postgres::default_folder(here);
    let progress = |line: &str| say("postgres", line);
    let options = StartOptions { folder: &folder, fresh: options.fresh, temporary: false, progress: &progress };
    let postgres = Postgres::start(&options).await?;
    let programs = postgres.programs().display();
    let folder = folder.strip_prefix(here).unwrap_or(&folder).display();
    step.done("postgres", &format!("{} from {programs}, data in {folder}", postgres.version()));
    Ok(postgres)
}

/// Takes the wanted port, the usual one where that is taken, or else any.
async fn listen(wanted: SocketAddr, usual: u16) -> Result<TcpListener, DevError> {
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for port in [wanted.port(), usual, 0] {
        match TcpListener::bind(SocketAddr::new(wanted.ip(), port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = error,
            Err(error) => return Err(DevError::Listen(wanted, error)),
        }
    }
    Err(DevError::Listen(wanted, taken))
}
