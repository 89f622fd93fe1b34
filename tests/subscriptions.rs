//! Subscriptions: refills by invoice and by schedule, plan changes, states and access, moves. Stripe is played by a stand-in that serves
//! what a test says Stripe has now, for here it matters what is asked when, and in which order events come. Two long tests play a year
//! and two years with the sandbox and its test clocks.

mod items;
mod moves;
mod paid_changes;
mod parts;
mod plan_changes;
mod refills;
mod states;
mod stripe;
mod trials;
mod two_years;
pub mod world;
mod year;
