//! Reading Stripe's objects: only the fields we use, and no value that is new to us fails.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{client::Client, reply::Why, request::Request, seen::Seen};

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

/// Pages read before a list is given up: a hundred thousand objects, more than one group, customer or hour should ever have.
const PAGES: usize = 1000;

/// All pages of a list, or what was seen of the page that could not be had: half a lookup is none. `ask` makes the request of the page
/// after an id, and `id` tells an object's.
pub(crate) async fn every<T: Object>(
    client: &Client,
    ask: impl Fn(Option<&str>) -> Request + Send + Sync,
    id: impl Fn(&T) -> &str + Send + Sync,
) -> Result<Vec<T>, Box<Seen>> {
    let mut all: Vec<T> = Vec::new();
    let mut pages = 0;
    loop {
        let seen = client.send(&ask(all.last().map(&id)), None).await;
        let page: Page<T> = seen.clone().read()?;
        pages += 1;
        if page.has_more && page.data.is_empty() {
            return Err(seen.but(Why::NotWhatWasAsked("an empty page that is not the last".into())));
        }
        if page.has_more && pages == PAGES {
            return Err(seen.but(Why::TooManyPages));
        }
        all.extend(page.data);
        if !page.has_more {
            return Ok(all);
        }
    }
}
