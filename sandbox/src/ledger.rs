//! `GET /_sandbox/ledger`: what money really moved, so that a test can compare the world with its own books.

use serde_json::{Map, Value, json};

use super::{
    money::PLATFORM,
    store::{number, text},
    v1::balance,
    world::World,
};

/// The platform's money: every thing that moved it, and for each currency that moved, that what it started with and the movements
/// make what there is.
pub(super) fn shown(world: &mut World) -> Value {
    let transfers: Vec<Value> = world
        .store
        .all("transfer")
        .map(|transfer| {
            let mut shown = picked(
                transfer,
                &[
                    "id",
                    "amount",
                    "amount_reversed",
                    "reversed",
                    "currency",
                    "destination",
                    "transfer_group",
                    "metadata",
                    "created",
                ],
            );
            shown["idempotency_key"] = transfer["_idempotency_key"].clone();
            shown["request_id"] = transfer["_request_id"].clone();
            shown
        })
        .collect();
    let mut sent = Map::new();
    for transfer in &transfers {
        let net = number(transfer, "amount") - number(transfer, "amount_reversed");
        let sum = sent.entry(text(transfer, "currency")).or_insert_with(|| json!(0));
        *sum = json!(sum.as_i64().unwrap_or_default() + net);
    }
    let all = |kind: &str, fields: &[&str]| -> Vec<Value> {
        world.store.all(kind).map(|object| picked(object, fields)).collect()
    };
    let charges = all(
        "charge",
        &[
            "id",
            "amount",
            "amount_captured",
            "amount_refunded",
            "currency",
            "customer",
            "status",
            "disputed",
            "payment_intent",
        ],
    );
    let refunds = all("refund", &["id", "amount", "currency", "status", "charge"]);
    let disputes = all("dispute", &["id", "amount", "currency", "status", "reason", "charge"]);
    let reversals = all("transfer_reversal", &["id", "amount", "currency", "transfer"]);
    let net = net(world);
    json!({
        "balance": world.money.shown(PLATFORM, world.now),
        "sent": sent,
        "transfers": transfers,
        "charges": charges,
        "refunds": refunds,
        "disputes": disputes,
        "reversals": reversals,
        "fees": net.iter().map(|(currency, of)| (currency.clone(), of["fees"].clone())).collect::<Map<_, _>>(),
        "net": net,
    })
}

fn picked(object: &Value, fields: &[&str]) -> Value {
    fields.iter().map(|field| ((*field).to_owned(), object.get(*field).cloned().unwrap_or_default())).collect()
}

/// For each currency that moved: what was there at first, what moved, and what is there.
fn net(world: &mut World) -> Map<String, Value> {
    let mut net = Map::new();
    for transaction in world.store.all("balance_transaction") {
        let of = net.entry(text(transaction, "currency")).or_insert_with(|| json!({ "fees": 0, "movements": {} }));
        of["fees"] = json!(number(of, "fees") + number(transaction, "fee"));
        let sum = number(&of["movements"], text(transaction, "type")) + number(transaction, "amount");
        of["movements"][text(transaction, "type")] = json!(sum);
    }
    let starts: Vec<(String, i64)> = world.money.starts().map(|(of, start)| (of.to_owned(), start)).collect();
    for (currency, start) in starts {
        let (moved, total) = (balance::moved(world, &currency), world.money.total(&currency, world.now));
        if let Some(of) = net.get_mut(&currency) {
            (of["start"], of["moved"], of["balance"]) = (json!(start), json!(moved), json!(total));
        }
    }
    net
}
