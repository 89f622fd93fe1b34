//! Coupons and promotion codes on a session.

use serde_json::{Value, json};

use super::lines::{part, ten_thousandths};
use crate::{
    failure::Failure,
    params::Params,
    store::{number, text},
    world::World,
};

/// Reads `discounts`: at most one, as Stripe's Checkout takes.
pub(super) fn read(params: &Params) -> Result<Vec<Value>, Failure> {
    let given = params.elements("discounts")?;
    if given.len() > 1 {
        return Err(Failure::invalid("You can only apply one discount to a Checkout Session.").param("discounts"));
    }
    if !given.is_empty() && params.has("allow_promotion_codes") {
        let message = "You may only specify one of these parameters: allow_promotion_codes, discounts.";
        return Err(Failure::invalid(message).param("discounts"));
    }
    let field = |discount: &Params, name: &str| Ok::<_, Failure>(discount.nullable(name)?.unwrap_or_default());
    given
        .iter()
        .map(|d| Ok(json!({ "coupon": field(d, "coupon")?, "promotion_code": field(d, "promotion_code")? })))
        .collect()
}

/// Refuses what does not exist, or does not hold any more.
pub(super) fn check(world: &World, session: &Value) -> Result<(), Failure> {
    let Some(discount) = session.pointer("/discounts/0") else { return Ok(()) };
    if let Some(id) = discount["promotion_code"].as_str() {
        let promotion = world.named("promotion_code", "promotion code", id, "discounts[0][promotion_code]")?;
        holds(world, &promotion, session).map_err(|failure| failure.param("discounts[0][promotion_code]"))?;
    } else {
        let id = text(discount, "coupon");
        let coupon = world.named("coupon", "coupon", id, "discounts[0][coupon]")?;
        if coupon["valid"] == json!(false) {
            return Err(Failure::invalid(format!("Coupon expired: {id}")).code("coupon_expired").param("discounts"));
        }
    }
    Ok(())
}

/// A buyer types a code: the session's discount, if the code is one that holds.
pub(super) fn typed(world: &World, session: &Value, code: &str) -> Result<Value, Failure> {
    let codes = world.store.all("promotion_code");
    let promotion = codes.rev().find(|promotion| text(promotion, "code").eq_ignore_ascii_case(code.trim()));
    let promotion = promotion.ok_or_else(|| Failure::invalid("This code is invalid.").param("promotion_code"))?;
    holds(world, promotion, session)?;
    Ok(json!({ "coupon": null, "promotion_code": promotion["id"] }))
}

fn holds(world: &World, promotion: &Value, session: &Value) -> Result<(), Failure> {
    let refuse = |message: &str| Err(Failure::invalid(message).param("promotion_code"));
    let coupon = coupon_of(world, promotion);
    let spent = promotion["max_redemptions"].as_i64().is_some_and(|max| number(promotion, "times_redeemed") >= max);
    let over = promotion["expires_at"].as_i64().is_some_and(|at| at <= world.now);
    let usable = coupon.is_some_and(|coupon| coupon["valid"] != json!(false));
    if promotion["active"] == json!(false) || spent || over || !usable {
        return refuse("This promotion code is not active or has expired.");
    }
    if promotion["customer"].is_string() && promotion["customer"] != session["customer"] {
        return refuse("This promotion code cannot be redeemed because it belongs to another customer.");
    }
    if number(&promotion["restrictions"], "minimum_amount") > number(session, "amount_subtotal") {
        return refuse("This promotion code cannot be redeemed because the order is below its minimum amount.");
    }
    Ok(())
}

/// What a promotion code stands for; the layouts before and since 2025-09-30 both.
fn coupon_of<'a>(world: &'a World, promotion: &'a Value) -> Option<&'a Value> {
    let coupon = promotion.pointer("/promotion/coupon").or_else(|| promotion.get("coupon"))?;
    coupon.as_str().map_or(Some(coupon), |id| world.store.get("coupon", id)).filter(|coupon| coupon.is_object())
}

/// The coupon that a session's discount comes from.
pub(super) fn coupon(world: &World, session: &Value) -> Option<Value> {
    let discount = session.pointer("/discounts/0")?;
    if let Some(id) = discount["coupon"].as_str() {
        return world.store.get("coupon", id).cloned();
    }
    coupon_of(world, world.store.get("promotion_code", text(discount, "promotion_code"))?).cloned()
}

/// What a coupon takes off each line; never more than there is.
pub(super) fn spread(coupon: Option<&Value>, lines: &[Value]) -> Vec<i64> {
    let Some(coupon) = coupon else { return vec![0; lines.len()] };
    let products = coupon.pointer("/applies_to/products").and_then(Value::as_array).filter(|all| !all.is_empty());
    let subtotals: Vec<i64> = lines
        .iter()
        .map(|line| {
            if products.is_none_or(|all| all.contains(&line["price"]["product"])) {
                number(line, "amount_subtotal")
            } else {
                0
            }
        })
        .collect();
    if let Some(percent) = coupon["percent_off"].as_f64() {
        let rate = ten_thousandths(percent).clamp(0, 1_000_000);
        return subtotals.iter().map(|subtotal| part(*subtotal, rate, 1_000_000)).collect();
    }
    let currency = lines.first().map(|line| text(line, "currency")).unwrap_or_default();
    let other = coupon.pointer(&format!("/currency_options/{currency}/amount_off")).and_then(Value::as_i64);
    let amount = if text(coupon, "currency") == currency { number(coupon, "amount_off") } else { other.unwrap_or(0) };
    let whole: i64 = subtotals.iter().sum();
    let (mut left, mut below) = (amount.clamp(0, whole), whole);
    let mut off = Vec::new();
    for subtotal in subtotals {
        // A share of what is left, so that the last one takes all the rest and nothing is lost by rounding.
        let taken = if below == 0 { 0 } else { part(left, subtotal, below).min(subtotal) };
        (left, below) = (left - taken, below - subtotal);
        off.push(taken);
    }
    off
}

/// It was used once more; a subscription's is counted where subscriptions are made.
pub(super) fn redeem(world: &mut World, session: &Value) {
    let Some(discount) = session.pointer("/discounts/0").cloned() else { return };
    let promotion = text(&discount, "promotion_code").to_owned();
    let coupon = coupon(world, session).map(|coupon| text(&coupon, "id").to_owned()).unwrap_or_default();
    for (kind, id) in [("promotion_code", promotion), ("coupon", coupon)] {
        if let Some(kept) = world.store.get_mut(kind, &id) {
            kept["times_redeemed"] = json!(number(kept, "times_redeemed") + 1);
        }
    }
}
