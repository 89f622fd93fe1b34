//! `/v1/customers`.

use serde_json::{Value, json};

use super::{buyers, customer_balance, payment_methods, subscriptions};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    params::{MAX_AMOUNT, Params},
    store::{number, text},
    time::TEST_CLOCK,
    world::World,
};

const CREATE: &[&str] = &[
    "test_clock",
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

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/customers", params: CREATE, run: create },
    Endpoint {
        method: "GET",
        path: "/v1/customers",
        params: &["email", "test_clock", "created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/customers/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/customers/{id}", params: PARAMS, run: update },
    Endpoint { method: "DELETE", path: "/v1/customers/{id}", params: &[], run: delete },
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
    let asked = asked(&call.params, &json!({}))?;
    let clock = call.params.text("test_clock")?.filter(|id| !id.is_empty()).unwrap_or_default().to_owned();
    world.execute()?;
    if !clock.is_empty() {
        world.named(TEST_CLOCK, "test clock", &clock, "test_clock")?;
    }
    world.at_clock(&clock, |world| make(world, asked, &clock))
}

/// Makes it, at the time of the clock that it is to live by.
fn make(world: &mut World, asked: Asked, clock: &str) -> Answer {
    let mut customer = blank(world);
    set(&mut customer, asked.fields);
    if !clock.is_empty() {
        customer["test_clock"] = json!(clock);
    }
    let id = text(&customer, "id").to_owned();
    // A card that is refused leaves no customer behind.
    methods(world, &mut customer, asked.method, asked.default)?;
    let customer = world.create("customer", "customer.created", customer);
    match asked.balance.filter(|balance| *balance != 0) {
        Some(balance) => {
            customer_balance::change(world, &id, balance, "initial", None);
            world.object("customer", "customer", &id)
        }
        None => Ok(customer),
    }
}

/// Gives the customer the payment method that is named, and makes one its default. As with Stripe one name (`pm_card_visa`) in both
/// places is one payment method.
fn methods(
    world: &mut World,
    customer: &mut Value,
    method: Option<String>,
    default: Option<Value>,
) -> Result<(), Failure> {
    let id = text(customer, "id").to_owned();
    let mut given = None;
    if let Some(name) = method {
        let object = payment_methods::resolve(world, &name, "payment_method")?;
        given = Some((name, payment_methods::give(world, object, &id)?["id"].clone()));
    }
    let Some(default) = default else { return Ok(()) };
    customer["invoice_settings"]["default_payment_method"] = match (default.as_str(), given) {
        (None, _) => Value::Null,
        (Some(name), Some((same, id))) if name == same => id,
        (Some(name), _) => {
            let param = "invoice_settings[default_payment_method]";
            let object = payment_methods::resolve(world, name, param)?;
            if text(&object, "customer") != id {
                let message = format!(
                    "The customer does not have a payment method with the ID {name}. The payment method must be attached to the customer."
                );
                return Err(Failure::invalid(message).code("resource_missing").param(param));
            }
            object["id"].clone()
        }
    };
    Ok(())
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("customer", "customer", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("customer", call.id()).and_then(|c| c.get("metadata")).cloned().unwrap_or_default();
    let asked = asked(&call.params, &kept)?;
    world.execute()?;
    let mut customer = buyers::existing(world, call.id())?;
    set(&mut customer, asked.fields);
    methods(world, &mut customer, asked.method, asked.default)?;
    let more = asked.balance.map_or(0, |balance| balance - number(&customer, "balance"));
    let customer = world.change("customer", "customer.updated", customer);
    if more == 0 {
        return Ok(customer);
    }
    customer_balance::change(world, call.id(), more, "adjustment", None);
    world.object("customer", "customer", call.id())
}

fn delete(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let customer = buyers::existing(world, call.id())?;
    let gone = json!({ "id": call.id(), "object": "customer", "deleted": true });
    subscriptions::end::customer_gone(world, call.id());
    world.store.insert("customer", gone.clone());
    world.emit("customer.deleted", &customer);
    Ok(gone)
}

fn all(world: &mut World, call: &Call) -> Answer {
    let created = Created::read(&call.params)?;
    call.params.text("email")?;
    call.params.text("test_clock")?;
    let matching: Vec<&Value> = world
        .store
        .all("customer")
        .rev()
        .filter(|customer| customer.get("deleted").is_none() && created.holds(customer))
        .filter(|customer| list::is_asked(customer, &call.params, "email").unwrap_or_default())
        .filter(|customer| list::is_asked(customer, &call.params, "test_clock").unwrap_or_default())
        .collect();
    list::page(&matching, &call.params, "customer", "/v1/customers")
}

/// What is given, read; nothing is changed yet.
struct Asked {
    fields: Vec<(&'static str, Value)>,
    /// A payment method to attach.
    method: Option<String>,
    /// The payment method of invoices; null unsets it.
    default: Option<Value>,
    balance: Option<i64>,
}

fn asked(params: &Params, metadata: &Value) -> Result<Asked, Failure> {
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
    let settings = params.below("invoice_settings")?.unwrap_or_default();
    Ok(Asked {
        fields,
        method: params.text("payment_method")?.filter(|id| !id.is_empty()).map(str::to_owned),
        default: settings.nullable("default_payment_method")?,
        balance: params.at_least(-MAX_AMOUNT, "balance")?,
    })
}

fn set(object: &mut Value, fields: Vec<(&'static str, Value)>) {
    for (name, value) in fields {
        object[name] = value;
    }
}
