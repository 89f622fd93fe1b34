//! How bursar speaks to Stripe.
//!
//! What we send is a [`Request`]: plain data, made by the generated builders, that an intent stores and sends again unchanged, years
//! later if need be. What comes back is [`Seen`], and never an error: a lost answer is as much a fact as a refusal. [`Reply`] is the
//! one place that says what an answer means for the money; its table is the documentation of [`Reply::of`].
//!
//! What we read of Stripe's objects are small structs of our own, for Stripe's enums are open and ours must not fail on a new value.

pub mod accounts;
pub mod charges;
pub mod checkout;
pub mod credit_notes;
pub mod customers;
pub mod embedded;
pub mod events;
pub mod invoices;
pub mod lists;
pub mod meters;
pub mod portal;
pub mod reversals;
pub mod setup;
pub mod subscriptions;
pub mod transfers;

mod answer;
mod client;
mod gate;
mod key;
mod object;
mod outgoing;
mod reference;
mod reply;
mod request;
mod seen;
mod transport;
mod visit;
mod watch;

pub use answer::{Answer, Lost};
pub use client::{Client, Config, ConfigError, Looked};
pub use gate::{Gate, Lane, Later, Turn};
pub use key::{KEY_LIMIT, idempotency_key};
pub use object::Object;
pub use outgoing::{Outgoing, OutgoingError};
pub use reference::Reference;
pub use reply::{Reply, StripeError, Why};
pub use request::{Method, Request};
pub use seen::{RAW_LIMIT, Seen};
pub use visit::{Visit, visit};
pub use watch::{Leaving, Watch};

/// The version of Stripe's API that the generated builders are made for, sent with every request.
pub const API_VERSION: &str = "2026-09-30.endive";
