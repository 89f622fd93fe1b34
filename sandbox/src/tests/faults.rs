//! Which request a fault meets.

use serde_json::{Value, json};

use super::{request, send, world};
use crate::{
    message::{Fate, Request, Response},
    world::World,
};

fn ask(world: &mut World, fault: &Value) -> (u16, Value) {
    send(world, "POST", "/_sandbox/faults", &fault.to_string())
}

fn posted(world: &mut World, key: &str, body: &str, headers: &[(&str, &str)]) -> (Response, Fate) {
    let mut request = request("POST", "/v1/customers", body);
    request.headers.retain(|(name, _)| name != "idempotency-key");
    request.headers.push(("idempotency-key".to_owned(), key.to_owned()));
    request.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let reply = world.handle(1_800_000_000, &request);
    (reply.response, reply.fate)
}

fn status(world: &mut World, key: &str, body: &str) -> u16 {
    posted(world, key, body, &[]).0.status
}

#[test]
fn a_fault_is_for_the_parameters_the_key_and_the_nth_request_it_names() {
    let mut world = world();
    let route = "POST /v1/customers";
    for path in ["metadata.job", "metadata[job]"] {
        ask(&mut world, &json!({ "route": route, "fault": "limit_429", "match": { path: "j1", "balance": 5 } }));
        assert_eq!(status(&mut world, path, "metadata[job]=j2&balance=5"), 200);
        assert_eq!(status(&mut world, &format!("{path}2"), "metadata[job]=j1"), 200);
        assert_eq!(status(&mut world, &format!("{path}3"), "balance=5&metadata[job]=j1"), 429);
    }
    ask(&mut world, &json!({ "route": "*", "fault": "limit_429", "idempotency_key": "mine" }));
    assert_eq!((status(&mut world, "other", ""), status(&mut world, "mine", "")), (200, 429));

    ask(&mut world, &json!({ "route": route, "fault": "limit_429", "skip": 2, "times": 2 }));
    ask(&mut world, &json!({ "route": route, "fault": "unsaved_500" }));
    let seen: Vec<u16> = (0..5).map(|n| status(&mut world, &format!("n{n}"), "")).collect();
    // The second fault takes a request that the first one lets pass, and both have counted it.
    assert_eq!(seen, [500, 200, 429, 429, 200]);
    assert_eq!(send(&mut world, "GET", "/_sandbox/faults", "").1["faults"], json!([]));
}

#[test]
fn a_route_may_have_an_id_in_its_place() {
    let mut world = world();
    let one = super::made(&mut world, "/v1/customers", "");
    let two = super::made(&mut world, "/v1/customers", "");
    ask(&mut world, &json!({ "route": format!("GET /v1/customers/{one}"), "fault": "unsaved_500" }));
    assert_eq!(send(&mut world, "GET", &format!("/v1/customers/{two}"), "").0, 200);
    assert_eq!(send(&mut world, "GET", &format!("/v1/customers/{one}"), "").0, 500);
}

#[test]
fn a_request_can_ask_for_its_own_fault() {
    let mut world = world();
    let mut with = |key, fault| posted(&mut world, key, "", &[("bursar-sandbox-fault", fault)]);
    assert_eq!(with("a", "lose_answer").1, Fate::Lost);
    assert!(matches!(with("b", "slow; ms=50").1, Fate::Late { ms: 50, key: Some(_) }));
    let (limited, _) = with("c", "limit_429;retry_after=2; should_retry=false");
    assert!(limited.headers.contains(&("Retry-After", "2".to_owned())), "{limited:?}");
    assert!(limited.headers.contains(&("Stripe-Should-Retry", "false".to_owned())), "{limited:?}");
    for (wrong, why) in [
        ("explode", "unknown variant `explode`"),
        ("slow; ms=soon", "invalid type"),
        ("slow; times=2", "unknown option `times`"),
        ("slow; ms=99999999", "at most"),
        ("", "unknown variant"),
    ] {
        let (refused, _) = with("d", wrong);
        assert!(refused.status == 400 && refused.body.contains(why), "{wrong}: {}", refused.body);
    }
    // Nothing of it is left for the next one, and nothing refused has run.
    assert_eq!(posted(&mut world, "d", "", &[]).0.status, 200);
    assert_eq!(send(&mut world, "GET", "/v1/customers", "").1["data"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_a_fault_must_not_say_is_refused() {
    let mut world = world();
    for (wrong, why) in [
        (json!({ "route": "POST /v1/customers", "fault": "slow", "match": { "emial": "a" } }), "emial"),
        (
            json!({ "route": "POST /v1/customers", "fault": "slow", "match": { "metadata": { "a": "b" } } }),
            "by its path",
        ),
        (json!({ "route": "POST /v1/customers/{no}", "fault": "slow" }), "No such route"),
        (json!({ "route": "customers", "fault": "slow" }), "No such route"),
        (json!({ "route": "*", "fault": "slow", "skip": -1 }), "invalid value"),
    ] {
        let (status, body) = ask(&mut world, &wrong);
        assert!(status == 400 && body.to_string().contains(why), "{wrong}: {body}");
    }
}

#[test]
fn what_stripe_does_not_know_is_on_record_even_where_a_fault_hides_it() {
    let mut world = world();
    let from = |agent: &str, path: &str, body: &str| Request {
        headers: vec![
            ("authorization".to_owned(), "Bearer sk_test_123456789".to_owned()),
            ("user-agent".to_owned(), agent.to_owned()),
        ],
        ..request("POST", path, body)
    };
    ask(&mut world, &json!({ "route": "*", "fault": "html_502", "applied": false }));
    world.handle(0, &from("bursar/1", "/v1/customers", "emial=a"));
    world.handle(0, &from("bursar/1", "/v1/customers", "email=a&expand[]=default_source"));
    world.handle(0, &from("bursar/1", "/v1/customer", "email=a"));
    world.handle(0, &from("curl", "/v1/nothing", ""));
    send(&mut world, "DELETE", "/_sandbox/requests", "");
    let strange = ["POST /v1/customers with emial", "POST /v1/customer"];
    assert_eq!(world.requests.strange_of("bursar/"), strange);
    assert_eq!(world.requests.strange_of("curl"), ["POST /v1/nothing"]);
}
