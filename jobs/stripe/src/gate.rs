//! Turns: who may send when. The client asks a gate before each request, and tells it when Stripe says that it was too much; what the
//! gate goes by is not known here.

use std::{fmt, future::Future, pin::Pin, time::Duration};

/// How much a request matters beside others. The first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Lane {
    /// Money on its way out.
    Money,
    /// Somebody waits before a page.
    People,
    /// Everything else.
    #[default]
    Ordinary,
    /// Long lists that nobody waits for.
    Bulk,
}

impl Lane {
    /// All there are, the first first.
    pub const ALL: [Self; 4] = [Self::Money, Self::People, Self::Ordinary, Self::Bulk];

    /// As the database says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::People => "people",
            Self::Ordinary => "ordinary",
            Self::Bulk => "bulk",
        }
    }
}

/// An answer that takes a while.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who may send when.
pub trait Gate: Send + Sync + fmt::Debug {
    /// Returns when one request may leave; or at once, with how long that would take, where it is too long to be waited for. Never an
    /// error: a gate that knows nothing lets little through.
    fn turn(&self, lane: Lane) -> Later<'_, Result<(), Duration>>;

    /// Stripe said that it was too much, and perhaps for how long.
    fn limited(&self, after: Option<Duration>) -> Later<'_, ()>;
}

/// The right to send one request now.
#[derive(Debug)]
#[must_use = "a turn that is not used is lost"]
pub struct Turn(pub(crate) ());
