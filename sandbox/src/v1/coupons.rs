//! `/v1/coupons`.

use serde_json::{Value, json};

use super::prices;
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    store::number,
    world::World,
};

const CREATE: &[&str] = &[
    "id",
    "name",
    "percent_off",
    "amount_off",
    "currency",
    "duration",
    "duration_in_months",
    "max_redemptions",
    "redeem_by",
    "metadata*",
];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/coupons", params: CREATE, run: create },
    Endpoint {
        method: "GET",
        path: "/v1/coupons",
        params: &["created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/coupons/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/coupons/{id}", params: &["name", "metadata*"], run: update },
    Endpoint { method: "DELETE", path: "/v1/coupons/{id}", params: &[], run: delete },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let points = params.text("percent_off")?.map(basis_points).transpose()?;
    let amount = params.at_least(1, "amount_off")?;
    if points.is_some() == amount.is_some() {
        let message = "Must provide exactly one of percent_off or amount_off when creating a coupon.";
        return Err(Failure::invalid(message).param("percent_off"));
    }
    let currency = if amount.is_some() { json!(prices::currency(params)?) } else { Value::Null };
    let duration = params.choice("duration", &["forever", "once", "repeating"])?.unwrap_or("once").to_owned();
    let months = params.at_least(1, "duration_in_months")?;
    if (duration == "repeating") != months.is_some() {
        let message = "duration_in_months goes with a duration of `repeating`, and with no other.";
        return Err(Failure::invalid(message).param("duration_in_months"));
    }
    if months.is_some_and(|months| months > 1200) {
        return Err(Failure::invalid("duration_in_months is at most 1200.").param("duration_in_months"));
    }
    let (most, until) = (params.at_least(1, "max_redemptions")?, params.integer("redeem_by")?);
    let (name, metadata) = (params.nullable("name")?.unwrap_or_default(), params.metadata(&json!({}))?);
    let percent = params.text("percent_off")?.and_then(|text| text.parse::<f64>().ok());
    let given = params.text("id")?.filter(|id| !id.is_empty()).map(str::to_owned);
    world.execute()?;
    if let Some(id) = given.as_ref().filter(|id| world.store.any(id).is_some()) {
        let message = format!("Coupon already exists: {id}");
        return Err(Failure::invalid(message).code("resource_already_exists").param("id"));
    }
    let id = given.unwrap_or_else(|| world.ids.next("").chars().take(8).collect());
    let coupon = json!({
        "id": id,
        "object": "coupon",
        "amount_off": amount,
        "created": world.now,
        "currency": currency,
        "duration": duration,
        "duration_in_months": months,
        "livemode": false,
        "max_redemptions": most,
        "metadata": metadata,
        "name": name,
        "percent_off": percent,
        "redeem_by": until,
        "times_redeemed": 0,
        "valid": true,
        "_basis_points": points,
    });
    Ok(world.create("coupon", "coupon.created", coupon))
}

/// A percentage with at most two decimals, in hundredths of a percent.
fn basis_points(text: &str) -> Result<i64, Failure> {
    let refused = || Failure::invalid(format!("Invalid decimal: {text}")).param("percent_off");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 2 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    let points = format!("{whole}{fraction:0<2}").parse::<i64>().map_err(|_| refused())?;
    if (1..=10_000).contains(&points) {
        Ok(points)
    } else {
        Err(Failure::invalid("percent_off must be greater than 0 and at most 100.").param("percent_off"))
    }
}

/// A coupon that may be used now, in a currency.
pub(super) fn usable(world: &World, id: &str, currency: &str) -> Answer {
    let coupon = world.named("coupon", "coupon", id, "discounts[0][coupon]")?;
    let used = number(&coupon, "times_redeemed");
    let over = coupon["redeem_by"].as_i64().is_some_and(|at| at <= world.now)
        || coupon["max_redemptions"].as_i64().is_some_and(|most| used >= most);
    if over {
        return Err(Failure::invalid(format!("Coupon expired: {id}")).code("coupon_expired").param("coupon"));
    }
    if coupon["currency"].as_str().is_some_and(|own| own != currency) {
        let message = format!("The coupon {id} is of another currency than {currency}.");
        return Err(Failure::invalid(message).param("coupon"));
    }
    Ok(coupon)
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("coupon", "coupon", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("coupon", call.id()).map(|c| c["metadata"].clone()).unwrap_or_default();
    let (metadata, name) = (call.params.metadata(&kept)?, call.params.nullable("name")?);
    world.execute()?;
    let mut coupon = world.object("coupon", "coupon", call.id())?;
    coupon["metadata"] = metadata;
    if let Some(name) = name {
        coupon["name"] = name;
    }
    Ok(world.change("coupon", "coupon.updated", coupon))
}

fn delete(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let coupon = world.object("coupon", "coupon", call.id())?;
    world.store.remove("coupon", call.id());
    world.emit("coupon.deleted", &coupon);
    Ok(json!({ "id": call.id(), "object": "coupon", "deleted": true }))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    let matching: Vec<&Value> = world.store.all("coupon").rev().filter(|coupon| created.holds(coupon)).collect();
    list::page(&matching, &call.params, "coupon", "/v1/coupons")
}
