//! `/v1/invoices`, in the layout since basil: drafts, what is owed, what was paid.

mod actions;
pub(super) mod collect;
mod create;
pub(super) mod draft;
pub(super) mod finalize;
pub(super) mod lines;
pub(super) mod preview;

use serde_json::{Value, json};

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    store::text,
    world::World,
};

const LIST: &[&str] = &[
    "customer",
    "subscription",
    "status",
    "collection_method",
    "created*",
    "due_date*",
    "limit",
    "starting_after",
    "ending_before",
];
const UPDATE: &[&str] = &[
    "metadata*",
    "description",
    "footer",
    "auto_advance",
    "collection_method",
    "days_until_due",
    "due_date",
    "default_payment_method",
    "discounts*",
    "statement_descriptor",
    "payment_settings*",
    "custom_fields*",
    "automatically_finalizes_at",
];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/invoices", params: create::PARAMS, run: create::run },
    Endpoint { method: "GET", path: "/v1/invoices", params: LIST, run: all },
    Endpoint { method: "POST", path: "/v1/invoices/create_preview", params: preview::PARAMS, run: preview::run },
    Endpoint { method: "GET", path: "/v1/invoices/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/invoices/{id}", params: UPDATE, run: actions::update },
    Endpoint { method: "DELETE", path: "/v1/invoices/{id}", params: &[], run: actions::delete },
    Endpoint {
        method: "GET",
        path: "/v1/invoices/{id}/lines",
        params: &["limit", "starting_after", "ending_before"],
        run: all_lines,
    },
    Endpoint { method: "POST", path: "/v1/invoices/{id}/finalize", params: &["auto_advance"], run: actions::finalize },
    Endpoint {
        method: "POST",
        path: "/v1/invoices/{id}/pay",
        params: &["payment_method", "paid_out_of_band", "source", "off_session", "forgive", "mandate"],
        run: actions::pay,
    },
    Endpoint { method: "POST", path: "/v1/invoices/{id}/send", params: &[], run: actions::send },
    Endpoint { method: "POST", path: "/v1/invoices/{id}/void", params: &[], run: actions::void },
    Endpoint {
        method: "POST",
        path: "/v1/invoices/{id}/mark_uncollectible",
        params: &[],
        run: actions::mark_uncollectible,
    },
];

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("invoice", "invoice", call.id())
}

fn all_lines(world: &mut World, call: &Call) -> Answer {
    let invoice = world.object("invoice", "invoice", call.id())?;
    let lines = lines::all(&invoice);
    let lines: Vec<&Value> = lines.iter().collect();
    list::page(&lines, &call.params, "line_item", &format!("/v1/invoices/{}/lines", call.id()))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let created = Created::read(params)?;
    let wanted = params.text("subscription")?;
    params.choice("status", &["draft", "open", "paid", "uncollectible", "void"])?;
    params.choice("collection_method", &["charge_automatically", "send_invoice"])?;
    if params.has("due_date") {
        return Err(Failure::invalid("The sandbox does not filter invoices by due_date.").param("due_date"));
    }
    let mut matching: Vec<&Value> = Vec::new();
    for invoice in world.store.all("invoice").rev().filter(|invoice| created.holds(invoice)) {
        let mut asked = wanted.is_none_or(|wanted| lines::subscription_of(invoice) == wanted);
        for field in ["customer", "status", "collection_method"] {
            asked &= list::is_asked(invoice, params, field)?;
        }
        if asked {
            matching.push(invoice);
        }
    }
    list::page(&matching, params, "invoice", "/v1/invoices")
}

/// The clock that an invoice lives by.
fn clock(world: &World, id: &str) -> String {
    world.store.get("invoice", id).map(|invoice| text(invoice, "test_clock").to_owned()).unwrap_or_default()
}

/// What a deleted object leaves in the answer.
fn gone(id: &str, kind: &str) -> Value {
    json!({ "id": id, "object": kind, "deleted": true })
}
