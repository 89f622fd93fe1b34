//! `/v1/products`.

use serde_json::{Value, json};

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    params::Params,
    world::World,
};

const CREATE: &[&str] = &[
    "id",
    "name",
    "active",
    "description",
    "metadata*",
    "images[]",
    "statement_descriptor",
    "tax_code",
    "unit_label",
    "url",
    "shippable",
    "type",
    "marketing_features*",
    "package_dimensions*",
];
const UPDATE: &[&str] = &[
    "name",
    "active",
    "description",
    "metadata*",
    "images[]",
    "statement_descriptor",
    "tax_code",
    "unit_label",
    "url",
    "shippable",
    "default_price",
    "marketing_features*",
    "package_dimensions*",
];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/products", params: CREATE, run: create },
    Endpoint {
        method: "GET",
        path: "/v1/products",
        params: &["active", "ids[]", "created*", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/products/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/products/{id}", params: UPDATE, run: update },
];

fn create(world: &mut World, call: &Call) -> Answer {
    call.params.required("name")?;
    let given = call.params.text("id")?.filter(|id| !id.is_empty()).map(str::to_owned);
    let fields = fields(&call.params, &json!({}))?;
    world.execute()?;
    if let Some(id) = given.as_ref().filter(|id| world.store.any(id).is_some()) {
        let message = format!("Product already exists: {id}");
        return Err(Failure::invalid(message).code("resource_already_exists").param("id"));
    }
    let mut product = blank(world);
    for (name, value) in fields {
        product[name] = value;
    }
    if let Some(id) = given {
        product["id"] = json!(id);
    }
    Ok(world.create("product", "product.created", product))
}

/// A product by its name alone, as `product_data` makes it.
pub(super) fn inline(world: &mut World, name: &str, metadata: Value) -> Value {
    let product = named(world, name, metadata);
    world.create("product", "product.created", product)
}

/// One that nobody has heard of yet.
pub(super) fn named(world: &mut World, name: &str, metadata: Value) -> Value {
    let mut product = blank(world);
    product["name"] = json!(name);
    product["metadata"] = metadata;
    product
}

fn blank(world: &mut World) -> Value {
    json!({
        "id": world.ids.next("prod_"),
        "object": "product",
        "active": true,
        "attributes": [],
        "created": world.now,
        "default_price": null,
        "description": null,
        "images": [],
        "livemode": false,
        "marketing_features": [],
        "metadata": {},
        "name": "",
        "package_dimensions": null,
        "shippable": null,
        "statement_descriptor": null,
        "tax_code": null,
        "type": "service",
        "unit_label": null,
        "updated": world.now,
        "url": null,
    })
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("product", "product", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    if call.params.has("name") {
        call.params.required("name")?;
    }
    let kept = world.store.get("product", call.id()).and_then(|p| p.get("metadata")).cloned().unwrap_or_default();
    let fields = fields(&call.params, &kept)?;
    world.execute()?;
    let mut product = world.object("product", "product", call.id())?;
    for (name, value) in fields {
        product[name] = value;
    }
    product["updated"] = json!(world.now);
    Ok(world.change("product", "product.updated", product))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let (created, ids) = (Created::read(&call.params)?, call.params.texts("ids")?);
    call.params.boolean("active")?;
    let matching: Vec<&Value> = world
        .store
        .all("product")
        .rev()
        .filter(|product| created.holds(product))
        .filter(|product| ids.is_empty() || ids.iter().any(|id| product["id"] == *id))
        .filter(|product| list::is_asked(product, &call.params, "active").unwrap_or_default())
        .collect();
    list::page(&matching, &call.params, "product", "/v1/products")
}

fn fields(params: &Params, metadata: &Value) -> Result<Vec<(&'static str, Value)>, Failure> {
    let mut fields = vec![("metadata", params.metadata(metadata)?)];
    for name in ["name", "description", "statement_descriptor", "tax_code", "unit_label", "url", "default_price"] {
        fields.extend(params.nullable(name)?.map(|value| (name, value)));
    }
    for name in ["active", "shippable"] {
        fields.extend(params.boolean(name)?.map(|value| (name, json!(value))));
    }
    if params.has("images") {
        fields.push(("images", json!(params.texts("images")?)));
    }
    fields.extend(params.choice("type", &["service", "good"])?.map(|kind| ("type", json!(kind))));
    Ok(fields)
}
