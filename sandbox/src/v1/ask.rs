//! What a hosted page asks of the API, as a caller of it would: pages and the API cannot disagree when one asks the other.

use crate::{endpoint::Call, failure::Answer, params::Params, routes, world::World};

/// Runs a route by its path. The object is answered whole, private notes included.
pub(crate) fn ask(world: &mut World, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let (route, ids) = routes::find(method, path)?;
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    (route.run)(world, &Call::new(Params::parse(&fields)?, ids, None))
}
