//! bursar: a background job runner with a persistent queue for reliable Stripe side effects.
//!
//! This crate holds the processes; what happens to the money is in `bursar-jobs`.

pub mod api;
pub mod boot;
pub mod cli;
pub mod config;
pub mod dev;
pub mod doctor;
pub mod exit;
mod http;
pub mod manual;
pub mod migrate;
pub mod operate;
pub mod queue;
pub mod sandbox;
pub mod schedule;
pub mod stop;
pub mod telemetry;
pub mod web;
