//! Finding what answers at the path that is asked for.

use percent_encoding::percent_decode_str;

use super::{endpoint::Endpoint, failure::Failure, message::Request, params::Params, v1};

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Endpoint> {
    v1::ENDPOINTS.iter().copied().flatten()
}

/// The route that a fault names, by its own path or by one with ids in it.
pub(super) fn named(method: &str, path: &str) -> Option<&'static Endpoint> {
    let exact = all().find(|route| route.method == method && route.path == path);
    exact.or_else(|| find(method, path).ok().map(|(route, _)| route).filter(|_| !path.contains('{')))
}

/// The route of a request, and the ids in its path. A path without ids comes before one with.
pub(super) fn find(method: &str, path: &str) -> Result<(&'static Endpoint, Vec<String>), Failure> {
    all()
        .filter(|route| route.method == method)
        .filter_map(|route| Some((route, ids(route.path, path)?)))
        .min_by_key(|(_, ids)| ids.len())
        .ok_or_else(|| Failure::unrecognized(method, path))
}

fn ids(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut ids = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(ids),
            // Stripe has searches, the sandbox has none: no object is called so.
            (Some("{id}"), Some("search")) => return None,
            (Some("{id}"), Some(id)) if !id.is_empty() => {
                ids.push(percent_decode_str(id).decode_utf8_lossy().into_owned());
            }
            (Some(a), Some(b)) if a == b => {}
            _ => return None,
        }
    }
}

/// What of a request Stripe's API does not have: its path, or a parameter. A fault can hide that from the caller.
pub(super) fn strange(request: &Request) -> Option<String> {
    let asked = format!("{} {}", request.method, request.path);
    let Ok((route, _)) = find(&request.method, &request.path) else { return Some(asked) };
    let params = Params::parse(&request.fields()).ok()?;
    params.unknown(route.params).map(|param| format!("{asked} with {param}"))
}
