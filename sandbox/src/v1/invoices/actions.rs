//! What is done to an invoice by hand: changed, finalised, paid, sent, made void or given up, deleted.

use serde_json::{Value, json};

use super::{clock, collect, draft, finalize as finalizing, gone};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    store::{number, text},
    v1::{discounts, invoice_items, payment_methods},
    world::World,
};

pub(super) fn update(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let kept = world.store.get("invoice", call.id()).map(|invoice| invoice["metadata"].clone()).unwrap_or_default();
    let mut fields = vec![("metadata", params.metadata(&kept)?)];
    for name in ["description", "footer", "default_payment_method", "statement_descriptor"] {
        fields.extend(params.nullable(name)?.map(|value| (name, value)));
    }
    let advances = params.boolean("auto_advance")?;
    fields.extend(advances.map(|advances| ("auto_advance", json!(advances))));
    let method = params.choice("collection_method", &["charge_automatically", "send_invoice"])?;
    fields.extend(method.map(|method| ("collection_method", json!(method))));
    let asked = discounts::read(params)?;
    let days = params.at_least(0, "days_until_due")?.map(|days| days.min(3650));
    let (due, finalizes) = (params.integer("due_date")?, params.integer("automatically_finalizes_at")?);
    world.execute()?;
    let mut invoice = world.object("invoice", "invoice", call.id())?;
    let is_draft = text(&invoice, "status") == "draft";
    if !is_draft && (asked.is_some() || method.is_some() || finalizes.is_some()) {
        return Err(Failure::invalid("Finalized invoices can't be updated in this way").code("invoice_not_editable"));
    }
    let clock = clock(world, call.id());
    world.at_clock(&clock, |world| {
        for (name, value) in fields {
            invoice[name] = value;
        }
        if let Some(asked) = &asked {
            let (customer, currency) = (text(&invoice, "customer").to_owned(), text(&invoice, "currency").to_owned());
            discounts::judge(world, asked, &customer, &currency)?;
            invoice["discounts"] = discounts::make(world, asked, &customer, None);
            draft::total(world, &mut invoice);
        }
        if let Some(due) = days.map(|days| world.now + days * 24 * 60 * 60).or(due) {
            invoice["due_date"] = json!(due);
        }
        let starts = advances == Some(true) && invoice["automatically_finalizes_at"].is_null();
        if is_draft && (starts || finalizes.is_some()) {
            let at = finalizes.unwrap_or(world.now + draft::DRAFT);
            finalizing::plan(world, &mut invoice, at);
        }
        Ok(world.change("invoice", "invoice.updated", invoice))
    })
}

pub(super) fn delete(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let invoice = world.object("invoice", "invoice", call.id())?;
    if text(&invoice, "status") != "draft" || !invoice["parent"].is_null() {
        let message = "You can only delete draft invoices that no subscription made.";
        return Err(Failure::invalid(message).code("invoice_not_editable"));
    }
    world.store.remove("invoice", call.id());
    invoice_items::free(world, call.id());
    world.emit("invoice.deleted", &invoice);
    Ok(gone(call.id(), "invoice"))
}

pub(super) fn finalize(world: &mut World, call: &Call) -> Answer {
    let advances = call.params.boolean("auto_advance")?;
    world.execute()?;
    let mut invoice = world.object("invoice", "invoice", call.id())?;
    draft_only(&invoice)?;
    if let Some(advances) = advances {
        invoice["auto_advance"] = json!(advances);
    }
    let clock = clock(world, call.id());
    world.at_clock(&clock, |world| {
        let invoice = finalizing::issue(world, invoice);
        if number(&invoice, "amount_due") == 0 {
            return Ok(collect::paid(world, invoice, false));
        }
        if invoice["auto_advance"] == true && text(&invoice, "collection_method") == "charge_automatically" {
            // Stripe answers before it charges: a refusal is told by events.
            let how = collect::How { off_session: true, automatic: true, ..Default::default() };
            drop(collect::try_and_apply(world, text(&invoice, "id"), &how));
        }
        world.object("invoice", "invoice", call.id())
    })
}

pub(super) fn pay(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let out_of_band = params.boolean("paid_out_of_band")?.unwrap_or_default();
    let off_session = params.boolean("off_session")?.unwrap_or(true);
    params.boolean("forgive")?;
    let method = params.text("payment_method")?.filter(|method| !method.is_empty()).map(str::to_owned);
    world.execute()?;
    let invoice = world.object("invoice", "invoice", call.id())?;
    match text(&invoice, "status") {
        "draft" | "open" | "uncollectible" => {}
        "paid" => return Err(Failure::invalid("Invoice is already paid").code("invoice_already_paid")),
        "void" => return Err(Failure::invalid("Invoices that are voided cannot be paid").code("invoice_not_editable")),
        status => return Err(Failure::invalid(format!("Invoice {} is {status}: it cannot be paid.", call.id()))),
    }
    if out_of_band {
        finalizing::not_on_its_way(world, &invoice)?;
    }
    if let Some(method) = &method {
        payment_methods::check_payer(world, method, text(&invoice, "customer"), "payment_method")?;
    }
    let clock = clock(world, call.id());
    world.at_clock(&clock, |world| {
        let invoice = if text(&invoice, "status") == "draft" { finalizing::issue(world, invoice) } else { invoice };
        if out_of_band {
            return Ok(collect::paid(world, invoice, true));
        }
        collect::try_and_apply(world, call.id(), &collect::How { method, off_session, automatic: false })
    })
}

pub(super) fn send(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let invoice = world.object("invoice", "invoice", call.id())?;
    if text(&invoice, "collection_method") != "send_invoice" {
        let message = "You can only manually send an invoice if its collection method is 'send_invoice'.";
        return Err(Failure::invalid(message));
    }
    if !matches!(text(&invoice, "status"), "draft" | "open") {
        let message = format!("You can't send an invoice that is {}.", text(&invoice, "status"));
        return Err(Failure::invalid(message));
    }
    let clock = clock(world, call.id());
    world.at_clock(&clock, |world| {
        let invoice = if text(&invoice, "status") == "draft" { finalizing::issue(world, invoice) } else { invoice };
        world.emit("invoice.sent", &invoice);
        Ok(invoice)
    })
}

pub(super) fn void(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let clock = clock(world, call.id());
    world.at_clock(&clock, |world| finalizing::void(world, call.id()))
}

pub(super) fn mark_uncollectible(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let clock = clock(world, call.id());
    world.at_clock(&clock, |world| finalizing::give_up(world, call.id()))
}

fn draft_only(invoice: &Value) -> Result<(), Failure> {
    if text(invoice, "status") == "draft" {
        return Ok(());
    }
    let message = "This invoice is already finalized, you can't re-finalize a non-draft invoice.";
    Err(Failure::invalid(message).code("invoice_not_editable"))
}
