//! `/v1/transfers`: money that leaves for a receiver. The reason why all of this exists.

use serde_json::{Value, json};

use super::{
    accounts,
    balance::{self, Movement},
    prices,
};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    money::{self, PLATFORM},
    store::{number, text},
    world::World,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "POST",
        path: "/v1/transfers",
        params: &[
            "amount",
            "currency",
            "destination",
            "description",
            "metadata*",
            "source_transaction",
            "source_type",
            "transfer_group",
        ],
        run: create,
    },
    Endpoint {
        method: "GET",
        path: "/v1/transfers",
        params: &["destination", "transfer_group", "created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/transfers/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/transfers/{id}", params: &["description", "metadata*"], run: update },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    params.required("amount")?;
    let amount = params.at_least(1, "amount")?.ok_or_else(|| params.missing("amount"))?;
    let currency = prices::currency(params)?;
    money::check(amount, currency, "amount")?;
    let destination = params.required("destination")?;
    let metadata = params.metadata(&json!({}))?;
    let description = params.nullable("description")?;
    let source_type = params.choice("source_type", &["card", "bank_account", "fpx"])?.unwrap_or("card");
    let group = params.nullable("transfer_group")?;
    let source = params.text("source_transaction")?.filter(|id| !id.is_empty());

    world.execute()?;
    if !accounts::is_ours(world, destination) {
        return Err(Failure::no_such_param("destination", destination, "destination"));
    }
    let account = world.named("account", "destination", destination, "destination")?;
    if text(&account["capabilities"], "transfers") != "active" {
        return Err(Failure::incapable(destination));
    }
    let source = source.map(|id| from_charge(world, id, currency, amount)).transpose()?;
    if source.is_none() && world.money.available(PLATFORM, currency, world.now) < amount {
        return Err(Failure::insufficient());
    }
    // Stripe: what is made from a charge leaves when that is available, and nothing of what is available already.
    let charge = source.as_ref().and_then(|id| world.store.get("charge", id));
    let pending = charge.map_or(0, |charge| balance::waits(world, &charge["balance_transaction"]));
    let id = world.ids.next("tr_");
    let movement = Movement {
        kind: "transfer",
        category: "transfer",
        amount: -amount,
        fee: 0,
        currency,
        source: &id,
        pending,
        description: description.clone().unwrap_or_default(),
    };
    let transaction = balance::book(world, &movement);
    world.money.add(destination, currency, amount);
    let group_of_source = source.as_ref().map(|charge| json!(format!("group_{charge}")));
    let transfer = json!({
        "object": "transfer",
        "amount": amount,
        "amount_reversed": 0,
        "balance_transaction": transaction["id"],
        "created": world.now,
        "currency": currency,
        "description": description,
        "destination": destination,
        "destination_payment": world.ids.next("py_"),
        "livemode": false,
        "metadata": metadata,
        "reversals": { "object": "list", "data": [], "has_more": false, "total_count": 0, "url": format!("/v1/transfers/{id}/reversals") },
        "reversed": false,
        "source_transaction": source,
        "source_type": source_type,
        "transfer_group": group.or(group_of_source),
        "id": id,
        "_idempotency_key": world.idempotency_key,
        "_request_id": world.request_id,
    });
    Ok(world.create("transfer", "transfer.created", transfer))
}

/// A charge pays out what it took in, at most, and need not be available yet.
fn from_charge(world: &World, id: &str, currency: &str, amount: i64) -> Result<String, Failure> {
    let charge = world.named("charge", "charge", id, "source_transaction")?;
    if text(&charge, "currency") != currency {
        let message = format!(
            "The currency of source_transaction's balance transaction ({}) must be the same as the transfer currency ({currency}).",
            text(&charge, "currency")
        );
        return Err(Failure::invalid(message).param("currency"));
    }
    if text(&charge, "status") != "succeeded" || charge["captured"] != true {
        let message = format!("The charge {id} has not succeeded: no transfer can be made from it.");
        return Err(Failure::invalid(message).param("source_transaction"));
    }
    let sent: i64 = world
        .store
        .all("transfer")
        .filter(|transfer| text(transfer, "source_transaction") == id)
        .map(|transfer| number(transfer, "amount") - number(transfer, "amount_reversed"))
        .sum();
    if number(&charge, "amount_captured") - sent < amount {
        let message = "Transfers using this transaction as a source must not exceed the source amount.";
        return Err(Failure::invalid(message).param("amount"));
    }
    Ok(id.to_owned())
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("transfer", "transfer", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("transfer", call.id()).and_then(|t| t.get("metadata")).cloned().unwrap_or_default();
    let (metadata, description) = (call.params.metadata(&kept)?, call.params.nullable("description")?);
    world.execute()?;
    let mut transfer = world.object("transfer", "transfer", call.id())?;
    transfer["metadata"] = metadata;
    if let Some(description) = description {
        transfer["description"] = description;
    }
    Ok(world.change("transfer", "transfer.updated", transfer))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for transfer in world.store.all("transfer").rev().filter(|transfer| created.holds(transfer)) {
        if list::is_asked(transfer, &call.params, "destination")?
            && list::is_asked(transfer, &call.params, "transfer_group")?
        {
            matching.push(transfer);
        }
    }
    list::page(&matching, &call.params, "transfer", "/v1/transfers")
}
