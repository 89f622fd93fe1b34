//! What a customer does: each is asked of the API, if the portal's configuration lets them.

use serde_json::{Value, json};

use super::super::{Form, cards};
use crate::{failure::Failure, routes, store::text, v1::ask::ask, world::World};

/// Does it; answers the word for what was done.
pub(super) fn act(world: &mut World, session: &Value, features: &Value, form: &Form) -> Result<&'static str, Failure> {
    let customer = text(session, "customer");
    let allowed = |feature: &str| {
        let refused = || Failure::invalid("The seller’s portal does not offer this.");
        if features[feature]["enabled"] == json!(true) { Ok(()) } else { Err(refused()) }
    };
    match form.get("do") {
        "change" => {
            allowed("subscription_update")?;
            let subscription = own(world, customer, form)?;
            change(world, &subscription, form.get("price"), &features["subscription_update"])
        }
        "cancel" => {
            allowed("subscription_cancel")?;
            let subscription = own(world, customer, form)?;
            cancel(world, text(&subscription, "id"), &features["subscription_cancel"])
        }
        "resume" => {
            allowed("subscription_cancel")?;
            let subscription = own(world, customer, form)?;
            let path = format!("/v1/subscriptions/{}", text(&subscription, "id"));
            ask(world, "POST", &path, &[("cancel_at_period_end", "false")])?;
            Ok("resumed")
        }
        "details" => {
            allowed("customer_update")?;
            details(world, customer, &features["customer_update"]["allowed_updates"], form)
        }
        _ => {
            allowed("payment_method_update")?;
            card(world, customer, form)
        }
    }
}

/// The subscription that a form names, if it is this customer's.
fn own(world: &World, customer: &str, form: &Form) -> Result<Value, Failure> {
    let id = form.get("subscription");
    let own = world.store.get("subscription", id).filter(|subscription| text(subscription, "customer") == customer);
    own.cloned().ok_or_else(|| Failure::no_such("subscription", id))
}

/// The new card is the customer's own, and that of each subscription that had one to itself.
fn card(world: &mut World, customer: &str, form: &Form) -> Result<&'static str, Failure> {
    let method = cards::given(world, form, &json!(customer))?;
    let mut id = text(&method, "id").to_owned();
    let attach = format!("/v1/payment_methods/{id}/attach");
    if text(&method, "customer") != customer && routes::find("POST", &attach).is_ok() {
        text(&ask(world, "POST", &attach, &[("customer", customer)])?, "id").clone_into(&mut id);
    }
    let fields = [("invoice_settings[default_payment_method]", id.as_str())];
    ask(world, "POST", &format!("/v1/customers/{customer}"), &fields)?;
    for subscription in living(world, customer) {
        if subscription["default_payment_method"].is_string() {
            let path = format!("/v1/subscriptions/{}", text(&subscription, "id"));
            ask(world, "POST", &path, &[("default_payment_method", &id)])?;
        }
    }
    Ok("card")
}

/// Those of a customer that have not ended.
pub(super) fn living(world: &World, customer: &str) -> Vec<Value> {
    let all = world.store.all("subscription").rev();
    let living =
        |s: &&Value| text(s, "customer") == customer && !matches!(text(s, "status"), "canceled" | "incomplete_expired");
    all.filter(living).cloned().collect()
}

/// The prices that a subscription may be changed to: the configuration's, or all that are active.
pub(super) fn prices(world: &World, subscription: &Value, feature: &Value) -> Vec<Value> {
    let products = feature["products"].as_array().filter(|products| !products.is_empty());
    let listed = |price: &Value| {
        products.is_none_or(|products| {
            products.iter().filter(|product| product["product"] == price["product"]).any(|product| {
                let prices = product["prices"].as_array().filter(|prices| !prices.is_empty());
                prices.is_none_or(|prices| prices.contains(&price["id"]))
            })
        })
    };
    let prices =
        world.store.all("price").filter(|price| price["active"] == json!(true) && text(price, "type") == "recurring");
    prices.filter(|price| price["currency"] == subscription["currency"] && listed(price)).cloned().collect()
}

fn change(world: &mut World, subscription: &Value, price: &str, feature: &Value) -> Result<&'static str, Failure> {
    if !prices(world, subscription, feature).iter().any(|offered| text(offered, "id") == price) {
        return Err(Failure::no_such_param("price", price, "price"));
    }
    let item = subscription.pointer("/items/data/0/id").and_then(Value::as_str).unwrap_or_default();
    let proration = feature["proration_behavior"].as_str().unwrap_or("none");
    let fields = [("items[0][id]", item), ("items[0][price]", price), ("proration_behavior", proration)];
    ask(world, "POST", &format!("/v1/subscriptions/{}", text(subscription, "id")), &fields)?;
    Ok("plan")
}

fn cancel(world: &mut World, id: &str, feature: &Value) -> Result<&'static str, Failure> {
    let path = format!("/v1/subscriptions/{id}");
    if text(feature, "mode") == "immediately" {
        let prorate = if feature["proration_behavior"] == json!("none") { "false" } else { "true" };
        ask(world, "DELETE", &path, &[("prorate", prorate)])?;
        return Ok("canceled");
    }
    ask(world, "POST", &path, &[("cancel_at_period_end", "true")])?;
    Ok("cancels")
}

fn details(world: &mut World, customer: &str, allowed: &Value, form: &Form) -> Result<&'static str, Failure> {
    let allowed = allowed.as_array().into_iter().flatten().filter_map(Value::as_str);
    let fields: Vec<(&str, &str)> =
        allowed.filter(|name| super::parts::DETAILS.contains(name)).map(|name| (name, form.get(name))).collect();
    ask(world, "POST", &format!("/v1/customers/{customer}"), &fields)?;
    Ok("details")
}
