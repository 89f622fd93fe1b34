//! What answers at a path of Stripe's API: each resource lists its own.

use super::{
    failure::{Answer, Failure},
    params::Params,
    world::World,
};

/// A path, what it takes, and what it does.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub method: &'static str,
    /// With `{id}` where an id stands.
    pub path: &'static str,
    /// See [`Params::check`].
    pub params: &'static [&'static str],
    pub run: fn(&mut World, &Call) -> Answer,
}

/// A request to an endpoint, read.
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

    /// As a form would make it.
    pub fn of(ids: Vec<String>, fields: &[(&str, &str)]) -> Result<Self, Failure> {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Self::new(Params::parse(&fields)?, ids, None))
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

impl Endpoint {
    /// As a fault names it.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}
