//! What goes to whom, how often and in which layout, without a network.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Delivery, Post, sending::TRIES};
use crate::{message::Request, world::World};

const NOW: i64 = 1_800_000_000;

fn world() -> World {
    World::new("http://127.0.0.1:1".to_owned(), None, 7, 1_000_000)
}

fn send(world: &mut World, method: &str, path: &str, body: &str) -> Value {
    send_as(world, method, path, body, crate::layout::API_VERSION)
}

fn send_as(world: &mut World, method: &str, path: &str, body: &str, version: &str) -> Value {
    let headers = [("authorization", "Bearer sk_test_123456789"), ("stripe-version", version)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let request = Request { method: method.into(), path: path.into(), query: query.into(), headers, body: body.into() };
    serde_json::from_str(&world.handle(NOW, &request).response.body).unwrap()
}

fn endpoint(world: &mut World, more: &str) -> String {
    let made =
        send(world, "POST", "/v1/webhook_endpoints", &format!("url=http://127.0.0.1:1&enabled_events[]=*{more}"));
    made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

fn fault(world: &mut World, fault: &Value) {
    let answer = send(world, "POST", "/_sandbox/events/faults", &fault.to_string());
    assert!(answer["faults"].is_array(), "{answer}");
}

fn customer(world: &mut World) {
    send(world, "POST", "/v1/customers", "email=a@example.com");
}

/// What is to be posted now; the rest of the plan is put back.
fn posts(world: &mut World) -> Vec<(u64, Post)> {
    let planned = world.take_outbox();
    let (now, later): (Vec<Delivery>, Vec<Delivery>) = planned.into_iter().partition(|planned| planned.after.is_zero());
    world.outbox.extend(later);
    now.into_iter().filter_map(|planned| Some((planned.id, world.due(planned.id)?))).collect()
}

fn pending(world: &mut World) -> Value {
    send(world, "GET", "/v1/events", "")["data"][0]["pending_webhooks"].clone()
}

fn undelivered(world: &mut World) -> i64 {
    send(world, "GET", "/_sandbox/clock", "")["undelivered"].as_i64().unwrap()
}

#[test]
fn an_event_is_pending_until_each_endpoint_took_it() {
    let mut world = world();
    endpoint(&mut world, "");
    endpoint(&mut world, "");
    customer(&mut world);
    assert_eq!((pending(&mut world), undelivered(&mut world)), (json!(2), 2));
    let posts = posts(&mut world);
    assert_eq!(posts.len(), 2);
    let (first, second) = (posts[0].0, posts[1].0);
    assert_eq!(world.tried(first, Ok(200)), None);
    assert_eq!((pending(&mut world), undelivered(&mut world)), (json!(1), 1));
    assert_eq!(world.tried(second, Ok(500)), Some(Duration::from_millis(100)));
    assert!(world.due(second).is_some(), "the next try");
    assert_eq!(world.tried(second, Err("refused".into())), Some(Duration::from_millis(200)));
    for _ in 2..TRIES {
        assert!(world.due(second).is_some());
        world.tried(second, Ok(500));
    }
    assert!(world.due(second).is_none(), "no try is left");
    assert_eq!((pending(&mut world), undelivered(&mut world)), (json!(1), 0));
    let shown = send(&mut world, "GET", "/_sandbox/deliveries", "")["deliveries"].clone();
    assert_eq!(
        (&shown[0]["state"], &shown[0]["tries"], &shown[0]["last_status"]),
        (&json!("delivered"), &json!(1), &json!(200))
    );
    assert_eq!((&shown[1]["state"], &shown[1]["tries"]), (&json!("given_up"), &json!(TRIES)));
    assert_eq!(send(&mut world, "GET", "/v1/events?delivery_success=false", "")["data"].as_array().unwrap().len(), 1);
    customer(&mut world);
    let posts = self::posts(&mut world);
    assert_eq!(undelivered(&mut world), 2);
    world.tried(posts[1].0, Ok(500));
    assert_eq!(undelivered(&mut world), 1, "who let the last event pass in all its tries is not waited for again");
    world.tried(posts[0].0, Ok(500));
    assert_eq!(undelivered(&mut world), 1, "the other took its last one");
}

#[test]
fn a_disabled_endpoint_hears_nothing_and_a_rolled_secret_signs_beside_its_successor() {
    let mut world = world();
    let id = endpoint(&mut world, "");
    customer(&mut world);
    let rolled = send(&mut world, "POST", &format!("/_sandbox/webhook_endpoints/{id}/roll"), "");
    let (_, post) = posts(&mut world).remove(0);
    assert_eq!(post.secrets.len(), 2);
    assert_eq!(json!(post.secrets[0]), rolled["secret"]);
    send(&mut world, "POST", "/_sandbox/advance", r#"{"seconds":86400}"#);
    customer(&mut world);
    assert_eq!(posts(&mut world).remove(0).1.secrets, &post.secrets[..1], "a day later the old one holds no more");
    customer(&mut world);
    let disabled = send(&mut world, "POST", &format!("/v1/webhook_endpoints/{id}"), "disabled=true");
    assert_eq!((&disabled["status"], disabled.get("_secret")), (&json!("disabled"), None));
    assert!(posts(&mut world).is_empty(), "what was planned is not sent there any more");
    customer(&mut world);
    assert_eq!(pending(&mut world), 0);
    send(&mut world, "DELETE", &format!("/v1/webhook_endpoints/{id}"), "");
    assert_eq!(
        send(&mut world, "GET", &format!("/v1/webhook_endpoints/{id}"), "")["error"]["code"],
        "resource_missing"
    );
}

#[test]
fn faults_lose_double_delay_and_disorder() {
    let mut world = world();
    endpoint(&mut world, "");
    fault(&mut world, &json!({ "fault": "lost", "type": "customer.created" }));
    customer(&mut world);
    assert!(posts(&mut world).is_empty());
    assert_eq!((pending(&mut world), undelivered(&mut world)), (json!(1), 0));

    fault(&mut world, &json!({ "fault": "duplicate", "type": "invoice.paid" }));
    fault(&mut world, &json!({ "fault": "duplicate" }));
    customer(&mut world);
    let twice = posts(&mut world);
    assert_eq!((twice.len(), twice[0].1.event.clone()), (2, twice[1].1.event.clone()));
    assert_eq!(send(&mut world, "DELETE", "/_sandbox/events/faults", "")["cleared"], 1);

    fault(&mut world, &json!({ "fault": "twin" }));
    customer(&mut world);
    let twins = posts(&mut world);
    assert_eq!(twins.len(), 2);
    assert_ne!(twins[0].1.event, twins[1].1.event);
    let body = |post: &Post| serde_json::from_str::<Value>(&post.body).unwrap();
    assert_eq!(body(&twins[0].1)["data"], body(&twins[1].1)["data"]);

    fault(&mut world, &json!({ "fault": "late", "ms": 70 }));
    customer(&mut world);
    assert!(posts(&mut world).is_empty());
    let late = world.take_outbox();
    assert_eq!((late.len(), late[0].after), (1, Duration::from_millis(70)));
    assert!(world.due(late[0].id).is_some());

    fault(&mut world, &json!({ "fault": "out_of_order" }));
    customer(&mut world);
    assert!(posts(&mut world).is_empty());
    customer(&mut world);
    let next = posts(&mut world);
    assert_eq!(next.len(), 1);
    world.tried(next[0].0, Ok(200));
    let held = posts(&mut world);
    assert_eq!((held.len(), held[0].0), (1, next[0].0 - 1), "it comes after its successor");
    let timed = world.take_outbox();
    assert_eq!(
        timed.iter().filter_map(|timed| world.due(timed.id)).count(),
        0,
        "and not once more when its time is up"
    );

    for wrong in
        [json!({ "fault": "lost", "times": 0 }), json!({ "fault": "lost", "ms": 1 }), json!({ "fault": "eaten" })]
    {
        assert_eq!(
            send(&mut world, "POST", "/_sandbox/events/faults", &wrong.to_string())["error"]["type"],
            "invalid_request_error"
        );
    }
}

#[test]
fn an_older_endpoint_and_an_older_request_get_the_older_layout() {
    let mut world = world();
    endpoint(&mut world, "&api_version=2024-06-20");
    let made =
        |world: &mut World, path: &str, form: &str| send(world, "POST", path, form)["id"].as_str().unwrap().to_owned();
    let customer = made(&mut world, "/v1/customers", "email=a@example.com");
    let price = made(
        &mut world,
        "/v1/prices",
        "product_data[name]=Pro&currency=usd&unit_amount=1900&recurring[interval]=month",
    );
    let form = format!("customer={customer}&items[0][price]={price}");
    let subscription = made(&mut world, "/v1/subscriptions", &form);
    let posts = posts(&mut world);
    let event = |kind: &str| {
        let bodies = posts.iter().map(|(_, post)| serde_json::from_str::<Value>(&post.body).unwrap());
        bodies.into_iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("{kind}"))
    };
    let paid = event("invoice.paid");
    let invoice = &paid["data"]["object"];
    assert_eq!((&paid["api_version"], &invoice["subscription"]), (&json!("2024-06-20"), &json!(subscription)));
    assert_eq!((&invoice["paid"], invoice.get("parent")), (&json!(true), None));
    assert_eq!(invoice["lines"]["data"][0]["price"]["unit_amount"], 1900);
    assert!(
        invoice["payment_intent"].as_str().unwrap().starts_with("pi_")
            && invoice["charge"].as_str().unwrap().starts_with("ch_")
    );
    assert!(event("customer.subscription.created")["data"]["object"]["current_period_end"].is_i64());

    for kind in ["payment_intent.created", "payment_intent.succeeded", "charge.succeeded"] {
        assert_eq!(event(kind)["data"]["object"]["invoice"], invoice["id"], "{kind}");
    }
    let path = format!("/v1/subscriptions/{subscription}?expand[]=latest_invoice.payment_intent");
    let expanded = send_as(&mut world, "GET", &path, "", "2024-06-20")["latest_invoice"]["payment_intent"].clone();
    assert_eq!((&expanded["id"], &expanded["invoice"]), (&invoice["payment_intent"], &invoice["id"]));

    let path = format!("/v1/invoices/{}", invoice["id"].as_str().unwrap());
    let (old, new) = (send_as(&mut world, "GET", &path, "", "2024-06-20"), send(&mut world, "GET", &path, ""));
    assert_eq!(&old, invoice);
    assert_eq!((new.get("paid"), &new["parent"]["subscription_details"]["subscription"]), (None, &json!(subscription)));
    let listed = send_as(&mut world, "GET", "/v1/invoices?limit=1", "", "2024-06-20");
    assert_eq!(listed["data"][0], old);
    let intent = format!("/v1/payment_intents/{}", old["payment_intent"].as_str().unwrap());
    assert_eq!(send_as(&mut world, "GET", &intent, "", "2025-02-24.acacia")["invoice"], old["id"]);
    let late = endpoint(&mut world, "&api_version=2024-06-20");
    let again = format!("/v1/events/{}/retry", paid["id"].as_str().unwrap());
    send(&mut world, "POST", &again, &format!("webhook_endpoint={late}"));
    let (_, post) = self::posts(&mut world).remove(0);
    assert_eq!(serde_json::from_str::<Value>(&post.body).unwrap()["data"], paid["data"]);
    let kept = send_as(&mut world, "GET", "/v1/events", "", "2024-06-20")["data"][0].clone();
    assert_eq!(kept["api_version"], crate::layout::API_VERSION, "an event is frozen in the version it was made in");
    assert_eq!(send_as(&mut world, "GET", "/v1/balance", "", "yesterday")["error"]["type"], "invalid_request_error");
}

#[test]
fn an_event_is_sent_again_where_it_is_asked_for() {
    let mut world = world();
    let (first, second) = (endpoint(&mut world, ""), endpoint(&mut world, ""));
    customer(&mut world);
    assert_eq!(posts(&mut world).len(), 2);
    let event = send(&mut world, "GET", "/v1/events", "")["data"][0]["id"].as_str().unwrap().to_owned();
    let retry = format!("/v1/events/{event}/retry");
    assert_eq!(send(&mut world, "POST", &retry, &format!("webhook_endpoint={second}"))["id"], json!(event));
    assert_eq!(posts(&mut world).len(), 1);
    let shown = send(&mut world, "GET", "/_sandbox/deliveries", "")["deliveries"].clone();
    assert_eq!((&shown[0]["endpoint"], &shown[2]["endpoint"]), (&json!(first), &json!(second)));
    send(&mut world, "POST", &retry, "for_stripecli=true");
    assert!(posts(&mut world).is_empty(), "nobody listens");
    for wrong in ["webhook_endpoint=we_none", "account=acct_none"] {
        assert_eq!(send(&mut world, "POST", &retry, wrong)["error"]["code"], "resource_missing", "{wrong}");
    }
}

#[test]
fn what_was_before_is_told_as_deep_as_it_changed() {
    let mut world = world();
    endpoint(&mut world, "&api_version=2024-06-20");
    let before = json!({ "id": "cus_1", "object": "customer", "invoice_settings": { "default_payment_method": null, "footer": null },
        "metadata": { "a": "1" }, "preferred_locales": ["en"], "_note": 1 });
    let mut after = before.clone();
    after["invoice_settings"]["default_payment_method"] = json!("pm_1");
    (after["metadata"], after["preferred_locales"], after["_note"]) =
        (json!({ "b": "2" }), json!(["en", "de"]), json!(2));
    world.emit_change("customer.updated", &before, &after);
    let body: Value = serde_json::from_str(&posts(&mut world).remove(0).1.body).unwrap();
    let wanted = json!({ "invoice_settings": { "default_payment_method": null }, "metadata": { "a": "1", "b": null },
        "preferred_locales": ["en"] });
    assert_eq!(body["data"]["previous_attributes"], wanted);
}

#[test]
fn what_is_private_stays_so() {
    let mut world = world();
    endpoint(&mut world, "");
    let before = json!({ "id": "x", "object": "checkout.session", "_secret": 1, "line_items": 1, "status": "open" });
    let mut after = before.clone();
    (after["_secret"], after["line_items"], after["status"]) = (json!(2), json!(2), json!("complete"));
    world.emit_change("checkout.session.completed", &before, &after);
    let body: Value = serde_json::from_str(&posts(&mut world).remove(0).1.body).unwrap();
    assert_eq!(body["data"]["previous_attributes"], json!({ "status": "open" }));
    assert_eq!(body["data"]["object"], json!({ "id": "x", "object": "checkout.session", "status": "complete" }));
    assert!(!body.as_object().unwrap().keys().any(|name| name.starts_with('_')), "{body}");
}

#[test]
fn an_older_endpoint_that_came_later_gets_the_older_layout_too() {
    let mut world = world();
    world.tick(NOW);
    let parent = json!({ "subscription_details": { "subscription": "sub_1", "metadata": {} } });
    world.emit("invoice.created", &json!({ "id": "in_1", "object": "invoice", "status": "open", "parent": parent }));
    let late = endpoint(&mut world, "&api_version=2024-06-20");
    let event = send(&mut world, "GET", "/v1/events", "")["data"][0]["id"].as_str().unwrap().to_owned();
    send(&mut world, "POST", &format!("/v1/events/{event}/retry"), &format!("webhook_endpoint={late}"));
    let body: Value = serde_json::from_str(&posts(&mut world).remove(0).1.body).unwrap();
    assert_eq!(
        (&body["data"]["object"]["subscription"], &body["data"]["object"]["paid"]),
        (&json!("sub_1"), &json!(false))
    );
}
