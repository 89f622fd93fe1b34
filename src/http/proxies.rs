//! Whom a request comes from where proxies stand between: the address that the nearest trusted one names.

use std::net::IpAddr;

use hyper::HeaderMap;
use ipnet::IpNet;

/// Each proxy adds the address that it saw at the right end.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The addresses of the proxies that are believed. By default none: whoever is believed can take any address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Reads addresses and networks (`10.0.0.0/8`); the first that is neither is returned as the error.
    pub fn parse(all: &[String]) -> Result<Self, String> {
        let one = |text: &String| {
            let text = text.trim();
            text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| text.to_owned())
        };
        all.iter().filter(|text| !text.trim().is_empty()).map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is one of theirs.
    pub fn hold(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Whom a request comes from. `X-Forwarded-For` counts only where the peer is trusted, and is read from the right: what a client wrote
    /// itself stands further left than what the proxies added.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.hold(client) {
            return client;
        }
        let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or("?")).collect();
        for text in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            // What is no address was not added by a proxy that can be believed.
            let Some(address) = address(text.trim()) else { break };
            client = address;
            if !self.hold(client) {
                break;
            }
        }
        client
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let found = bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|whole| whole.ip()));
    found.map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&'static str]) -> String {
        let trusted: Vec<String> = trusted.iter().map(|one| (*one).to_owned()).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        Proxies::parse(&trusted).unwrap().client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_added_is_believed() {
        let local: &[&str] = &["127.0.0.1", "10.0.0.0/8", "::1"];
        for (trusted, peer, forwarded, expected) in [
            (&[][..], "127.0.0.1", &["203.0.113.7"][..], "127.0.0.1"),
            (local, "127.0.0.1", &[], "127.0.0.1"),
            (local, "127.0.0.1", &["203.0.113.7"], "203.0.113.7"),
            (local, "198.51.100.1", &["203.0.113.7"], "198.51.100.1"),
            // The client wrote the first itself.
            (local, "127.0.0.1", &["1.2.3.4, 203.0.113.7"], "203.0.113.7"),
            (local, "127.0.0.1", &["1.2.3.4", "203.0.113.7, 10.1.2.3"], "203.0.113.7"),
            (local, "::ffff:127.0.0.1", &["203.0.113.7:4711"], "203.0.113.7"),
            (local, "::1", &["[2001:db8::1]:80"], "2001:db8::1"),
            (local, "127.0.0.1", &["203.0.113.7, unknown"], "127.0.0.1"),
            (local, "127.0.0.1", &["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        ] {
            assert_eq!(client(trusted, peer, forwarded), expected, "{peer} {forwarded:?}");
        }
        assert_eq!(Proxies::parse(&["10.0.0.0/40".to_owned()]), Err("10.0.0.0/40".to_owned()));
    }
}
