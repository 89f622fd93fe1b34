//! A charge, and everything that took of it, or may: its refunds, its disputes, and what it paid for.

use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    key::segment,
    object::{Object, Page, reference},
    reply::Why,
    request::{Method, Request},
    seen::Seen,
};

/// Pages read before a list is given up. A charge has a few refunds and a dispute or two.
const PAGES: usize = 100;

/// A payment that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// `ch_…`, `py_…`.
    pub id: String,
    /// In the currency's minor unit.
    pub amount: i64,
    /// Lower case, `usd`.
    pub currency: String,
    /// `pi_…`; very old charges have none.
    #[serde(default, deserialize_with = "reference")]
    pub payment_intent: Option<String>,
    /// `in_…`, in layouts before 2025-03-31.basil.
    #[serde(default, deserialize_with = "reference")]
    pub invoice: Option<String>,
}

/// Money that went back, or is on its way, or came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// `re_…`.
    pub id: String,
    /// In the currency's minor unit.
    pub amount: i64,
    /// Lower case, `usd`.
    pub currency: String,
    /// `pending`, `requires_action`, `succeeded`, `failed`, `canceled`, or one that is new.
    pub status: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

/// A payment that the payer's bank takes back, or asks about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// `du_…`, `dp_…`.
    pub id: String,
    /// In the currency's minor unit.
    pub amount: i64,
    /// Lower case, `usd`.
    pub currency: String,
    /// `warning_…` for an inquiry; `needs_response`, `under_review`, `won`, `lost`, or one that is new.
    pub status: String,
    /// In the bank's word: `fraudulent`, `product_not_received` …
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// What may still be said about it.
    #[serde(default)]
    pub evidence_details: Option<EvidenceDetails>,
}

/// What may still be said about a dispute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceDetails {
    /// Until when, in seconds since 1970.
    #[serde(default)]
    pub due_by: Option<i64>,
}

/// What a charge paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidFor {
    /// `cs_…` or `in_…`.
    pub id: String,
    /// All that was charged for it, by this charge and by others, in the currency's minor unit.
    pub total: i64,
}

/// All that Stripe says of a charge now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The charge itself.
    pub charge: Charge,
    /// All its refunds, in no order.
    pub refunds: Vec<Refund>,
    /// All its disputes, in no order.
    pub disputes: Vec<Dispute>,
    /// The sessions and invoices that it paid.
    pub paid_for: Vec<PaidFor>,
}

#[derive(Deserialize)]
struct Intent {
    #[serde(default, deserialize_with = "reference")]
    latest_charge: Option<String>,
}

#[derive(Deserialize)]
struct Session {
    id: String,
}

#[derive(Deserialize)]
struct InvoicePayment {
    id: String,
    #[serde(default, deserialize_with = "reference")]
    invoice: Option<String>,
    #[serde(default)]
    amount_paid: Option<i64>,
    #[serde(default)]
    status: Option<String>,
}

macro_rules! objects {
    ($($type:ty = $name:literal),+) => { $(impl Object for $type { const OBJECT: &'static str = $name; })+ };
}
objects!(
    Charge = "charge",
    Refund = "refund",
    Dispute = "dispute",
    Intent = "payment_intent",
    Session = "checkout.session",
    InvoicePayment = "invoice_payment"
);

/// What has an id to page by.
trait Listed: Object {
    fn id(&self) -> &str;
}

macro_rules! listed {
    ($($type:ty),+) => { $(impl Listed for $type { fn id(&self) -> &str { &self.id } })+ };
}
listed!(Refund, Dispute, Session, InvoicePayment);

/// The charge that a payment intent came to, if any yet.
pub async fn of_intent(client: &Client, intent: &str) -> Result<Option<String>, Box<Seen>> {
    let request = Request::get(format!("/v1/payment_intents/{}", segment(intent)));
    Ok(client.send(&request, None).await.read::<Intent>()?.latest_charge)
}

/// Asks for a charge and all that belongs to it. `invoice` is one that it is already known to have paid. Any part that cannot be had
/// means that nothing is known: half an answer is none.
pub async fn ask(client: &Client, charge: &str, invoice: Option<&str>) -> Result<Told, Box<Seen>> {
    let request = Request::get(format!("/v1/charges/{}", segment(charge)));
    let charge: Charge = client.send(&request, None).await.read()?;
    let of_charge = [("charge", charge.id.as_str())];
    let refunds = all(client, "/v1/refunds", &of_charge).await?;
    let disputes = all(client, "/v1/disputes", &of_charge).await?;
    let mut invoices: Vec<String> = invoice.map(str::to_owned).into_iter().chain(charge.invoice.clone()).collect();
    let mut paid_for = Vec::new();
    if let Some(intent) = &charge.payment_intent {
        let sessions: Vec<Session> = all(client, "/v1/checkout/sessions", &[("payment_intent", intent)]).await?;
        paid_for.extend(sessions.into_iter().map(|session| PaidFor { id: session.id, total: charge.amount }));
        let of_intent = [("payment[type]", "payment_intent"), ("payment[payment_intent]", intent.as_str())];
        let payments: Vec<InvoicePayment> = all(client, "/v1/invoice_payments", &of_intent).await?;
        invoices.extend(payments.into_iter().filter_map(|payment| payment.invoice));
    }
    invoices.sort_unstable();
    invoices.dedup();
    for invoice in invoices {
        let payments: Vec<InvoicePayment> = all(client, "/v1/invoice_payments", &[("invoice", &invoice)]).await?;
        let paid = payments.iter().filter(|payment| payment.status.as_deref() == Some("paid"));
        let total = paid.filter_map(|payment| payment.amount_paid).fold(0, i64::saturating_add);
        paid_for.push(PaidFor { id: invoice, total: total.max(charge.amount) });
    }
    Ok(Told { charge, refunds, disputes, paid_for })
}

/// All pages of a list, or what was seen of the page that could not be had.
async fn all<T: Listed>(client: &Client, path: &str, fields: &[(&str, &str)]) -> Result<Vec<T>, Box<Seen>> {
    let mut all: Vec<T> = Vec::new();
    let mut pages = 0;
    loop {
        let seen = client.send(&page(path, fields, all.last().map(T::id)), None).await;
        let read: Page<T> = seen.clone().read()?;
        pages += 1;
        if read.has_more && read.data.is_empty() {
            return Err(seen.but(Why::NotWhatWasAsked("an empty page that is not the last".into())));
        }
        if read.has_more && pages == PAGES {
            return Err(seen.but(Why::TooManyPages));
        }
        all.extend(read.data);
        if !read.has_more {
            return Ok(all);
        }
    }
}

fn page(path: &str, fields: &[(&str, &str)], last: Option<&str>) -> Request {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("limit", "100").extend_pairs(fields);
    if let Some(last) = last {
        form.append_pair("starting_after", last);
    }
    Request { method: Method::Get, path: path.to_owned(), form: form.finish() }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_refund_and_a_dispute_read_with_values_that_are_new() {
        let refund: Refund = from_value(json!({"id": "re_1", "object": "refund", "amount": 5, "currency": "usd",
            "status": "teleported", "created": 7, "charge": "ch_1", "more": []}))
        .unwrap();
        assert_eq!(refund.status.as_deref(), Some("teleported"));
        let dispute: Dispute = from_value(json!({"id": "du_1", "object": "dispute", "amount": 5, "currency": "usd",
            "status": "prevented", "created": 7, "evidence_details": {"due_by": null}}))
        .unwrap();
        assert_eq!(dispute.evidence_details.unwrap().due_by, None);
    }

    #[test]
    fn a_charge_reads_in_both_layouts() {
        let since: Charge =
            from_value(json!({"id": "ch_1", "amount": 1, "currency": "usd", "payment_intent": "pi_1"})).unwrap();
        assert_eq!((since.payment_intent.as_deref(), since.invoice), (Some("pi_1"), None));
        let before: Charge = from_value(json!({"id": "ch_1", "amount": 1, "currency": "usd", "payment_intent": null,
            "invoice": {"id": "in_1"}}))
        .unwrap();
        assert_eq!((before.payment_intent, before.invoice.as_deref()), (None, Some("in_1")));
    }
}
