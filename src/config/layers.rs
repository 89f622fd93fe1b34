//! The layers of the settings, lowest first: built-in defaults, the caller's own, `bursar.toml`, variables.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use config::{Config, ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use super::{SettingsError, raw::Raw};

/// The variables with names of their own, and the keys they set. They win over `BURSAR_SECTION__KEY`.
pub(super) const NAMED: &[(&str, &str)] = &[
    ("DATABASE_URL", "database.url"),
    ("PORT", "web.port"),
    ("API_PORT", "api.port"),
    ("API_TOKEN", "api.token"),
    ("STRIPE_SECRET_KEY", "stripe.secret_key"),
    ("STRIPE_WEBHOOK_SECRET", "stripe.webhook_secret"),
    ("STRIPE_PRICE_STARTER", "tiers.starter.prices"),
    ("STRIPE_PRICE_PRO", "tiers.pro.prices"),
    ("STRIPE_PRICE_TEAM", "tiers.team.prices"),
    ("STRIPE_API_BASE", "stripe.api_base"),
    ("VERIFICATION_SECRET", "web.verification_secret"),
    ("SMTP_URL", "smtp.url"),
    ("NOTIFY_SECRET", "notify.secret"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "telemetry.otlp_headers"),
];

/// Those of them that may come from a file, by `NAME_FILE`.
const SECRETS: &[&str] = &[
    "DATABASE_URL",
    "API_TOKEN",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "VERIFICATION_SECRET",
    "SMTP_URL",
    "NOTIFY_SECRET",
    "OTEL_EXPORTER_OTLP_HEADERS",
];

/// The sets that a file replaces as a whole: what it does not list is not sold.
const SETS: &[&str] = &["tiers", "packages", "skills"];

/// What `BURSAR_SECTION__KEY` begins with.
const PREFIX: &str = "BURSAR_";

/// The text of a settings file, and what to call it in an error.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path, as the operator knows it.
    pub name: String,
    /// Its content: TOML.
    pub text: String,
}

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    let named = NAMED.iter().find(|(_, named)| *named == key).map(|(variable, _)| (*variable).to_owned());
    named.unwrap_or_else(|| format!("{PREFIX}{}", key.replace('.', "__").to_uppercase()))
}

/// Lays the layers on each other and reads them.
pub(super) fn read(
    defaults: &[(&str, &str)],
    variables: &BTreeMap<String, String>,
    file: Option<&File>,
) -> Result<Raw, SettingsError> {
    let file = file.map(parse_file).transpose()?.unwrap_or_default();
    let replaced = |key: &str| SETS.iter().any(|set| key.split('.').next() == Some(set) && file.contains_key(*set));

    let mut built_in = FileFormat::Toml.parse(None, include_str!("defaults.toml")).map_err(|e| {
        SettingsError::about("the built-in defaults", e.to_string(), "This is a bug; please report it.")
    })?;
    built_in.retain(|key, _| !replaced(key));
    let mut callers = named(defaults.iter().copied());
    callers.retain(|key, _| !replaced(key));

    let variables = with_secret_files(variables)?;
    let set = || variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(|(_, v)| !v.is_empty());
    let conventional =
        set().filter(|(name, _)| *name == "RUST_LOG").map(|(name, v)| value("log.filter", name, v)).collect();
    let sectioned = set().filter_map(|(name, v)| Some(value(&key_of(name)?, name, v))).collect();

    Config::builder()
        .add_source(Layer(built_in))
        .add_source(Layer(callers))
        .add_source(Layer(file))
        .add_source(Layer(conventional))
        .add_source(Layer(sectioned))
        .add_source(Layer(named(set())))
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| refused(error, None))
}

fn parse_file(file: &File) -> Result<Map<String, Value>, SettingsError> {
    FileFormat::Toml.parse(Some(&file.name), &file.text).map_err(|error| {
        // The first line says where, the last one what; those between quote the file, which may hold a secret.
        let error = error.to_string();
        let (first, last) = (error.lines().next().unwrap_or_default(), error.lines().last().unwrap_or_default());
        SettingsError::about(&file.name, format!("is not TOML: {first}: {last}"), "Mend that line.")
    })
}

/// `BURSAR_WEB__PORT` is `web.port`. Without a double underscore it is none of ours: an orchestrator's `BURSAR_PORT` may be
/// there for a service that is called bursar.
fn key_of(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix(PREFIX)?;
    rest.contains("__").then(|| rest.to_lowercase().replace("__", "."))
}

fn named<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> Map<String, Value> {
    let key = |name: &str| NAMED.iter().find(|(variable, _)| *variable == name).map(|(_, key)| *key);
    variables.filter_map(|(name, v)| Some(value(key(name)?, name, v))).collect()
}

fn value(key: &str, origin: &str, text: &str) -> (String, Value) {
    (key.to_owned(), Value::new(Some(&origin.to_owned()), ValueKind::String(text.to_owned())))
}

/// Reads `NAME_FILE` for every secret that is given so.
fn with_secret_files(variables: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut all = variables.clone();
    for name in SECRETS {
        let pointer = format!("{name}_FILE");
        let Some(path) = variables.get(&pointer).filter(|path| !path.is_empty()) else { continue };
        if variables.get(*name).is_some_and(|value| !value.is_empty()) {
            let remedy = format!("Unset {name}, or {pointer}.");
            return Err(SettingsError::about(*name, format!("is set, and {pointer} too"), remedy));
        }
        let text = std::fs::read_to_string(path).map_err(|error| {
            let remedy = "Point it at a file that this process may read.";
            SettingsError::about(&pointer, format!("names {path}, which cannot be read: {error}"), remedy)
        })?;
        if text.trim().is_empty() {
            let remedy = format!("Write the secret into it, or unset {pointer}.");
            return Err(SettingsError::about(&pointer, format!("names {path}, which is empty"), remedy));
        }
        all.insert((*name).to_owned(), text.trim().to_owned());
    }
    Ok(all)
}

/// What is wrong with the rights of the files that secrets come from, each with its remedy. An orchestrator's own mounts are readable for
/// all by custom.
pub(super) fn open_secret_files(variables: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let pointers = SECRETS.iter().map(|name| format!("{name}_FILE"));
    let named = pointers
        .filter_map(|pointer| variables.get(&pointer).filter(|path| !path.is_empty()).map(|path| (pointer, path)));
    named
        .filter_map(|(pointer, path)| {
            let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
            let mode = found.permissions().mode() & 0o777;
            let mounted = ["/run/secrets/", "/var/run/secrets/"].iter().any(|folder| path.starts_with(folder));
            let who = match (mode & 0o002 != 0, mode & 0o004 != 0 && !mounted) {
                (true, _) => "every user of this machine may write",
                (false, true) => "every user of this machine may read",
                (false, false) => return None,
            };
            let seen = format!("{pointer} names {path}, which {who} (mode {mode:o})");
            Some((seen, format!("run `chmod 600 {path}`, and change the secret")))
        })
        .collect()
}

/// Names the setting of an error of the library.
fn refused(error: ConfigError, at: Option<String>) -> SettingsError {
    match error {
        ConfigError::At { error, key, .. } => refused(*error, key.or(at)),
        ConfigError::NotFound(field) => {
            let remedy = "Every tier, package and section of its own needs it; see `.env.example` and the README.";
            SettingsError::missing(&at.map_or(field.clone(), |at| format!("{at}.{field}")), remedy)
        }
        ConfigError::Type { unexpected, expected, key, .. } => {
            let key = key.or(at).unwrap_or_default();
            SettingsError::new(&key, format!("is {unexpected}, not {expected}"), "Correct it.")
        }
        // An unknown key: the library's words name it and those there are.
        other => {
            let place = at.map_or_else(|| "the settings".to_owned(), |at| format!("`{at}`"));
            let remedy = "Correct it, in bursar.toml or in its BURSAR_SECTION__KEY variable.";
            SettingsError::about(place, format!("cannot be read: {other}"), remedy)
        }
    }
}

/// Values by key, as one source.
#[derive(Debug, Clone)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}
