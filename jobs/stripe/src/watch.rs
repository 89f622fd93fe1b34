//! Being watched: whoever counts and times requests is told when one leaves and what came of it. What is counted is not known here.

use std::fmt;

use crate::{request::Request, seen::Seen};

/// Who is told of requests.
pub trait Watch: Send + Sync + fmt::Debug {
    /// A request leaves now, after its turn. What is returned hears the end; dropped before that, the request was cut off.
    fn leaves(&self, request: &Request) -> Box<dyn Leaving>;
}

/// One request under way.
pub trait Leaving: Send {
    /// What came of it.
    fn came(self: Box<Self>, seen: &Seen);
}
