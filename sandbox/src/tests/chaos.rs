//! The same seed gives the same run.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::{request, send};
use crate::{
    chaos::Chaos,
    message::{Fate, Reply, Request},
    routes,
    world::World,
};

fn world(rate: f64, seed: u64) -> World {
    let mut world = World::new("http://127.0.0.1:1".to_owned(), None, seed, 1_000_000);
    world.chaos = Chaos::new(rate, seed);
    world
}

fn keyed(key: &str, path: &str, body: &str) -> Request {
    let mut request = request("POST", path, body);
    request.headers.retain(|(name, _)| name != "idempotency-key");
    request.headers.push(("idempotency-key".to_owned(), key.to_owned()));
    request
}

/// Payments to four receivers, each sent until it is answered well, and looked for.
fn requests() -> Vec<Request> {
    let mut all = Vec::new();
    for n in 0..4 {
        all.push(keyed(&format!("a{n}"), "/v1/accounts", &format!("metadata[n]={n}")));
        for _ in 0..6 {
            all.push(keyed(&format!("c{n}"), "/v1/customers", &format!("email={n}@example.com")));
            all.push(request("GET", "/v1/customers", ""));
        }
    }
    all
}

#[test]
fn two_worlds_with_one_seed_answer_alike_to_the_byte() {
    let run = |seed| -> Vec<Reply> {
        let mut world = world(0.3, seed);
        requests().iter().map(|request| world.handle(1_800_000_000, request)).collect()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let troubled = run(7).iter().filter(|reply| reply.response.status != 200 || reply.fate != Fate::Arrives).count();
    assert!((5..30).contains(&troubled), "{troubled} of {}", requests().len());
}

/// Each client's requests keep their order; how they interleave is the machine's matter.
#[test]
fn how_clients_interleave_changes_nothing() {
    let of = |client: usize| -> Vec<Request> {
        let send = |n: usize| keyed(&format!("{client}-{n}"), "/v1/customers", &format!("metadata[n]={client}.{n}"));
        (0..20).flat_map(|n| [send(n), send(n)]).collect()
    };
    let run = |order: &[usize]| -> BTreeMap<usize, Vec<Reply>> {
        let mut world = world(0.3, 7);
        let mut left: Vec<_> = (0..2).map(|client| of(client).into_iter()).collect();
        let mut seen: BTreeMap<usize, Vec<Reply>> = BTreeMap::new();
        for client in order {
            let request = left[*client].next().unwrap();
            seen.entry(*client).or_default().push(world.handle(1_800_000_000, &request));
        }
        seen
    };
    let after_each_other = [vec![0; 40], vec![1; 40]].concat();
    let in_turns: Vec<usize> = (0..80).map(|n| n % 2).collect();
    assert_eq!(run(&after_each_other), run(&in_turns));
}

/// Stripe's own keys are made up anew in each run.
#[test]
fn keys_that_are_made_up_do_not_change_the_run() {
    let run = |prefix: &str| -> Vec<(u16, Fate)> {
        let mut world = world(0.3, 7);
        let send = |n: i32| keyed(&format!("{prefix}{n}"), "/v1/products", &format!("name=p{n}"));
        let replies: Vec<Reply> = (0..50).map(|n| world.handle(1_800_000_000, &send(n))).collect();
        let seen = |reply: Reply| match reply.fate {
            Fate::Late { ms, .. } => (reply.response.status, Fate::Late { ms, key: None }),
            fate => (reply.response.status, fate),
        };
        replies.into_iter().map(seen).collect()
    };
    assert_eq!(run("a"), run("b"));
}

#[test]
fn a_client_that_repeats_itself_comes_to_an_end() {
    let mut world = world(1.0, 7);
    for n in 0..40 {
        let in_a_row = (1..20).find(|_| {
            let reply = world.handle(1_800_000_000, &keyed(&format!("k{n}"), "/v1/customers", &format!("name={n}")));
            world.requests.all().last().is_some_and(|sent| sent["fault"].is_null()) && reply.fate == Fate::Arrives
        });
        assert!(in_a_row.is_some_and(|n| n <= 6), "{in_a_row:?}");
    }
}

#[test]
fn only_what_stripe_could_answer_is_drawn() {
    let mut chaos = Chaos::new(1.0, 7);
    let mut kinds: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
    for route in routes::all() {
        for n in 0..200 {
            let sent = keyed(&n.to_string(), &format!("{}/{n}", route.path), "");
            let fault = chaos.draw(&route.name(), &sent, None).unwrap();
            let fault = serde_json::to_value(fault).unwrap()["fault"].as_str().unwrap().to_owned();
            *kinds.entry(route.name()).or_default().entry(fault).or_default() += 1;
        }
    }
    for (route, kinds) in kinds {
        let of_transfers = kinds.contains_key("balance_insufficient") && kinds.contains_key("capability_inactive");
        assert_eq!(of_transfers, route == "POST /v1/transfers", "{route}: {kinds:?}");
        assert!(kinds.contains_key("lose_answer") && kinds.contains_key("reset_before"), "{route}: {kinds:?}");
        assert!(!kinds.contains_key("conflict_409") && !kinds.contains_key("saved_500"), "without a key: {kinds:?}");
    }
}

#[test]
fn events_draw_by_their_object() {
    let run = || {
        let mut chaos = Chaos::new(0.5, 7);
        let names: Vec<String> = (0..100).map(|n| format!("cus_{n}")).collect();
        names.iter().map(|name| chaos.draw_event("customer.created", name)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
    let kinds = run().iter().flatten().map(|event| format!("{:?}", event.fault)).collect::<HashSet<_>>();
    assert_eq!(kinds.len(), 4, "{:?}", run());
    assert_eq!(Chaos::new(0.0, 7).draw_event("customer.created", "cus_1"), None);
}

#[test]
fn the_admin_turns_it_on_and_off() {
    let mut world = world(0.0, 7);
    let mut ask = |method, body: &Value| send(&mut world, method, "/_sandbox/chaos", &body.to_string());
    let (_, on) = ask("POST", &json!({ "rate": 1.0, "seed": 9 }));
    assert_eq!(on, json!({ "rate": 1.0, "seed": 9, "happened": 0 }));
    assert_eq!(ask("POST", &json!({ "rate": 1 })).1["seed"], 7, "the sandbox's own");
    for (wrong, why) in [(json!({ "rate": 1.1 }), "rate"), (json!({ "rat": 1 }), "rat"), (json!({}), "rate")] {
        let (status, body) = ask("POST", &wrong);
        assert!(status == 400 && body.to_string().contains(why), "{body}");
    }
    for _ in 0..5 {
        world.handle(0, &request("GET", "/v1/balance", ""));
    }
    assert_eq!(send(&mut world, "GET", "/_sandbox/chaos", "").1["happened"], 5);
    assert_eq!(send(&mut world, "DELETE", "/_sandbox/chaos", "").1["rate"], 0.0);
    assert_eq!(send(&mut world, "GET", "/v1/balance", "").0, 200);
}
