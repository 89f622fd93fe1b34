//! Whether a request's `Host` can be this machine's own. A site of a stranger can let its name lead to 127.0.0.1 (DNS rebinding), and a
//! browser then takes what answers there for the site's own; but the browser says the site's name as the `Host`.

use std::net::IpAddr;

use hyper::{
    HeaderMap, StatusCode,
    header::{HOST, ORIGIN},
};

use super::reply::Problem;

/// Whether the `Host` names this machine by an address or as `localhost`, or is missing: a browser always sends one.
pub(crate) fn is_local(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(HOST).iter();
    match (all.next(), all.next()) {
        (None, None) => true,
        (Some(host), None) => host.to_str().is_ok_and(is_local_name),
        _ => false,
    }
}

/// Refuses what a browser sends for another site: a `Host` that is not this machine's, or an `Origin` that is not the `Host`'s.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    if !is_local(headers) {
        return refuse(
            "The Host is not this machine's: ask 127.0.0.1 or localhost. Another name could be a stranger's.",
        );
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut origins = headers.get_all(ORIGIN).iter();
    if origins.all(|origin| origin.to_str().ok().and_then(|text| text.strip_prefix("http://")) == Some(host)) {
        return Ok(());
    }
    refuse("This was sent from another site's page: send it from one of these, or without an Origin.")
}

fn is_local_name(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
    name == "localhost" || name.ends_with(".localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_sites_page_is_refused() {
        let answer = |host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            headers.extend(origin.map(|origin| (ORIGIN, origin.parse().unwrap())));
            check(&headers).is_ok()
        };
        assert!(answer("127.0.0.1:3001", None) && answer("localhost:3001", Some("http://localhost:3001")));
        assert!(!answer("evil.example:3001", None) && !answer("127.0.0.1:3001", Some("http://evil.example")));
        assert!(!answer("127.0.0.1:3001", Some("null")) && !answer("127.0.0.1:3001", Some("http://127.0.0.1:3002")));
    }

    #[test]
    fn names_of_the_world_are_not_this_machine() {
        for good in
            ["localhost", "localhost:3002", "LOCALHOST", "a.localhost:1", "127.0.0.1:3002", "[::1]:3002", "10.0.0.1"]
        {
            assert!(is_local_name(good), "{good}");
        }
        for bad in ["evil.example", "evil.example:3002", "localhost.evil.example", "127.0.0.1.nip.io:3002", "", ":80"] {
            assert!(!is_local_name(bad), "{bad}");
        }
    }
}
