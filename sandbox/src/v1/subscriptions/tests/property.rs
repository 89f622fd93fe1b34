//! Whatever is done to invoices and subscriptions, and in whatever order: what was charged is what was paid, once.

use proptest::prelude::*;

use super::*;
use crate::v1::balance;

const METHODS: &[&str] = &[
    "pm_card_visa",
    "pm_card_chargeCustomerFail",
    "pm_card_authenticationRequired",
    "pm_usBankAccount_success",
    "pm_usBankAccount_noAccount",
];

fn one(shop: &Shop, kind: &str, index: prop::sample::Index) -> String {
    let all: Vec<&Value> = shop.world.store.all(kind).collect();
    if all.is_empty() { "none".to_owned() } else { id(all[index.index(all.len())]) }
}

fn act(shop: &mut Shop, what: u8, which: prop::sample::Index, amount: i64, prices: &[String]) {
    let (customer, method) = (shop.customer.clone(), *which.get(METHODS));
    let invoice = format!("/v1/invoices/{}", one(shop, "invoice", which));
    let intent = one(shop, "payment_intent", which);
    let subscription = format!("/v1/subscriptions/{}", one(shop, "subscription", which));
    let (path, form) = match what {
        0 => ("/v1/invoiceitems".to_owned(), format!("customer={customer}&currency=usd&amount={}", amount - 500)),
        1 => {
            let advances = amount % 2 == 0;
            let form = format!("customer={customer}&pending_invoice_items_behavior=include&auto_advance={advances}");
            ("/v1/invoices".to_owned(), form)
        }
        2 => (format!("{invoice}/finalize"), String::new()),
        3 | 4 => (format!("{invoice}/pay"), String::new()),
        5 => (format!("{invoice}/pay"), "paid_out_of_band=true".to_owned()),
        6 => (format!("{invoice}/void"), String::new()),
        7 => (format!("{invoice}/mark_uncollectible"), String::new()),
        8 | 9 => (format!("/v1/payment_intents/{intent}/confirm"), format!("payment_method={method}")),
        10 => (format!("/_sandbox/payment_intents/{intent}/authenticate"), String::new()),
        11 => (format!("/v1/payment_intents/{intent}/cancel"), String::new()),
        12 => {
            let (price, trial) = (which.get(prices), if amount % 3 == 0 { "&trial_period_days=9" } else { "" });
            ("/v1/subscriptions".to_owned(), format!("customer={customer}&items[0][price]={price}{trial}"))
        }
        13 | 14 => {
            let price = &prices[usize::try_from(amount).unwrap() % prices.len()];
            let of = shop.world.store.get("subscription", subscription.rsplit('/').next().unwrap());
            let item = of.map(|of| id(&of["items"]["data"][0])).unwrap_or_default();
            let behavior = if what == 13 { "always_invoice" } else { "create_prorations" };
            (subscription, format!("items[0][id]={item}&items[0][price]={price}&proration_behavior={behavior}"))
        }
        15 => {
            shop.send("DELETE", &format!("{subscription}?prorate=true&invoice_now=true"), "");
            return;
        }
        16 => (format!("/v1/customers/{customer}"), format!("balance={}", amount - 1500)),
        17 => {
            shop.card(method);
            return;
        }
        _ => return shop.pass(amount * 1000),
    };
    let (status, answer) = shop.send("POST", &path, &form);
    assert!(status < 500, "{path} {form}: {answer}");
}

/// What is wrong in the books, if anything is.
fn wrong(shop: &Shop) -> Option<String> {
    let store = &shop.world.store;
    let sum = |kind: &str, field: &str, holds: &dyn Fn(&Value) -> bool| -> i64 {
        store.all(kind).filter(|of| holds(of)).map(|of| of[field].as_i64().unwrap()).sum()
    };
    let charged = sum("charge", "amount", &|charge| charge["status"] == "succeeded");
    let paid = sum("invoice", "amount_paid", &|invoice| invoice["amount_paid_off_stripe"] == 0);
    if charged != paid {
        return Some(format!("charged {charged} and paid {paid}"));
    }
    if charged != balance::moved(&shop.world, "usd") {
        return Some("what was charged was not booked".to_owned());
    }
    let balance = store.get("customer", &shop.customer).map(|customer| customer["balance"].clone());
    if balance != Some(sum("customer_balance_transaction", "amount", &|_| true).into()) {
        return Some(format!("a balance of {balance:?}"));
    }
    let number = |of: &Value, field: &str| of[field].as_i64().unwrap_or_default();
    for invoice in store.all("invoice").filter(|invoice| invoice["status"] != "draft") {
        let (total, start) = (number(invoice, "total"), number(invoice, "starting_balance"));
        let lines = super::super::super::invoices::lines::all(invoice);
        let summed: i64 = lines.iter().map(|line| number(line, "amount")).sum();
        let payments = invoice["payments"]["data"].as_array().unwrap();
        let count = |status: &str| payments.iter().filter(|payment| payment["status"] == status).count();
        if total + start != number(invoice, "amount_due") + number(invoice, "ending_balance")
            || total != summed
            || count("paid") > 1
            || (matches!(invoice["status"].as_str(), Some("void" | "paid")) && count("open") > 0)
        {
            return Some(invoice.to_string());
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_was_charged_was_paid_and_once(
        acts in prop::collection::vec((0_u8..22, any::<prop::sample::Index>(), 1_i64..3000), 1..50),
    ) {
        let mut shop = Shop::new();
        let prices = [shop.price(20, "month"), shop.price(1900, "month"), shop.price(4900, "month"), shop.price(19000, "year")];
        for (what, which, amount) in &acts {
            act(&mut shop, *what, *which, *amount, &prices);
            let wrong = wrong(&shop);
            prop_assert!(wrong.is_none(), "after {} {}: {}", what, amount, wrong.unwrap_or_default());
        }
    }
}
