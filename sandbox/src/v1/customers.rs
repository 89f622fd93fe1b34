//! `/v1/customers`.

pub(super) mod update;

use serde_json::{Value, json};

use super::{buyers, customer_balance, subscriptions};
use crate::{
    endpoint::{Call, Endpoint},
    failure::Answer,
    list::{self, Created},
    store::text,
    time::TEST_CLOCK,
    world::World,
};
use update::{Asked, asked, methods, set, update};

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

fn retrieve(world: &mut World, call: &Call) -> Answer {
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
