//! Finalising an invoice: from a draft to one that is owed; and what ends one unpaid.

use serde_json::{Value, json};

use super::{collect, draft};
use crate::{
    failure::{Answer, Failure},
    store::{number, text},
    v1::{customer_balance, customers, subscriptions},
    world::World,
};

/// Seconds that a renewal's invoice stays a draft, so that others may add to it: about an hour.
pub(crate) const DRAFT: i64 = 60 * 60;

/// Keeps a new draft and tells of it; it is finalised in an hour if it advances by itself.
pub(crate) fn open_draft(world: &mut World, mut invoice: Value) -> Value {
    if invoice["auto_advance"] == true {
        let at = world.now + DRAFT;
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
    let paused = subscriptions::pausing(world, &invoice);
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
pub(crate) fn issue(world: &mut World, mut invoice: Value) -> Value {
    draft::total(world, &mut invoice);
    let (total, starting) = (number(&invoice, "total"), number(&invoice, "starting_balance"));
    let ending = total.saturating_add(starting).min(0);
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
    balance(world, &invoice, ending - starting, "applied_to_invoice");
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
    if amount != 0 && customers::buyer(world, customer).is_ok() {
        customer_balance::change(world, customer, amount, kind, invoice["id"].as_str());
    }
}

fn overdue(world: &mut World, id: &str) {
    let Some(invoice) = world.store.get("invoice", id).cloned() else { return };
    if text(&invoice, "status") == "open" && invoice["due_date"].as_i64().is_some_and(|at| at <= world.now) {
        world.emit("invoice.overdue", &invoice);
        subscriptions::hooks::failed(world, &invoice);
    }
}

/// Makes an open invoice void: it is owed no more, and what the balance gave goes back.
pub(crate) fn void(world: &mut World, id: &str) -> Answer {
    let mut invoice = world.object("invoice", "invoice", id)?;
    if !matches!(text(&invoice, "status"), "open" | "uncollectible") {
        let message =
            format!("You can only pass in open invoices. This invoice isn't open: it is {}.", text(&invoice, "status"));
        return Err(Failure::invalid(message));
    }
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
