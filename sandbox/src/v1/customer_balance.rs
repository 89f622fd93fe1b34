//! `/v1/customers/{id}/balance_transactions`: what a customer has with us; negative is credit, which its next invoices use up.

use serde_json::{Value, json};

use super::{buyers, prices};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list,
    params::MAX_AMOUNT,
    store::{number, text},
    world::World,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "POST",
        path: "/v1/customers/{id}/balance_transactions",
        params: &["amount", "currency", "description", "metadata*"],
        run: create,
    },
    Endpoint {
        method: "GET",
        path: "/v1/customers/{id}/balance_transactions",
        params: &["invoice", "created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/customers/{id}/balance_transactions/{id}", params: &[], run: retrieve },
];

/// What a customer has with us in a currency: its `balance` is in its own one, and money is never moved into another.
pub(super) fn of(customer: &Value, currency: &str) -> i64 {
    if is_own(customer, currency) { number(customer, "balance") } else { number(&customer["_balances"], currency) }
}

fn is_own(customer: &Value, currency: &str) -> bool {
    customer["currency"].as_str().is_none_or(|own| own == currency)
}

/// A change of a customer's balance, of a kind such as `adjustment` or `applied_to_invoice`; told by `customer.updated`. Nothing
/// where there is no such customer.
pub(super) fn change(world: &mut World, customer: &str, amount: i64, kind: &str, invoice: Option<&Value>) -> Value {
    let Some(mut owner) = world.store.get("customer", customer).cloned() else { return Value::Null };
    let currency =
        invoice.map_or(&owner["currency"], |invoice| &invoice["currency"]).as_str().unwrap_or("usd").to_owned();
    let balance = of(&owner, &currency).saturating_add(amount);
    if is_own(&owner, &currency) {
        (owner["balance"], owner["currency"]) = (json!(balance), json!(currency));
    } else {
        owner["_balances"][&currency] = json!(balance);
    }
    let transaction = json!({
        "id": world.ids.next("cbtxn_"),
        "object": "customer_balance_transaction",
        "amount": amount,
        "checkout_session": null,
        "created": world.now,
        "credit_note": null,
        "currency": currency,
        "customer": customer,
        "description": null,
        "ending_balance": balance,
        "invoice": invoice.map(|invoice| &invoice["id"]),
        "livemode": false,
        "metadata": {},
        "type": kind,
    });
    world.store.insert("customer_balance_transaction", transaction.clone());
    world.change("customer", "customer.updated", owner);
    transaction
}

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    params.required("amount")?;
    let amount = params.at_least(-MAX_AMOUNT, "amount")?.unwrap_or_default();
    let currency = prices::currency(params)?;
    let metadata = params.metadata(&json!({}))?;
    let description = params.nullable("description")?.unwrap_or_default();
    world.execute()?;
    let customer = buyers::existing(world, call.id())?;
    let has = text(&customer, "currency");
    if !has.is_empty() && has != currency {
        let message = format!("The customer's currency is {has}: its balance cannot be in {currency}.");
        return Err(Failure::invalid(message).param("currency"));
    }
    if let Some(owner) = world.store.get_mut("customer", call.id()) {
        owner["currency"] = json!(currency);
    }
    let mut transaction = change(world, call.id(), amount, "adjustment", None);
    (transaction["metadata"], transaction["description"]) = (metadata, description);
    world.store.insert("customer_balance_transaction", transaction.clone());
    Ok(transaction)
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    let noun = "customer balance transaction";
    let transaction = world.object("customer_balance_transaction", noun, call.second_id())?;
    if text(&transaction, "customer") == call.id() {
        Ok(transaction)
    } else {
        Err(Failure::no_such(noun, call.second_id()))
    }
}

fn all(world: &mut World, call: &Call) -> Answer {
    buyers::existing(world, call.id())?;
    let created = list::Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for transaction in world.store.all("customer_balance_transaction").rev().filter(|of| created.holds(of)) {
        if text(transaction, "customer") == call.id() && list::is_asked(transaction, &call.params, "invoice")? {
            matching.push(transaction);
        }
    }
    let url = format!("/v1/customers/{}/balance_transactions", call.id());
    list::page(&matching, &call.params, "customer_balance_transaction", &url)
}
