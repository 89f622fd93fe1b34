//! Looking up who buys. Every resource that names a customer needs this.

use serde_json::Value;

use crate::{
    failure::{Answer, Failure},
    store::text,
    world::World,
};

/// A customer that is not deleted.
pub(super) fn existing(world: &World, id: &str) -> Answer {
    let customer = world.object("customer", "customer", id)?;
    if customer.get("deleted").is_some() { Err(Failure::no_such("customer", id)) } else { Ok(customer) }
}

/// The customer that a parameter names, if it may still buy.
pub(super) fn buyer(world: &World, id: &str) -> Answer {
    let customer = world.named("customer", "customer", id, "customer")?;
    if customer.get("deleted").is_some() {
        Err(Failure::no_such_param("customer", id, "customer"))
    } else {
        Ok(customer)
    }
}

/// Who pays, as other objects show it.
pub(super) fn email_of(world: &World, id: &str) -> Value {
    let email = world.store.get("customer", id).map(|customer| text(customer, "email").to_owned());
    email.filter(|email| !email.is_empty()).map_or(Value::Null, Value::from)
}
