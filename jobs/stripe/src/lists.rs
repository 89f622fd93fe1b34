//! Pages of everything of a time: what reconciliation compares with the books. Newest first, a hundred a page (Stripe: pagination).

use serde_json::Value;

use crate::{key::segment, request::Request};

/// What can be paged through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Invoices that are paid, in whatever way.
    PaidInvoices,
    /// Checkout sessions that were gone through, with their lines.
    CompleteSessions,
    /// Charges.
    Charges,
    /// Refunds.
    Refunds,
    /// Disputes.
    Disputes,
    /// Credit notes.
    CreditNotes,
    /// Transfers.
    Transfers,
    /// Reversals of Transfers: Stripe lists them by their Transfer only, so they are read out of the movements of the balance.
    Reversals,
}

/// Asks for a page of what was made in `[from, before)`, in seconds since 1970, after the object that ended the page before.
pub fn page(list: List, from: i64, before: i64, after: Option<&str>) -> Request {
    let (path, more): (&str, &[(&str, &str)]) = match list {
        List::PaidInvoices => ("/v1/invoices", &[("status", "paid")]),
        List::CompleteSessions => ("/v1/checkout/sessions", &[("status", "complete"), ("expand[]", "data.line_items")]),
        List::Charges => ("/v1/charges", &[]),
        List::Refunds => ("/v1/refunds", &[]),
        List::Disputes => ("/v1/disputes", &[]),
        List::CreditNotes => ("/v1/credit_notes", &[]),
        List::Transfers => ("/v1/transfers", &[]),
        List::Reversals => ("/v1/balance_transactions", &[("type", "transfer_refund"), ("expand[]", "data.source")]),
    };
    let (from, before) = (from.to_string(), before.to_string());
    let mut fields = vec![("limit", "100"), ("created[gte]", from.as_str()), ("created[lt]", before.as_str())];
    fields.extend(more);
    fields.extend(after.map(|last| ("starting_after", last)));
    Request::query(path, &fields)
}

/// Asks for the object of an id, by what the id begins with; `None` where that says nothing.
pub fn object(id: &str) -> Option<Request> {
    let path = match id.split_once('_')?.0 {
        "in" => "/v1/invoices",
        "cs" => return Some(crate::checkout::retrieve(id)),
        "tr" => "/v1/transfers",
        "sub" => "/v1/subscriptions",
        _ => return None,
    };
    Some(Request::get(format!("{path}/{}", segment(id))))
}

/// A page of a list, its objects as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The objects.
    pub data: Vec<Value>,
    /// Whether there are others after them.
    pub has_more: bool,
}

/// Reads a page. One that does not say whether it is the last, or is empty and not the last, is none.
pub fn read(answer: Value) -> Option<Listed> {
    let Value::Object(mut fields) = answer else { return None };
    let has_more = fields.get("has_more")?.as_bool()?;
    let Value::Array(data) = fields.remove("data")? else { return None };
    (!has_more || !data.is_empty()).then_some(Listed { data, has_more })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_is_asked_for_by_time_and_cursor() {
        let request = page(List::CompleteSessions, 5, 9, Some("cs_1"));
        assert_eq!(request.path, "/v1/checkout/sessions");
        assert_eq!(
            request.form,
            "limit=100&created%5Bgte%5D=5&created%5Blt%5D=9&status=complete&expand%5B%5D=data.line_items&starting_after=cs_1"
        );
    }

    #[test]
    fn half_a_page_is_none() {
        assert!(read(json!({"data": []})).is_none());
        assert!(read(json!({"data": [], "has_more": true})).is_none());
        assert!(read(json!({"data": [], "has_more": false})).unwrap().data.is_empty());
    }

    #[test]
    fn an_id_says_where_its_object_is() {
        assert_eq!(object("in_1/x").unwrap().path, "/v1/invoices/in_1%2Fx");
        assert!(object("pi_1").is_none() && object("nonsense").is_none());
    }
}
