//! `/v1/disputes`: payments that their payers' banks take back, or ask about.
//!
//! A dispute takes the amount and a fee at once; a win brings the amount back, and the fee stays with Stripe. An inquiry takes nothing.

use serde_json::{Map, Value, json};

use super::{
    balance::{self, Movement},
    payments,
};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    store::{number, text},
    world::World,
};

const LIST: &[&str] = &["charge", "payment_intent", "created*", "limit", "starting_after", "ending_before"];
/// Stripe's fee for a dispute, in minor units: 15.00 in the United States, and here in every currency.
pub(crate) const FEE: i64 = 1500;
/// Seconds to answer a dispute: nine days.
const DUE: i64 = 9 * 24 * 60 * 60;
/// Seconds after which an inquiry that came to nothing is closed: 120 days.
const INQUIRY: i64 = 120 * 24 * 60 * 60;
/// Seconds after which Stripe's test evidence has decided.
const DECIDED: i64 = 1;
const REASONS: &[&str] = &[
    "bank_cannot_process",
    "check_returned",
    "credit_not_processed",
    "customer_initiated",
    "debit_not_authorized",
    "duplicate",
    "fraudulent",
    "general",
    "incorrect_account_details",
    "insufficient_funds",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
];
const EVIDENCE: &[&str] = &[
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "GET", path: "/v1/disputes", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/disputes/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/disputes/{id}", params: &["evidence*", "metadata*", "submit"], run: update },
    Endpoint { method: "POST", path: "/v1/disputes/{id}/close", params: &[], run: close },
];

/// Opens one on a charge, of all that was not refunded.
pub(crate) fn open(world: &mut World, charge: &str, reason: &str, inquiry: bool) -> Option<Value> {
    let charge = world.store.get("charge", charge).cloned()?;
    let clock = payments::clock(world, &charge);
    Some(world.at_clock(&clock, |world| opened(world, charge, reason, inquiry)))
}

fn opened(world: &mut World, charge: Value, reason: &str, inquiry: bool) -> Value {
    let evidence: Map<String, Value> = EVIDENCE.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    let mut dispute = json!({
        "id": world.ids.next(if text(&charge, "id").starts_with("py_") { "pdp_" } else { "dp_" }),
        "object": "dispute",
        "amount": number(&charge, "amount") - number(&charge, "amount_refunded"),
        "balance_transactions": [],
        "charge": charge["id"],
        "created": world.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": evidence,
        "evidence_details": { "due_by": world.now + DUE, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
            "submission_count": 0 },
        "is_charge_refundable": inquiry,
        "livemode": false,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": null,
        "reason": reason,
        "status": if inquiry { "warning_needs_response" } else { "needs_response" },
    });
    dispute["evidence"]["enhanced_evidence"] = json!({});
    if text(&charge["payment_method_details"], "type") == "card" {
        let network_code = if inquiry { "10" } else { "10.4" };
        dispute["network_reason_code"] = json!(network_code);
        dispute["payment_method_details"] = json!({ "card": { "brand": "visa", "case_type": if inquiry { "inquiry" } else { "chargeback" },
            "network": "visa", "network_reason_code": network_code }, "type": "card" });
    }
    if !inquiry {
        withdraw(world, &mut dispute);
    }
    let dispute = world.create("dispute", "charge.dispute.created", dispute);
    if !inquiry {
        world.emit("charge.dispute.funds_withdrawn", &dispute);
    }
    let mut charge = charge;
    charge["disputed"] = json!(true);
    world.change("charge", "charge.updated", charge);
    plan(world, &dispute, if inquiry { INQUIRY } else { DUE });
    dispute
}

/// Plans its end, by the clock of its charge.
fn plan(world: &mut World, dispute: &Value, after: i64) {
    let clock = clock(world, dispute);
    world.plan(&clock, world.now + after, expire, text(dispute, "id"));
}

fn clock(world: &World, dispute: &Value) -> String {
    world.store.get("charge", text(dispute, "charge")).map(|charge| payments::clock(world, charge)).unwrap_or_default()
}

/// The amount and the fee leave.
fn withdraw(world: &mut World, dispute: &mut Value) {
    let (amount, id) = (number(dispute, "amount"), text(dispute, "charge").to_owned());
    book(world, dispute, "dispute", -amount, FEE, format!("Chargeback withdrawal for {id}"));
}

fn book(world: &mut World, dispute: &mut Value, category: &'static str, amount: i64, fee: i64, description: String) {
    let movement = Movement {
        kind: "adjustment",
        category,
        amount,
        fee,
        currency: text(dispute, "currency"),
        source: text(dispute, "id"),
        pending: 0,
        description: description.into(),
    };
    let transaction = balance::book(world, &movement);
    if let Some(all) = dispute["balance_transactions"].as_array_mut() {
        all.push(transaction);
    }
}

fn is_closed(dispute: &Value) -> bool {
    ["won", "lost", "warning_closed"].contains(&text(dispute, "status"))
}

fn is_inquiry(dispute: &Value) -> bool {
    text(dispute, "status").starts_with("warning_")
}

/// Whether a charge's money is with its payer's bank, so that it cannot be refunded too.
pub(super) fn holds(world: &World, charge: &str) -> bool {
    let mut all = world.store.all("dispute").filter(|dispute| text(dispute, "charge") == charge);
    all.any(|dispute| !is_inquiry(dispute) && text(dispute, "status") != "won")
}

/// A charge was refunded: an inquiry about all of it has come to nothing.
pub(super) fn refunded(world: &mut World, charge: &str) {
    let whole = world.store.get("charge", charge).is_some_and(|charge| charge["refunded"] == true);
    let open = |dispute: &&Value| text(dispute, "charge") == charge && is_inquiry(dispute) && !is_closed(dispute);
    let ids: Vec<String> = world.store.all("dispute").filter(open).map(|of| text(of, "id").to_owned()).collect();
    for id in ids.iter().filter(|_| whole) {
        put(world, id, "warning_closed").unwrap_or_default();
    }
}

/// Nobody answered in time.
fn expire(world: &mut World, id: &str) {
    let status = world.store.get("dispute", id).map(|dispute| text(dispute, "status").to_owned()).unwrap_or_default();
    match status.as_str() {
        "needs_response" => put(world, id, "lost").unwrap_or_default(),
        "warning_needs_response" | "warning_under_review" => put(world, id, "warning_closed").unwrap_or_default(),
        _ => Value::Null,
    };
}

/// The bank decides: `won`, `lost`, `warning_closed`, or that an inquiry becomes a dispute (`needs_response`).
pub(crate) fn put(world: &mut World, id: &str, status: &str) -> Answer {
    let before = world.object("dispute", "dispute", id)?;
    let clock = clock(world, &before);
    world.at_clock(&clock, |world| decided(world, &before, status))
}

fn decided(world: &mut World, before: &Value, status: &str) -> Answer {
    let mut dispute = before.clone();
    match (is_closed(before), is_inquiry(before), status) {
        (false, false, "won" | "lost") | (false, true, "warning_closed") => {
            dispute["status"] = json!(status);
            if status == "won" {
                let (amount, charge) = (number(&dispute, "amount"), text(&dispute, "charge").to_owned());
                book(world, &mut dispute, "dispute_reversal", amount, 0, format!("Chargeback reversal for {charge}"));
            }
            dispute["is_charge_refundable"] = json!(status != "lost");
            world.store.insert("dispute", dispute.clone());
            world.emit("charge.dispute.closed", &dispute);
            if status == "won" {
                world.emit("charge.dispute.funds_reinstated", &dispute);
            }
        }
        (false, true, "needs_response") => {
            dispute["status"] = json!(status);
            dispute["is_charge_refundable"] = json!(false);
            dispute["evidence_details"]["due_by"] = json!(world.now + DUE);
            if dispute["payment_method_details"].is_object() {
                dispute["payment_method_details"]["card"]["case_type"] = json!("chargeback");
            }
            let charge = world.store.get("charge", text(&dispute, "charge")).cloned().unwrap_or_default();
            // What was refunded meanwhile is not taken twice.
            dispute["amount"] = json!(number(&charge, "amount") - number(&charge, "amount_refunded"));
            withdraw(world, &mut dispute);
            world.store.insert("dispute", dispute.clone());
            world.emit_change("charge.dispute.updated", before, &dispute);
            world.emit("charge.dispute.funds_withdrawn", &dispute);
            plan(world, &dispute, DUE);
        }
        _ => {
            let message = format!("A dispute that is {} cannot become {status}.", text(before, "status"));
            return Err(Failure::invalid(message).param("status"));
        }
    }
    Ok(dispute)
}

/// The bank of a charge's payer opens one, because a test says so.
pub(crate) fn open_by_admin(world: &mut World, charge: &str, reason: &str, inquiry: bool) -> Answer {
    let object = world.object("charge", "charge", charge)?;
    if !REASONS.contains(&reason) {
        let message = format!("Invalid reason: must be one of {}", REASONS.join(", "));
        return Err(Failure::invalid(message).param("reason"));
    }
    let left = number(&object, "amount_captured") > 0 && object["refunded"] != true;
    if text(&object, "status") != "succeeded" || object["captured"] != true || !left || object["disputed"] == true {
        let message = format!(
            "Charge {charge} cannot be disputed: it must have succeeded, not be refunded, and not be disputed yet."
        );
        return Err(Failure::invalid(message));
    }
    open(world, charge, reason, inquiry).ok_or_else(|| Failure::no_such("charge", charge))
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("dispute", "dispute", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("dispute", call.id()).map(|dispute| dispute["metadata"].clone()).unwrap_or_default();
    let metadata = call.params.metadata(&kept)?;
    let submit = call.params.boolean("submit")?.unwrap_or(true);
    let mut evidence = Vec::new();
    if let Some(given) = call.params.below("evidence")? {
        for name in given.names() {
            let Some(known) = EVIDENCE.iter().find(|known| **known == name) else {
                let shown = format!("evidence[{name}]");
                return Err(Failure::invalid(format!("Received unknown parameter: {shown}"))
                    .code("parameter_unknown")
                    .param(shown));
            };
            evidence.push((*known, given.nullable(known)?.unwrap_or_default()));
        }
    }
    world.execute()?;
    let mut dispute = world.object("dispute", "dispute", call.id())?;
    dispute["metadata"] = metadata;
    if evidence.is_empty() {
        return Ok(world.change("dispute", "charge.dispute.updated", dispute));
    }
    if !text(&dispute, "status").ends_with("needs_response") {
        let message = format!("This dispute is {}: it takes no evidence.", text(&dispute, "status"));
        return Err(Failure::invalid(message));
    }
    for (name, value) in evidence {
        dispute["evidence"][name] = value;
    }
    dispute["evidence_details"]["has_evidence"] = json!(true);
    if submit {
        dispute["status"] = json!(if is_inquiry(&dispute) { "warning_under_review" } else { "under_review" });
        dispute["evidence_details"]["submission_count"] =
            json!(number(&dispute["evidence_details"], "submission_count") + 1);
        world.plan("", world.now + DECIDED, decide, call.id());
    }
    Ok(world.change("dispute", "charge.dispute.updated", dispute))
}

/// Stripe's test evidence decides; any other is under review until an admin does.
fn decide(world: &mut World, id: &str) {
    let Some(dispute) = world.store.get("dispute", id) else { return };
    let status = match (text(&dispute["evidence"], "uncategorized_text"), is_inquiry(dispute)) {
        ("winning_evidence" | "losing_evidence", true) => "warning_closed",
        ("winning_evidence", false) => "won",
        ("losing_evidence", false) => "lost",
        ("escalate_inquiry_evidence", true) => "needs_response",
        _ => return,
    };
    put(world, id, status).unwrap_or_default();
}

fn close(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let dispute = world.object("dispute", "dispute", call.id())?;
    if is_closed(&dispute) {
        return Err(Failure::invalid("This dispute is already closed"));
    }
    put(world, call.id(), if is_inquiry(&dispute) { "warning_closed" } else { "lost" })
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for dispute in world.store.all("dispute").rev().filter(|dispute| created.holds(dispute)) {
        if list::is_asked(dispute, &call.params, "charge")? && list::is_asked(dispute, &call.params, "payment_intent")?
        {
            matching.push(dispute);
        }
    }
    list::page(&matching, &call.params, "dispute", "/v1/disputes")
}
