//! The calls that `stripe trigger` makes about payments, and what each of Stripe's cards does.

mod books;
mod cards;
mod shapes;
mod trigger;

use serde_json::Value;

use crate::{message::Request, world::World};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 60 * 60;

/// A sandbox whose time is the test's.
struct Shop {
    world: World,
    now: i64,
}

impl Shop {
    fn new() -> Self {
        Self { world: World::new("http://127.0.0.1:1".to_owned(), None, 7, 1_000_000), now: NOW }
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: vec![("authorization".to_owned(), "Bearer sk_test_123456789".to_owned())],
            body: body.into(),
        };
        let response = self.world.handle(self.now, &request).response;
        (response.status, serde_json::from_str(&response.body).unwrap())
    }

    fn post(&mut self, path: &str, body: &str) -> Value {
        let (status, object) = self.send("POST", path, body);
        assert_eq!(status, 200, "{path} {body}: {object}");
        object
    }

    fn get(&mut self, path: &str) -> Value {
        let (status, object) = self.send("GET", path, "");
        assert_eq!(status, 200, "{path}: {object}");
        object
    }

    /// The error of a call that is refused.
    fn refused(&mut self, path: &str, body: &str, status: u16) -> Value {
        let (is, object) = self.send("POST", path, body);
        assert_eq!(is, status, "{path} {body}: {object}");
        object["error"].clone()
    }

    fn pay(&mut self, method: &str) -> Value {
        self.post("/v1/payment_intents", &charge(method))
    }

    /// The names of all events, the oldest first.
    fn told(&mut self) -> Vec<String> {
        let mut all: Vec<String> = self.world.store.all("event").map(|e| text(&e["type"]).to_owned()).collect();
        all.retain(|kind| kind != "charge.updated");
        all
    }

    fn balance(&mut self, of: &str) -> i64 {
        let balance = self.get("/v1/balance");
        let usd = balance[of].as_array().unwrap().iter().find(|entry| entry["currency"] == "usd").unwrap();
        usd["amount"].as_i64().unwrap()
    }

    /// What a customer of its own has.
    fn customer(&mut self) -> String {
        text(&self.post("/v1/customers", "email=a@example.com")["id"]).to_owned()
    }
}

fn charge(method: &str) -> String {
    format!("amount=2000&currency=usd&confirm=true&payment_method={method}&payment_method_types[]=card")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
