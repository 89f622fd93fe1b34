//! What jobs are performed with.

use std::{future::Future, pin::Pin, sync::Arc};

use bursar_letters::Postbox;
use bursar_stripe::{Client, Outgoing};
use sqlx::PgPool;

use crate::{
    engine::{domain::Domain, job::Batch, locked_accounts::LockedAccounts},
    terms::Terms,
};

/// What jobs are performed with.
#[derive(Clone)]
pub struct Context {
    /// The database.
    pub pool: PgPool,
    /// The domains whose changes it makes.
    pub domains: &'static [Domain],
    /// The terms of trade.
    pub terms: Arc<Terms>,
    /// Stripe, where it is on.
    pub stripe: Option<Client>,
    /// The team's webhook, where there is one.
    pub notify: Option<Outgoing>,
    /// Where letters are written and leave; none: this worker sends none.
    pub letters: Option<Postbox>,
    /// Whether the lease of a batch still covers a request that leaves now, by a clock that counts suspension.
    pub lease: Arc<dyn Fn(&Batch) -> bool + Send + Sync>,
    /// Where tests cut a call short.
    pub points: Points,
    /// Accounts that somebody else's transaction holds.
    pub locked: Arc<LockedAccounts>,
}

/// What happens when a call reaches a named point: nothing, but in tests, which end the process there, or never go on.
#[derive(Clone, Default)]
pub struct Points(pub Option<Reached>);

/// Called with the name of each point that a call reaches: `before_intent`, `after_intent`, `after_request`, `before_settlement`.
pub type Reached = Arc<dyn Fn(&'static str) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl std::fmt::Debug for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Points").field(&self.0.is_some()).finish()
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("stripe", &self.stripe.is_some()).finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn may_send(&self, batch: &Batch) -> bool {
        (self.lease)(batch)
    }

    pub(crate) async fn reach(&self, point: &'static str) {
        if let Some(reached) = &self.points.0 {
            reached(point).await;
        }
    }
}
