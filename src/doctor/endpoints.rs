//! Where Stripe sends events: registered, enabled, and of exactly the types on which this version acts.

use bursar_jobs::{
    STRIPE_API_VERSION, Stripe as Client,
    engine::kind,
    stripe_setup::{self as setup, Endpoint},
};

use crate::config::{Settings, Stripe};

use super::{check::Check, stripe::unseen};

const OWN: &str = "stripe.webhook";
const CONNECT: &str = "stripe.connect_webhook";

/// Whether a type happens on connected accounts.
fn of_connect(kind: &str) -> bool {
    kind.starts_with("account.") || kind.starts_with("capability.")
}

pub(super) async fn look(client: &Client, stripe: &Stripe, settings: &Settings, url: Option<&str>) -> Vec<Check> {
    let (paths, endpoints) = match (settings.stripe_paths(), setup::endpoints(client).await) {
        (Err(error), _) => return vec![Check::setting(OWN, &error), Check::skip(CONNECT, "the paths are not known")],
        (_, Err(seen)) => return vec![unseen(OWN, &seen), unseen(CONNECT, &seen)],
        (Ok(paths), Ok(endpoints)) => (paths, endpoints),
    };
    let (connect, own): (Vec<_>, Vec<_>) =
        endpoints.into_iter().filter(|one| is_ours(one, &paths, url)).partition(Endpoint::is_connect);
    let place = place(&paths, url);
    if url.is_none() {
        // Without it another deployment's endpoint of the same account cannot be told from ours.
        let judged = [(OWN, &own), (CONNECT, &connect)];
        return judged
            .map(|(name, all)| ambiguous(name, all).unwrap_or_else(|| judge(name, all, stripe, &place)))
            .into();
    }
    vec![judge(OWN, &own, stripe, &place), judge(CONNECT, &connect, stripe, &place)]
}

/// Whether it leads to our web: to one of our paths, and to the address, where that is known.
fn is_ours(endpoint: &Endpoint, paths: &[String], url: Option<&str>) -> bool {
    let at = endpoint.url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    paths.iter().any(|path| match url {
        Some(url) => at == url || at == format!("{url}{path}"),
        None => at.ends_with(path.as_str()),
    })
}

fn ambiguous(name: &str, endpoints: &[Endpoint]) -> Option<Check> {
    let mut urls: Vec<&str> = endpoints.iter().map(|one| one.url.as_str()).collect();
    urls.sort_unstable();
    urls.dedup();
    let seen = format!("which of these leads here is not known: {}", urls.join(", "));
    let remedy = "Give --url, or set BURSAR_WEB__PUBLIC_URL to where web is reached from outside.";
    (urls.len() > 1).then(|| Check::warn(name, seen, remedy))
}

fn place(paths: &[String], url: Option<&str>) -> String {
    let path = paths.first().map_or("/api/stripe/webhook", String::as_str);
    format!("{}{path}", url.unwrap_or("https://YOUR-HOST"))
}

/// The types that an endpoint is to have.
fn wanted(name: &str) -> Vec<&'static str> {
    let mut all: Vec<&str> = kind::STRIPE_EVENTS
        .iter()
        .map(|(kind, _)| *kind)
        .filter(|kind| of_connect(kind) == (name == CONNECT))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn judge(name: &str, endpoints: &[Endpoint], stripe: &Stripe, place: &str) -> Check {
    let wanted = wanted(name);
    let list = wanted.join(",");
    let Some(best) = endpoints.iter().max_by_key(|one| one.status == "enabled") else {
        return none(name, place, &list);
    };
    let (id, many) = (&best.id, endpoints.iter().filter(|one| one.status == "enabled").count());
    if best.status != "enabled" {
        let seen = format!("{id} is {}: nothing is sent to {}", best.status, best.url);
        return Check::fail(
            name,
            seen,
            "Enable it in Stripe's dashboard; what was missed comes by the watch, and by reconciliation.",
        );
    }
    let missing: Vec<&str> = wanted.iter().copied().filter(|kind| !best.hears(kind)).collect();
    if !missing.is_empty() {
        let seen = format!("{id} does not get {}", missing.join(", "));
        return Check::fail(name, seen, format!("Set its events at Stripe to exactly: {list}"));
    }
    if many > 1 {
        let seen = format!("{many} endpoints lead to {}: each event comes so many times", best.url);
        return Check::warn(
            name,
            seen,
            "Disable all but one in Stripe's dashboard; bursar acts once, but twice the work is done.",
        );
    }
    let everything = best.enabled_events.iter().any(|kind| kind == "*");
    if everything && stripe.is_local() {
        return Check::ok(name, format!("{id} at {} gets every type, as a sandbox sends them", best.url));
    }
    let superfluous: Vec<&str> =
        best.enabled_events.iter().map(String::as_str).filter(|kind| !wanted.contains(kind)).collect();
    if everything || !superfluous.is_empty() {
        let seen = if everything { "every type".to_owned() } else { superfluous.join(", ") };
        let seen = format!("{id} gets more than is acted on: {seen}");
        return Check::warn(name, seen, format!("Set its events at Stripe to exactly: {list}"));
    }
    match best.api_version.as_deref().filter(|version| *version != STRIPE_API_VERSION) {
        Some(version) => Check::warn(
            name,
            format!("{id} sends in version {version}; {STRIPE_API_VERSION} is what is tested most"),
            format!(
                "Make a new endpoint in {STRIPE_API_VERSION}, add its secret beside the old one, and take the old one away."
            ),
        ),
        None => Check::ok(name, format!("{id} at {} gets the {} types that are acted on", best.url, wanted.len())),
    }
}

fn none(name: &str, place: &str, list: &str) -> Check {
    if name == CONNECT {
        let remedy = format!("Add an endpoint for connected accounts at {place}, for exactly: {list}");
        let seen = "no endpoint hears of receivers' accounts: a held payout goes on only when it is looked at again";
        return Check::warn(name, seen, remedy);
    }
    let remedy = format!("Add an endpoint at {place} in Stripe's dashboard, for exactly: {list}");
    Check::fail(name, "no endpoint leads here: nothing that happens at Stripe arrives", remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_ours_by_its_address() {
        let endpoint: Endpoint = serde_json::from_value(serde_json::json!({
            "id": "we_1", "url": "https://hooks.acme.example/api/stripe/webhook", "status": "enabled"
        }))
        .unwrap();
        let paths = ["/api/stripe/webhook".to_owned()];
        assert!(is_ours(&endpoint, &paths, None));
        assert!(is_ours(&endpoint, &paths, Some("https://hooks.acme.example")));
        assert!(is_ours(&endpoint, &paths, Some("https://hooks.acme.example/api/stripe/webhook")));
        assert!(!is_ours(&endpoint, &paths, Some("https://acme.example")));
        assert!(!is_ours(&endpoint, &["/hooks".to_owned()], None));
    }

    #[test]
    fn every_type_that_is_acted_on_is_of_one_of_both() {
        let mut all = wanted(OWN);
        all.extend(wanted(CONNECT));
        assert!(kind::STRIPE_EVENTS.iter().all(|(kind, _)| all.contains(kind)));
        assert!(wanted(CONNECT).contains(&"account.application.deauthorized"));
        assert!(!wanted(OWN).contains(&"account.updated"));
    }
}
