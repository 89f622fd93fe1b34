//! Lists within an object: Stripe shows ten entries of each at most, and the others are on pages of their own (Stripe: pagination).

use serde_json::{Value, json};

use crate::{
    client::Client,
    key::segment,
    reply::{Reply, Why},
    request::Request,
    seen::Seen,
};

/// Entries read of one list before it is given up. A subscription has twenty items at most; the longest list is that of the lines of an
/// invoice, and none of a subscription with a year of prorations has as many.
const MOST: usize = 2_000;

/// The lists that anything here reads: the object that carries it, its field, and where its pages are.
const LISTS: &[(&str, &str, Pages)] = &[
    ("subscription", "items", Pages::Filtered("/v1/subscription_items", "subscription")),
    ("invoice", "lines", Pages::Below("/v1/invoices", "lines")),
    ("checkout.session", "line_items", Pages::Below("/v1/checkout/sessions", "line_items")),
    ("charge", "refunds", Pages::Filtered("/v1/refunds", "charge")),
    ("transfer", "reversals", Pages::Below("/v1/transfers", "reversals")),
];

/// Where the pages of a list are.
enum Pages {
    /// Below the path of its object: `/v1/invoices/{id}/lines`.
    Below(&'static str, &'static str),
    /// In a list of all, by a filter: `/v1/subscription_items?subscription={id}`.
    Filtered(&'static str, &'static str),
}

impl Pages {
    fn request(&self, id: &str, after: Option<&str>) -> Request {
        let mut fields = vec![("limit", "100")];
        fields.extend(after.map(|last| ("starting_after", last)));
        match self {
            Self::Below(path, field) => Request::query(format!("{path}/{}/{field}", segment(id)), &fields),
            Self::Filtered(path, filter) => {
                fields.push((filter, id));
                Request::query(*path, &fields)
            }
        }
    }
}

/// The same answer with its lists whole: of the object that it is, or of each object of the page that it is. A list is read from its
/// beginning, so that its entries are of one time. Where a page cannot be had, what is answered is why: half an object is none.
pub async fn whole(client: &Client, mut seen: Seen) -> Seen {
    let Reply::Success(answer) = &mut seen.reply else { return seen };
    let objects: &mut [Value] = if answer["object"] == "list" {
        answer.get_mut("data").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
    } else {
        std::slice::from_mut(answer)
    };
    for object in objects {
        let kind = object["object"].as_str().unwrap_or_default().to_owned();
        for (_, field, pages) in LISTS.iter().filter(|(name, ..)| *name == kind) {
            let list = object.get(*field);
            if list.is_none_or(|list| list["has_more"] != true) {
                continue;
            }
            match read(client, pages, object["id"].as_str().unwrap_or_default()).await {
                Ok(entries) => object[*field] = json!({ "object": "list", "data": entries, "has_more": false }),
                Err(why) => return *why,
            }
        }
    }
    seen
}

async fn read(client: &Client, pages: &Pages, id: &str) -> Result<Vec<Value>, Box<Seen>> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().and_then(|entry| entry["id"].as_str()).map(str::to_owned);
        let mut seen = client.send(&pages.request(id, after.as_deref()), None).await;
        let page = match &mut seen.reply {
            Reply::Success(page) => page,
            // The object was there a moment ago, and so was the entry before this page: it changes just now.
            Reply::Rejected { error, .. } => {
                let why = Why::NotWhatWasAsked(format!("no page of the entries of {id}: {error}"));
                return Err(seen.but(why));
            }
            _ => return Err(Box::new(seen)),
        };
        let Some(crate::lists::Listed { data, has_more }) = crate::lists::read(page.take()) else {
            return Err(seen.but(Why::NotWhatWasAsked(format!("half a page of the entries of {id}"))));
        };
        all.extend(data);
        if all.len() > MOST {
            return Err(seen.but(Why::TooManyPages));
        }
        if !has_more {
            return Ok(all);
        }
    }
}
