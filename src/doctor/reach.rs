//! Whether web is reached from outside, and whether the team's webhook answers.

use std::time::Duration;

use bursar_jobs::{Visit, visit};

use crate::config::Settings;

use super::check::Check;

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn look(settings: &Settings, url: Option<&str>) -> Vec<Check> {
    const NAME: &str = "web.url";
    let Some(url) = url else {
        return vec![Check::skip(NAME, "not known: give --url, or set BURSAR_WEB__PUBLIC_URL, and it is asked")];
    };
    let live = settings.stripe().is_ok_and(|stripe| stripe.livemode);
    if live && !url.starts_with("https://") {
        let seen = format!("{url} is not https://");
        return vec![Check::fail(NAME, seen, "Put TLS before web: in live mode Stripe sends over nothing else.")];
    }
    let paths = settings.stripe_paths().unwrap_or_default();
    let path = paths.first().map_or("/api/stripe/webhook", String::as_str);
    let (alive, hook) = tokio::join!(visit(url, "/healthz", PATIENCE), visit(url, path, PATIENCE));
    let web = match alive {
        Visit::Answered(200, _) => Check::ok(NAME, format!("{url} is reached, and alive")),
        Visit::Answered(status @ 300..=399, _) => Check::fail(
            NAME,
            format!("{url}/healthz redirects (HTTP {status})"),
            "Name the address that it ends at: Stripe follows no redirect, and counts it as not delivered.",
        ),
        Visit::Answered(status, _) => Check::fail(
            NAME,
            format!("{url}/healthz answers HTTP {status}"),
            "Lead this address to `bursar web`, without a sign-in before it.",
        ),
        Visit::Unanswered(why) => Check::fail(
            NAME,
            format!("{url} is not reached: {why}"),
            "Start `bursar web`, and lead the address to it: DNS, TLS certificate, proxy, firewall.",
        ),
    };
    // A GET is not what the route takes: that it says so shows that it is there.
    let hook = match hook {
        Visit::Answered(405, _) => Check::ok("web.webhook_path", format!("{path} is there")),
        Visit::Answered(status, _) => Check::fail(
            "web.webhook_path",
            format!("{url}{path} answers HTTP {status} to a GET, and web's own answer is 405"),
            "Pass this path on to `bursar web` unchanged, or name yours in `[web] webhook_paths`.",
        ),
        Visit::Unanswered(_) => Check::skip("web.webhook_path", "it was not reached"),
    };
    vec![web, hook]
}

/// The team's webhook. Nothing is told there.
pub(super) async fn notify(settings: &Settings) -> Vec<Check> {
    const NAME: &str = "notify";
    vec![match settings.notify() {
        Err(error) => Check::setting(NAME, &error),
        Ok(None) => Check::skip(NAME, "no `[notify] url`: the team is told by letters and by `bursar jobs` alone"),
        Ok(Some(team)) => match team.answers(PATIENCE).await {
            // What it says to a request that is none of ours tells nothing.
            Ok(status @ (100..=299 | 400..=499)) => {
                Check::ok(NAME, format!("{} answers (HTTP {status}); nothing was sent", team.host()))
            }
            Ok(status) => Check::warn(
                NAME,
                format!("{} answers HTTP {status}", team.host()),
                "Write the address that it ends at, and have its server looked at: what is told there is tried again, and then dead.",
            ),
            Err(lost) => Check::fail(
                NAME,
                format!("{} does not answer: {lost}", team.host()),
                "Check `[notify] url`, and whether this machine may reach it.",
            ),
        },
    }]
}
