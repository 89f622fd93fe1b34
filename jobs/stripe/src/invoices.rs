//! An invoice that is to be paid: how it stands, and paying it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    key::segment,
    object::{Object, every, metadata, reference},
    request::Request,
    seen::Seen,
};

/// An invoice, the same from either layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// `in_…`.
    pub id: String,
    /// `draft`, `open`, `paid`, `uncollectible`, `void`, or one that is new.
    pub status: String,
    /// Why it was made.
    pub billing_reason: Option<String>,
    /// `charge_automatically` or `send_invoice`.
    pub collection_method: Option<String>,
    /// `cus_…`.
    pub customer: Option<String>,
    /// `sub_…`.
    pub subscription: Option<String>,
    /// What is still owed, in the currency's minor unit.
    pub amount_remaining: i64,
    /// Lower case, `usd`.
    pub currency: String,
    /// When Stripe tries again by itself, in seconds since 1970; none where it does not.
    pub next_payment_attempt: Option<i64>,
    /// Where its customer can pay it.
    pub hosted_invoice_url: Option<String>,
    /// What is charged for it before what its subscription and customer name, `pm_…`.
    pub default_method: Option<String>,
    /// `pi_…`, in layouts before 2025-03-31.basil.
    pub intent: Option<String>,
}

/// What the last try to take the money came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The payment intent's: `requires_payment_method`, `requires_action`, `processing` …; a charge's, where only that is known.
    pub status: String,
    /// `card_declined`, `expired_card` …
    pub code: Option<String>,
    /// The bank's own reason.
    pub decline_code: Option<String>,
    /// Why Stripe's own rules stopped it: `highest_risk_level` …
    pub outcome: Option<String>,
    /// What was charged, `pm_…`.
    pub method: Option<String>,
}

/// A subscription, as far as chasing its payment needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// `sub_…`.
    pub id: String,
    /// Stripe's word.
    #[serde(default)]
    pub status: String,
    /// What it carries of ours.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
    /// While its collection is paused.
    #[serde(default)]
    pub pause_collection: Option<Pause>,
    /// `pm_…`.
    #[serde(default, deserialize_with = "reference")]
    pub default_payment_method: Option<String>,
    /// `card_…`, `src_…`: what was charged before payment methods.
    #[serde(default, deserialize_with = "reference")]
    pub default_source: Option<String>,
}

/// A pause of the collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What becomes of the invoices of that time: `void`, `keep_as_draft`, `mark_uncollectible`, or one that is new.
    #[serde(default)]
    pub behavior: Option<String>,
    /// When it ends by itself, in seconds since 1970.
    #[serde(default)]
    pub resumes_at: Option<i64>,
}

/// How an invoice stands now, with all that decides what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The invoice.
    pub invoice: Invoice,
    /// The last try; none where none is known.
    pub attempt: Option<Attempt>,
    /// Its subscription.
    pub subscription: Option<Subscription>,
    /// What would be charged now; none where its customer has nothing to charge.
    pub method: Option<String>,
}

#[derive(Deserialize)]
struct Wire {
    id: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    billing_reason: Option<String>,
    #[serde(default)]
    collection_method: Option<String>,
    #[serde(default, deserialize_with = "reference")]
    customer: Option<String>,
    #[serde(default)]
    amount_remaining: i64,
    #[serde(default)]
    currency: String,
    #[serde(default)]
    next_payment_attempt: Option<i64>,
    #[serde(default)]
    hosted_invoice_url: Option<String>,
    #[serde(default, deserialize_with = "reference")]
    default_payment_method: Option<String>,
    /// Since basil.
    #[serde(default)]
    parent: Option<Parent>,
    /// Before.
    #[serde(default, deserialize_with = "reference")]
    subscription: Option<String>,
    #[serde(default, deserialize_with = "reference")]
    payment_intent: Option<String>,
}

#[derive(Deserialize)]
struct Parent {
    #[serde(default)]
    subscription_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default, deserialize_with = "reference")]
    subscription: Option<String>,
}

#[derive(Deserialize)]
struct InvoicePayment {
    id: String,
    #[serde(default)]
    created: i64,
    #[serde(default)]
    payment: Option<Paying>,
}

#[derive(Deserialize)]
struct Paying {
    #[serde(default, deserialize_with = "reference")]
    payment_intent: Option<String>,
}

#[derive(Deserialize)]
struct Intent {
    #[serde(default)]
    status: String,
    #[serde(default, deserialize_with = "reference")]
    payment_method: Option<String>,
    #[serde(default, deserialize_with = "reference")]
    latest_charge: Option<String>,
    #[serde(default)]
    last_payment_error: Option<PaymentError>,
}

#[derive(Deserialize)]
struct PaymentError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
    #[serde(default, deserialize_with = "reference")]
    payment_method: Option<String>,
}

#[derive(Deserialize)]
struct Charge {
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    failure_code: Option<String>,
    #[serde(default, deserialize_with = "reference")]
    payment_method: Option<String>,
    #[serde(default)]
    outcome: Option<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Customer {
    #[serde(default)]
    invoice_settings: Settings,
    #[serde(default, deserialize_with = "reference")]
    default_source: Option<String>,
}

#[derive(Deserialize, Default)]
struct Settings {
    #[serde(default, deserialize_with = "reference")]
    default_payment_method: Option<String>,
}

macro_rules! objects {
    ($($type:ty = $name:literal),+) => { $(impl Object for $type { const OBJECT: &'static str = $name; })+ };
}
objects!(
    Wire = "invoice",
    InvoicePayment = "invoice_payment",
    Intent = "payment_intent",
    Charge = "charge",
    Subscription = "subscription",
    Customer = "customer"
);

impl From<Wire> for Invoice {
    fn from(wire: Wire) -> Self {
        let details = wire.parent.and_then(|parent| parent.subscription_details);
        Self {
            id: wire.id,
            status: wire.status.unwrap_or_default(),
            billing_reason: wire.billing_reason,
            collection_method: wire.collection_method,
            customer: wire.customer,
            subscription: wire.subscription.or_else(|| details?.subscription),
            amount_remaining: wire.amount_remaining,
            currency: wire.currency,
            next_payment_attempt: wire.next_payment_attempt,
            hosted_invoice_url: wire.hosted_invoice_url,
            default_method: wire.default_payment_method,
            intent: wire.payment_intent,
        }
    }
}

impl Invoice {
    /// Reads Stripe's object, of either layout.
    pub fn read(object: &serde_json::Value) -> Result<Self, serde_json::Error> {
        Wire::deserialize(object).map(Self::from)
    }
}

/// Asks how an invoice stands. Any part that cannot be had means that nothing is known: half an answer is none.
pub async fn standing(client: &Client, id: &str) -> Result<Standing, Box<Seen>> {
    let invoice = retrieve(client, id).await?;
    if invoice.status != "open" {
        // What is over needs no more questions, but for whose subscription it was.
        let subscription = subscription(client, &invoice).await?;
        return Ok(Standing { invoice, attempt: None, subscription, method: None });
    }
    let attempt = match intent_of(client, &invoice).await? {
        Some(intent) => Some(last_attempt(client, &intent).await?),
        None => None,
    };
    let subscription = subscription(client, &invoice).await?;
    let named =
        subscription.as_ref().and_then(|s| s.default_payment_method.clone().or_else(|| s.default_source.clone()));
    let method = match invoice.default_method.clone().or(named) {
        Some(method) => Some(method),
        None => of_customer(client, &invoice).await?,
    };
    Ok(Standing { invoice, attempt, subscription, method })
}

/// Asks for the tries to take an invoice's money that were made since a moment, in seconds since 1970, newest first: where the invoice is
/// paid, or one of them is ours, a payment that was asked for then has left.
pub async fn attempts_since(client: &Client, id: &str, since: i64) -> Result<(Invoice, Vec<Attempt>), Box<Seen>> {
    let invoice = retrieve(client, id).await?;
    let Some(intent) = intent_of(client, &invoice).await? else { return Ok((invoice, Vec::new())) };
    let since = since.to_string();
    let ask = |after: Option<&str>| {
        let mut fields = vec![("created[gte]", since.as_str()), ("limit", "100"), ("payment_intent", intent.as_str())];
        fields.extend(after.map(|last| ("starting_after", last)));
        Request::query("/v1/charges", &fields)
    };
    let charges = every(client, ask, |charge: &Charge| &charge.id).await?;
    let attempts = charges.into_iter().map(|charge| Attempt {
        status: charge.status,
        code: charge.failure_code,
        decline_code: None,
        outcome: charge.outcome.and_then(|outcome| outcome.reason),
        method: charge.payment_method,
    });
    Ok((invoice, attempts.collect()))
}

/// Asks how a subscription stands.
pub async fn subscription_now(client: &Client, id: &str) -> Result<Subscription, Box<Seen>> {
    client.send(&Request::get(format!("/v1/subscriptions/{}", segment(id))), None).await.read()
}

/// Tries to take what an open invoice is owed, with what its customer has to charge, and without them being there.
pub fn pay(id: &str) -> Request {
    Request::post(format!("/v1/invoices/{}/pay", segment(id)), &[("off_session".to_owned(), "true".to_owned())])
}

async fn retrieve(client: &Client, id: &str) -> Result<Invoice, Box<Seen>> {
    client.send(&Request::get(format!("/v1/invoices/{}", segment(id))), None).await.read::<Wire>().map(Invoice::from)
}

/// The payment intent that an invoice was last tried with. In the layout since basil it is shown beside the invoice; an older one is not
/// asked to expand what it does not have.
async fn intent_of(client: &Client, invoice: &Invoice) -> Result<Option<String>, Box<Seen>> {
    if let Some(intent) = &invoice.intent {
        return Ok(Some(intent.clone()));
    }
    let ask = |after: Option<&str>| {
        let mut fields = vec![("invoice", invoice.id.as_str()), ("limit", "100")];
        fields.extend(after.map(|last| ("starting_after", last)));
        Request::query("/v1/invoice_payments", &fields)
    };
    let payments = every(client, ask, |payment: &InvoicePayment| &payment.id).await?;
    let newest = payments.into_iter().filter_map(|payment| Some((payment.created, payment.payment?.payment_intent?)));
    Ok(newest.max_by_key(|(created, _)| *created).map(|(_, intent)| intent))
}

async fn last_attempt(client: &Client, intent: &str) -> Result<Attempt, Box<Seen>> {
    let intent: Intent =
        client.send(&Request::get(format!("/v1/payment_intents/{}", segment(intent))), None).await.read()?;
    let outcome = match &intent.latest_charge {
        Some(charge) => {
            let request = Request::get(format!("/v1/charges/{}", segment(charge)));
            client.send(&request, None).await.read::<Charge>()?.outcome.and_then(|outcome| outcome.reason)
        }
        None => None,
    };
    let (code, decline_code, declined) = intent
        .last_payment_error
        .map_or((None, None, None), |error| (error.code, error.decline_code, error.payment_method));
    Ok(Attempt { status: intent.status, code, decline_code, outcome, method: declined.or(intent.payment_method) })
}

async fn subscription(client: &Client, invoice: &Invoice) -> Result<Option<Subscription>, Box<Seen>> {
    match &invoice.subscription {
        Some(id) => subscription_now(client, id).await.map(Some),
        None => Ok(None),
    }
}

async fn of_customer(client: &Client, invoice: &Invoice) -> Result<Option<String>, Box<Seen>> {
    let Some(customer) = &invoice.customer else { return Ok(None) };
    let request = Request::get(format!("/v1/customers/{}", segment(customer)));
    let customer: Customer = client.send(&request, None).await.read()?;
    Ok(customer.invoice_settings.default_payment_method.or(customer.default_source))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_invoice_reads_the_same_from_both_layouts() {
        let before = json!({"id": "in_1", "object": "invoice", "status": "open", "subscription": "sub_1", "payment_intent": {"id": "pi_1"},
            "amount_remaining": 500, "currency": "usd", "paid": false});
        let since = json!({"id": "in_1", "object": "invoice", "status": "open", "amount_remaining": 500, "currency": "usd",
            "parent": {"subscription_details": {"subscription": {"id": "sub_1"}}}});
        let (before, since) = (Invoice::read(&before).unwrap(), Invoice::read(&since).unwrap());
        assert_eq!(before.intent.as_deref(), Some("pi_1"));
        assert_eq!(Invoice { intent: None, ..before }, since);
        assert_eq!(since.subscription.as_deref(), Some("sub_1"));
    }

    #[test]
    fn words_that_are_new_fail_nothing() {
        let odd = json!({"id": "in_1", "object": "invoice", "status": "teleported", "billing_reason": "whim", "parent": null, "more": []});
        assert_eq!(Invoice::read(&odd).unwrap().status, "teleported");
    }
}
