//! Stripe's v1 API: a resource a file, each with its routes.

mod account_links;
pub(super) mod accounts;
pub(super) mod balance;
pub(super) mod checkout;
mod customer_balance;
mod customers;
pub(super) mod disputes;
mod events;
mod invoices;
mod payment_methods;
pub(super) mod payments;
mod prices;
mod products;
pub(super) mod refunds;
mod reversals;
pub(super) mod setup_intents;
mod stripecli;
mod subscriptions;
pub(super) mod transfers;
pub(super) mod webhook_endpoints;

use serde_json::Value;

use super::{failure::Failure, routes::Route, store::text, world::World};

/// Every route, by resource.
pub(super) const ROUTES: &[&[Route]] = &[
    account_links::ROUTES,
    accounts::ROUTES,
    balance::ROUTES,
    checkout::ROUTES,
    customer_balance::ROUTES,
    customers::ROUTES,
    disputes::ROUTES,
    events::ROUTES,
    invoices::ROUTES,
    payment_methods::ROUTES,
    payments::charges::ROUTES,
    payments::intents::ROUTES,
    prices::ROUTES,
    products::ROUTES,
    refunds::ROUTES,
    reversals::ROUTES,
    setup_intents::ROUTES,
    stripecli::ROUTES,
    subscriptions::ROUTES,
    transfers::ROUTES,
    webhook_endpoints::ROUTES,
];

impl World {
    /// The object that a path names, or a 404.
    fn object(&self, kind: &str, noun: &str, id: &str) -> Result<Value, Failure> {
        self.store.get(kind, id).cloned().ok_or_else(|| Failure::no_such(noun, id))
    }

    /// The object that a parameter names, or a 400.
    fn named(&self, kind: &str, noun: &str, id: &str, param: &str) -> Result<Value, Failure> {
        self.store.get(kind, id).cloned().ok_or_else(|| Failure::no_such_param(noun, id, param))
    }

    /// Keeps a new object and says so.
    fn create(&mut self, kind: &'static str, event: &str, object: Value) -> Value {
        self.store.insert(kind, object.clone());
        self.emit(event, &object);
        object
    }

    /// Keeps a changed object and says what changed; an event only when something did.
    fn change(&mut self, kind: &'static str, event: &str, object: Value) -> Value {
        let before = self.store.get(kind, text(&object, "id")).cloned().unwrap_or_default();
        self.store.insert(kind, object.clone());
        if before != object {
            self.emit_change(event, &before, &object);
        }
        object
    }
}
