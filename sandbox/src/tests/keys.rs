//! What is kept under an idempotency key, where no resource lets a client see it.

use serde_json::json;

use super::{request, send, world};
use crate::{
    failure::Failure,
    idempotency::{Fingerprint, Key, Keys, Saved},
    message::Response,
    world::World,
};

fn key(scope: &str) -> Key {
    Key::new(scope.to_owned(), "k").unwrap()
}

fn saved(status: u16) -> Saved {
    Saved { status, body: String::new(), request_id: "req_1".to_owned() }
}

fn fingerprint(path: &str, fields: &[(&str, &str)]) -> Fingerprint {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Fingerprint::new(path, fields)
}

#[test]
fn a_key_belongs_to_its_api_key_and_account_and_lives_for_a_day() {
    let mut keys = Keys::default();
    let print = fingerprint("/v1/customers", &[]);
    keys.save(key("sk_a "), print.clone(), saved(402), false, 0);
    for (scope, found) in [("sk_a ", true), ("sk_b ", false), ("sk_a acct_1", false)] {
        assert_eq!(keys.look(&key(scope), &print, 0).unwrap().is_some(), found, "{scope}");
    }
    assert!(keys.look(&key("sk_a "), &print, 24 * 60 * 60 - 1).unwrap().is_some());
    assert!(keys.look(&key("sk_a "), &print, 24 * 60 * 60).unwrap().is_none());
    assert_eq!(keys.prune(), 0, "a look at another key prunes what is old");
}

#[test]
fn a_key_in_flight_outlives_its_day() {
    let mut keys = Keys::default();
    let print = fingerprint("/v1/customers", &[]);
    keys.save(key("s"), print.clone(), saved(200), true, 0);
    assert_eq!(keys.look(&key("s"), &print, 100_000), Err(Failure::in_use("k")));
    assert_eq!(keys.prune(), 0);
    keys.land(&key("s"));
    assert_eq!(keys.prune(), 1);
}

#[test]
fn the_order_of_fields_does_not_count_and_that_of_an_array_does() {
    let same = |a: &[(&str, &str)], b: &[(&str, &str)]| fingerprint("/p", a) == fingerprint("/p", b);
    assert!(same(&[("a", "1"), ("b", "2")], &[("b", "2"), ("a", "1")]));
    assert!(!same(&[("a[]", "1"), ("a[]", "2")], &[("a[]", "2"), ("a[]", "1")]));
    assert!(!same(&[("a", "1")], &[("a", "2")]));
}

fn keyed(world: &mut World, body: &str) -> Response {
    world.handle(1_800_000_000, &request("POST", "/v1/customers", body)).response
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
}

#[test]
fn an_answer_names_its_key_and_the_request_that_first_got_it() {
    let mut world = world();
    let first = keyed(&mut world, "email=a");
    let again = keyed(&mut world, "email=a");
    let request_id = header(&first, "Request-Id");
    assert!(request_id.is_some() && header(&again, "Request-Id") != request_id);
    for (response, replayed) in [(&first, None), (&again, Some("true".to_owned()))] {
        assert_eq!(header(response, "Original-Request"), request_id);
        assert_eq!(header(response, "Idempotency-Key").as_deref(), Some("k"));
        assert_eq!(header(response, "Idempotent-Replayed"), replayed);
    }
    // What was never executed has no original.
    let other = keyed(&mut world, "email=b");
    assert_eq!((other.status, header(&other, "Original-Request")), (400, None));
    assert!(other.body.contains("idempotency_error") && other.body.contains("same parameters"), "{}", other.body);
    let elsewhere = world.handle(1_800_000_000, &request("POST", "/v1/products", "name=a")).response;
    assert!(elsewhere.body.contains("('/v1/products' vs '/v1/customers')"), "{}", elsewhere.body);
}

#[test]
fn errors_that_were_executed_are_replayed_and_the_others_are_not() {
    for (fault, status, replayed) in [
        ("saved_500", 500, true),
        ("should_retry_true_500", 500, true),
        ("balance_insufficient", 400, true),
        ("unsaved_500", 500, false),
        ("limit_429", 429, false),
        ("lock_timeout", 429, false),
        ("conflict_409", 409, false),
    ] {
        let mut world = world();
        let fault = json!({ "route": "POST /v1/customers", "fault": fault }).to_string();
        assert_eq!(send(&mut world, "POST", "/_sandbox/faults", &fault).0, 200);
        assert_eq!(keyed(&mut world, "").status, status, "{fault}");
        let again = keyed(&mut world, "");
        assert_eq!(again.status == status, replayed, "{fault}");
        assert_eq!(header(&again, "Idempotent-Replayed").is_some(), replayed, "{fault}");
        // Said once, with the answer that was lost on nobody.
        assert_eq!(header(&again, "Stripe-Should-Retry"), None, "{fault}");
    }
}
