//! Reading Stripe's objects: only the fields we use, and no value that is new to us fails.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// An object of Stripe's, by the name it gives itself.
pub trait Object: DeserializeOwned {
    /// Its `object` field.
    const OBJECT: &'static str;
}

/// One page of a list. Without `has_more` it would not be known whether all was seen, so both fields are required.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(crate) struct Page<T> {
    pub data: Vec<T>,
    pub has_more: bool,
}

impl<T: Object> Object for Page<T> {
    const OBJECT: &'static str = "list";
}

/// `metadata`, which an older or partial object may lack or give as null.
pub(crate) fn metadata<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A field that is an id, or the object itself where it was expanded, or null.
pub(crate) fn reference<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Reference {
        Id(String),
        Expanded { id: String },
    }
    Ok(Option::deserialize(from)?.map(|reference| match reference {
        Reference::Id(id) | Reference::Expanded { id } => id,
    }))
}
