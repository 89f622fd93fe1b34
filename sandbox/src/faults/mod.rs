//! Faults that cost money, on request: what is to go wrong with which request, how often.

mod due;
mod kind;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use due::Due;
pub(super) use kind::Kind;

use super::{failure::Failure, params::Params};

/// Longer than any test waits; a bound for a mistyped number.
const MAX_MS: u64 = 10 * 60 * 1000;
const MAX_TIMES: u32 = 1_000_000;
/// Every route.
const ANY: &str = "*";

/// A fault as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// Such as `POST /v1/transfers`, `POST /v1/transfers/{id}/reversals`, the same with an id in its place, or `*`.
    route: String,
    #[serde(rename = "fault")]
    pub kind: Kind,
    #[serde(default = "once")]
    times: u32,
    /// How many requests that it is for pass first.
    #[serde(default)]
    skip: u32,
    /// Parameters that the request has, by their path: `metadata.job_id` or `metadata[job_id]`.
    #[serde(default, rename = "match")]
    having: BTreeMap<String, Value>,
    /// The key that the request has.
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    pub ms: Option<u64>,
    /// Seconds.
    #[serde(default)]
    pub retry_after: Option<u32>,
    /// `Stripe-Should-Retry` on whatever is answered.
    #[serde(default)]
    pub should_retry: Option<bool>,
    #[serde(default)]
    pub applied: Option<bool>,
}

fn once() -> u32 {
    1
}

/// What a fault is judged by.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// The name of the route.
    pub route: &'a str,
    /// Method and path as they were sent.
    pub endpoint: String,
    pub fields: &'a [(String, String)],
    pub key: Option<&'a str>,
}

/// The queue of faults; those for one request are consumed in order.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<Fault>);

impl Faults {
    /// `known` says which parameters a route has, by method and path.
    pub fn add(
        &mut self,
        fault: Fault,
        known: impl Fn(&str, &str) -> Option<&'static [&'static str]>,
    ) -> Result<(), Failure> {
        fault.check(known)?;
        self.0.push_back(fault);
        Ok(())
    }

    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }

    pub fn waiting(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// The place of the one that is next for a request. It still waits there, for not every request lets it happen; those before it
    /// that pass over this request have counted it.
    pub fn next(&mut self, asked: &Asked) -> Option<usize> {
        let mut next = None;
        for (at, fault) in self.0.iter_mut().enumerate().filter(|(_, fault)| fault.is_for(asked)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if next.is_none() {
                next = Some(at);
            }
        }
        next
    }

    pub fn get(&self, at: usize) -> Option<&Fault> {
        self.0.get(at)
    }

    /// The one at this place has happened.
    pub fn consume(&mut self, at: usize) {
        if let Some(fault) = self.0.get_mut(at) {
            fault.times -= 1;
            if fault.times == 0 {
                self.0.remove(at);
            }
        }
    }
}

impl Fault {
    /// One of a kind for any request, once.
    pub fn of(kind: Kind) -> Self {
        Self {
            route: ANY.to_owned(),
            kind,
            times: 1,
            skip: 0,
            having: BTreeMap::new(),
            idempotency_key: None,
            ms: None,
            retry_after: None,
            should_retry: None,
            applied: None,
        }
    }

    fn check(&self, known: impl Fn(&str, &str) -> Option<&'static [&'static str]>) -> Result<(), Failure> {
        let refuse = |message: String, param| Err(Failure::invalid(message).param(param));
        if let Some((method, path)) = self.route.split_once(' ') {
            let Some(params) = known(method, path) else {
                let message = format!("No such route: '{}'. Write it like POST /v1/transfers/{{id}}.", self.route);
                return refuse(message, "route");
            };
            let having: Vec<_> = self.having.keys().map(|path| (bracketed(path), String::new())).collect();
            Params::parse(&having)?.check(params)?;
        } else if self.route != ANY {
            return refuse(
                format!("No such route: '{}'. Write it like POST /v1/transfers, or *.", self.route),
                "route",
            );
        }
        if !(1..=MAX_TIMES).contains(&self.times) || self.skip > MAX_TIMES {
            return refuse(format!("times is between 1 and {MAX_TIMES}, and skip at most {MAX_TIMES}."), "times");
        }
        if self.having.values().any(|value| value.is_array() || value.is_object()) {
            return refuse("match names each parameter by its path, such as metadata.job_id.".to_owned(), "match");
        }
        if self.ms.is_some_and(|ms| ms > MAX_MS || self.kind != Kind::Slow) {
            return refuse(format!("ms is for slow alone, and at most {MAX_MS}."), "ms");
        }
        if self.applied.is_some() && self.default_applied().is_none() {
            return refuse(
                "applied is for the 500s that are saved, html_502, garbage_200 and truncated_200.".to_owned(),
                "applied",
            );
        }
        Ok(())
    }

    fn is_for(&self, asked: &Asked) -> bool {
        let has = |(path, value): (&String, &Value)| {
            let path = bracketed(path);
            let wanted = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            asked.fields.iter().any(|(name, value)| *name == path && *value == wanted)
        };
        (self.route == ANY || self.route == asked.route || self.route == asked.endpoint)
            && self.idempotency_key.as_deref().is_none_or(|key| asked.key == Some(key))
            && self.having.iter().all(has)
    }
}

/// `metadata.job_id` as a form names it, `metadata[job_id]`.
fn bracketed(path: &str) -> String {
    if path.contains('[') {
        return path.to_owned();
    }
    let mut segments = path.split('.');
    let first = segments.next().unwrap_or_default().to_owned();
    segments.fold(first, |path, segment| format!("{path}[{segment}]"))
}
