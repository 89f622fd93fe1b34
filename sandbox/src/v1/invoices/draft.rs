//! Making an invoice of lines, and adding it up: discounts, and what the customer's balance takes or adds.

use serde_json::{Value, json};

use super::lines;
use crate::{
    money,
    store::{number, text, with},
    v1::{buyers, customer_balance, discounts},
    world::World,
};

const DAY: i64 = 24 * 60 * 60;
/// Seconds that a renewal's invoice stays a draft, so that others may add to it: about an hour.
pub(crate) const DRAFT: i64 = 60 * 60;

/// What a new invoice is made of.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub customer: String,
    pub currency: String,
    /// `billing_reason`.
    pub reason: &'static str,
    /// The subscription it is for, or null.
    pub subscription: Value,
    pub lines: Vec<Value>,
    /// Empty for `charge_automatically`.
    pub collection_method: String,
    pub days_until_due: Option<i64>,
    pub auto_advance: bool,
    pub metadata: Value,
    pub description: Value,
    pub default_payment_method: Value,
    /// Ids of discounts.
    pub discounts: Value,
    /// What the invoice looks back on; a line's own period is what is paid for.
    pub period: (i64, i64),
}

impl Draft {
    /// For a subscription, as it is set up.
    pub fn of(subscription: &Value, reason: &'static str, lines: Vec<Value>, period: (i64, i64)) -> Self {
        Self {
            customer: text(subscription, "customer").to_owned(),
            currency: text(subscription, "currency").to_owned(),
            reason,
            subscription: subscription.clone(),
            lines,
            collection_method: text(subscription, "collection_method").to_owned(),
            days_until_due: subscription["days_until_due"].as_i64(),
            auto_advance: true,
            metadata: json!({}),
            description: Value::Null,
            default_payment_method: Value::Null,
            discounts: subscription["discounts"].clone(),
            period,
        }
    }

    /// Makes the draft invoice; it is not kept yet.
    pub fn build(self, world: &mut World) -> Value {
        let id = world.ids.next("in_");
        let customer = world.store.get("customer", &self.customer).cloned().unwrap_or_default();
        let clock = world.clock_of(&self.customer);
        let parent = if self.subscription.is_null() {
            Value::Null
        } else {
            json!({
                "quote_details": null,
                "subscription_details": { "metadata": self.subscription["metadata"], "subscription": self.subscription["id"] },
                "type": "subscription_details",
            })
        };
        let sent = self.collection_method == "send_invoice";
        let mut invoice = with(
            blank(),
            json!({
                "auto_advance": self.auto_advance,
                "billing_reason": self.reason,
                "collection_method": if sent { "send_invoice" } else { "charge_automatically" },
                "created": world.now,
                "currency": self.currency,
                "customer": self.customer,
                "customer_address": customer["address"],
                "customer_email": buyers::email_of(world, &self.customer),
                "customer_name": customer["name"],
                "customer_phone": customer["phone"],
                "customer_shipping": customer["shipping"],
                "customer_tax_exempt": customer["tax_exempt"],
                "default_payment_method": self.default_payment_method,
                "description": self.description,
                "discounts": if self.discounts.is_array() { self.discounts } else { json!([]) },
                "due_date": sent.then(|| world.now + self.days_until_due.unwrap_or(30) * DAY),
                "id": id,
                "metadata": if self.metadata.is_object() { self.metadata } else { json!({}) },
                "parent": parent,
                "payments": { "object": "list", "data": [], "has_more": false, "total_count": 0,
                    "url": format!("/v1/invoice_payments?invoice={id}") },
                "period_end": self.period.1,
                "period_start": self.period.0,
                "test_clock": if clock.is_empty() { Value::Null } else { json!(clock) },
            }),
        );
        lines::put(&mut invoice, self.lines);
        total(world, &mut invoice);
        invoice
    }
}

/// What every invoice starts as.
pub(crate) fn blank() -> Value {
    let some = json!({
        "object": "invoice",
        "account_country": "US",
        "account_name": "bursar sandbox",
        "account_tax_ids": null,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_shipping": 0,
        "application": null,
        "attempt_count": 0,
        "attempted": false,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null },
        "automatically_finalizes_at": null,
        "custom_fields": null,
        "customer_account": null,
        "customer_tax_ids": [],
        "default_source": null,
        "default_tax_rates": [],
        "effective_at": null,
        "ending_balance": null,
    });
    let more = json!({
        "footer": null,
        "from_invoice": null,
        "hosted_invoice_url": null,
        "invoice_pdf": null,
        "issuer": { "type": "self" },
        "last_finalization_error": null,
        "latest_revision": null,
        "livemode": false,
        "next_payment_attempt": null,
        "number": null,
        "on_behalf_of": null,
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": null,
        "rendering": null,
        "shipping_cost": null,
        "shipping_details": null,
        "starting_balance": 0,
        "statement_descriptor": null,
        "status": "draft",
        "status_transitions": { "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null },
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": null,
    });
    with(some, more)
}

/// Adds a draft up anew: after its lines, its discounts or the customer's balance changed.
pub(crate) fn total(world: &World, invoice: &mut Value) {
    let mut all = lines::all(invoice);
    let subtotal: i64 = all.iter().map(|line| number(line, "subtotal")).sum();
    let discounts = discounts::apply(world, &invoice["discounts"], &mut all);
    let off: i64 = discounts.iter().map(|(_, amount)| amount).sum();
    lines::put(invoice, all);
    let total = subtotal - off;
    let customer = world.store.get("customer", text(invoice, "customer"));
    let currency = text(invoice, "currency");
    let balance = customer.map(|customer| customer_balance::of(customer, currency)).unwrap_or_default();
    // Stripe: a negative balance is credit; a positive one is owed, and added. What is less than the least charge waits.
    let due = Some(total.saturating_add(balance)).filter(|due| *due >= money::least(currency)).unwrap_or(0);
    for (name, amount) in [
        ("subtotal", subtotal),
        ("subtotal_excluding_tax", subtotal),
        ("total", total),
        ("total_excluding_tax", total),
        ("starting_balance", balance),
        ("amount_due", due),
        ("amount_remaining", due),
    ] {
        invoice[name] = json!(amount);
    }
    let amounts = discounts.iter().map(|(id, amount)| json!({ "amount": amount, "discount": id }));
    invoice["total_discount_amounts"] = amounts.collect();
    let credits = discounts.iter().map(
        |(id, amount)| json!({ "amount": amount, "credit_balance_transaction": null, "discount": id, "type": "discount" }),
    );
    invoice["total_pretax_credit_amounts"] = credits.collect();
}

/// Stops what happens by itself: its subscription has ended.
pub(crate) fn stop(world: &mut World, subscription: &str) {
    let unpaid = |invoice: &&Value| {
        lines::subscription_of(invoice) == subscription && matches!(text(invoice, "status"), "draft" | "open")
    };
    let unpaid: Vec<Value> = world.store.all("invoice").filter(unpaid).cloned().collect();
    for mut invoice in unpaid {
        invoice["auto_advance"] = json!(false);
        invoice["automatically_finalizes_at"] = Value::Null;
        invoice["next_payment_attempt"] = Value::Null;
        world.change("invoice", "invoice.updated", invoice);
    }
}
