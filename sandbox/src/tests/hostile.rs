//! What strangers send to every route: an answer in Stripe's shape, and never worse than a 4xx.

use proptest::prelude::*;
use serde_json::Value;

use super::{furnished, request};
use crate::{
    message::{Fate, Reply, Request},
    routes,
};

/// A value that code might stumble over.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(&[
            "", "0", "-1", "1", "100", "usd", "jpy", "true", "null", "NaN", "1e308", "9223372036854775807", "-9223372036854775808",
            "9223372036854775808", "99999999999999999999999999", "0.1", "now", "%", "\u{0}", "\u{202e}", "é", "[]", "{}", "..", "a[b]",
            "month", "card", "pm_card_visa", "subscription", "always", "http://127.0.0.1:1/", "1800000000", "1800003600", "999999999999",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..24),
        1 => (1..2000_usize).prop_map(|n| vec![b'x'; n]),
    ]
}

/// What is done to a name that a route knows.
fn shape() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just(String::new()),
        1 => Just("[]".to_owned()),
        1 => Just("[0]".to_owned()),
        1 => Just("[99999999999999999999]".to_owned()),
        1 => Just("[a][b]".to_owned()),
        1 => (1..400_usize).prop_map(|n| "[x]".repeat(n)),
        1 => "\\PC{0,12}",
    ]
}

fn judge(reply: &Reply, sent: &Request) -> Result<(), TestCaseError> {
    let body: Result<Value, _> = serde_json::from_str(&reply.response.body);
    let told = format!("{sent:?}: {reply:?}");
    prop_assert_eq!(&reply.fate, &Fate::Arrives);
    match (reply.response.status, body) {
        (200, Ok(body)) => prop_assert!(body.is_object(), "{}", told),
        (400..500, Ok(body)) => {
            let error = &body["error"];
            prop_assert!(error["type"].is_string() && error["message"].is_string(), "{}", told);
            prop_assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{}", told);
        }
        _ => prop_assert!(false, "{}", told),
    }
    Ok(())
}

/// Each pair escaped byte by byte, so that what is no UTF-8 arrives too.
fn form(pairs: &[(String, Vec<u8>)]) -> String {
    let escaped = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", escaped(name.as_bytes()), escaped(value))).collect();
    pairs.join("&")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Every route there is, one after the other in one world, each with fields that it knows and values that it may not like.
    #[test]
    fn every_route_answers_whatever_its_fields_hold(
        seeds in prop::collection::vec((any::<prop::sample::Index>(), shape(), value(), any::<prop::sample::Index>(), any::<bool>()), 40),
        turn in any::<prop::sample::Index>(),
        many in 0..6_usize,
    ) {
        let (mut world, ids) = furnished();
        let all: Vec<_> = routes::all().collect();
        for (n, route) in all.iter().enumerate() {
            let fields: Vec<(String, Vec<u8>)> = (0..many).filter_map(|k| {
                let (name, shape, value, id, is_id) = &seeds[(n * 7 + k) % seeds.len()];
                let name = (!route.params.is_empty()).then(|| name.get(route.params))?;
                let value = if *is_id { id.get(&ids).clone().into_bytes() } else { value.clone() };
                Some((name.replace("[]", "[0]").replace('*', "[a]") + shape, value))
            }).collect();
            let id = &ids[(n + turn.index(ids.len())) % ids.len()];
            let mut sent = request(route.method, &route.path.replace("{id}", id), &form(&fields));
            sent.headers.retain(|(name, _)| name != "idempotency-key");
            if route.method == "GET" {
                sent.query = String::from_utf8_lossy(&std::mem::take(&mut sent.body)).into_owned();
            }
            judge(&world.handle(1_800_000_000, &sent), &sent)?;
        }
    }

    /// Bytes that are no form at all, in the path's place, the query's, the body's and the headers'.
    #[test]
    fn every_route_answers_any_bytes(
        path in "\\PC{1,30}",
        query in "\\PC{0,60}",
        body in prop::collection::vec(any::<u8>(), 0..300),
        header in "\\PC{0,300}",
        which in prop::sample::select(&["idempotency-key", "stripe-account", "content-type", "authorization", "bursar-sandbox-fault", "stripe-version"][..]),
    ) {
        let (mut world, ids) = furnished();
        for route in routes::all() {
            for id in [&path, &ids[0]] {
                let mut sent = request(route.method, &route.path.replace("{id}", id), "");
                sent.headers.retain(|(name, _)| name != which && name != "idempotency-key");
                sent.headers.push((which.to_owned(), header.clone()));
                (sent.query, sent.body) = (query.clone(), body.clone());
                judge(&world.handle(1_800_000_000, &sent), &sent)?;
            }
        }
    }
}

#[test]
fn a_name_that_nests_for_ever_is_refused() {
    let (mut world, _) = furnished();
    let deep = format!("metadata{}=1", "[x]".repeat(100_000));
    let wide = (0..2000).map(|n| format!("metadata[{n}]=1")).collect::<Vec<_>>().join("&");
    for body in [deep, wide] {
        let sent = request("POST", "/v1/customers", &body);
        let reply = world.handle(1_800_000_000, &sent);
        assert_eq!(reply.response.status, 400, "{}", reply.response.body.len());
    }
}
