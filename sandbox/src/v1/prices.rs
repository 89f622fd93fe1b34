//! `/v1/prices`, and the prices that Checkout and subscriptions make in passing (`price_data`).

use serde_json::{Value, json};

use super::products;
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    money::{self, Money},
    params::{MAX_AMOUNT, Params},
    store::{number, text},
    world::World,
};

const CREATE: &[&str] = &[
    "currency",
    "product",
    "product_data*",
    "unit_amount",
    "unit_amount_decimal",
    "recurring*",
    "nickname",
    "lookup_key",
    "transfer_lookup_key",
    "metadata*",
    "active",
    "tax_behavior",
    "billing_scheme",
];
const UPDATE: &[&str] = &["nickname", "lookup_key", "transfer_lookup_key", "metadata*", "active", "tax_behavior"];
const LIST: &[&str] =
    &["active", "product", "type", "currency", "lookup_keys[]", "created*", "limit", "starting_after", "ending_before"];
const INTERVALS: &[&str] = &["day", "week", "month", "year"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/prices", params: CREATE, run: create },
    Endpoint { method: "GET", path: "/v1/prices", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/prices/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/prices/{id}", params: UPDATE, run: update },
];

/// A price as it is asked for, read and not yet made.
#[derive(Debug)]
pub(super) struct Draft {
    currency: &'static str,
    unit_amount: i64,
    recurring: Value,
    product: Option<String>,
    /// Name and metadata of a product that is made with it.
    product_data: Option<(String, Value)>,
    tax_behavior: String,
    param: &'static str,
}

/// Reads what `POST /v1/prices` and every `price_data` have in common.
pub(super) fn draft(params: &Params, param: &'static str) -> Result<Draft, Failure> {
    let currency = currency(params)?;
    let unit_amount = match (params.at_least(0, "unit_amount")?, params.at_least(0, "unit_amount_decimal")?) {
        (Some(amount), None) | (None, Some(amount)) => amount,
        (None, None) => return Err(params.missing("unit_amount")),
        (Some(_), Some(_)) => {
            let message = "You may only specify one of these parameters: unit_amount, unit_amount_decimal.";
            return Err(Failure::invalid(message).param("unit_amount"));
        }
    };
    money::check(unit_amount, currency, "unit_amount")?;
    let product_data = match params.below("product_data")? {
        Some(data) => Some((data.required("name")?.to_owned(), data.metadata(&json!({}))?)),
        None => None,
    };
    let product = params.text("product")?.map(str::to_owned);
    if product.is_none() && product_data.is_none() {
        return Err(params.missing("product"));
    }
    let tax_behavior = params.choice("tax_behavior", &["exclusive", "inclusive", "unspecified"])?;
    let tax_behavior = tax_behavior.unwrap_or("unspecified").to_owned();
    Ok(Draft { currency, unit_amount, recurring: recurring(params)?, product, product_data, tax_behavior, param })
}

/// A currency that the sandbox knows.
pub(super) fn currency(params: &Params) -> Result<&'static str, Failure> {
    let given = params.required("currency")?;
    Money::currency(given).ok_or_else(|| Failure::invalid(format!("Invalid currency: {given}")).param("currency"))
}

fn recurring(params: &Params) -> Result<Value, Failure> {
    let Some(recurring) = params.below("recurring")? else { return Ok(Value::Null) };
    recurring.required("interval")?;
    let interval = recurring.choice("interval", INTERVALS)?;
    let usage = recurring.choice("usage_type", &["licensed", "metered"])?.unwrap_or("licensed");
    let count = recurring.at_least(1, "interval_count")?.unwrap_or(1);
    if count > 1095 {
        return Err(Failure::invalid("An interval is at most three years long.").param("recurring[interval_count]"));
    }
    Ok(json!({
        "interval": interval,
        "interval_count": count,
        "meter": recurring.nullable("meter")?.unwrap_or_default(),
        "trial_period_days": null,
        "usage_type": usage,
    }))
}

impl Draft {
    /// Makes it; `active` is false for those made in passing.
    pub(super) fn make(self, world: &mut World, active: bool) -> Answer {
        let product = match (self.product, self.product_data) {
            (Some(id), _) => world.named("product", "product", &id, self.param)?,
            (None, Some((name, metadata))) => products::inline(world, &name, metadata),
            (None, None) => return Err(Failure::no_such_param("product", "", self.param)),
        };
        Ok(json!({
            "id": world.ids.next("price_"),
            "object": "price",
            "active": active,
            "billing_scheme": "per_unit",
            "created": world.now,
            "currency": self.currency,
            "custom_unit_amount": null,
            "livemode": false,
            "lookup_key": null,
            "metadata": {},
            "nickname": null,
            "product": product["id"],
            "type": if self.recurring.is_null() { "one_time" } else { "recurring" },
            "recurring": self.recurring,
            "tax_behavior": self.tax_behavior,
            "tiers_mode": null,
            "transform_quantity": null,
            "unit_amount": self.unit_amount,
            "unit_amount_decimal": self.unit_amount.to_string(),
        }))
    }
}

/// A monthly price in US dollars under a given id, with a product of its own.
pub(crate) fn sell(world: &mut World, id: &str, name: &str, amount: i64) -> Result<(), Failure> {
    let recurring = json!({ "interval": "month", "interval_count": 1, "meter": null, "trial_period_days": null, "usage_type": "licensed" });
    let product = products::named(world, name, json!({}));
    let id_of_product = text(&product, "id").to_owned();
    world.store.insert("product", product);
    let draft = Draft {
        currency: "usd",
        unit_amount: amount,
        recurring,
        product: Some(id_of_product),
        product_data: None,
        tax_behavior: "unspecified".to_owned(),
        param: "product",
    };
    let mut price = draft.make(world, true)?;
    price["id"] = json!(id);
    world.store.insert("price", price);
    Ok(())
}

fn create(world: &mut World, call: &Call) -> Answer {
    let draft = draft(&call.params, "product")?;
    let fields = fields(&call.params, &json!({}))?;
    world.execute()?;
    let mut price = draft.make(world, true)?;
    for (name, value) in fields {
        price[name] = value;
    }
    free_lookup_key(world, call, &price)?;
    Ok(world.create("price", "price.created", price))
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("price", "price", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("price", call.id()).and_then(|p| p.get("metadata")).cloned().unwrap_or_default();
    let fields = fields(&call.params, &kept)?;
    world.execute()?;
    let mut price = world.object("price", "price", call.id())?;
    for (name, value) in fields {
        price[name] = value;
    }
    free_lookup_key(world, call, &price)?;
    Ok(world.change("price", "price.updated", price))
}

/// A look-up key names one price: it is refused when taken, or moved when that is asked for.
fn free_lookup_key(world: &mut World, call: &Call, price: &Value) -> Result<(), Failure> {
    let key = text(price, "lookup_key");
    let taken = world
        .store
        .all("price")
        .find(|other| !key.is_empty() && text(other, "lookup_key") == key && text(other, "id") != text(price, "id"));
    let Some(mut other) = taken.cloned() else { return Ok(()) };
    if call.params.boolean("transfer_lookup_key")? != Some(true) {
        let message = format!("A price (`{}`) already uses that lookup key.", text(&other, "id"));
        return Err(Failure::invalid(message).param("lookup_key"));
    }
    other["lookup_key"] = Value::Null;
    world.change("price", "price.updated", other);
    Ok(())
}

fn all(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let (created, keys) = (Created::read(params)?, params.texts("lookup_keys")?);
    let mut matching: Vec<&Value> = Vec::new();
    for price in world.store.all("price").rev().filter(|price| created.holds(price)) {
        let mut asked = keys.is_empty() || keys.iter().any(|key| text(price, "lookup_key") == key);
        for field in ["active", "product", "type", "currency"] {
            asked &= list::is_asked(price, params, field)?;
        }
        if asked {
            matching.push(price);
        }
    }
    list::page(&matching, params, "price", "/v1/prices")
}

fn fields(params: &Params, metadata: &Value) -> Result<Vec<(&'static str, Value)>, Failure> {
    let mut fields = vec![("metadata", params.metadata(metadata)?)];
    for name in ["nickname", "lookup_key"] {
        fields.extend(params.nullable(name)?.map(|value| (name, value)));
    }
    params.boolean("transfer_lookup_key")?;
    params.choice("billing_scheme", &["per_unit"])?;
    fields.extend(params.boolean("active")?.map(|active| ("active", json!(active))));
    Ok(fields)
}

/// What a price costs, so many times.
pub(super) fn total(price: &Value, quantity: i64) -> Result<i64, Failure> {
    let total = number(price, "unit_amount").saturating_mul(quantity);
    if total > MAX_AMOUNT {
        return Err(Failure::invalid(format!("Amount must be no more than {MAX_AMOUNT}.")).code("amount_too_large"));
    }
    Ok(total)
}
