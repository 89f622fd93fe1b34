//! `/v1/promotion_codes`: what a customer types to use a coupon.

use serde_json::{Value, json};

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    store::text,
    world::World,
};

const CREATE: &[&str] = &[
    "promotion[type]",
    "promotion[coupon]",
    "coupon",
    "code",
    "active",
    "customer",
    "expires_at",
    "max_redemptions",
    "metadata*",
    "restrictions[first_time_transaction]",
    "restrictions[minimum_amount]",
    "restrictions[minimum_amount_currency]",
];
const LIST: &[&str] = &["active", "code", "coupon", "customer", "created*", "limit", "starting_after", "ending_before"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/promotion_codes", params: CREATE, run: create },
    Endpoint { method: "GET", path: "/v1/promotion_codes", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/promotion_codes/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/promotion_codes/{id}", params: &["active", "metadata*"], run: update },
];

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let promotion = params.below("promotion")?.unwrap_or_default();
    promotion.choice("type", &["coupon"])?;
    let coupon = promotion.text("coupon")?.or(params.text("coupon")?).map(str::to_owned);
    let coupon = coupon.ok_or_else(|| params.missing("promotion"))?;
    let code = params.text("code")?.filter(|code| !code.is_empty()).map(str::to_owned);
    let active = params.boolean("active")?.unwrap_or(true);
    let customer = params.nullable("customer")?.unwrap_or_default();
    let (until, most) = (params.integer("expires_at")?, params.at_least(1, "max_redemptions")?);
    let restrictions = params.below("restrictions")?.unwrap_or_default();
    let first = restrictions.boolean("first_time_transaction")?.unwrap_or_default();
    let (least, least_in) =
        (restrictions.at_least(1, "minimum_amount")?, restrictions.nullable("minimum_amount_currency")?);
    let metadata = params.metadata(&json!({}))?;
    world.execute()?;
    world.named("coupon", "coupon", &coupon, "coupon")?;
    let code = code.unwrap_or_else(|| world.ids.next("").chars().take(8).collect::<String>().to_uppercase());
    let taken = |other: &Value| other["active"] == true && text(other, "code").eq_ignore_ascii_case(&code);
    if active && world.store.all("promotion_code").any(taken) {
        let message = format!("An active promotion code with `code: {code}` already exists.");
        return Err(Failure::invalid(message).param("code"));
    }
    let promotion_code = json!({
        "id": world.ids.next("promo_"),
        "object": "promotion_code",
        "active": active,
        "code": code,
        "created": world.now,
        "customer": customer,
        "customer_account": null,
        "expires_at": until,
        "livemode": false,
        "max_redemptions": most,
        "metadata": metadata,
        "promotion": { "coupon": coupon, "type": "coupon" },
        "restrictions": { "first_time_transaction": first, "minimum_amount": least,
            "minimum_amount_currency": least_in.unwrap_or_default() },
        "times_redeemed": 0,
    });
    Ok(world.create("promotion_code", "promotion_code.created", promotion_code))
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("promotion_code", "promotion code", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("promotion_code", call.id()).map(|c| c["metadata"].clone()).unwrap_or_default();
    let (metadata, active) = (call.params.metadata(&kept)?, call.params.boolean("active")?);
    world.execute()?;
    let mut code = world.object("promotion_code", "promotion code", call.id())?;
    code["metadata"] = metadata;
    if let Some(active) = active {
        code["active"] = json!(active);
    }
    Ok(world.change("promotion_code", "promotion_code.updated", code))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let (created, coupon) = (Created::read(params)?, params.text("coupon")?);
    let mut matching: Vec<&Value> = Vec::new();
    for code in world.store.all("promotion_code").rev().filter(|code| created.holds(code)) {
        let mut asked = coupon.is_none_or(|coupon| text(&code["promotion"], "coupon") == coupon);
        for field in ["active", "code", "customer"] {
            asked &= list::is_asked(code, params, field)?;
        }
        if asked {
            matching.push(code);
        }
    }
    list::page(&matching, params, "promotion_code", "/v1/promotion_codes")
}
