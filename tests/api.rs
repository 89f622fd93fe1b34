//! `api` as the application meets it: the real server and a real worker, a database, and a sandbox for Stripe.

mod accounts;
mod crash;
mod expiry;
mod given_up;
mod providers;
mod refusals;
mod repeated;
mod selling;
pub mod shop;
mod strangers;
mod tokens;
mod unpaid;
