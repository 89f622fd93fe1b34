//! Billing, as a caller sees it: requests, time, and the events that come of both.

mod changes;
mod clocks;
mod invoices;
mod payments;
mod property;
mod renewals;
mod sums;

use chrono::DateTime;
use serde_json::Value;

use crate::{message::Request, world::World};

/// 2027-01-31 10:20:30 UTC.
const START: i64 = 1_801_390_830;
const DAY: i64 = 24 * 60 * 60;

/// A world, a customer who pays, and a price.
struct Shop {
    world: World,
    now: i64,
    customer: String,
    product: String,
}

impl Shop {
    fn new() -> Self {
        let world = World::new("http://127.0.0.1:1".to_owned(), None, 7, 0);
        let mut shop = Self { world, now: START, customer: String::new(), product: String::new() };
        shop.customer = shop.made("/v1/customers", "email=a@example.com");
        shop.product = shop.made("/v1/products", "name=Pro");
        shop
    }

    fn send(&mut self, method: &str, path: &str, form: &str) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let headers = vec![("authorization".to_owned(), "Bearer sk_test_123456789".to_owned())];
        let request =
            Request { method: method.into(), path: path.into(), query: query.into(), headers, body: form.into() };
        let response = self.world.handle(self.now, &request).response;
        (response.status, serde_json::from_str(&response.body).unwrap())
    }

    fn post(&mut self, path: &str, form: &str) -> Value {
        let (status, object) = self.send("POST", path, form);
        assert_eq!(status, 200, "{path} {form}: {object}");
        object
    }

    fn refused(&mut self, path: &str, form: &str) -> (u16, Value) {
        let (status, body) = self.send("POST", path, form);
        assert_ne!(status, 200, "{path} {form}: {body}");
        (status, body["error"].clone())
    }

    fn get(&mut self, path: &str) -> Value {
        let (status, object) = self.send("GET", path, "");
        assert_eq!(status, 200, "{path}: {object}");
        object
    }

    fn made(&mut self, path: &str, form: &str) -> String {
        id(&self.post(path, form))
    }

    fn price(&mut self, amount: i64, interval: &str) -> String {
        let form = format!("product={}&currency=usd&unit_amount={amount}&recurring[interval]={interval}", self.product);
        self.made("/v1/prices", &form)
    }

    fn subscribe(&mut self, price: &str, more: &str) -> Value {
        let form = format!("customer={}&items[0][price]={price}{more}", self.customer);
        self.post("/v1/subscriptions", &form)
    }

    fn subscription(&mut self, of: &Value) -> Value {
        self.get(&format!("/v1/subscriptions/{}", id(of)))
    }

    /// Attaches a test card and makes it the default one.
    fn card(&mut self, name: &str) {
        let form = format!("customer={}", self.customer);
        let (status, method) = self.send("POST", &format!("/v1/payment_methods/{name}/attach"), &form);
        let method = if status == 200 { id(&method) } else { name.to_owned() };
        let form = format!("invoice_settings[default_payment_method]={method}");
        self.post(&format!("/v1/customers/{}", self.customer), &form);
    }

    fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        self.world.tick(self.now);
    }

    /// To a day, at the time of day of [`START`].
    fn pass_to(&mut self, day: &str) {
        let at = DateTime::parse_from_rfc3339(&format!("{day}T10:20:30Z")).unwrap().timestamp();
        self.pass(at - self.now);
    }

    /// The events since the first so many: their types, without those of payments, which are another room's.
    fn told(&self, since: usize) -> Vec<String> {
        let kinds = self.world.store.all("event").skip(since).map(|event| event["type"].as_str().unwrap());
        kinds.filter(|kind| !kind.starts_with("payment") && !kind.starts_with("charge")).map(str::to_owned).collect()
    }

    fn count(&self) -> usize {
        self.world.store.all("event").count()
    }

    /// The newest event of a type.
    fn event(&self, kind: &str) -> Value {
        let found = self.world.store.all("event").rev().find(|event| event["type"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}")).clone()
    }

    fn invoices(&mut self, of: &Value) -> Vec<Value> {
        let mut page = self.get(&format!("/v1/invoices?subscription={}&limit=100", id(of)));
        let mut all: Vec<Value> = page["data"].as_array_mut().unwrap().drain(..).collect();
        all.reverse();
        all
    }
}

fn id(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

fn day(at: &Value) -> String {
    DateTime::from_timestamp(at.as_i64().unwrap(), 0).unwrap().format("%F").to_string()
}

fn lines(invoice: &Value) -> Vec<(i64, String)> {
    let lines = invoice["lines"]["data"].as_array().unwrap();
    lines
        .iter()
        .map(|line| (line["amount"].as_i64().unwrap(), line["description"].as_str().unwrap().to_owned()))
        .collect()
}
