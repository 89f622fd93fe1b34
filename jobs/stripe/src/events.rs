//! What happened at Stripe, as it keeps it itself for 30 days: the only way to find what never arrived (Stripe: list all events).

use serde::Deserialize;
use serde_json::Value;

use crate::{
    client::Client,
    object::{Object, Page},
    reply::{Reply, Why},
    request::Request,
    seen::Seen,
};

/// The most types that one list can be of (Stripe: `types`, which takes no wildcards).
pub const MOST_TYPES: usize = 20;
/// The most events that a page can hold.
pub const MOST: usize = 100;

/// A page of events, newest first, each exactly as it was answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Value>,
    /// Whether there are older ones.
    pub has_more: bool,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Whole(Value);

impl Object for Whole {
    const OBJECT: &'static str = "event";
}

/// Which events.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// At most [`MOST_TYPES`].
    pub types: &'a [String],
    /// Not created before this, in seconds since 1970.
    pub from: i64,
    /// Older than the event of this id, which was the last of a page.
    pub after: Option<&'a str>,
}

/// Asks for a page of at most `limit`.
pub fn list(wanted: &Wanted<'_>, limit: usize) -> Request {
    let (limit, from) = (limit.to_string(), wanted.from.to_string());
    let mut fields = vec![("limit", limit.as_str()), ("created[gte]", from.as_str())];
    fields.extend(wanted.types.iter().map(|kind| ("types[]", kind.as_str())));
    fields.extend(wanted.after.map(|after| ("starting_after", after)));
    Request::query("/v1/events", &fields)
}

/// A page. Where a hundred events are more than can be read at once, fewer are asked for. Where Stripe has forgotten the event that the
/// last page ended with, it has forgotten all that are older: that is the end.
pub async fn page(client: &Client, wanted: &Wanted<'_>) -> Result<EventPage, Box<Seen>> {
    let mut limit = MOST;
    loop {
        let seen = client.send(&list(wanted, limit), None).await;
        match &seen.reply {
            Reply::Unknown { why: Why::Lost(crate::Lost::TooLong), .. } if limit > 1 => limit /= 10,
            Reply::Rejected { error, .. }
                if wanted.after.is_some() && error.code.as_deref() == Some("resource_missing") =>
            {
                return Ok(EventPage::default());
            }
            _ => {
                let read: Page<Whole> = seen.clone().read()?;
                if read.has_more && read.data.is_empty() {
                    return Err(seen.but(Why::NotWhatWasAsked("an empty page that is not the last".into())));
                }
                let events = read.data.into_iter().map(|Whole(event)| event).collect();
                return Ok(EventPage { events, has_more: read.has_more });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_of_some_types_from_a_moment_on() {
        let types = ["invoice.paid".to_owned(), "charge.refunded".to_owned()];
        let request = list(&Wanted { types: &types, from: 5, after: Some("evt_1") }, MOST);
        let fields: Vec<_> = form_urlencoded::parse(request.form.as_bytes()).map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            fields,
            ["limit=100", "created[gte]=5", "types[]=invoice.paid", "types[]=charge.refunded", "starting_after=evt_1"]
        );
    }
}
