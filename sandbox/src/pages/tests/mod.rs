//! The pages as a browser uses them: fetched, and their forms sent.

mod checkout;
mod connect;
mod look;
mod money;
mod portal;

use serde_json::Value;

use crate::{
    message::{Request, Response},
    world::World,
};

const NOW: i64 = 1_800_000_000;
const URL: &str = "http://127.0.0.1:12111";

fn world() -> World {
    World::new(URL.to_owned(), None, 7, 1_000_000)
}

fn send(world: &mut World, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Response {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
    world.handle(NOW, &Request { method, path, query, headers, body: body.into() }).response
}

/// A call of the API.
fn api(world: &mut World, method: &str, path: &str, body: &str) -> (u16, Value) {
    let response = send(world, method, path, body, &[("authorization", "Bearer sk_test_123456789")]);
    (response.status, serde_json::from_str(&response.body).unwrap())
}

fn made(world: &mut World, path: &str, body: &str) -> Value {
    let (status, object) = api(world, "POST", path, body);
    assert_eq!(status, 200, "{path}: {object}");
    object
}

fn got(world: &mut World, path: &str) -> Value {
    let (status, object) = api(world, "GET", path, "");
    assert_eq!(status, 200, "{path}: {object}");
    object
}

fn id(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

/// The path of a page that the API has handed out.
fn path(object: &Value) -> String {
    object["url"].as_str().unwrap().strip_prefix(URL).unwrap().to_owned()
}

fn get(world: &mut World, path: &str) -> Response {
    send(world, "GET", path, "", &[])
}

/// A form that a browser sends from one of our pages.
fn post(world: &mut World, path: &str, form: &str) -> Response {
    send(world, "POST", path, form, &[("origin", URL)])
}

/// Where a response leads.
fn location(response: &Response) -> &str {
    assert_eq!(response.status, 303, "{}", response.body);
    response.headers.iter().find(|(name, _)| *name == "Location").map(|(_, to)| to.as_str()).unwrap()
}

/// How often something was told.
fn told(world: &World, kind: &str) -> usize {
    world.store.all("event").filter(|event| event["type"] == kind).count()
}

/// A checkout of one product.
fn session(world: &mut World, more: &str) -> Value {
    let form = format!(
        "mode=payment&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=1900\
         &line_items[0][price_data][product_data][name]=Credits&line_items[0][quantity]=1\
         &success_url=https://shop.example/done?s={{CHECKOUT_SESSION_ID}}&cancel_url=https://shop.example/cart&{more}"
    );
    made(world, "/v1/checkout/sessions", &form)
}

/// A price that recurs monthly.
fn plan(world: &mut World, name: &str, cents: i64) -> String {
    let product = id(&made(world, "/v1/products", &format!("name={name}")));
    id(&made(
        world,
        "/v1/prices",
        &format!("product={product}&currency=usd&unit_amount={cents}&recurring[interval]=month"),
    ))
}
