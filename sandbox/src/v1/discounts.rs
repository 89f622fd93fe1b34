//! Discounts: a coupon at work on a subscription or an invoice, directly or by a promotion code.

use serde_json::{Value, json};

use super::coupons;
use crate::{
    failure::Failure,
    params::Params,
    store::{number, text},
    world::World,
};

/// A discount that is asked for, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Coupon(String),
    PromotionCode(String),
    /// One that is there and stays.
    Discount(String),
}

/// Reads `discounts`; nothing where it is not given, an empty list where it is unset.
pub(super) fn read(params: &Params) -> Result<Option<Vec<Asked>>, Failure> {
    if !params.has("discounts") {
        return Ok(None);
    }
    let mut asked = Vec::new();
    if let Ok(Some("")) = params.text("discounts") {
        return Ok(Some(asked));
    }
    for discount in params.elements("discounts")? {
        let named = |name: &str| Ok::<_, Failure>(discount.text(name)?.map(str::to_owned));
        asked.push(match (named("coupon")?, named("promotion_code")?, named("discount")?) {
            (Some(id), None, None) => Asked::Coupon(id),
            (None, Some(id), None) => Asked::PromotionCode(id),
            (None, None, Some(id)) => Asked::Discount(id),
            _ => {
                let message = "You must pass exactly one of `coupon`, `promotion_code` or `discount` in each discount.";
                return Err(Failure::invalid(message).param("discounts"));
            }
        });
    }
    Ok(Some(asked))
}

/// The coupons that are asked for, judged; nothing is used up yet.
pub(super) fn judge(world: &World, asked: &[Asked], customer: &str, currency: &str) -> Result<(), Failure> {
    for one in asked {
        match one {
            Asked::Coupon(id) => coupons::usable(world, id, currency)?,
            Asked::PromotionCode(id) => {
                let code = world.named("promotion_code", "promotion code", id, "discounts[0][promotion_code]")?;
                let refuse = |message: &str| Err(Failure::invalid(message).param("discounts[0][promotion_code]"));
                let owner = text(&code, "customer");
                let used = number(&code, "times_redeemed");
                let over = code["expires_at"].as_i64().is_some_and(|at| at <= world.now)
                    || code["max_redemptions"].as_i64().is_some_and(|most| used >= most);
                if code["active"] == false || over {
                    return refuse("This promotion code has expired or is not active.");
                }
                if !owner.is_empty() && owner != customer {
                    return refuse("This promotion code cannot be redeemed by this customer.");
                }
                let first = code["restrictions"]["first_time_transaction"] == true;
                let paid =
                    |invoice: &&Value| text(invoice, "customer") == customer && number(invoice, "amount_paid") > 0;
                if first && world.store.all("invoice").any(|invoice| paid(&invoice)) {
                    return refuse(
                        "This promotion code cannot be redeemed because the associated customer has prior transactions.",
                    );
                }
                let coupon = text(&code["promotion"], "coupon").to_owned();
                coupons::usable(world, &coupon, currency)?
            }
            Asked::Discount(id) => world.named("discount", "discount", id, "discounts[0][discount]")?,
        };
    }
    Ok(())
}

/// Puts judged coupons to work on a subscription (or on an invoice, where there is none); answers the discounts' ids.
pub(super) fn make(world: &mut World, asked: &[Asked], customer: &str, subscription: Option<&str>) -> Value {
    let mut ids = Vec::new();
    for one in asked {
        let (coupon, code) = match one {
            Asked::Discount(id) => {
                ids.push(json!(id));
                continue;
            }
            Asked::Coupon(id) => (id.clone(), None),
            Asked::PromotionCode(id) => {
                let Some(code) = world.store.get_mut("promotion_code", id) else { continue };
                code["times_redeemed"] = json!(number(code, "times_redeemed") + 1);
                (text(&code["promotion"], "coupon").to_owned(), Some(id.clone()))
            }
        };
        let Some(kept) = world.store.get_mut("coupon", &coupon) else { continue };
        kept["times_redeemed"] = json!(number(kept, "times_redeemed") + 1);
        let copy = kept.clone();
        let months = kept["duration_in_months"].as_i64();
        let month = json!({ "interval": "month", "interval_count": 1 });
        let end = months.and_then(|months| super::subscriptions::period::step(world.now, &month, months));
        let discount = json!({
            "id": world.ids.next("di_"),
            "object": "discount",
            "checkout_session": null,
            "customer": customer,
            "customer_account": null,
            "end": end,
            "invoice": null,
            "invoice_item": null,
            "promotion_code": code,
            "source": { "coupon": coupon, "type": "coupon" },
            "start": world.now,
            "subscription": subscription,
            "subscription_item": null,
            // The coupon may be deleted; the discount stays.
            "_coupon": copy,
        });
        ids.push(discount["id"].clone());
        world.create("discount", "customer.discount.created", discount);
    }
    ids.into()
}

/// What each discount takes off, and off which lines. Discounts work one after the other; a line is never below nothing.
pub(super) fn apply(world: &World, ids: &Value, lines: &mut [Value]) -> Vec<(Value, i64)> {
    let mut left: Vec<i64> = Vec::new();
    for line in lines.iter_mut() {
        line["discount_amounts"] = json!([]);
        line["pretax_credit_amounts"] = json!([]);
        left.push(if line["discountable"] == true { number(line, "subtotal").max(0) } else { 0 });
    }
    let mut taken = Vec::new();
    for id in ids.as_array().into_iter().flatten() {
        let discount = world.store.get("discount", id.as_str().unwrap_or_default());
        let Some(coupon) = discount.and_then(|discount| discount.get("_coupon")) else { continue };
        let whole: i64 = left.iter().sum();
        let (mut before, mut sum) = (0_i64, 0);
        // An amount off is spread over the lines by their size, so that the parts add up.
        let off = number(coupon, "amount_off").min(whole);
        for (line, left) in lines.iter_mut().zip(&mut left) {
            let amount = match coupon["_basis_points"].as_i64() {
                Some(points) => share(*left, points, 10_000),
                None => share(before + *left, off, whole) - share(before, off, whole),
            };
            before += *left;
            *left -= amount;
            sum += amount;
            if amount > 0
                && let Some(amounts) = line["discount_amounts"].as_array_mut()
            {
                amounts.push(json!({ "amount": amount, "discount": id }));
            }
        }
        taken.push((id.clone(), sum));
    }
    taken
}

/// What part of an amount stays after a subscription's discounts by percent, which prorations are net of.
pub(super) fn net(world: &World, subscription: &Value, amount: i64) -> i64 {
    let ids = subscription["discounts"].as_array().into_iter().flatten();
    ids.fold(amount, |amount, id| {
        let discount = world.store.get("discount", id.as_str().unwrap_or_default());
        let points = discount.and_then(|discount| discount["_coupon"]["_basis_points"].as_i64()).unwrap_or_default();
        amount - share(amount, points, 10_000)
    })
}

/// Discounts that still work after a period was billed: not those for once, nor those that have ended.
pub(super) fn lasting(world: &World, ids: &Value) -> Value {
    let lasts = |id: &&Value| {
        let discount = world.store.get("discount", id.as_str().unwrap_or_default());
        discount.is_some_and(|discount| {
            let ends = discount["end"].as_i64().is_some_and(|end| end <= world.now);
            text(&discount["_coupon"], "duration") != "once" && !ends
        })
    };
    ids.as_array().into_iter().flatten().filter(lasts).cloned().collect()
}

/// `amount × part / whole`, to the nearest; halves away from zero, as Stripe rounds.
pub(super) fn share(amount: i64, part: i64, whole: i64) -> i64 {
    if whole == 0 {
        return 0;
    }
    let (product, whole) = (i128::from(amount) * i128::from(part), i128::from(whole));
    let rounded = (product.abs() * 2 + whole.abs()) / (whole.abs() * 2);
    let signed = if (product < 0) == (whole < 0) { rounded } else { -rounded };
    i64::try_from(signed).unwrap_or(i64::MAX)
}
