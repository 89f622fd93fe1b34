//! The paths of Stripe's API that the sandbox speaks, and finding the one that is asked for.

use super::{
    failure::{Answer, Failure},
    params::Params,
    v1,
    world::World,
};

/// A path, what it takes, and what it does.
#[derive(Debug)]
pub(super) struct Route {
    pub method: &'static str,
    /// With `{id}` where an id stands.
    pub path: &'static str,
    /// See [`Params::check`].
    pub params: &'static [&'static str],
    pub run: fn(&mut World, &Call) -> Answer,
}

/// A request to a route, read.
#[derive(Debug)]
pub(super) struct Call {
    pub params: Params,
    ids: Vec<String>,
    /// `Stripe-Account`.
    pub account: Option<String>,
}

impl Call {
    pub fn new(params: Params, ids: Vec<String>, account: Option<String>) -> Self {
        Self { params, ids, account }
    }

    /// The first id of the path.
    pub fn id(&self) -> &str {
        self.ids.first().map_or("", String::as_str)
    }

    /// The second id of the path.
    pub fn second_id(&self) -> &str {
        self.ids.get(1).map_or("", String::as_str)
    }
}

impl Route {
    /// As a fault names it.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Route> {
    v1::ROUTES.iter().copied().flatten()
}

/// The route that a fault names, by its own path or by one with ids in it.
pub(super) fn named(method: &str, path: &str) -> Option<&'static Route> {
    let exact = all().find(|route| route.method == method && route.path == path);
    exact.or_else(|| find(method, path).ok().map(|(route, _)| route).filter(|_| !path.contains('{')))
}

/// The route of a request, and the ids in its path. A path without ids comes before one with.
pub(super) fn find(method: &str, path: &str) -> Result<(&'static Route, Vec<String>), Failure> {
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
            (Some("{id}"), Some(id)) if !id.is_empty() => ids.push(id.to_owned()),
            (Some(a), Some(b)) if a == b => {}
            _ => return None,
        }
    }
}
