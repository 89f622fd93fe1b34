//! What the engine knows of a domain: how its changes are made, and how it reacts to what others made.

use std::{any::Any, pin::Pin};

use sqlx::PgConnection;

use crate::engine::{
    change::{AnyChange, Verdict},
    job::{Effects, NewJob},
};

/// Statements that run.
pub type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'a>>;

/// Looks for what stands with other content: the number of each such job, and what stands.
pub type Conflicts = for<'a> fn(&'a mut PgConnection, &'a [Effects]) -> Running<'a, Vec<(usize, String)>>;

/// Goes through a batch once.
pub type Pass = for<'a> fn(&'a mut ApplyContext<'_>) -> Running<'a, ()>;

/// A domain, by what the engine calls of it.
///
/// All domains make their own changes first, in the order of the list, each in the order of the jobs. Then they react, in the same order.
#[derive(Clone, Copy)]
pub struct Domain {
    /// Its module.
    pub name: &'static str,
    /// Whether a change is of its enum.
    pub takes: fn(&AnyChange) -> bool,
    /// Those jobs whose changes stand with other content already, and what. Reads only; none: its changes cannot.
    pub conflicts: Option<Conflicts>,
    /// Makes its changes. None: it has none.
    pub apply: Option<Pass>,
    /// Does what follows from facts and postings. It writes its own tables, enqueues, and gives no verdict.
    pub react: Option<Pass>,
}

impl Domain {
    /// A domain that neither conflicts nor reacts.
    pub const fn of(name: &'static str, takes: fn(&AnyChange) -> bool) -> Self {
        Self { name, takes, conflicts: None, apply: None, react: None }
    }
}

impl std::fmt::Debug for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Domain").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A batch whose effects are being made.
#[derive(Debug)]
pub struct ApplyContext<'a> {
    /// The transaction.
    pub(crate) db: &'a mut PgConnection,
    /// What each job wants.
    pub(crate) batch: &'a [Effects],
    /// What is known of each job's effects so far.
    pub(crate) verdicts: Vec<Verdict>,
    /// Jobs that reactions want.
    pub(crate) follow_ups: Vec<NewJob>,
    facts: Vec<Box<dyn Any + Send + Sync>>,
}

impl<'a> ApplyContext<'a> {
    /// Of a batch of which nothing is made yet.
    pub(crate) fn new(db: &'a mut PgConnection, batch: &'a [Effects]) -> Self {
        let verdicts = batch.iter().map(|_| Verdict::default()).collect();
        Self { db, batch, verdicts, follow_ups: Vec::new(), facts: Vec::new() }
    }

    /// Records what has just come true: a row has really changed. Nobody reacts to what was only wanted.
    pub(crate) fn record<F: Any + Send + Sync>(&mut self, fact: F) {
        self.facts.push(Box::new(fact));
    }

    /// The facts of one type, in the order in which they came true.
    pub(crate) fn facts<F: Any + Clone>(&self) -> Vec<F> {
        self.facts.iter().filter_map(|fact| fact.downcast_ref().cloned()).collect()
    }
}
