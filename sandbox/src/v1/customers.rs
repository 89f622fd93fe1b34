//! `/v1/customers`.

use serde_json::{Value, json};

use super::subscriptions;
use crate::{
    failure::{Answer, Failure},
    list::{self, Created},
    params::Params,
    routes::{Call, Route},
    store::text,
    world::World,
};

const PARAMS: &[&str] = &[
    "email",
    "name",
    "phone",
    "description",
    "metadata*",
    "address*",
    "shipping*",
    "payment_method",
    "invoice_settings*",
    "preferred_locales[]",
    "tax_exempt",
    "balance",
    "source",
    "invoice_prefix",
    "tax*",
    "tax_id_data*",
    "default_source",
];

pub(super) const ROUTES: &[Route] = &[
    Route { method: "POST", path: "/v1/customers", params: PARAMS, run: create },
    Route {
        method: "GET",
        path: "/v1/customers",
        params: &["email", "created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Route { method: "GET", path: "/v1/customers/{id}", params: &[], run: retrieve },
    Route { method: "POST", path: "/v1/customers/{id}", params: PARAMS, run: update },
    Route { method: "DELETE", path: "/v1/customers/{id}", params: &[], run: delete },
];

/// A customer with nothing said about it. Also what Checkout makes of a buyer.
pub(super) fn blank(world: &mut World) -> Value {
    let id = world.ids.next("cus_");
    json!({
        "object": "customer",
        "address": null,
        "balance": 0,
        "created": world.now,
        "currency": null,
        "default_source": null,
        "delinquent": false,
        "description": null,
        "discount": null,
        "email": null,
        "invoice_prefix": id.trim_start_matches("cus_").chars().take(8).collect::<String>().to_uppercase(),
        "invoice_settings": { "custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null },
        "id": id,
        "livemode": false,
        "metadata": {},
        "name": null,
        "next_invoice_sequence": 1,
        "phone": null,
        "preferred_locales": [],
        "shipping": null,
        "tax_exempt": "none",
        "test_clock": null,
    })
}

fn create(world: &mut World, call: &Call) -> Answer {
    let fields = fields(&call.params, &json!({}))?;
    world.execute()?;
    let mut customer = blank(world);
    set(&mut customer, fields);
    Ok(world.create("customer", "customer.created", customer))
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("customer", "customer", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("customer", call.id()).and_then(|c| c.get("metadata")).cloned().unwrap_or_default();
    let fields = fields(&call.params, &kept)?;
    world.execute()?;
    let mut customer = existing(world, call.id())?;
    set(&mut customer, fields);
    Ok(world.change("customer", "customer.updated", customer))
}

fn delete(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let customer = existing(world, call.id())?;
    let gone = json!({ "id": call.id(), "object": "customer", "deleted": true });
    subscriptions::end::customer_gone(world, call.id());
    world.store.insert("customer", gone.clone());
    world.emit("customer.deleted", &customer);
    Ok(gone)
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    call.params.text("email")?;
    let matching: Vec<&Value> = world
        .store
        .all("customer")
        .rev()
        .filter(|customer| customer.get("deleted").is_none() && created.holds(customer))
        .filter(|customer| list::is_asked(customer, &call.params, "email").unwrap_or_default())
        .collect();
    list::page(&matching, &call.params, "customer", "/v1/customers")
}

/// A customer that is not deleted.
fn existing(world: &World, id: &str) -> Answer {
    let customer = world.object("customer", "customer", id)?;
    if customer.get("deleted").is_some() { Err(Failure::no_such("customer", id)) } else { Ok(customer) }
}

/// The customer that a parameter names, if it may still buy.
pub(super) fn buyer(world: &World, id: &str) -> Answer {
    let customer = world.named("customer", "customer", id, "customer")?;
    if customer.get("deleted").is_some() {
        Err(Failure::no_such_param("customer", id, "customer"))
    } else {
        Ok(customer)
    }
}

/// What is given, read; nothing is changed yet.
fn fields(params: &Params, metadata: &Value) -> Result<Vec<(&'static str, Value)>, Failure> {
    let mut fields = vec![("metadata", params.metadata(metadata)?)];
    for name in ["email", "name", "phone", "description", "invoice_prefix", "default_source"] {
        fields.extend(params.nullable(name)?.map(|value| (name, value)));
    }
    for name in ["address", "shipping"] {
        fields.extend(params.kept(name).map(|value| (name, value)));
    }
    if params.has("preferred_locales") {
        fields.push(("preferred_locales", json!(params.texts("preferred_locales")?)));
    }
    let exempt = params.choice("tax_exempt", &["none", "exempt", "reverse"])?;
    fields.extend(exempt.map(|exempt| ("tax_exempt", json!(exempt))));
    fields.extend(params.integer("balance")?.map(|balance| ("balance", json!(balance))));
    if let Some(settings) = params.below("invoice_settings")? {
        let method = settings.nullable("default_payment_method")?.unwrap_or_default();
        let rest = json!({ "custom_fields": null, "default_payment_method": method, "footer": null, "rendering_options": null });
        fields.push(("invoice_settings", rest));
    }
    Ok(fields)
}

fn set(object: &mut Value, fields: Vec<(&'static str, Value)>) {
    for (name, value) in fields {
        object[name] = value;
    }
}

/// Who pays, as other objects show it.
pub(super) fn email_of(world: &World, id: &str) -> Value {
    let email = world.store.get("customer", id).map(|customer| text(customer, "email").to_owned());
    email.filter(|email| !email.is_empty()).map_or(Value::Null, Value::from)
}
