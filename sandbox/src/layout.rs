//! The layout of API versions before 2025-03-31.basil, made from the one since: on the way out, a value in and a value out
//! (Stripe: changelog, basil).

use serde_json::{Map, Value, json};

use super::{
    failure::Failure,
    store::{Store, text},
};

/// The version whose layout is kept.
pub(super) const API_VERSION: &str = "2026-09-30.endive";
/// The first day of the layout that is kept.
const BASIL: &str = "2025-03-31";

/// What an object does not say itself in the layout since basil.
pub(super) struct Links<'a> {
    /// The invoice that a payment intent pays.
    pub invoice_of: &'a dyn Fn(&str) -> Option<Value>,
    /// The object of an id.
    pub object: &'a dyn Fn(&str) -> Option<Value>,
}

/// Refuses what is no version: a day, and maybe a name.
pub(super) fn check_version(version: &str) -> Result<(), Failure> {
    let (day, name) = version.split_once('.').unwrap_or((version, "basil"));
    let is_day = day.len() == 10
        && day
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    if is_day && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Failure::invalid(format!("Invalid Stripe API version: {version}")))
}

pub(super) fn is_older(version: &str) -> bool {
    version.get(..BASIL.len()).is_some_and(|day| day < BASIL)
}

/// What is to be expanded so that an older layout can be made of the answer.
pub(super) fn expansions(asked: &[String]) -> Vec<String> {
    let steps = |path: &String| path.match_indices('.').map(|(at, _)| at).chain([path.len()]).collect::<Vec<_>>();
    let below = asked.iter().flat_map(|path| {
        steps(path).into_iter().filter_map(|end| Some(format!("{}.payments", path.get(..end)?))).collect::<Vec<_>>()
    });
    let own = ["payments".to_owned(), "data.payments".to_owned()];
    asked.iter().cloned().chain(below).chain(own).collect()
}

/// The same in the older layout. What is in it already stays what it is.
pub(super) fn older(value: Value, links: &Links) -> Value {
    match value {
        Value::Array(all) => all.into_iter().map(|value| older(value, links)).collect(),
        // An event is frozen in the version that it was made in.
        Value::Object(fields) if fields.get("object").is_some_and(|kind| kind == "event") => Value::Object(fields),
        Value::Object(fields) => {
            // Metadata may name its fields as it likes.
            let below = |(name, value)| if name == "metadata" { (name, value) } else { (name, older(value, links)) };
            let mut object = Value::Object(fields.into_iter().map(below).collect());
            let kind = text(&object, "object").to_owned();
            if let Value::Object(fields) = &mut object {
                match kind.as_str() {
                    "invoice" => invoice(fields, links),
                    "line_item" => line(fields, links),
                    "invoiceitem" => priced(fields, links),
                    "charge" => paying(fields, "payment_intent", links),
                    "payment_intent" => paying(fields, "id", links),
                    "subscription" => subscription(fields),
                    _ => {}
                }
            }
            object
        }
        other => other,
    }
}

/// An event's `previous_attributes` in the older layout.
pub(super) fn difference(after: &Value, previous: &Value, links: &Links) -> Value {
    let before = super::view::before(after.clone(), previous);
    super::view::difference(&older(before, links), &older(after.clone(), links))
}

fn at<'a>(fields: &'a Map<String, Value>, name: &str, pointer: &str) -> Option<&'a Value> {
    fields.get(name).and_then(|value| value.pointer(pointer)).filter(|value| !value.is_null())
}

fn put(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    fields.entry(name).or_insert(value.unwrap_or_default());
}

fn invoice(fields: &mut Map<String, Value>, links: &Links) {
    let details = at(fields, "parent", "/subscription_details").cloned();
    let paid = fields.get("status").is_some_and(|status| status == "paid");
    let payments = at(fields, "payments", "/data").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_default = |payment: &&Value| payment["is_default"] == json!(true);
    let payment =
        payments.iter().find(is_default).or_else(|| payments.last()).map(|payment| payment["payment"].clone());
    let intent = payment.as_ref().map(|payment| payment["payment_intent"].clone()).filter(|intent| !intent.is_null());
    let direct = payment.as_ref().map(|payment| payment["charge"].clone()).filter(|charge| !charge.is_null());
    let charge = direct.or_else(|| {
        let id = intent.as_ref().and_then(|intent| intent.as_str().or_else(|| intent["id"].as_str()))?;
        (links.object)(id).map(|intent| intent["latest_charge"].clone())
    });
    let amount = |name: &str| fields.get(name).and_then(Value::as_i64).unwrap_or_default();
    let has_paid = payments.iter().any(|payment| payment["status"] == "paid");
    let out_of_band = paid && amount("amount_due") > 0 && !has_paid;
    let taxes = fields.get("total_taxes").and_then(Value::as_array).filter(|taxes| !taxes.is_empty());
    let tax =
        taxes.map(|taxes| json!(taxes.iter().filter_map(|tax| tax["amount"].as_i64()).fold(0, i64::saturating_add)));
    let quote = at(fields, "parent", "/quote_details/quote").cloned();
    put(fields, "subscription", details.as_ref().map(|details| details["subscription"].clone()));
    put(
        fields,
        "subscription_details",
        Some(json!({ "metadata": details.map(|details| details["metadata"].clone()) })),
    );
    put(fields, "payment_intent", intent);
    put(fields, "charge", charge);
    put(fields, "paid", Some(json!(paid)));
    put(fields, "paid_out_of_band", Some(json!(out_of_band)));
    put(fields, "quote", quote);
    put(fields, "tax", tax);
    for name in ["parent", "payments", "total_taxes"] {
        fields.remove(name);
    }
}

fn line(fields: &mut Map<String, Value>, links: &Links) {
    let is_item = at(fields, "parent", "/type").is_some_and(|kind| kind == "invoice_item_details");
    let details = if is_item { "/invoice_item_details" } else { "/subscription_item_details" };
    let details = at(fields, "parent", details).cloned();
    let detail = |name: &str| details.as_ref().map(|details| details[name].clone());
    put(fields, "type", Some(json!(if is_item { "invoiceitem" } else { "subscription" })));
    put(fields, "proration", Some(json!(detail("proration") == Some(json!(true)))));
    put(fields, "proration_details", detail("proration_details"));
    put(fields, "subscription", detail("subscription"));
    put(fields, "subscription_item", detail("subscription_item"));
    put(fields, "invoice_item", detail("invoice_item"));
    priced(fields, links);
    fields.remove("taxes");
}

/// Where a price was a whole one.
fn priced(fields: &mut Map<String, Value>, links: &Links) {
    let subscription = at(fields, "parent", "/subscription_details/subscription").cloned();
    put(fields, "subscription", subscription);
    let details = at(fields, "pricing", "/price_details").cloned();
    let price = details.map(|details| {
        let whole = details["price"].as_str().and_then(links.object);
        let stub = || json!({ "id": details["price"], "object": "price", "product": details["product"] });
        whole.unwrap_or_else(|| if details["price"].is_object() { details["price"].clone() } else { stub() })
    });
    put(fields, "price", price);
    fields.remove("pricing");
    fields.remove("parent");
}

fn paying(fields: &mut Map<String, Value>, intent: &str, links: &Links) {
    let intent = fields.get(intent).and_then(|intent| intent.as_str().or_else(|| intent["id"].as_str()));
    let invoice = intent.and_then(links.invoice_of);
    put(fields, "invoice", invoice);
}

fn subscription(fields: &mut Map<String, Value>) {
    for name in ["current_period_start", "current_period_end"] {
        let item = at(fields, "items", &format!("/data/0/{name}")).cloned();
        put(fields, name, item);
    }
    let items = fields.get_mut("items").and_then(|items| items.get_mut("data")).and_then(Value::as_array_mut);
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        item.remove("current_period_start");
        item.remove("current_period_end");
    }
}

/// The invoice that a payment intent pays, as the store knows it; a payment that is just made is not noted on its invoice yet.
pub(super) fn invoice_of(store: &Store, intent: &str) -> Option<Value> {
    let made_for = store.get("payment_intent", intent).map(|intent| intent["_invoice"].clone());
    if let Some(invoice) = made_for.filter(Value::is_string) {
        return Some(invoice);
    }
    let pays = |payment: &Value| payment.pointer("/payment/payment_intent").is_some_and(|paid| paid == intent);
    let by_payment =
        store.all("invoice_payment").find(|payment| pays(payment)).map(|payment| payment["invoice"].clone());
    by_payment.or_else(|| {
        let mut invoices = store.all("invoice");
        let paid = invoices.find(|invoice| {
            invoice.pointer("/payments/data").and_then(Value::as_array).is_some_and(|all| all.iter().any(pays))
        });
        paid.map(|invoice| invoice["id"].clone())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn links() -> Links<'static> {
        Links {
            invoice_of: &|intent| (intent == "pi_1").then(|| json!("in_1")),
            object: &|id| match id {
                "price_1" => Some(json!({ "id": "price_1", "object": "price", "unit_amount": 1900 })),
                "pi_1" => Some(json!({ "id": "pi_1", "object": "payment_intent", "latest_charge": "ch_1" })),
                _ => None,
            },
        }
    }

    #[test]
    fn an_invoice_says_what_it_said_before_basil() {
        let line = json!({ "id": "il_1", "object": "line_item", "pricing": { "price_details": { "price": "price_1", "product": "prod_1" } },
            "parent": { "type": "subscription_item_details", "invoice_item_details": null,
                "subscription_item_details": { "proration": true, "subscription": "sub_1", "subscription_item": "si_1" } } });
        let invoice = json!({ "id": "in_1", "object": "invoice", "status": "paid", "amount_due": 1900,
            "parent": { "subscription_details": { "subscription": "sub_1", "metadata": { "object": "invoice" } } },
            "payments": { "object": "list", "data": [{ "status": "paid", "payment": { "type": "payment_intent", "payment_intent": "pi_1" } }] },
            "lines": { "object": "list", "data": [line] } });
        let seen = older(invoice, &links());
        for (pointer, wanted) in [
            ("/subscription", json!("sub_1")),
            ("/subscription_details/metadata", json!({ "object": "invoice" })),
            ("/payment_intent", json!("pi_1")),
            ("/charge", json!("ch_1")),
            ("/paid", json!(true)),
            ("/paid_out_of_band", json!(false)),
            ("/lines/data/0/price/unit_amount", json!(1900)),
            ("/lines/data/0/proration", json!(true)),
            ("/lines/data/0/subscription_item", json!("si_1")),
        ] {
            assert_eq!(seen.pointer(pointer), Some(&wanted), "{pointer}: {seen}");
        }
        for gone in ["/parent", "/payments", "/lines/data/0/pricing", "/lines/data/0/parent"] {
            assert_eq!(seen.pointer(gone), None, "{gone}");
        }
    }

    #[test]
    fn payments_and_periods_are_where_they_were() {
        let charge = json!({ "id": "ch_1", "object": "charge", "payment_intent": "pi_1" });
        assert_eq!(older(charge, &links())["invoice"], "in_1");
        let intent = json!({ "id": "pi_2", "object": "payment_intent" });
        assert_eq!(older(intent, &links()), json!({ "id": "pi_2", "object": "payment_intent", "invoice": null }));
        let item =
            json!({ "id": "si_1", "object": "subscription_item", "current_period_start": 1, "current_period_end": 2 });
        let after = json!({ "id": "sub_1", "object": "subscription", "items": { "data": [item] } });
        let mut previous = json!({ "items": after["items"] });
        previous["items"]["data"][0]["current_period_end"] = json!(1);
        assert_eq!(older(after.clone(), &links())["current_period_end"], 2);
        assert_eq!(difference(&after, &previous, &links()), json!({ "current_period_end": 1 }));
    }

    #[test]
    fn versions_are_days() {
        for (version, is_old) in [
            ("2024-06-20", true),
            ("2025-02-24.acacia", true),
            ("2025-03-31.basil", false),
            ("2026-09-30.endive", false),
        ] {
            assert_eq!((check_version(version).is_ok(), is_older(version)), (true, is_old), "{version}");
        }
        for wrong in ["", "latest", "2024-6-20", "2024-06-20.", "2024-06-20.a b", "２０２４-06-2"] {
            assert!(check_version(wrong).is_err(), "{wrong}");
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z]{0,6}".prop_map(Value::from),
            prop::sample::select(vec![
                "invoice",
                "line_item",
                "invoiceitem",
                "charge",
                "payment_intent",
                "subscription",
                "pi_1",
                "price_1",
                "paid"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            let names = prop::sample::select(vec![
                "object",
                "id",
                "parent",
                "payments",
                "data",
                "payment",
                "payment_intent",
                "charge",
                "pricing",
                "price_details",
                "price",
                "items",
                "current_period_end",
                "subscription_details",
                "subscription",
                "status",
                "total_taxes",
                "amount",
                "amount_due",
                "type",
                "metadata",
                "invoice_item_details",
                "lines",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((names, inner), 0..8)
                    .prop_map(|all| all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_laid_out_once(value in json_value()) {
            let once = older(value, &links());
            prop_assert_eq!(older(once.clone(), &links()), once);
        }
    }
}
