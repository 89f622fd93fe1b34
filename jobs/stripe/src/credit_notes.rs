//! Credit notes: what an invoice gave back after it was paid (Stripe: the Credit Note object).
//!
//! A credit note first takes off what is still owed (`pre_payment_amount`), which moves no money. The rest (`post_payment_amount`) went back:
//! by refunds, which are told apart from it, to the customer's balance, or outside of Stripe.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    charges::{Charge, PaidFor, Refund, Told},
    client::Client,
    key::segment,
    object::{Object, every, reference},
    request::Request,
    seen::Seen,
};

/// A credit note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditNote {
    /// `cn_…`.
    pub id: String,
    /// `in_…`.
    #[serde(default, deserialize_with = "reference")]
    pub invoice: Option<String>,
    /// Lower case, `usd`.
    pub currency: String,
    /// `issued`, `void`, or one that is new.
    pub status: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// All of it, tax and all, in the currency's minor unit.
    #[serde(default)]
    total: i64,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    post_payment_amount: Option<i64>,
    #[serde(default)]
    refunds: Option<Vec<Linked>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Linked {
    #[serde(default)]
    amount_refunded: i64,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Invoice {
    id: String,
    currency: String,
    total: i64,
    #[serde(default)]
    pre_payment_credit_notes_amount: i64,
}

impl Object for CreditNote {
    const OBJECT: &'static str = "credit_note";
}

impl Object for Invoice {
    const OBJECT: &'static str = "invoice";
}

/// Whether an id is a credit note's.
pub fn is_id(id: &str) -> bool {
    id.starts_with("cn_")
}

impl CreditNote {
    /// Reads one.
    pub fn read(object: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(object)
    }

    /// What it gave back without a refund of Stripe's, in minor units.
    pub fn returned(&self) -> i64 {
        let after_payment = self.post_payment_amount.unwrap_or(match self.kind.as_deref() {
            Some("post_payment") => self.total,
            Some(_) | None => 0,
        });
        // A refund that was made elsewhere and only reported to Stripe is no refund of a charge, and nothing else tells of it.
        let refunds = self.refunds.iter().flatten().filter(|one| one.kind.as_deref() != Some("payment_record_refund"));
        (after_payment - refunds.map(|one| one.amount_refunded).fold(0, i64::saturating_add)).max(0)
    }

    /// How it stands, in the words of a refund.
    pub fn as_refund(&self) -> Refund {
        let status = match self.status.as_str() {
            "issued" => "succeeded",
            "void" => "canceled",
            other => other,
        };
        Refund {
            id: self.id.clone(),
            amount: self.returned(),
            currency: self.currency.clone(),
            status: Some(status.to_owned()),
            created: self.created,
        }
    }
}

/// Asks for an invoice and all its credit notes, in the shape of a charge and its refunds: the invoice, and what each of them gave back. Any
/// part that cannot be had means that nothing is known.
pub async fn ask(client: &Client, invoice: &str) -> Result<Told, Box<Seen>> {
    let request = Request::get(format!("/v1/invoices/{}", segment(invoice)));
    let invoice: Invoice = client.send(&request, None).await.read()?;
    let page = |after: Option<&str>| {
        let mut fields = vec![("limit", "100"), ("invoice", invoice.id.as_str())];
        fields.extend(after.map(|last| ("starting_after", last)));
        Request::query("/v1/credit_notes", &fields)
    };
    let notes = every(client, page, |note: &CreditNote| &note.id).await?;
    // What was charged for it, however it was paid.
    let charged = (invoice.total - invoice.pre_payment_credit_notes_amount).max(0);
    let paid_for = (charged > 0).then(|| PaidFor { id: invoice.id.clone(), total: charged });
    Ok(Told {
        charge: Charge {
            id: invoice.id.clone(),
            amount: charged,
            currency: invoice.currency.clone(),
            payment_intent: None,
            invoice: Some(invoice.id.clone()),
        },
        refunds: notes.iter().map(CreditNote::as_refund).filter(|refund| refund.amount > 0).collect(),
        disputes: Vec::new(),
        paid_for: paid_for.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_it_gave_back_is_what_came_after_the_payment_less_its_refunds() {
        let note = |more: Value| {
            let mut note = json!({"id": "cn_1", "object": "credit_note", "invoice": "in_1", "currency": "usd", "status": "issued",
                                  "created": 7, "total": 1000});
            note.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            CreditNote::read(&note).unwrap().returned()
        };
        assert_eq!(note(json!({"type": "post_payment", "post_payment_amount": 1000, "refunds": []})), 1000);
        assert_eq!(note(json!({"type": "pre_payment", "pre_payment_amount": 1000, "post_payment_amount": 0})), 0);
        assert_eq!(note(json!({"type": "mixed", "pre_payment_amount": 600, "post_payment_amount": 400})), 400);
        let refunds = json!([{"amount_refunded": 300, "refund": "re_1", "type": "refund"},
                             {"amount_refunded": 200, "type": "payment_record_refund"}]);
        assert_eq!(note(json!({"post_payment_amount": 1000, "refunds": refunds})), 700);
        assert_eq!((note(json!({"type": "post_payment"})), note(json!({"type": "pre_payment"}))), (1000, 0));
        let void = json!({"id": "cn_1", "currency": "usd", "status": "void", "created": 7, "post_payment_amount": 5});
        let void = CreditNote::read(&void).unwrap().as_refund();
        assert_eq!((void.status.as_deref(), void.amount), (Some("canceled"), 5));
    }
}
