//! Stripe's v1 API: a resource a file, each with its routes.

pub(super) mod account_links;
pub(super) mod accounts;
pub(super) mod ask;
pub(super) mod balance;
mod billing_meters;
pub(super) mod billing_portal;
pub(super) mod checkout;
mod coupons;
mod credit_notes;
mod customer_balance;
mod customers;
mod discounts;
pub(super) mod disputes;
mod events;
mod invoice_items;
mod invoice_payments;
mod invoices;
mod login_links;
mod oauth;
pub(super) mod payment_methods;
pub(super) mod payments;
mod platform;
pub(super) mod prices;
mod products;
mod promotion_codes;
pub(super) mod refunds;
mod reversals;
pub(super) mod setup_intents;
mod stripecli;
mod subscription_items;
mod subscription_schedules;
mod subscriptions;
mod test_clocks;
pub(super) mod transfers;
pub(super) mod webhook_endpoints;

use serde_json::{Value, json};

use super::{failure::Failure, routes::Route, store::text, view, world::World};

/// Every route, by resource.
pub(super) const ROUTES: &[&[Route]] = &[
    account_links::ROUTES,
    accounts::ROUTES,
    accounts::capabilities::ROUTES,
    balance::ROUTES,
    billing_meters::ROUTES,
    billing_portal::ROUTES,
    checkout::ROUTES,
    coupons::ROUTES,
    credit_notes::ROUTES,
    customer_balance::ROUTES,
    customers::ROUTES,
    disputes::ROUTES,
    events::ROUTES,
    invoice_items::ROUTES,
    invoice_payments::ROUTES,
    invoices::ROUTES,
    payment_methods::ROUTES,
    payments::charges::ROUTES,
    payments::intents::ROUTES,
    login_links::ROUTES,
    oauth::ROUTES,
    platform::ROUTES,
    prices::ROUTES,
    products::ROUTES,
    promotion_codes::ROUTES,
    refunds::ROUTES,
    reversals::ROUTES,
    setup_intents::ROUTES,
    stripecli::ROUTES,
    subscription_items::ROUTES,
    subscription_schedules::ROUTES,
    subscriptions::ROUTES,
    test_clocks::ROUTES,
    transfers::ROUTES,
    webhook_endpoints::ROUTES,
];

impl World {
    /// The object that a path names, or a 404.
    pub(super) fn object(&self, kind: &str, noun: &str, id: &str) -> Result<Value, Failure> {
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
        // The sandbox's own notes on it are nothing to tell.
        if before.is_null() || view::difference(&before, &object) != json!({}) {
            self.emit_change(event, &before, &object);
        }
        object
    }
}
