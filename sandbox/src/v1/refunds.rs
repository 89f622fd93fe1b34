//! `/v1/refunds`: money that goes back to who paid. A refund takes no Transfer back.
//!
//! A pending one has moved nothing: it is counted in the charge's `amount_refunded` once it succeeds.

use serde_json::{Value, json};

use super::{
    balance::{self, Movement},
    disputes,
};
use crate::{
    cards::{self, Does},
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    store::{number, text},
    world::World,
};

const CREATE: &[&str] = &[
    "charge",
    "payment_intent",
    "amount",
    "currency",
    "reason",
    "metadata*",
    "reverse_transfer",
    "refund_application_fee",
    "instructions_email",
];
const LIST: &[&str] = &["charge", "payment_intent", "created*", "limit", "starting_after", "ending_before"];
/// Seconds; Stripe: "some time later".
const LATER: i64 = 3 * 60;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/refunds", params: CREATE, run: create },
    Endpoint { method: "GET", path: "/v1/refunds", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/refunds/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/refunds/{id}", params: &["metadata*"], run: update },
    Endpoint { method: "POST", path: "/v1/refunds/{id}/cancel", params: &[], run: cancel },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let asked = params.at_least(1, "amount")?;
    let reason = params.choice("reason", &["duplicate", "fraudulent", "requested_by_customer"])?;
    let metadata = params.metadata(&json!({}))?;
    let (charge, intent) = (params.text("charge")?, params.text("payment_intent")?);
    if charge.is_none() && intent.is_none() {
        let message = "One of the following params should be provided for this request: payment_intent or charge.";
        return Err(Failure::invalid(message).code("parameter_missing"));
    }
    let takes_back = params.boolean("reverse_transfer")? == Some(true);
    let fee_back = params.boolean("refund_application_fee")? == Some(true);
    world.execute()?;
    let charge = charge_of(world, charge, intent)?;
    let id = text(&charge, "id").to_owned();
    if takes_back || fee_back {
        let what = if takes_back { "transfer" } else { "application fee" };
        let message = format!("Charge {id} has no associated {what}: the sandbox makes no destination charges.");
        return Err(Failure::invalid(message).param(if takes_back {
            "reverse_transfer"
        } else {
            "refund_application_fee"
        }));
    }
    let amount = refundable(world, &charge, asked)?;
    let card = world.store.get("payment_method", text(&charge, "payment_method")).map(cards::does);
    let refund = json!({
        "id": world.ids.next("re_"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": null,
        "charge": id,
        "created": world.now,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "destination_details": { "card": { "reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund" }, "type": "card" },
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": "pending",
        "transfer_reversal": null,
    });
    // A bank answers by the clock that its customer lives by.
    let clock = world.clock_of(text(&charge, "customer"));
    let later = world.at_clock(&clock, |world| world.now) + LATER;
    let refund = if card == Some(Does::RefundLater) {
        let refund = world.create("refund", "refund.created", refund);
        world.plan(&clock, later, succeed_later, text(&refund, "id"));
        refund
    } else {
        let refund = pay(world, refund);
        world.store.insert("refund", refund.clone());
        world.emit("refund.created", &refund);
        count(world, &id);
        refund
    };
    if card == Some(Does::RefundInVain) {
        world.plan(&clock, later, fail_later, text(&refund, "id"));
    }
    disputes::refunded(world, &id);
    Ok(refund)
}

fn charge_of(world: &World, charge: Option<&str>, intent: Option<&str>) -> Answer {
    let Some(intent) = intent else { return world.named("charge", "charge", charge.unwrap_or_default(), "charge") };
    let object = world.named("payment_intent", "payment_intent", intent, "payment_intent")?;
    let latest = text(&object, "latest_charge");
    if charge.is_some_and(|charge| charge != latest) {
        let message = format!("Charge {} does not belong to payment intent {intent}.", charge.unwrap_or_default());
        return Err(Failure::invalid(message).param("charge"));
    }
    let charge = world.store.get("charge", latest).filter(|charge| text(charge, "status") == "succeeded");
    charge.cloned().ok_or_else(|| {
        let message = format!("This PaymentIntent ({intent}) does not have a successful charge to refund.");
        Failure::invalid(message).code("payment_intent_unexpected_state").param("payment_intent")
    })
}

/// How much is refunded, if it may be.
fn refundable(world: &World, charge: &Value, asked: Option<i64>) -> Result<i64, Failure> {
    let id = text(charge, "id");
    if text(charge, "status") != "succeeded" {
        let message = format!("Charge {id} has not succeeded; there is nothing to refund.");
        return Err(Failure::invalid(message));
    }
    if charge["captured"] != true {
        let message = format!("Charge {id} has not been captured; cancel its PaymentIntent instead.");
        return Err(Failure::invalid(message));
    }
    if disputes::holds(world, id) {
        let message = format!("Charge {id} has been charged back; cannot issue a refund.");
        return Err(Failure::invalid(message).code("charge_disputed"));
    }
    let waiting = world.store.all("refund").filter(|r| text(r, "charge") == id && text(r, "status") == "pending");
    let waiting: i64 = waiting.map(|refund| number(refund, "amount")).sum();
    let left = number(charge, "amount") - number(charge, "amount_refunded") - waiting;
    if left <= 0 {
        let message = format!("Charge {id} has already been refunded.");
        return Err(Failure::invalid(message).code("charge_already_refunded"));
    }
    let amount = asked.unwrap_or(left);
    if amount > left {
        let message = format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
        return Err(Failure::invalid(message).param("amount"));
    }
    Ok(amount)
}

/// The money leaves.
fn pay(world: &mut World, mut refund: Value) -> Value {
    let transaction = movement(world, &refund, "refund", "refund", -number(&refund, "amount"));
    refund["balance_transaction"] = transaction;
    refund["status"] = json!("succeeded");
    refund
}

fn movement(world: &mut World, refund: &Value, kind: &'static str, category: &'static str, amount: i64) -> Value {
    let movement = Movement {
        kind,
        category,
        amount,
        fee: 0,
        currency: text(refund, "currency"),
        source: text(refund, "id"),
        pending: 0,
        description: json!("REFUND FOR CHARGE"),
    };
    balance::book(world, &movement)["id"].clone()
}

/// Writes into a charge what of it was refunded in all: what succeeded, and what was never captured.
fn count(world: &mut World, charge: &str) {
    let Some(mut charge) = world.store.get("charge", charge).cloned() else { return };
    let refunds =
        world.store.all("refund").filter(|refund| refund["charge"] == charge["id"] && refund["status"] == "succeeded");
    let paid: i64 = refunds.map(|refund| number(refund, "amount")).sum();
    let sum = paid + number(&charge, "amount") - number(&charge, "amount_captured");
    let event = if sum > number(&charge, "amount_refunded") { "charge.refunded" } else { "charge.updated" };
    charge["refunded"] = json!(sum == number(&charge, "amount"));
    charge["amount_refunded"] = json!(sum);
    world.change("charge", event, charge);
}

fn succeed_later(world: &mut World, id: &str) {
    let charge = world.store.get("refund", id).map(|refund| text(refund, "charge").to_owned()).unwrap_or_default();
    // What the payer's bank has taken meanwhile is not paid twice.
    let status = if disputes::holds(world, &charge) { "failed" } else { "succeeded" };
    // One that was put elsewhere meanwhile stays there.
    put(world, id, status).unwrap_or_default();
}

fn fail_later(world: &mut World, id: &str) {
    put(world, id, "failed").unwrap_or_default();
}

/// What the bank says of a refund: a pending one `succeeded`; one that did, or is pending, `failed`, and its money is back.
pub(crate) fn put(world: &mut World, id: &str, status: &str) -> Answer {
    let before = world.object("refund", "refund", id)?;
    let charge = text(&before, "charge").to_owned();
    let after = match (text(&before, "status"), status) {
        ("pending", "succeeded") => pay(world, before.clone()),
        ("pending" | "succeeded", "failed") => failed(world, before.clone(), "failed"),
        (is, _) => {
            let message = format!(
                "A refund that is {is} cannot become {status}: only a pending one succeeds, and none fails twice."
            );
            return Err(Failure::invalid(message).param("status"));
        }
    };
    Ok(told(world, &before, after, &charge))
}

fn failed(world: &mut World, mut refund: Value, status: &str) -> Value {
    if text(&refund, "status") == "succeeded" {
        let amount = number(&refund, "amount");
        refund["failure_balance_transaction"] = movement(world, &refund, "refund_failure", "refund_failure", amount);
    }
    if status == "failed" {
        refund["failure_reason"] = json!("expired_or_canceled_card");
    }
    refund["status"] = json!(status);
    refund
}

fn told(world: &mut World, before: &Value, after: Value, charge: &str) -> Value {
    world.store.insert("refund", after.clone());
    world.emit_change("refund.updated", before, &after);
    world.emit_change("charge.refund.updated", before, &after);
    if text(&after, "status") == "failed" {
        world.emit("refund.failed", &after);
    }
    count(world, charge);
    disputes::refunded(world, charge);
    after
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("refund", "refund", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("refund", call.id()).map(|refund| refund["metadata"].clone()).unwrap_or_default();
    let metadata = call.params.metadata(&kept)?;
    world.execute()?;
    let before = world.object("refund", "refund", call.id())?;
    let mut refund = before.clone();
    refund["metadata"] = metadata;
    let refund = world.change("refund", "refund.updated", refund);
    if before != refund {
        world.emit_change("charge.refund.updated", &before, &refund);
    }
    Ok(refund)
}

fn cancel(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let before = world.object("refund", "refund", call.id())?;
    if text(&before, "status") != "pending" {
        return Err(Failure::invalid("Canceling this refund is unsupported."));
    }
    let charge = text(&before, "charge").to_owned();
    let after = failed(world, before.clone(), "canceled");
    Ok(told(world, &before, after, &charge))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for refund in world.store.all("refund").rev().filter(|refund| created.holds(refund)) {
        if list::is_asked(refund, &call.params, "charge")? && list::is_asked(refund, &call.params, "payment_intent")? {
            matching.push(refund);
        }
    }
    list::page(&matching, &call.params, "refund", "/v1/refunds")
}
