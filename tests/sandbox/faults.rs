//! Each fault, and whether the money moved.

use super::client::{Client, Ended, transfer};

/// Sends under a fault, then again under the same key without one: what was seen first, and how many Transfers there are after
/// each.
async fn twice(fault: &str) -> (Result<u16, Ended>, usize, u16, usize) {
    let client = Client::start().await;
    let to = client.receiver().await;
    client.fault(fault).await;
    let first = client.keyed("k", "/v1/transfers", &transfer(&to)).await.map(|reply| reply.status);
    let then = client.transfers().await;
    let second = client.keyed("k", "/v1/transfers", &transfer(&to)).await.unwrap().status;
    (first, then, second, client.transfers().await)
}

fn fault(name: &str) -> String {
    format!(r#"{{"route":"POST /v1/transfers","fault":"{name}"}}"#)
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect_and_is_there_for_the_same_key() {
    assert_eq!(twice(&fault("lose_answer")).await, (Err(Ended::Closed), 1, 200, 1));
    assert_eq!(twice(&fault("reset_after")).await, (Err(Ended::Reset), 1, 200, 1));
    assert_eq!(twice(&fault("truncated_200")).await, (Err(Ended::Short), 1, 200, 1));
}

#[tokio::test]
async fn a_reset_before_leaves_nothing() {
    assert_eq!(twice(&fault("reset_before")).await, (Err(Ended::Reset), 0, 200, 1));
}

#[tokio::test]
async fn a_gateways_page_and_garbage_may_or_may_not_have_an_effect() {
    for (name, status) in [("html_502", 502), ("garbage_200", 200)] {
        assert_eq!(twice(&fault(name)).await, (Ok(status), 1, 200, 1), "{name}");
        let nothing = format!(r#"{{"route":"POST /v1/transfers","fault":"{name}","applied":false}}"#);
        assert_eq!(twice(&nothing).await, (Ok(status), 0, 200, 1), "{name}");
    }
    let client = Client::start().await;
    client.fault(&fault("html_502")).await;
    client.fault(&fault("garbage_200")).await;
    let page = client.post("/v1/transfers", "").await;
    assert_eq!(page.header("content-type"), Some("text/html"));
    let garbage = client.post("/v1/transfers", "").await;
    assert!(garbage.body.is_null() && garbage.header("content-type") == Some("application/json"), "{}", garbage.text);
}

#[tokio::test]
async fn a_slow_answer_arrives() {
    let slow = r#"{"route":"POST /v1/transfers","fault":"slow","ms":50}"#;
    assert_eq!(twice(slow).await, (Ok(200), 1, 200, 1));
}

#[tokio::test]
async fn saved_refusals_stay_and_unsaved_ones_pass() {
    for (name, status) in [
        ("saved_500", 500),
        ("should_retry_false_500", 500),
        ("should_retry_true_500", 500),
        ("balance_insufficient", 400),
        ("capability_inactive", 400),
    ] {
        assert_eq!(twice(&fault(name)).await, (Ok(status), 0, status, 0), "{name}");
    }
    for (name, status) in [
        ("unsaved_500", 500),
        ("conflict_409", 409),
        ("limit_429", 429),
        ("lock_timeout", 429),
        ("destination_gone", 400),
    ] {
        assert_eq!(twice(&fault(name)).await, (Ok(status), 0, 200, 1), "{name}");
    }
}

#[tokio::test]
async fn stripe_may_say_whether_to_retry() {
    let client = Client::start().await;
    let to = client.receiver().await;
    for (name, says) in [("should_retry_false_500", "false"), ("should_retry_true_500", "true")] {
        client.fault(&fault(name)).await;
        let reply = client.post("/v1/transfers", &transfer(&to)).await;
        assert_eq!((reply.status, reply.header("stripe-should-retry")), (500, Some(says)));
    }
    client.fault(r#"{"route":"POST /v1/transfers","fault":"conflict_409","should_retry":false}"#).await;
    let reply = client.post("/v1/transfers", &transfer(&to)).await;
    assert_eq!((reply.status, reply.header("stripe-should-retry")), (409, Some("false")));
}

#[tokio::test]
async fn faults_come_in_order_as_often_as_asked_on_their_route_alone() {
    let client = Client::start().await;
    let to = client.receiver().await;
    client.fault(r#"{"route":"POST /v1/transfers","fault":"limit_429","times":2}"#).await;
    client.fault(&fault("lock_timeout")).await;
    client.fault(r#"{"route":"GET /v1/transfers/{id}","fault":"saved_500"}"#).await;
    assert_eq!(client.get("/v1/transfers").await.status, 200);
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(client.post("/v1/transfers", &transfer(&to)).await.error().1.to_owned());
    }
    assert_eq!(codes, ["rate_limit", "rate_limit", "lock_timeout"]);
    let id = client.post("/v1/transfers", &transfer(&to)).await.id();
    assert_eq!(client.get(&format!("/v1/transfers/{id}")).await.status, 500);
    client.fault(&fault("lose_answer")).await;
    let cleared = client.send("DELETE", "/_sandbox/faults", "", &[]).await.unwrap();
    assert_eq!(cleared.body["cleared"], 1);
    client.post("/v1/transfers", &transfer(&to)).await.id();
    for (bad, why) in [
        (r#"{"route":"POST /v1/nothing","fault":"slow"}"#, "No such route"),
        (r#"{"route":"*","fault":"explode"}"#, "unknown variant"),
        (r#"{"route":"*","fault":"limit_429","times":0}"#, "times"),
        (r#"{"route":"*","fault":"unsaved_500","applied":true}"#, "applied"),
    ] {
        let reply = client.post("/_sandbox/faults", bad).await;
        assert!(reply.status == 400 && reply.text.contains(why), "{bad}: {}", reply.text);
    }
}

#[tokio::test]
async fn what_was_received_is_on_record() {
    let client = Client::start().await;
    let to = client.receiver().await;
    client.fault(&fault("lose_answer")).await;
    client.keyed("k", "/v1/transfers", &transfer(&to)).await.unwrap_err();
    client.send("GET", "/v1/transfers?limit=1", "", &[("Stripe-Version", "2026-09-30.endive")]).await.unwrap();
    let log = client.get("/_sandbox/requests").await.body;
    let [.., sent, listed] = log["requests"].as_array().unwrap().as_slice() else { panic!("{log}") };
    assert_eq!(
        (&sent["path"], &sent["fault"], &sent["status"]),
        (&"/v1/transfers".into(), &"lose_answer".into(), &200.into())
    );
    assert_eq!((&sent["answered"], &sent["idempotency_key"]), (&false.into(), &"k".into()));
    assert_eq!(sent["form"]["metadata[job_id]"], "job_1");
    assert_eq!((&listed["query"]["limit"], &listed["stripe_version"]), (&"1".into(), &"2026-09-30.endive".into()));
}
