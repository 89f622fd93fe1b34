//! References between Stripe's objects.

use serde::Deserialize;

/// An id, or the object itself where it was expanded.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Reference {
    /// `cus_…`, `sub_…` and the like.
    Id(String),
    /// The object, of which nothing but its id is read.
    Expanded {
        /// Its id.
        id: String,
    },
}

impl Reference {
    /// The id.
    pub fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Expanded { id } => id,
        }
    }
}
