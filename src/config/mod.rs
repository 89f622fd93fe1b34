//! Settings, and the only place that reads the environment.
//!
//! They come in layers, see [`Settings::load`]; each part of the program takes a typed view of them, and a view refuses what it
//! cannot use, by name and with a remedy. A process asks for its views before it does anything else.

mod api;
mod doctor;
mod dunning;
mod error;
mod layers;
mod letters;
mod metrics;
mod payout;
mod raw;
mod schedules;
mod secret;
mod strength;
mod terms;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    str::FromStr,
};

use bursar_jobs::{Outgoing, OutgoingError, terms::Terms};

pub use self::{error::SettingsError, layers::File, schedules::Calendar, secret::Secret};
use crate::{
    telemetry,
    web::{self, standard_webhooks, stripe_signature},
};

/// Where settings are read from when `BURSAR_CONFIG` names nothing; it need not be there.
const DEFAULT_FILE: &str = "bursar.toml";

/// All settings, read and laid over each other, not yet judged.
#[derive(Debug)]
pub struct Settings {
    raw: raw::Raw,
    /// What was seen while they were read, and is worth a line in the log.
    warnings: Vec<(String, String)>,
}

/// Who makes our calls of Stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Stripe, when there is a key.
    Stripe,
    /// Something that answers in Stripe's stead.
    Dummy,
    /// Nobody, on purpose.
    Off,
}

/// What is known of Stripe before the first call.
#[derive(Debug, Clone)]
pub struct Stripe {
    /// `[stripe] provider`.
    pub provider: Provider,
    /// `STRIPE_SECRET_KEY`; absent, Stripe is off.
    pub secret_key: Option<Secret>,
    /// By the key's own prefix; without a key, `[stripe] livemode`, or false.
    pub livemode: bool,
    /// `STRIPE_API_BASE`, without a trailing slash.
    pub api_base: String,
    /// `[stripe] requests_per_second`: what Stripe allows all processes together; none for a Stripe on this machine.
    pub requests_per_second: Option<u32>,
}

impl Stripe {
    /// The client that calls are made by, where any are.
    pub fn client(&self) -> Result<Option<bursar_jobs::Stripe>, SettingsError> {
        let Some(key) = self.secret_key.as_ref().filter(|_| self.is_on()) else { return Ok(None) };
        let config = bursar_jobs::StripeConfig::new(&self.api_base, key.expose());
        let refuse = |error: bursar_jobs::StripeConfigError| {
            let remedy = "See STRIPE_API_BASE and STRIPE_SECRET_KEY in .env.example.";
            SettingsError::new("stripe.api_base", format!("cannot be used: {error}"), remedy)
        };
        bursar_jobs::Stripe::new(config).map(Some).map_err(refuse)
    }

    /// Whether calls go to this machine: to a sandbox.
    pub fn is_local(&self) -> bool {
        // Read as the client reads it: what stands before an `@` is not where calls go.
        let Ok(uri) = self.api_base.parse::<hyper::Uri>() else { return false };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    /// Whether calls are made: there is a key, and the provider is Stripe.
    pub fn is_on(&self) -> bool {
        self.secret_key.is_some() && self.provider == Provider::Stripe
    }
}

impl Settings {
    /// Reads the settings. Lowest first: the built-in defaults, `defaults` (variables by name, such as the secrets that a
    /// development run makes up), the file that `BURSAR_CONFIG` names (`bursar.toml`), `BURSAR_SECTION__KEY` variables, and the
    /// variables with names of their own. `.env` in the working directory is read too; real variables win over it.
    pub fn load(defaults: &[(&str, &str)]) -> Result<Self, SettingsError> {
        let mut variables = dot_env(Path::new(".env"))?;
        // A name or value that is not Unicode cannot be one of ours.
        variables.extend(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))));
        let file = match variables.get("BURSAR_CONFIG").filter(|path| !path.is_empty()) {
            Some(path) => Some(read_file(path, "BURSAR_CONFIG")?),
            None if Path::new(DEFAULT_FILE).exists() => Some(read_file(DEFAULT_FILE, DEFAULT_FILE)?),
            None => None,
        };
        Self::from_parts(defaults, variables, file.as_ref())
    }

    /// Reads the settings out of given variables and a given file, and of nothing else but the files that `*_FILE` names.
    pub fn from_parts(
        defaults: &[(&str, &str)],
        variables: impl IntoIterator<Item = (String, String)>,
        file: Option<&File>,
    ) -> Result<Self, SettingsError> {
        let variables: BTreeMap<_, _> = variables.into_iter().collect();
        let warnings = layers::open_secret_files(&variables);
        layers::read(defaults, &variables, file).map(|raw| Self { raw, warnings })
    }

    /// Says in the log what was seen while the settings were read. Once logging is set up.
    pub fn warn(&self) {
        self.warnings.iter().for_each(|(seen, remedy)| tracing::warn!("{seen}: {remedy}"));
    }

    /// Whether a database is named at all: a development run brings its own where none is.
    pub fn database_is_set(&self) -> bool {
        self.raw.database.url.is_some()
    }

    /// Where the database is.
    pub fn database_url(&self) -> Result<&Secret, SettingsError> {
        let remedy = "Set it to postgres://user:password@host/database, or run `bursar dev`, which brings its own.";
        let url = self.raw.database.url.as_ref().ok_or_else(|| SettingsError::missing("database.url", remedy))?;
        postgres_url("database.url", url)
    }

    /// Where to LISTEN: a direct URL where the main one goes through a pooler; else the main one.
    pub fn listen_url(&self) -> Result<&Secret, SettingsError> {
        match &self.raw.database.listen_url {
            Some(url) => postgres_url("database.listen_url", url),
            None => self.database_url(),
        }
    }

    /// The most database connections that one process keeps.
    pub fn database_max_connections(&self) -> Result<u32, SettingsError> {
        at_least_one("database.max_connections", &self.raw.database.max_connections.0)
    }

    /// What is known of Stripe before the first call.
    pub fn stripe(&self) -> Result<Stripe, SettingsError> {
        let raw = &self.raw.stripe;
        let provider = match raw.provider.0.as_str() {
            "stripe" => Provider::Stripe,
            "dummy" => Provider::Dummy,
            "off" => Provider::Off,
            other => {
                let problem = format!("is {other:?}");
                return Err(SettingsError::new("stripe.provider", problem, "Write `stripe`, `dummy` or `off`."));
            }
        };
        let live = raw.secret_key.as_ref().map(|key| key_is_live(key.expose())).transpose()?;
        let base = raw.api_base.0.trim_end_matches('/');
        if !["https://", "http://"].iter().any(|scheme| base.strip_prefix(scheme).is_some_and(|host| !host.is_empty()))
        {
            let remedy = "Write something like https://api.stripe.com, or unset it.";
            return Err(SettingsError::new("stripe.api_base", "is not an http(s) URL", remedy));
        }
        if provider == Provider::Dummy && live == Some(true) {
            let remedy = "Unset STRIPE_SECRET_KEY, or write `stripe`: what a dummy grants nobody has paid for.";
            return Err(SettingsError::new("stripe.provider", "is \"dummy\" beside a live key", remedy));
        }
        let mut stripe = Stripe {
            provider,
            secret_key: raw.secret_key.clone(),
            livemode: live.or(raw.livemode).unwrap_or(false),
            api_base: base.to_owned(),
            requests_per_second: None,
        };
        stripe.requests_per_second = match &raw.requests_per_second {
            Some(limit) => Some(at_least_one("stripe.requests_per_second", &limit.0)?),
            // Stripe: rate limits.
            None => (!stripe.is_local()).then_some(if stripe.livemode { 100 } else { 25 }),
        };
        Ok(stripe)
    }

    /// The secrets that Stripe's events must be signed with, as they were set: for a sender that stands in for Stripe.
    pub fn webhook_secret(&self) -> Option<&Secret> {
        self.raw.stripe.webhook_secret.as_ref()
    }

    /// The secrets that verifications must be signed with, as they were set: for a sender that stands in for the application.
    pub fn verification_secret(&self) -> Option<&Secret> {
        self.raw.web.verification_secret.as_ref()
    }

    /// What is sold and paid, for the jobs.
    pub fn terms(&self) -> Result<Terms, SettingsError> {
        terms::read(&self.raw, &self.stripe()?)
    }

    /// What runs by the calendar, and which skills are metered.
    pub fn calendar(&self) -> Result<Calendar, SettingsError> {
        schedules::read(&self.raw)
    }

    /// Where the team is told of refunds and disputes, if anywhere.
    pub fn notify(&self) -> Result<Option<Outgoing>, SettingsError> {
        let raw = &self.raw.notify;
        let Some(url) = &raw.url else { return Ok(None) };
        let remedy = "Share with whoever receives it what `echo whsec_$(openssl rand -base64 32)` prints.";
        let secret = raw.secret.as_ref().ok_or_else(|| SettingsError::missing("notify.secret", remedy))?;
        let outgoing = Outgoing::new(&url.0, secret.expose()).map_err(|error| {
            let (key, remedy) = match error {
                OutgoingError::Secret => ("notify.secret", remedy),
                OutgoingError::Url | OutgoingError::Tls(_) => (
                    "notify.url",
                    "Write the address that is to be told, like https://example.com/hooks/bursar, or unset it.",
                ),
            };
            SettingsError::new(key, error.to_string(), remedy)
        })?;
        strength::verification(secret).map_err(|problem| SettingsError::new("notify.secret", problem, remedy))?;
        Ok(Some(outgoing))
    }

    /// What `web` needs. It needs the database's address too, and refuses here when that is missing.
    pub fn web(&self) -> Result<web::Settings, SettingsError> {
        let raw = &self.raw.web;
        self.database_url()?;
        let bind: IpAddr = raw.bind.0.parse().map_err(|_| {
            let remedy = "Write 127.0.0.1 for this machine alone (the default), or 0.0.0.0 inside a container.";
            SettingsError::new("web.bind", format!("is {:?}, not an IP address", raw.bind.0), remedy)
        })?;
        let port = number::<u16>("web.port", &raw.port.0, "a port from 0 to 65535")?;
        let limits = web::Limits {
            connections: at_least_one("web.max_connections", &raw.max_connections.0)?,
            connections_per_address: at_least_one(
                "web.max_connections_per_address",
                &raw.max_connections_per_address.0,
            )?,
            proxies: strength::proxies("web.trusted_proxies", &raw.trusted_proxies.0)?,
            ..web::Limits::default()
        };
        Ok(web::Settings {
            address: SocketAddr::new(bind, port),
            webhook_paths: self.webhook_paths()?,
            stripe: self.webhook_secrets()?,
            verifications: self.verification_secrets()?,
            refuse_unknown_types: match raw.unknown_types.0.as_str() {
                "accept" => false,
                "refuse" => true,
                other => {
                    let problem = format!("is {other:?}");
                    return Err(SettingsError::new("web.unknown_types", problem, "Write `accept` or `refuse`."));
                }
            },
            limits,
        })
    }

    /// How to log.
    pub fn log(&self) -> Result<telemetry::Settings, SettingsError> {
        let format = match self.raw.log.format.0.as_str() {
            "text" => telemetry::Format::Text,
            "json" => telemetry::Format::Json,
            other => {
                return Err(SettingsError::new("log.format", format!("is {other:?}"), "Write `text` or `json`."));
            }
        };
        Ok(telemetry::Settings { format, filter: self.raw.log.filter.0.clone() })
    }

    fn webhook_paths(&self) -> Result<Vec<String>, SettingsError> {
        let paths = &self.raw.web.webhook_paths.0;
        let refuse = |problem: String| {
            let remedy =
                "Write paths like /api/stripe/webhook, in a list or with commas, none of them one of bursar's own.";
            SettingsError::new("web.webhook_paths", problem, remedy)
        };
        if paths.is_empty() {
            return Err(refuse("is empty".to_owned()));
        }
        for path in paths {
            let plain = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && !b"?#,".contains(&b));
            if !plain || web::OWN_PATHS.contains(&path.as_str()) {
                return Err(refuse(format!("holds {path:?}")));
            }
        }
        Ok(paths.clone())
    }

    fn webhook_secrets(&self) -> Result<Option<stripe_signature::Secrets>, SettingsError> {
        const KEY: &str = "stripe.webhook_secret";
        let remedy = "Copy the signing secret (whsec_…) of the webhook endpoint from Stripe's dashboard, or the one that \
                      `stripe listen` prints; while it rolls, give both with a comma.";
        match &self.raw.stripe.webhook_secret {
            Some(secret) => {
                let secrets = stripe_signature::Secrets::parse(secret.expose())
                    .map_err(|problem| SettingsError::new(KEY, problem.to_string(), remedy))?;
                strength::webhook(secret).map_err(|problem| SettingsError::new(KEY, problem, remedy))?;
                Ok(Some(secrets))
            }
            None if self.stripe()?.provider == Provider::Off => Ok(None),
            None => Err(SettingsError::missing(KEY, format!("{remedy} Or set `[stripe] provider = \"off\"`."))),
        }
    }

    fn verification_secrets(&self) -> Result<Option<standard_webhooks::Secrets>, SettingsError> {
        const KEY: &str = "web.verification_secret";
        let remedy = "Share a random one with the application: whsec_ and base64, as `echo whsec_$(openssl rand -base64 32)` \
                      prints.";
        if !self.raw.web.verifications {
            return Ok(None);
        }
        match &self.raw.web.verification_secret {
            Some(secret) => {
                let secrets = standard_webhooks::Secrets::parse(secret.expose())
                    .map_err(|problem| SettingsError::new(KEY, problem.to_string(), remedy))?;
                strength::verification(secret).map_err(|problem| SettingsError::new(KEY, problem, remedy))?;
                Ok(Some(secrets))
            }
            None => Err(SettingsError::missing(KEY, format!("{remedy} Or set `[web] verifications = false`."))),
        }
    }
}

fn read_file(path: &str, what: &str) -> Result<File, SettingsError> {
    std::fs::read_to_string(path).map(|text| File { name: path.to_owned(), text }).map_err(|error| {
        let remedy = "Point BURSAR_CONFIG at a file that this process may read, or unset it.";
        SettingsError::about(what, format!("names {path}, which cannot be read: {error}"), remedy)
    })
}

/// Reads `.env` without touching this process's environment.
fn dot_env(path: &Path) -> Result<BTreeMap<String, String>, SettingsError> {
    let refuse =
        |problem: String| SettingsError::about(".env", problem, "Write NAME=value, one a line, or remove the file.");
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return Ok(BTreeMap::new()),
        Err(error) => return Err(refuse(format!("cannot be read: {error}"))),
    };
    let mut all = BTreeMap::new();
    for line in lines {
        // The library's words would quote the line, which may hold a secret.
        let (name, value) = line.map_err(|_| match all.last_key_value() {
            None => refuse("has a malformed line at its beginning".to_owned()),
            Some(_) => refuse(format!("has a malformed line after {} good ones", all.len())),
        })?;
        all.insert(name, value);
    }
    Ok(all)
}

fn postgres_url<'a>(key: &str, url: &'a Secret) -> Result<&'a Secret, SettingsError> {
    // The parser's words might quote the password.
    if sqlx::postgres::PgConnectOptions::from_str(url.expose()).is_ok()
        && ["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme))
    {
        return Ok(url);
    }
    let remedy = "Write postgres://user:password@host:port/database; a password's special characters as %XX.";
    Err(SettingsError::new(key, "is not a PostgreSQL URL", remedy))
}

/// Whether a Stripe key is of live mode. Test: `sk_test_`, `rk_test_`; live: `sk_live_`, `rk_live_`.
fn key_is_live(key: &str) -> Result<bool, SettingsError> {
    let remedy = "Copy a secret or restricted key (sk_… or rk_…) from Stripe's dashboard, or unset it.";
    let refuse = |problem| SettingsError::new("stripe.secret_key", problem, remedy);
    let begins = |kinds: [&str; 2]| kinds.iter().any(|kind| key.len() > kind.len() && key.starts_with(kind));
    if key.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err(refuse("holds white space or a character that no Stripe key has"));
    }
    match (begins(["sk_live_", "rk_live_"]), begins(["sk_test_", "rk_test_"])) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(refuse("is not a Stripe secret key")),
    }
}

fn number<T: FromStr>(key: &str, text: &str, wanted: &str) -> Result<T, SettingsError> {
    text.parse().map_err(|_| SettingsError::new(key, format!("is {text:?}"), format!("Write {wanted}.")))
}

fn at_least_one(key: &str, text: &str) -> Result<u32, SettingsError> {
    match number::<u32>(key, text, "a whole number from 1")? {
        0 => Err(SettingsError::new(key, "is 0", "Write a whole number from 1.")),
        count => Ok(count),
    }
}
