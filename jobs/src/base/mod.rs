//! What every module stands on: the clock, the database, credits, money, the calendar, the audit trail.
//!
//! These modules name no other module of this crate.

pub mod audit;
pub mod calendar;
pub mod clock;
pub mod credits;
pub mod db;
pub mod json_object;
pub mod money;
pub(crate) mod text;
