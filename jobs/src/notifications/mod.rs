//! Sends emails to users and signed notices to the team's endpoint.
//!
//! Both are written in the transaction that changes the state, and leave afterwards, at least once.

pub mod notify_team;
pub(crate) mod recipient;
pub mod send_email;
