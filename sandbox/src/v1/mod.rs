//! Stripe's v1 API: a resource a file, each with its endpoints.

pub(super) mod account_links;
pub(super) mod accounts;
pub(super) mod ask;
pub(super) mod balance;
mod billing_meters;
pub(super) mod billing_portal;
mod buyers;
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

use super::{endpoint::Endpoint, failure::Failure, store::text, view, world::World};

/// Every endpoint, by resource.
pub(super) const ENDPOINTS: &[&[Endpoint]] = &[
    account_links::ENDPOINTS,
    accounts::ENDPOINTS,
    accounts::capabilities::ENDPOINTS,
    balance::ENDPOINTS,
    billing_meters::ENDPOINTS,
    billing_portal::ENDPOINTS,
    checkout::ENDPOINTS,
    coupons::ENDPOINTS,
    credit_notes::ENDPOINTS,
    customer_balance::ENDPOINTS,
    customers::ENDPOINTS,
    disputes::ENDPOINTS,
    events::ENDPOINTS,
    invoice_items::ENDPOINTS,
    invoice_payments::ENDPOINTS,
    invoices::ENDPOINTS,
    payment_methods::ENDPOINTS,
    payments::charges::ENDPOINTS,
    payments::intents::ENDPOINTS,
    login_links::ENDPOINTS,
    oauth::ENDPOINTS,
    platform::ENDPOINTS,
    prices::ENDPOINTS,
    products::ENDPOINTS,
    promotion_codes::ENDPOINTS,
    refunds::ENDPOINTS,
    reversals::ENDPOINTS,
    setup_intents::ENDPOINTS,
    stripecli::ENDPOINTS,
    subscription_items::ENDPOINTS,
    subscription_schedules::ENDPOINTS,
    subscriptions::ENDPOINTS,
    test_clocks::ENDPOINTS,
    transfers::ENDPOINTS,
    webhook_endpoints::ENDPOINTS,
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
