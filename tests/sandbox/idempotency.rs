//! STRIPE.md 14: what a key keeps, and what it does not.

use super::client::{Client, transfer};
use crate::support::eventually;

#[tokio::test]
async fn the_same_request_under_the_same_key_is_answered_from_memory() {
    let client = Client::start().await;
    let to = client.receiver().await;
    let first = client.keyed("k", "/v1/transfers", &transfer(&to)).await.unwrap();
    // Another order of the same fields.
    let again = format!("transfer_group=job_1&destination={to}&metadata[job_id]=job_1&currency=usd&amount=100");
    let second = client.keyed("k", "/v1/transfers", &again).await.unwrap();
    assert_eq!((first.status, &first.text), (second.status, &second.text));
    assert_eq!((first.header("idempotent-replayed"), second.header("idempotent-replayed")), (None, Some("true")));
    assert_ne!(first.header("request-id"), second.header("request-id"));
    assert_eq!(client.transfers().await, 1);
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let client = Client::start().await;
    let to = client.receiver().await;
    client.keyed("k", "/v1/transfers", &transfer(&to)).await.unwrap().id();
    for (path, form) in [("/v1/transfers", transfer(&to).replace("100", "101")), ("/v1/customers", String::new())] {
        let reply = client.keyed("k", path, &form).await.unwrap();
        assert_eq!((reply.status, reply.error().0), (400, "idempotency_error"));
    }
    assert_eq!(client.transfers().await, 1);
}

#[tokio::test]
async fn executed_refusals_are_kept() {
    let client = Client::start().await;
    let to = client.receiver().await;
    client.post("/_sandbox/balance", r#"{"currency":"usd","available":99}"#).await;
    let short = client.keyed("k", "/v1/transfers", &transfer(&to)).await.unwrap();
    assert_eq!((short.status, short.error().1), (400, "balance_insufficient"));
    client.post("/_sandbox/balance", r#"{"currency":"usd","available":1000}"#).await;
    let replayed = client.keyed("k", "/v1/transfers", &transfer(&to)).await.unwrap();
    assert_eq!((replayed.status, replayed.header("idempotent-replayed")), (400, Some("true")));
    assert_eq!((replayed.text, client.transfers().await), (short.text, 0));
    client.keyed("k2", "/v1/transfers", &transfer(&to)).await.unwrap().id();
}

#[tokio::test]
async fn a_saved_500_is_kept_whether_or_not_its_effect_is_there() {
    let client = Client::start().await;
    let to = client.receiver().await;
    for (key, applied, transfers) in [("a", "false", 0), ("b", "true", 1)] {
        client.fault(&format!(r#"{{"route":"POST /v1/transfers","fault":"saved_500","applied":{applied}}}"#)).await;
        for replayed in [None, Some("true")] {
            let reply = client.keyed(key, "/v1/transfers", &transfer(&to)).await.unwrap();
            assert_eq!((reply.status, reply.error().0), (500, "api_error"));
            assert_eq!(reply.header("idempotent-replayed"), replayed);
            assert_eq!(client.transfers().await, transfers);
        }
    }
}

#[tokio::test]
async fn what_never_ran_is_not_kept() {
    let client = Client::start().await;
    let to = client.receiver().await;
    let wrong = client.keyed("k", "/v1/transfers", "amount=ten").await.unwrap();
    assert_eq!((wrong.status, wrong.error().1), (400, "parameter_invalid_integer"));
    for (fault, status) in [("limit_429", 429), ("lock_timeout", 429), ("conflict_409", 409), ("unsaved_500", 500)] {
        client.fault(&format!(r#"{{"route":"POST /v1/transfers","fault":"{fault}","retry_after":3}}"#)).await;
        let reply = client.keyed("k", "/v1/transfers", &transfer(&to)).await.unwrap();
        assert_eq!(reply.status, status, "{fault}");
        assert_eq!(reply.header("retry-after"), (status == 429).then_some("3"), "{fault}");
    }
    let denied = client
        .send("POST", "/v1/transfers", "", &[("Authorization", "Bearer nonsense"), ("Idempotency-Key", "k")])
        .await;
    assert_eq!(denied.unwrap().status, 401);
    let done = client.keyed("k", "/v1/transfers", &transfer(&to)).await.unwrap();
    assert_eq!((done.status, done.header("idempotent-replayed")), (200, None));
}

#[tokio::test]
async fn a_key_in_flight_is_in_use_even_when_its_caller_has_gone() {
    let client = Client::start().await;
    let to = client.receiver().await;
    client.fault(r#"{"route":"POST /v1/transfers","fault":"slow","ms":600}"#).await;
    let form = transfer(&to);
    let slow = client.keyed("k", "/v1/transfers", &form);
    // The caller gives up as soon as the effect is there.
    tokio::select! {
        reply = slow => panic!("not slow: {reply:?}"),
        () = eventually(std::time::Duration::from_secs(5), async || if client.transfers().await == 1 { Ok(()) } else { Err(()) }) => {}
    }
    let busy = client.keyed("k", "/v1/transfers", &form).await.unwrap();
    assert_eq!((busy.status, busy.error().1), (409, "idempotency_key_in_use"));
    let landed = eventually(std::time::Duration::from_secs(5), async || {
        let reply = client.keyed("k", "/v1/transfers", &form).await.unwrap();
        if reply.status == 200 { Ok(reply) } else { Err(reply.status) }
    });
    assert_eq!(landed.await.header("idempotent-replayed"), Some("true"));
    assert_eq!(client.transfers().await, 1);
}

#[tokio::test]
async fn keys_are_forgotten_after_a_day_of_its_own_time_or_when_told() {
    let client = Client::start().await;
    let to = client.receiver().await;
    let send = async || client.keyed("k", "/v1/transfers", &transfer(&to)).await.unwrap().id();
    let first = send().await;
    client.post("/_sandbox/advance", r#"{"seconds":86000}"#).await;
    assert_eq!(send().await, first);
    client.post("/_sandbox/advance", r#"{"seconds":400}"#).await;
    let second = send().await;
    assert_ne!(second, first);
    let pruned = client.post("/_sandbox/keys/prune", "").await;
    assert_eq!(pruned.body["pruned"], 1);
    assert_ne!(send().await, second);
    assert_eq!(client.transfers().await, 3);
}

#[tokio::test]
async fn a_key_is_at_most_255_characters_and_belongs_to_its_api_key() {
    let client = Client::start().await;
    let to = client.receiver().await;
    let long = client.keyed(&"k".repeat(256), "/v1/transfers", &transfer(&to)).await.unwrap();
    assert_eq!((long.status, long.error().0), (400, "invalid_request_error"));
    client.keyed(&"k".repeat(255), "/v1/transfers", &transfer(&to)).await.unwrap().id();
    let other = [("Authorization", "Bearer sk_test_somebody_else"), ("Idempotency-Key", &"k".repeat(255))];
    client.send("POST", "/v1/transfers", &transfer(&to), &other).await.unwrap().id();
    assert_eq!(client.transfers().await, 2);
}
