//! Keys and secrets, as they are set, and where web and api listen. Nothing is asked of anybody.

use crate::config::{Provider, Settings, Stripe};

use super::check::{Check, masked};

/// What `openssl rand -hex 16` prints: less can be guessed in time.
const TOKEN: usize = 32;
/// Standard Webhooks: between 24 and 64 bytes.
const VERIFICATION: usize = 24;
/// Stripe's have 32 letters behind `whsec_`.
const WEBHOOK: usize = 32;

pub(super) fn look(settings: &Settings) -> Vec<Check> {
    let mut checks = vec![key(settings), webhook(settings), verification(settings), token(settings)];
    let (open, remedies): (Vec<String>, Vec<String>) = settings.open_secret_files().iter().cloned().unzip();
    if !open.is_empty() {
        checks.push(Check::warn("secret.files", open.join("; "), remedies.join("; ")));
    }
    match settings.listening() {
        Ok([web, api]) => {
            let from = |ip: std::net::IpAddr| if ip.is_loopback() { "this machine alone" } else { "other machines" };
            let to = |(ip, port): (std::net::IpAddr, u16)| {
                format!("{}, reached from {}", std::net::SocketAddr::new(ip, port), from(ip))
            };
            checks.push(Check::ok("listen.web", to(web)));
            checks.push(if api.0.is_loopback() {
                Check::ok("listen.api", to(api))
            } else {
                let remedy = "Set BURSAR_API__BIND to 127.0.0.1, or keep strangers out by the network: api is private.";
                Check::warn("listen.api", to(api), remedy)
            });
        }
        Err(error) => checks.push(Check::setting("listen", &error)),
    }
    checks
}

fn key(settings: &Settings) -> Check {
    const NAME: &str = "stripe.key";
    let stripe = match settings.stripe() {
        Ok(stripe) => stripe,
        Err(error) => return Check::setting(NAME, &error),
    };
    match (&stripe.secret_key, stripe.provider) {
        (_, Provider::Off) => {
            let remedy = "Write `[stripe] provider = \"stripe\"` when money is to move.";
            Check::warn(NAME, "Stripe is off by the settings: credit checks pass, and payouts are skipped", remedy)
        }
        (_, Provider::Dummy) => {
            let remedy = "Write `[stripe] provider = \"stripe\"` when money is to move.";
            Check::warn(NAME, "the provider is a dummy: whatever is asked for is granted, and nobody pays", remedy)
        }
        (None, Provider::Stripe) => Check::warn(
            NAME,
            "STRIPE_SECRET_KEY is not set: Stripe is off, credit checks pass, and payouts are skipped",
            "Set it where the worker runs; web and api need none.",
        ),
        (Some(key), Provider::Stripe) => Check::ok(NAME, format!("{}, {}", masked(key), kind(&stripe, key.expose()))),
    }
}

fn kind(stripe: &Stripe, key: &str) -> String {
    let mode = if stripe.livemode { "live" } else { "test" };
    let kind = if key.starts_with("rk_") { "a restricted key" } else { "a secret key" };
    format!("{kind} of {mode} mode")
}

fn webhook(settings: &Settings) -> Check {
    const NAME: &str = "secret.webhook";
    let secrets = match settings.webhook_secret_each() {
        Ok(secrets) => secrets,
        Err(error) => return Check::setting(NAME, &error),
    };
    let shown = secrets.iter().map(masked).collect::<Vec<_>>().join(", ");
    let twice = secrets.iter().enumerate().any(|(at, secret)| secrets[..at].contains(secret));
    let short = secrets.iter().any(|secret| secret.expose().len() < WEBHOOK);
    match secrets.len() {
        0 => Check::skip(NAME, "Stripe is off, and nothing is signed"),
        _ if twice => Check::warn(
            NAME,
            format!("{shown}: one is there twice"),
            "Name each secret once: that of the account's endpoint, that of the Connect endpoint, and a new one while it rolls.",
        ),
        _ if short => Check::warn(
            NAME,
            format!("{shown}: one is shorter than Stripe's are"),
            "Copy the whole signing secret from the endpoint's page in Stripe's dashboard into STRIPE_WEBHOOK_SECRET.",
        ),
        1 => Check::ok(NAME, shown),
        count => Check::ok(NAME, format!("{count}: {shown}; take a rolled one away once its 24 hours are over")),
    }
}

fn verification(settings: &Settings) -> Check {
    const NAME: &str = "secret.verification";
    match settings.verification_secret_bytes() {
        Err(error) => Check::setting(NAME, &error),
        Ok(None) => Check::skip(NAME, "verifications are off by the settings"),
        Ok(Some(bytes)) => {
            let least = bytes.iter().copied().min().unwrap_or_default();
            let seen = format!("{} of {least} bytes or more", bytes.len());
            let remedy =
                "Make a longer one with `echo whsec_$(openssl rand -base64 32)`, and share it with the application.";
            if least < VERIFICATION {
                Check::warn(NAME, format!("{seen}: Standard Webhooks wants {VERIFICATION}"), remedy)
            } else {
                Check::ok(NAME, seen)
            }
        }
    }
}

fn token(settings: &Settings) -> Check {
    const NAME: &str = "secret.api_token";
    match settings.judged_api_token() {
        Err(error) => Check::setting(NAME, &error),
        Ok(token) => {
            let length = token.expose().len();
            let seen = format!("{}, {length} characters", masked(token));
            let remedy = "Make a longer API_TOKEN with `openssl rand -hex 32`, and share it with the application.";
            if length < TOKEN { Check::warn(NAME, seen, remedy) } else { Check::ok(NAME, seen) }
        }
    }
}
