//! What a hosted page asks of the API, as a caller of it would: pages and the API cannot disagree when one asks the other.

use crate::{endpoint::Call, failure::Answer, routes, world::World};

/// Runs a route by its path. The object is answered whole, private notes included.
pub(crate) fn ask(world: &mut World, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let (route, ids) = routes::find(method, path)?;
    (route.run)(world, &Call::of(ids, fields)?)
}
