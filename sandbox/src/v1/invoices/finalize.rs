//! Finalising an invoice: from a draft to one that is owed; and what ends one unpaid.

use serde_json::{Value, json};

use super::{collect, draft};
use crate::{
    failure::{Answer, Failure},
    store::{number, text},
    v1::{buyers, customer_balance, invoice_payments, payments::Paid, subscriptions},
    world::World,
};

/// Keeps a new draft and tells of it; it is finalised in an hour if it advances by itself.
pub(crate) fn open_draft(world: &mut World, mut invoice: Value) -> Value {
    if invoice["auto_advance"] == true {
        let at = world.now + draft::DRAFT;
        plan(world, &mut invoice, at);
    }
    world.create("invoice", "invoice.created", invoice)
}

/// A draft is to be finalised by itself.
pub(crate) fn plan(world: &mut World, invoice: &mut Value, at: i64) {
    invoice["automatically_finalizes_at"] = json!(at);
    world.plan(text(invoice, "test_clock"), at, by_itself, text(invoice, "id"));
}

/// The hour is over.
fn by_itself(world: &mut World, id: &str) {
    let Some(invoice) = world.store.get("invoice", id).cloned() else { return };
    let due = invoice["automatically_finalizes_at"].as_i64().is_some_and(|at| at <= world.now);
    if text(&invoice, "status") != "draft" || invoice["auto_advance"] != true || !due {
        return;
    }
    let invoice = issue(world, invoice);
    let paused = subscriptions::state::pausing(world, &invoice);
    match paused.as_str() {
        "void" => drop(void(world, id)),
        "mark_uncollectible" => drop(give_up(world, id)),
        _ if number(&invoice, "amount_due") == 0 => drop(collect::paid(world, invoice, false)),
        _ if text(&invoice, "collection_method") == "send_invoice" => world.emit("invoice.sent", &invoice),
        // Whoever waits for it hears of it by events.
        _ => drop(collect::try_and_apply(
            world,
            id,
            &collect::How { off_session: true, automatic: true, ..Default::default() },
        )),
    }
}

/// Finalises a draft that is kept: it has a number now and takes what the customer's balance gives. Stays open, also with nothing due.
pub(crate) fn issue(world: &mut World, invoice: Value) -> Value {
    issue_tried(world, invoice, None)
}

/// Of one whose payment was tried before it was kept.
pub(crate) fn issue_tried(world: &mut World, mut invoice: Value, tried: Option<&Paid>) -> Value {
    draft::total(world, &mut invoice);
    let (total, starting) = (number(&invoice, "total"), number(&invoice, "starting_balance"));
    // Credit that is left, or what is too little to be charged and is owed with the next invoice.
    let ending = total.saturating_add(starting) - number(&invoice, "amount_due");
    let kind = if ending > 0 { "invoice_too_small" } else { "applied_to_invoice" };
    let id = text(&invoice, "id").to_owned();
    invoice["ending_balance"] = json!(ending);
    invoice["status"] = json!("open");
    invoice["number"] = json!(format!("SANDBOX-{:04}", world.next_invoice_number()));
    invoice["effective_at"] = json!(world.now);
    invoice["automatically_finalizes_at"] = Value::Null;
    invoice["status_transitions"]["finalized_at"] = json!(world.now);
    invoice["hosted_invoice_url"] = json!(format!("{}/_sandbox/invoices/{id}", world.url));
    if text(&invoice, "collection_method") == "charge_automatically" && invoice["auto_advance"] == true {
        invoice["next_payment_attempt"] = json!(world.now);
    }
    if let Some(customer) = world.store.get_mut("customer", text(&invoice, "customer"))
        && customer["currency"].is_null()
    {
        // Stripe: the currency of what is first owed is the customer's.
        customer["currency"] = invoice["currency"].clone();
    }
    balance(world, &invoice, ending - starting, kind);
    collect::open(world, &mut invoice, tried);
    world.store.insert("invoice", invoice.clone());
    world.emit("invoice.finalized", &invoice);
    if let Some(at) = invoice["due_date"].as_i64() {
        world.plan(text(&invoice, "test_clock"), at, overdue, &id);
    }
    invoice
}

/// What an invoice takes from, or gives to, its customer's balance.
fn balance(world: &mut World, invoice: &Value, amount: i64, kind: &str) {
    let customer = text(invoice, "customer");
    if amount != 0 && buyers::buyer(world, customer).is_ok() {
        customer_balance::change(world, customer, amount, kind, Some(invoice));
    }
}

fn overdue(world: &mut World, id: &str) {
    let Some(invoice) = world.store.get("invoice", id).cloned() else { return };
    if text(&invoice, "status") == "open" && invoice["due_date"].as_i64().is_some_and(|at| at <= world.now) {
        world.emit("invoice.overdue", &invoice);
        subscriptions::hooks::failed(world, &invoice);
    }
}

/// Refuses what would leave a debit that is on its way paying for nothing.
pub(super) fn not_on_its_way(world: &World, invoice: &Value) -> Result<(), Failure> {
    if !invoice_payments::is_on_its_way(world, invoice) {
        return Ok(());
    }
    Err(Failure::invalid("A payment of this invoice is processing: wait until it has succeeded or failed."))
}

/// Makes an open invoice void: it is owed no more, and what the balance gave goes back.
pub(crate) fn void(world: &mut World, id: &str) -> Answer {
    let mut invoice = world.object("invoice", "invoice", id)?;
    if !matches!(text(&invoice, "status"), "open" | "uncollectible") {
        let message =
            format!("You can only pass in open invoices. This invoice isn't open: it is {}.", text(&invoice, "status"));
        return Err(Failure::invalid(message));
    }
    not_on_its_way(world, &invoice)?;
    invoice_payments::withdraw(world, &mut invoice, "void_invoice");
    let taken = number(&invoice, "ending_balance") - number(&invoice, "starting_balance");
    balance(world, &invoice, -taken, "unapplied_from_invoice");
    invoice["status"] = json!("void");
    invoice["status_transitions"]["voided_at"] = json!(world.now);
    invoice["next_payment_attempt"] = Value::Null;
    world.store.insert("invoice", invoice.clone());
    world.emit("invoice.voided", &invoice);
    subscriptions::hooks::voided(world, &invoice);
    Ok(invoice)
}

/// Marks an open invoice as one that will not be paid.
pub(crate) fn give_up(world: &mut World, id: &str) -> Answer {
    let mut invoice = world.object("invoice", "invoice", id)?;
    if text(&invoice, "status") != "open" {
        let message =
            format!("You can only mark open invoices as uncollectible: this one is {}.", text(&invoice, "status"));
        return Err(Failure::invalid(message));
    }
    invoice["status"] = json!("uncollectible");
    invoice["status_transitions"]["marked_uncollectible_at"] = json!(world.now);
    invoice["next_payment_attempt"] = Value::Null;
    world.store.insert("invoice", invoice.clone());
    world.emit("invoice.marked_uncollectible", &invoice);
    Ok(invoice)
}
