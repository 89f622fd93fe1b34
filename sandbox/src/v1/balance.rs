//! `GET /v1/balance`, the platform's or with `Stripe-Account` a connected account's, and `/v1/balance_transactions`: every movement of
//! the platform's money. A payment costs no fee here.

use serde_json::{Value, json};

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    money::PLATFORM,
    store::{number, text},
    world::World,
};

const LIST: &[&str] = &["type", "source", "currency", "payout", "created*", "limit", "starting_after", "ending_before"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "GET", path: "/v1/balance", params: &[], run: retrieve },
    Endpoint { method: "GET", path: "/v1/balance_transactions", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/balance_transactions/{id}", params: &[], run: one },
];

/// A movement of the platform's money.
#[derive(Debug)]
pub(super) struct Movement<'a> {
    /// `charge`, `refund`, `adjustment`, `transfer` and so on.
    pub kind: &'static str,
    /// Stripe's coarser word for it, for its reports.
    pub category: &'static str,
    /// In minor units; negative when it leaves.
    pub amount: i64,
    /// What Stripe keeps of it.
    pub fee: i64,
    pub currency: &'a str,
    /// The id of what moved it.
    pub source: &'a str,
    /// Seconds until it is available.
    pub pending: i64,
    pub description: Value,
}

/// Seconds until what a balance transaction has moved is available.
pub(super) fn waits(world: &World, transaction: &Value) -> i64 {
    let kept = world.store.get("balance_transaction", transaction.as_str().unwrap_or_default());
    kept.map_or(0, |kept| (number(kept, "available_on") - world.own).max(0))
}

/// Moves it; answers the balance transaction.
pub(super) fn book(world: &mut World, movement: &Movement) -> Value {
    let Movement { kind, category, amount, fee, currency, source, pending, description } = movement;
    let (now, available_on, net) = (world.own, world.own + pending, amount.saturating_sub(*fee));
    world.money.book(currency, net, available_on, now);
    let details = json!([{ "amount": fee, "application": null, "currency": currency, "description": "Dispute fee", "type": "stripe_fee" }]);
    let transaction = json!({
        "id": world.ids.next("txn_"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": available_on,
        "balance_type": "payments",
        "created": world.now,
        "currency": currency,
        "description": description,
        "exchange_rate": null,
        "fee": fee,
        "fee_details": if *fee == 0 { json!([]) } else { details },
        "net": net,
        "reporting_category": category,
        "source": source,
        "status": if available_on > now { "pending" } else { "available" },
        "type": kind,
    });
    world.store.insert("balance_transaction", transaction.clone());
    if available_on > now {
        world.plan("", available_on, arrive, text(&transaction, "id"));
    }
    transaction
}

fn arrive(world: &mut World, id: &str) {
    if let Some(transaction) = world.store.get_mut("balance_transaction", id) {
        transaction["status"] = json!("available");
    }
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    let now = world.now;
    let Some(account) = &call.account else { return Ok(world.money.shown(PLATFORM, now)) };
    if !super::accounts::is_ours(world, account) {
        return Err(super::accounts::no_access(account));
    }
    Ok::<_, Failure>(world.money.shown(account, now))
}

fn one(world: &mut World, call: &Call) -> Answer {
    world.object("balance_transaction", "balance transaction", call.id())
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let mut matching: Vec<&Value> = Vec::new();
    for transaction in world.store.all("balance_transaction").rev().filter(|of| created.holds(of)) {
        let mut asked = true;
        for field in ["type", "source", "currency", "payout"] {
            asked &= list::is_asked(transaction, &call.params, field)?;
        }
        if asked {
            matching.push(transaction);
        }
    }
    list::page(&matching, &call.params, "balance_transaction", "/v1/balance_transactions")
}

/// The sum of all movements of a currency.
pub(crate) fn moved(world: &World, currency: &str) -> i64 {
    let all = world.store.all("balance_transaction").filter(|of| text(of, "currency") == currency);
    all.fold(0, |sum, of| sum.saturating_add(number(of, "net")))
}
