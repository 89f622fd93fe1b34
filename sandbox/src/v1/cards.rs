//! TO BE REPLACED AT THE MERGE by the payments' own `payment_methods::of_card`, `payments::attempt` and a `payments::authenticated`:
//! the few test cards that the pages speak of, on top of a payment that always succeeds.

use serde_json::{Value, json};

use super::{
    ask::ask,
    payments::{self, Paid, Payment},
};
use crate::{
    failure::{Answer, Failure},
    routes,
    store::text,
    world::World,
};

/// A card by its number, a token's or a payment method's name; kept, and the customer's when there is one.
pub(crate) fn of_card(world: &mut World, card: &str, customer: &Value) -> Answer {
    let digits: String = card.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let number = match card {
        "pm_card_visa" | "tok_visa" => "4242424242424242",
        "pm_card_chargeDeclined" | "pm_card_visa_chargeDeclined" => "4000000000000002",
        "pm_card_chargeCustomerFail" => "4000000000000341",
        "pm_card_authenticationRequired" => "4000002760003184",
        _ if is_number(&digits) => digits.as_str(),
        _ => {
            let message = "Your card number is incorrect.";
            return Err(Failure::new(402, "card_error", message).code("incorrect_number").param("number"));
        }
    };
    let method = json!({
        "id": world.ids.next("pm_"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": { "address": null, "email": null, "name": null, "phone": null, "tax_id": null },
        "card": { "brand": "visa", "checks": null, "country": "US", "display_brand": "visa", "exp_month": 12, "exp_year": 2040,
            "fingerprint": "sandbox", "funding": "credit", "generated_from": null, "last4": &number[number.len() - 4..],
            "networks": { "available": ["visa"], "preferred": null }, "regulated_status": "unregulated",
            "three_d_secure_usage": { "supported": true }, "wallet": null },
        "created": world.now,
        "customer": customer,
        "livemode": false,
        "metadata": {},
        "type": "card",
        "_card": number,
    });
    world.store.insert("payment_method", method.clone());
    Ok(method)
}

/// Luhn's sum.
fn is_number(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| match u32::from(digit.wrapping_sub(b'0')) {
            digit if at % 2 == 0 => digit,
            digit if digit > 4 => digit * 2 - 9,
            digit => digit * 2,
        })
        .sum();
    (13..=19).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && sum.is_multiple_of(10)
}

/// Tries a payment.
pub(super) fn attempt(world: &mut World, payment: &Payment) -> Paid {
    let method = payment.method.as_deref().unwrap_or_default();
    let kept = world.store.get("payment_method", method);
    let (number, kind) = kept.map_or(("", ""), |kept| (text(kept, "_card"), text(kept, "type")));
    let refused = |message: &str, code| Failure::new(402, "card_error", message).code(code);
    if kind == "sepa_debit" {
        return Paid::Processing(intent(world, payment, "processing"));
    }
    match number {
        "4000000000000002" | "4000000000000341" => Paid::Declined(
            intent(world, payment, "requires_payment_method"),
            refused("Your card was declined.", "card_declined"),
        ),
        "4000002760003184" => {
            let failure = refused("This payment requires authentication.", "authentication_required");
            Paid::NeedsAction(intent(world, payment, "requires_action"), failure)
        }
        _ => payments::attempt(world, payment),
    }
}

/// The card's owner has authenticated a payment, or has failed to.
pub(super) fn authenticated(world: &mut World, intent: &str, succeeds: bool) -> Paid {
    let mut kept = world.store.get("payment_intent", intent).cloned().unwrap_or_default();
    if succeeds {
        kept["status"] = json!("succeeded");
        kept["amount_received"] = kept["amount"].clone();
        return Paid::Succeeded(world.change("payment_intent", "payment_intent.succeeded", kept));
    }
    kept["status"] = json!("requires_payment_method");
    let kept = world.change("payment_intent", "payment_intent.payment_failed", kept);
    let message =
        "We are unable to authenticate your payment method. Please choose a different payment method and try again.";
    let failure = Failure::new(402, "card_error", message).code("payment_intent_authentication_failure");
    Paid::Declined(kept, failure)
}

/// The same for a page, which is only told what went wrong.
pub(crate) fn authenticate(world: &mut World, intent: &str, succeeds: bool) -> Result<(), Failure> {
    match authenticated(world, intent, succeeds) {
        Paid::Declined(_, failure) | Paid::NeedsAction(_, failure) => Err(failure),
        Paid::Succeeded(_) | Paid::Processing(_) => Ok(()),
    }
}

/// A debit by its IBAN, made as a caller of the API makes it where there is such a route.
pub(crate) fn of_iban(world: &mut World, iban: &str, email: &str) -> Answer {
    if routes::find("POST", "/v1/payment_methods").is_ok() {
        let email = if email.is_empty() { "buyer@example.com" } else { email };
        let fields = [
            ("type", "sepa_debit"),
            ("sepa_debit[iban]", iban),
            ("billing_details[name]", "Sandbox Buyer"),
            ("billing_details[email]", email),
        ];
        return ask(world, "POST", "/v1/payment_methods", &fields);
    }
    let mut method = of_card(world, "4242424242424242", &Value::Null)?;
    method["type"] = json!("sepa_debit");
    world.store.insert("payment_method", method.clone());
    Ok(method)
}

fn intent(world: &mut World, payment: &Payment, status: &str) -> Value {
    let id = payment.intent.clone().unwrap_or_else(|| world.ids.next("pi_"));
    let intent = json!({
        "id": id, "object": "payment_intent", "amount": payment.amount, "amount_capturable": 0, "amount_received": 0,
        "canceled_at": null, "capture_method": "automatic", "confirmation_method": "automatic", "created": world.now,
        "currency": payment.currency, "customer": payment.customer, "latest_charge": null, "livemode": false,
        "metadata": payment.metadata, "payment_method": payment.method, "payment_method_types": ["card"], "status": status,
        "transfer_group": null,
    });
    world.store.insert("payment_intent", intent.clone());
    intent
}
