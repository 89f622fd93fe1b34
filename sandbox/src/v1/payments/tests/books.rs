//! Whatever is done, the ledger's start and movements make the balance.

use proptest::prelude::*;
use serde_json::Value;

use super::{Shop, charge, text};
use crate::v1::balance;

const METHODS: &[&str] = &[
    "pm_card_visa",
    "pm_card_bypassPending",
    "pm_card_chargeDeclined",
    "pm_card_createDispute",
    "pm_card_createDisputeInquiry",
    "pm_card_pendingRefund",
    "pm_card_refundFail",
    "pm_card_authenticationRequired",
];

/// One of the objects of a kind.
fn one(shop: &Shop, kind: &str, index: prop::sample::Index) -> String {
    let all: Vec<&Value> = shop.world.store.all(kind).collect();
    if all.is_empty() { "none".to_owned() } else { text(&index.get(&all)["id"]).to_owned() }
}

fn act(shop: &mut Shop, what: u8, which: prop::sample::Index, amount: i64) {
    let method = which.get(METHODS);
    let (path, body) = match what {
        0 | 1 => ("/v1/payment_intents".to_owned(), charge(method)),
        2 => ("/v1/payment_intents".to_owned(), format!("{}&capture_method=manual", charge(method))),
        3 => (
            format!("/v1/payment_intents/{}/capture", one(shop, "payment_intent", which)),
            format!("amount_to_capture={amount}"),
        ),
        4 => (format!("/v1/payment_intents/{}/cancel", one(shop, "payment_intent", which)), String::new()),
        5 | 6 => ("/v1/refunds".to_owned(), format!("charge={}&amount={amount}", one(shop, "charge", which))),
        7 => (format!("/_sandbox/refunds/{}", one(shop, "refund", which)), r#"{"status":"failed"}"#.to_owned()),
        8 => (
            format!("/_sandbox/charges/{}/dispute", one(shop, "charge", which)),
            format!(r#"{{"inquiry":{}}}"#, amount % 2 == 0),
        ),
        9 => {
            let status = ["won", "lost", "warning_closed", "needs_response"][usize::try_from(amount % 4).unwrap()];
            (format!("/_sandbox/disputes/{}", one(shop, "dispute", which)), format!(r#"{{"status":"{status}"}}"#))
        }
        10 => {
            let account = one(shop, "account", which);
            ("/v1/transfers".to_owned(), format!("amount={amount}&currency=usd&destination={account}"))
        }
        11 => (format!("/v1/transfers/{}/reversals", one(shop, "transfer", which)), format!("amount={amount}")),
        12 => ("/_sandbox/balance".to_owned(), format!(r#"{{"currency":"usd","available":{amount}}}"#)),
        13 => (format!("/_sandbox/payment_intents/{}/authenticate", one(shop, "payment_intent", which)), String::new()),
        _ => {
            shop.now += amount * 400;
            return;
        }
    };
    let (status, answer) = shop.send("POST", &path, &body);
    assert!(status < 500, "{path} {body}: {answer}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn start_and_movements_make_the_balance(
        acts in prop::collection::vec((0_u8..16, any::<prop::sample::Index>(), 1_i64..2500), 1..60),
    ) {
        let mut shop = Shop::new();
        shop.post("/v1/accounts", "");
        shop.post("/v1/payment_intents", &charge("pm_card_visa"));
        for (what, which, amount) in &acts {
            act(&mut shop, *what, *which, *amount);
            let start = shop.world.money.starts().find(|(of, _)| *of == "usd").map(|(_, start)| start);
            let (now, moved) = (shop.world.now, balance::moved(&shop.world, "usd"));
            let total = shop.world.money.total("usd", now);
            prop_assert_eq!(start.unwrap() + moved, total, "after {} {}", what, amount);
        }
        // And the movements are what the objects say.
        let ledger = shop.get("/_sandbox/ledger");
        let usd = &ledger["net"]["usd"];
        let shown = shop.balance("available") + shop.balance("pending");
        prop_assert_eq!(usd["balance"].as_i64(), Some(shown));
        prop_assert_eq!(usd["start"].as_i64().unwrap() + usd["moved"].as_i64().unwrap(), shown, "{}", ledger);
        let sum = |kind: &str, field: &str, holds: fn(&Value) -> bool| -> i64 {
            ledger[kind].as_array().unwrap().iter().filter(|of| holds(of)).map(|of| of[field].as_i64().unwrap()).sum()
        };
        let paid = sum("charges", "amount_captured", |of| of["status"] == "succeeded");
        let refunded = sum("refunds", "amount", |of| of["status"] == "succeeded");
        let sent = ledger["sent"]["usd"].as_i64().unwrap_or_default();
        let back = sum("disputes", "amount", |of| ["needs_response", "under_review", "lost"].contains(&text(&of["status"])));
        prop_assert_eq!(usd["moved"].as_i64().unwrap(), paid - refunded - sent - back - usd["fees"].as_i64().unwrap());
        for charge in ledger["charges"].as_array().unwrap() {
            prop_assert!(charge["amount_refunded"].as_i64() <= charge["amount"].as_i64());
        }
    }
}
