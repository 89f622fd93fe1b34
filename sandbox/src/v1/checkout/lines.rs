//! What is bought: prices, quantities, and what it comes to after discounts and taxes.

use serde_json::{Value, json};

use super::{super::prices, discounts};
use crate::{
    failure::{Answer, Failure},
    params::Params,
    store::{number, text},
    world::World,
};

/// The private object that keeps the rate of automatic tax.
const SETTINGS: &str = "sandbox_settings";

/// A line as it is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    price: Option<String>,
    data: Option<prices::Draft>,
    quantity: i64,
}

/// Reads `line_items`.
pub(super) fn read(params: &Params) -> Result<Vec<Asked>, Failure> {
    let mut asked = Vec::new();
    for line in params.elements("line_items")? {
        let data = line.below("price_data")?.map(|data| prices::draft(&data, "line_items")).transpose()?;
        let price = line.text("price")?.map(str::to_owned);
        if price.is_none() && data.is_none() {
            return Err(line.missing("price"));
        }
        asked.push(Asked { price, data, quantity: line.at_least(1, "quantity")?.unwrap_or(1) });
    }
    Ok(asked)
}

/// The lines, each with its price made, and what they cost before discounts and taxes. A trial makes what recurs cost nothing yet.
pub(super) fn make(world: &mut World, asked: Vec<Asked>, mode: &str, is_trial: bool) -> Result<Vec<Value>, Failure> {
    let mut lines: Vec<Value> = Vec::new();
    for Asked { price, data, quantity } in asked {
        let price = match (price, data) {
            (Some(id), _) => world.named("price", "price", &id, "line_items[0][price]")?,
            (None, Some(data)) => data.make(world, false)?,
            (None, None) => return Err(Failure::invalid("Missing required param: line_items[0][price].")),
        };
        if is_recurring(&price) && mode == "payment" {
            let message = "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.";
            return Err(Failure::invalid(message).param("mode"));
        }
        world.store.insert("price", price.clone());
        lines.push(line(world, &price, quantity, is_trial)?);
    }
    if mode == "subscription" && !lines.iter().any(|line| is_recurring(&line["price"])) {
        let message = "You must provide at least one recurring price in `subscription` mode when using prices.";
        return Err(Failure::invalid(message).param("line_items"));
    }
    if lines.iter().any(|line| line["currency"] != lines[0]["currency"]) {
        return Err(Failure::invalid("All line items must have the same currency.").param("line_items"));
    }
    Ok(lines)
}

pub(crate) fn is_recurring(price: &Value) -> bool {
    text(price, "type") == "recurring"
}

/// What is used is paid afterwards, so it is not counted here.
pub(crate) fn is_metered(price: &Value) -> bool {
    text(&price["recurring"], "usage_type") == "metered"
}

fn line(world: &mut World, price: &Value, quantity: i64, is_trial: bool) -> Answer {
    let full = prices::total(price, quantity)?;
    let subtotal = if is_metered(price) || (is_trial && is_recurring(price)) { 0 } else { full };
    let product = world.store.get("product", text(price, "product"));
    let name = product.map(|product| product["name"].clone()).unwrap_or_default();
    Ok(json!({
        "id": world.ids.next("li_"), "object": "item", "adjustable_quantity": null, "amount_discount": 0, "amount_subtotal": subtotal,
        "amount_tax": 0, "amount_total": subtotal, "currency": price["currency"], "description": name, "metadata": {},
        "price": price, "quantity": if is_metered(price) { Value::Null } else { json!(quantity) },
    }))
}

/// The lines of a session.
pub(crate) fn of(session: &Value) -> Vec<Value> {
    session.pointer("/line_items/data").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Says on the session and each of its lines what they come to.
pub(super) fn add_up(world: &World, session: &mut Value) {
    let mut lines = of(session);
    let coupon = discounts::coupon(world, session);
    let off = discounts::spread(coupon.as_ref(), &lines);
    let taxed = session["automatic_tax"]["enabled"] == json!(true);
    let rate = if taxed { ten_thousandths(tax_percent(world)) } else { 0 };
    for (line, off) in lines.iter_mut().zip(off) {
        let net = number(line, "amount_subtotal") - off;
        let is_inside = text(&line["price"], "tax_behavior") == "inclusive";
        let tax = if is_inside { net - part(net, 1_000_000, 1_000_000 + rate) } else { part(net, rate, 1_000_000) };
        line["amount_discount"] = json!(off);
        line["amount_tax"] = json!(tax);
        line["amount_total"] = json!(if is_inside { net } else { net + tax });
    }
    let sum = |field: &str| lines.iter().map(|line| number(line, field)).sum::<i64>();
    if !lines.is_empty() {
        session["amount_subtotal"] = json!(sum("amount_subtotal"));
        session["amount_total"] = json!(sum("amount_total"));
    }
    session["total_details"] =
        json!({ "amount_discount": sum("amount_discount"), "amount_shipping": 0, "amount_tax": sum("amount_tax") });
    if let Some(kept) = session.pointer_mut("/line_items/data") {
        *kept = json!(lines);
    }
}

/// `amount × of / whole`, to the nearest.
pub(super) fn part(amount: i64, of: i64, whole: i64) -> i64 {
    let whole = i128::from(whole.max(1));
    let part = (i128::from(amount) * i128::from(of) + whole / 2) / whole;
    i64::try_from(part).unwrap_or_default()
}

/// A percentage in ten-thousandths of a percent, which is finer than any that Stripe takes.
pub(super) fn ten_thousandths(percent: f64) -> i64 {
    format!("{percent:.4}").replace('.', "").parse().unwrap_or_default()
}

/// The rate of automatic tax: nothing until it is set.
pub(crate) fn tax_percent(world: &World) -> f64 {
    let kept = world.store.get("sandbox.settings", SETTINGS);
    kept.and_then(|settings| settings["tax_percent"].as_f64()).unwrap_or_default()
}

/// Sets the rate of automatic tax, everywhere and for everything.
pub(crate) fn set_tax_percent(world: &mut World, percent: f64) -> Answer {
    if !(0.0..=100.0).contains(&percent) {
        return Err(Failure::invalid("percent is between 0 and 100.").param("percent"));
    }
    let settings = json!({ "id": SETTINGS, "object": "sandbox.settings", "tax_percent": percent });
    world.store.insert("sandbox.settings", settings.clone());
    Ok(settings)
}

/// Whether anything was to be paid.
pub(super) fn is_due(session: &Value) -> bool {
    number(session, "amount_total") > 0
}
