//! Collecting what an invoice is owed: trying, what a try came to, and trying again.

use serde_json::{Value, json};

use super::lines;
use crate::{
    failure::{Answer, Failure},
    store::{number, text},
    v1::{
        checkout, invoice_payments, payment_methods,
        payments::{self, Paid, Payment},
        subscriptions,
    },
    world::World,
};

const DAY: i64 = 24 * 60 * 60;
/// When a failed renewal is tried again: seconds since the first try. Stripe's Smart Retries choose the times by what they have learnt;
/// these are eight in two weeks, which is what Stripe recommends.
const RETRIES: [i64; 8] = [DAY, 3 * DAY, 5 * DAY, 7 * DAY, 9 * DAY, 11 * DAY, 13 * DAY, 14 * DAY];
/// Declines after which the same card is not tried again by itself (Stripe: hard declines).
const HARD: &[&str] = &[
    "authentication_required",
    "highest_risk_level",
    "incorrect_number",
    "lost_card",
    "pickup_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "stolen_card",
    "transaction_not_allowed",
];

/// How a payment is tried.
#[derive(Debug, Clone, Default)]
pub(crate) struct How {
    /// A payment method's id; else the invoice's, the subscription's, the customer's.
    pub method: Option<String>,
    pub off_session: bool,
    /// By the schedule, and not because someone asked.
    pub automatic: bool,
}

/// Tries to take what is due; the invoice is not changed by that. Nothing where nothing is due.
pub(crate) fn attempt(world: &mut World, invoice: &Value, how: &How) -> Option<Paid> {
    if number(invoice, "amount_remaining") == 0 {
        return None;
    }
    let payment = payment(world, invoice, how);
    Some(payments::attempt(world, &payment))
}

/// Opens the payment of what is due, unless a try has; its payer may confirm it.
pub(crate) fn open(world: &mut World, invoice: &mut Value, tried: Option<&Paid>) {
    if number(invoice, "amount_remaining") == 0 {
        return;
    }
    let intent = if let Some(paid) = tried {
        paid.intent().clone()
    } else {
        let payment = payment(world, invoice, &How::default());
        payments::open(world, &payment)
    };
    invoice["confirmation_secret"] = json!({ "client_secret": intent["client_secret"], "type": "payment_intent" });
    invoice_payments::record(world, invoice, &intent, false);
}

fn payment(world: &World, invoice: &Value, how: &How) -> Payment {
    Payment {
        amount: number(invoice, "amount_remaining"),
        currency: text(invoice, "currency").to_owned(),
        customer: invoice["customer"].clone(),
        method: how.method.clone().or_else(|| default_method(world, invoice)),
        metadata: json!({}),
        description: match text(invoice, "billing_reason") {
            "manual" => Value::Null,
            "subscription_create" => json!("Subscription creation"),
            _ => json!("Subscription update"),
        },
        off_session: how.off_session,
        invoice: Some(text(invoice, "id").to_owned()),
        intent: invoice_payments::intent_of(invoice),
        settled: Some(settled),
    }
}

/// The payment method of the invoice or of its subscription; the customer's is found by whoever charges it.
fn default_method(world: &World, invoice: &Value) -> Option<String> {
    let subscription = world.store.get("subscription", lines::subscription_of(invoice));
    let customer = text(invoice, "customer");
    // One that was detached meanwhile pays nothing any more.
    let still = |id: &&str| payment_methods::check_payer(world, id, customer, "default_payment_method").is_ok();
    let named = |object: &Value| object["default_payment_method"].as_str().filter(still).map(str::to_owned);
    named(invoice).or_else(|| subscription.and_then(named))
}

/// Tries, and keeps what came of it. A refusal is kept too, and answered.
pub(crate) fn try_and_apply(world: &mut World, id: &str, how: &How) -> Answer {
    let invoice = world.object("invoice", "invoice", id)?;
    let tried = attempt(world, &invoice, how);
    apply(world, invoice, tried, how)
}

/// Keeps what a try came to.
pub(crate) fn apply(world: &mut World, mut invoice: Value, tried: Option<Paid>, how: &How) -> Answer {
    match tried {
        None => Ok(paid(world, invoice, false)),
        Some(Paid::Succeeded(intent)) => {
            count(&mut invoice, how);
            invoice_payments::record(world, &mut invoice, &intent, true);
            Ok(paid(world, invoice, false))
        }
        Some(Paid::Processing(intent)) => {
            count(&mut invoice, how);
            invoice_payments::record(world, &mut invoice, &intent, false);
            invoice["next_payment_attempt"] = Value::Null;
            let invoice = world.change("invoice", "invoice.updated", invoice);
            subscriptions::hooks::processing(world, &invoice);
            Ok(invoice)
        }
        Some(Paid::NeedsAction(intent, failure)) => {
            count(&mut invoice, how);
            let invoice = failed(world, invoice, &intent);
            world.emit("invoice.payment_action_required", &invoice);
            Err(failure)
        }
        Some(Paid::Declined(intent, failure)) => {
            count(&mut invoice, how);
            failed(world, invoice, &intent);
            Err(failure)
        }
    }
}

/// Stripe: any try counts as the first one, and after that only those of the schedule do.
fn count(invoice: &mut Value, how: &How) {
    let before = number(invoice, "attempt_count");
    if how.automatic || before == 0 {
        invoice["attempt_count"] = json!(before + 1);
    }
    invoice["attempted"] = json!(true);
}

/// The invoice is paid; `out_of_band` is money that went past Stripe.
pub(crate) fn paid(world: &mut World, mut invoice: Value, out_of_band: bool) -> Value {
    let due = number(&invoice, "amount_due");
    // Whatever else was to pay it must not any more.
    invoice_payments::withdraw(world, &mut invoice, "automatic");
    invoice["attempted"] = json!(true);
    invoice["amount_paid"] = json!(due);
    invoice["amount_paid_off_stripe"] = json!(if out_of_band { number(&invoice, "amount_remaining") } else { 0 });
    invoice["amount_remaining"] = json!(0);
    invoice["next_payment_attempt"] = Value::Null;
    invoice["status"] = json!("paid");
    invoice["status_transitions"]["paid_at"] = json!(world.now);
    invoice["_retries"] = Value::Null;
    world.store.insert("invoice", invoice.clone());
    world.emit("invoice.paid", &invoice);
    if !out_of_band {
        world.emit("invoice.payment_succeeded", &invoice);
    }
    invoice_payments::told(world, &invoice);
    subscriptions::hooks::paid(world, &invoice);
    invoice
}

/// A try failed: it is told, and the next one is planned where Stripe tries again by itself.
fn failed(world: &mut World, mut invoice: Value, intent: &Value) -> Value {
    invoice_payments::record(world, &mut invoice, intent, false);
    let error = &intent["last_payment_error"];
    let code = [&error["decline_code"], &error["code"]].into_iter().find_map(|code| code.as_str());
    // What only its owner can authenticate is not tried again without them either.
    let hard = text(intent, "status") == "requires_action" || code.is_some_and(|code| HARD.contains(&code));
    invoice["_hard"] = json!(hard);
    invoice["_declined"] = intent_method(intent);
    let next = next_retry(world, &mut invoice);
    invoice["next_payment_attempt"] = json!(next);
    let clock = text(&invoice, "test_clock").to_owned();
    if let Some(at) = next {
        world.plan(&clock, at, retry, text(&invoice, "id"));
    }
    let invoice = world.change("invoice", "invoice.updated", invoice);
    world.emit("invoice.payment_failed", &invoice);
    subscriptions::hooks::failed(world, &invoice);
    if next.is_none() && invoice["_retries"].is_array() {
        subscriptions::hooks::given_up(world, &invoice);
    }
    invoice
}

fn intent_method(intent: &Value) -> Value {
    let error = &intent["last_payment_error"]["payment_method"]["id"];
    if error.is_null() { intent["payment_method"].clone() } else { error.clone() }
}

/// When the schedule tries again. A first invoice is not retried, nor one that does not advance by itself.
fn next_retry(world: &World, invoice: &mut Value) -> Option<i64> {
    let first = text(invoice, "billing_reason") == "subscription_create";
    let automatic = text(invoice, "collection_method") == "charge_automatically" && invoice["auto_advance"] == true;
    if first || !automatic || !world.settings().smart_retries {
        return None;
    }
    if !invoice["_retries"].is_array() {
        invoice["_retries"] = RETRIES.iter().map(|after| json!(world.now + after)).collect();
    }
    invoice["_retries"].as_array().into_iter().flatten().filter_map(Value::as_i64).find(|at| *at > world.now)
}

/// The schedule tries again.
fn retry(world: &mut World, id: &str) {
    let Some(mut invoice) = world.store.get("invoice", id).cloned() else { return };
    let due = invoice["next_payment_attempt"].as_i64().is_some_and(|at| at <= world.now);
    if text(&invoice, "status") != "open" || invoice["auto_advance"] != true || !due {
        return;
    }
    // Stripe: after a hard decline the schedule goes on, and nothing is tried until there is another payment method.
    let declined = text(&invoice, "_declined").to_owned();
    let same = default_method(world, &invoice).or_else(|| customers_method(world, &invoice)) == Some(declined);
    if invoice["_hard"] == true && same {
        let next = next_retry(world, &mut invoice);
        invoice["next_payment_attempt"] = json!(next);
        let clock = text(&invoice, "test_clock").to_owned();
        if let Some(at) = next {
            world.plan(&clock, at, retry, id);
        }
        let invoice = world.change("invoice", "invoice.updated", invoice);
        if next.is_none() {
            subscriptions::hooks::given_up(world, &invoice);
        }
        return;
    }
    // Whoever waits for it hears of it by events.
    drop(try_and_apply(world, id, &How { off_session: true, automatic: true, ..How::default() }));
}

fn customers_method(world: &World, invoice: &Value) -> Option<String> {
    let customer = world.store.get("customer", text(invoice, "customer"))?;
    customer["invoice_settings"]["default_payment_method"].as_str().map(str::to_owned)
}

/// A payment that was left open has come, or has failed; told its intent's id.
pub(crate) fn settled(world: &mut World, intent: &str) {
    let Some(intent) = world.store.get("payment_intent", intent).cloned() else { return };
    let invoice = world
        .store
        .all("invoice_payment")
        .rev()
        .find(|payment| payment["payment"]["payment_intent"] == intent["id"])
        .and_then(|payment| world.store.get("invoice", text(payment, "invoice")))
        .filter(|invoice| matches!(text(invoice, "status"), "open" | "uncollectible"))
        .cloned();
    let Some(mut invoice) = invoice else { return };
    let clock = text(&invoice, "test_clock").to_owned();
    world.at_clock(&clock, |world| {
        if text(&intent, "status") == "succeeded" {
            invoice_payments::record(world, &mut invoice, &intent, true);
            paid(world, invoice, false);
        } else {
            failed(world, invoice, &intent);
        }
    });
    // The session that made the subscription waits for its first payment too.
    checkout::heard(world, text(&intent, "id"));
}

/// The refusal that a try came to, where nothing is to come of it: its payment cannot be made later either.
pub(crate) fn refusal(world: &mut World, tried: Option<&Paid>) -> Option<Failure> {
    let Some(Paid::Declined(intent, failure) | Paid::NeedsAction(intent, failure)) = tried else { return None };
    payments::intents::withdraw(world, text(intent, "id"), "automatic");
    Some(failure.clone())
}
