//! What is to go wrong with events on their way out: which type, how often.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::failure::Failure;

/// Milliseconds that a late event is late, and the longest that one waits for its successor, when none are given.
const LATE_MS: u64 = 2_000;
const HELD_MS: u64 = 10_000;
/// Longer than any test waits; a bound for a mistyped number.
const MAX_MS: u64 = 10 * 60 * 1000;
const MAX_TIMES: u32 = 1_000_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// It is kept in `/v1/events`, and delivered to nobody.
    Lost,
    /// It is delivered after `ms`.
    Late,
    /// Another event, with another id, tells of the same change.
    Twin,
    /// It is delivered twice.
    Duplicate,
    /// It is held until the next event for the same endpoint was delivered; `ms` at most.
    OutOfOrder,
}

/// A fault as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventFault {
    pub fault: Kind,
    /// Such as `invoice.paid`, or `*`.
    #[serde(rename = "type", default = "any")]
    pub kind: String,
    #[serde(default = "once")]
    pub times: u32,
    #[serde(default)]
    pub ms: Option<u64>,
}

fn any() -> String {
    "*".to_owned()
}

fn once() -> u32 {
    1
}

/// The queue of faults; a type's are consumed in order, one an event.
#[derive(Debug, Default)]
pub(super) struct EventFaults(VecDeque<EventFault>);

impl EventFault {
    pub fn delay(&self) -> Duration {
        let usual = if self.fault == Kind::OutOfOrder { HELD_MS } else { LATE_MS };
        Duration::from_millis(self.ms.unwrap_or(usual))
    }
}

impl EventFaults {
    /// Puts one behind those that wait.
    pub fn add(&mut self, fault: EventFault) -> Result<(), Failure> {
        let refuse = |message: String, param| Err(Failure::invalid(message).param(param));
        if !(1..=MAX_TIMES).contains(&fault.times) {
            return refuse(format!("times is between 1 and {MAX_TIMES}."), "times");
        }
        if fault.ms.is_some_and(|ms| ms > MAX_MS || !matches!(fault.fault, Kind::Late | Kind::OutOfOrder)) {
            return refuse(format!("ms is for late and out_of_order alone, and at most {MAX_MS}."), "ms");
        }
        self.0.push_back(fault);
        Ok(())
    }

    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }

    pub fn waiting(&self) -> impl Iterator<Item = &EventFault> {
        self.0.iter()
    }

    /// The one that happens to an event of this type now.
    pub fn take(&mut self, kind: &str) -> Option<EventFault> {
        let at = self.0.iter().position(|fault| fault.kind == "*" || fault.kind == kind)?;
        let fault = self.0.get_mut(at)?;
        fault.times -= 1;
        let taken = fault.clone();
        if taken.times == 0 {
            self.0.remove(at);
        }
        Some(taken)
    }
}
