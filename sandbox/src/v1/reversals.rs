//! `/v1/transfers/{id}/reversals`: money that comes back from a receiver.

use serde_json::{Value, json};

use super::balance::{self, Movement};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list,
    store::{number, text},
    world::World,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "POST",
        path: "/v1/transfers/{id}/reversals",
        params: &["amount", "description", "metadata*", "refund_application_fee"],
        run: create,
    },
    Endpoint {
        method: "GET",
        path: "/v1/transfers/{id}/reversals",
        params: &["limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/transfers/{id}/reversals/{id}", params: &[], run: retrieve },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let asked = call.params.at_least(1, "amount")?;
    let metadata = call.params.metadata(&json!({}))?;
    call.params.text("description")?;
    call.params.boolean("refund_application_fee")?;

    world.execute()?;
    let mut transfer = world.object("transfer", "transfer", call.id())?;
    let left = number(&transfer, "amount") - number(&transfer, "amount_reversed");
    if left == 0 {
        return Err(Failure::invalid(format!("Transfer {} has already been fully reversed.", call.id())));
    }
    let amount = asked.unwrap_or(left);
    if amount > left {
        let message =
            format!("Transfer reversal amount ({amount}) is greater than unreversed amount on transfer ({left}).");
        return Err(Failure::invalid(message).param("amount"));
    }
    let (currency, destination) = (text(&transfer, "currency").to_owned(), text(&transfer, "destination").to_owned());
    if world.money.available(&destination, &currency, world.now) < amount {
        let message = "Insufficient funds in the destination account to reverse this transfer.";
        return Err(Failure::invalid(message).code("balance_insufficient"));
    }
    world.money.add(&destination, &currency, -amount);
    let id = world.ids.next("trr_");
    let movement = Movement {
        kind: "transfer_refund",
        category: "transfer_reversal",
        amount,
        fee: 0,
        currency: &currency,
        source: &id,
        // What has not left yet does not come back earlier.
        pending: balance::waits(world, &transfer["balance_transaction"]),
        description: format!("REFUND FOR TRANSFER {}", call.id()).into(),
    };
    let transaction = balance::book(world, &movement);
    let reversal = json!({
        "id": id,
        "object": "transfer_reversal",
        "amount": amount,
        "balance_transaction": transaction["id"],
        "created": world.now,
        "currency": currency,
        "destination_payment_refund": world.ids.next("pyr_"),
        "metadata": metadata,
        "source_refund": null,
        "transfer": call.id(),
    });
    world.store.insert("transfer_reversal", reversal.clone());
    transfer["amount_reversed"] = json!(number(&transfer, "amount_reversed") + amount);
    transfer["reversed"] = json!(amount == left);
    let newest: Vec<&Value> = of(world, call.id());
    transfer["reversals"]["total_count"] = json!(newest.len());
    transfer["reversals"]["data"] = newest.into_iter().cloned().collect();
    world.change("transfer", "transfer.reversed", transfer);
    Ok(reversal)
}

fn of<'a>(world: &'a World, transfer: &str) -> Vec<&'a Value> {
    world.store.all("transfer_reversal").rev().filter(|reversal| text(reversal, "transfer") == transfer).collect()
}

fn all(world: &mut World, call: &Call) -> Answer {
    world.object("transfer", "transfer", call.id())?;
    let url = format!("/v1/transfers/{}/reversals", call.id());
    list::page(&of(world, call.id()), &call.params, "transfer_reversal", &url)
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    let reversal = world.object("transfer_reversal", "transfer reversal", call.second_id())?;
    if text(&reversal, "transfer") == call.id() {
        Ok(reversal)
    } else {
        Err(Failure::no_such("transfer reversal", call.second_id()))
    }
}
