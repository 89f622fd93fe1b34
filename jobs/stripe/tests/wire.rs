//! What really goes over the wire, and what really comes back.

use std::{collections::BTreeMap, time::Duration};

use bursar_stripe::{
    API_VERSION, Client, Config, ConfigError, Lost, Method, Reply, Request, Seen, StripeError, Why,
    transfers::{self, NewTransfer, Transfer},
};
use stripe_client_core::{IdempotencyKey, RequestStrategy, StripeRequest};
use stripe_connect::transfer::{CreateTransfer, RetrieveTransfer};
use stripe_types::Currency;

use crate::stub::{Asked, Do, Stub, TRANSFER, error, http};

const SECRET: &str = "sk_test_verysecret";

pub fn client(stub: &Stub) -> Client {
    Client::new(Config { timeout: Duration::from_secs(5), ..Config::new(&stub.base, SECRET) }).unwrap()
}

fn payment() -> Request {
    let metadata = BTreeMap::from([("job_id".to_owned(), "j1".to_owned())]);
    transfers::create(&NewTransfer {
        amount: 100,
        currency: "usd",
        destination: "acct_1",
        transfer_group: "payout:j1",
        metadata,
        source_transaction: None,
    })
}

/// Sends the payment once to a stub that does this.
async fn pay(what: Do) -> (Seen, Vec<Asked>) {
    let stub = Stub::doing(vec![what]).await;
    let seen = client(&stub).send(&payment(), Some("payout:j1:0")).await;
    (seen, stub.asked())
}

fn lost(reply: &Reply) -> Option<&Lost> {
    match reply {
        Reply::Unknown { why: Why::Lost(lost), .. } => Some(lost),
        _ => None,
    }
}

#[tokio::test]
async fn a_request_carries_version_key_and_its_bytes() {
    let (seen, asked) = pay(Do::Answer(http(200, &[], TRANSFER))).await;
    assert_eq!((seen.status, seen.request_id.as_deref(), seen.replayed), (Some(200), Some("req_1"), false));
    assert_eq!(seen.read::<Transfer>().unwrap().id, "tr_1");
    let [asked] = &asked[..] else { panic!("asked {} times", asked.len()) };
    assert!(asked.head.starts_with("POST /v1/transfers HTTP/1.1"), "{}", asked.head);
    assert_eq!(asked.header("stripe-version"), Some("2026-09-30.endive"));
    assert_eq!(asked.header("idempotency-key"), Some("payout:j1:0"));
    assert_eq!(asked.header("authorization"), Some("Bearer sk_test_verysecret"));
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert!(asked.header("user-agent").is_some_and(|agent| agent.starts_with("bursar/")));
    assert_eq!(asked.body, payment().form);
    assert_eq!(stripe_client_core::VERSION.as_str(), API_VERSION, "the builders are made for the version we pin");
}

#[tokio::test]
async fn what_must_not_leave_does_not() {
    let stub = Stub::doing(vec![Do::Answer(http(200, &[], TRANSFER))]).await;
    let client = client(&stub);
    let get = transfers::list(&transfers::Filter::default(), None);
    let long = "k".repeat(256);
    let outside = Request { path: "@evil.example/v1/transfers".into(), ..payment() };
    let broken = Request { path: "/v1/trans fers".into(), ..payment() };
    for (request, key) in [
        (&payment(), None),
        (&payment(), Some("")),
        (&payment(), Some(long.as_str())),
        (&payment(), Some("a b")),
        (&payment(), Some("a\r\nX: y")),
        (&get, Some("k")),
        (&outside, Some("k")),
        (&broken, Some("k")),
    ] {
        let seen = client.send(request, key).await;
        assert!(matches!(seen.reply, Reply::NotSent { .. }), "{request}: {seen}");
    }
    assert_eq!(stub.asked().len(), 0);
}

#[tokio::test]
async fn a_slow_answer_is_unknown_in_time() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 999\r\nrequest-id: req_1\r\n\r\n{\"id\":";
    for (what, status) in [(vec![Do::Hang], None), (vec![Do::Answer(head.into()), Do::Hang], Some(200))] {
        let stub = Stub::doing(what).await;
        let config = Config { timeout: Duration::from_millis(150), ..Config::new(&stub.base, SECRET) };
        let seen = Client::new(config).unwrap().send(&payment(), Some("k")).await;
        assert_eq!(lost(&seen.reply), Some(&Lost::TimedOut), "{seen}");
        assert_eq!(seen.status, status, "the head that came is kept");
        assert_eq!(stub.asked().len(), 1, "and it is not sent twice");
    }
}

#[tokio::test]
async fn a_reset_is_unknown() {
    for what in [Do::ResetBefore, Do::ResetAfter] {
        let (seen, asked) = pay(what).await;
        assert!(matches!(lost(&seen.reply), Some(Lost::Broken(_))), "{seen}");
        assert_eq!(asked.len(), 1, "and it is not sent twice");
    }
}

#[tokio::test]
async fn nobody_there_is_unknown() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = Client::new(Config::new(format!("http://127.0.0.1:{port}/"), SECRET)).unwrap();
    let seen = client.send(&payment(), Some("k")).await;
    assert!(matches!(lost(&seen.reply), Some(Lost::NoConnection(_))), "{seen}");
}

#[tokio::test]
async fn an_https_address_is_only_spoken_to_over_tls() {
    let stub = Stub::doing(vec![Do::ResetAfter]).await;
    let base = stub.base.replace("http://", "https://");
    let config = Config { timeout: Duration::from_millis(500), ..Config::new(base, SECRET) };
    let seen = Client::new(config).unwrap().send(&payment(), Some("k")).await;
    // A handshake that finds no TLS: the stub reads no request out of it, and waits for more until the time is over.
    assert!(matches!(lost(&seen.reply), Some(Lost::NoConnection(_) | Lost::TimedOut)), "{seen}");
    assert_eq!(stub.asked().len(), 0);
}

#[tokio::test]
async fn an_answer_that_is_none_is_unknown() {
    let truncated = format!("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{TRANSFER}");
    let unframed = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", &TRANSFER[..30]);
    for bytes in [
        http(502, &["content-type: text/html"], "<html>Bad Gateway</html>"),
        http(200, &[], "certainly not JSON"),
        http(200, &[], "{\"id\":\"tr_1\"}"),
        http(200, &[], "null"),
        truncated,
        unframed,
        "SSH-2.0-OpenSSH_9.9\r\n\r\n".into(),
        http(301, &["location: https://example.com/"], ""),
    ] {
        let (seen, _) = pay(Do::AnswerAndClose(bytes.clone())).await;
        assert!(matches!(seen.reply, Reply::Unknown { look_up: false, .. }), "{bytes}: {seen}");
    }
}

#[tokio::test]
async fn a_success_that_is_something_else_is_unknown() {
    for other in [r#"{"object":"customer","id":"cus_1"}"#, r#"{"object":"transfer","id":"tr_1"}"#] {
        let (seen, _) = pay(Do::Answer(http(200, &[], other))).await;
        let seen = seen.read::<Transfer>().unwrap_err();
        assert!(matches!(seen.reply, Reply::Unknown { why: Why::NotWhatWasAsked(_), look_up: true, .. }), "{seen}");
        assert_eq!((seen.status, seen.request_id.as_deref(), seen.raw.as_str()), (Some(200), Some("req_1"), other));
    }
}

#[tokio::test]
async fn a_body_too_long_is_not_read() {
    let stub = Stub::doing(vec![Do::Answer(http(200, &[], &" ".repeat(5000)))]).await;
    let client = Client::new(Config { body_limit: 4096, ..Config::new(&stub.base, SECRET) }).unwrap();
    let seen = client.send(&payment(), Some("k")).await;
    assert_eq!((lost(&seen.reply), seen.status), (Some(&Lost::TooLong), Some(200)));
}

#[tokio::test]
async fn headers_decide() {
    let rate = error("invalid_request_error", "rate_limit");
    let (seen, _) = pay(Do::Answer(http(429, &["Retry-After: 7"], &rate))).await;
    assert_eq!(seen.reply, Reply::Limited { after: Some(Duration::from_secs(7)) });

    let dates = ["Date: Sat, 21 Nov 2026 02:00:00 GMT", "Retry-After: Sat, 21 Nov 2026 02:00:30 GMT"];
    let (seen, _) = pay(Do::Answer(http(429, &dates, &rate))).await;
    assert_eq!(seen.reply, Reply::Limited { after: Some(Duration::from_secs(30)) });

    let in_use = error("idempotency_error", "idempotency_key_in_use");
    let (seen, _) = pay(Do::Answer(http(409, &[], &in_use))).await;
    assert_eq!(seen.reply, Reply::Busy { after: None });

    let saved = http(500, &["Idempotent-Replayed: true"], &error("api_error", "oops"));
    let (seen, _) = pay(Do::Answer(saved)).await;
    assert_eq!((seen.status, seen.replayed), (Some(500), true));
    assert_eq!(seen.reply, Reply::Unknown { why: Why::ServerError, look_up: true, after: None });

    let poor = error("invalid_request_error", "balance_insufficient");
    for (headers, replayed) in [(&[][..], false), (&["Idempotent-Replayed: true"][..], true)] {
        let (seen, _) = pay(Do::Answer(http(400, headers, &poor))).await;
        assert!(matches!(seen.reply, Reply::Rejected { replayed: saved, .. } if saved == replayed), "{seen}");
    }

    let (seen, _) = pay(Do::Answer(http(400, &["Stripe-Should-Retry: true", "Retry-After: 2"], &poor))).await;
    assert_eq!(seen.reply, Reply::Busy { after: Some(Duration::from_secs(2)) });

    let (seen, _) = pay(Do::Answer(http(500, &["Stripe-Should-Retry: false"], "{}"))).await;
    assert_eq!(seen.reply, Reply::Unknown { why: Why::ServerError, look_up: true, after: None });

    let (seen, _) = pay(Do::Answer(http(400, &[], &error("idempotency_error", "")))).await;
    assert!(matches!(seen.reply, Reply::KeyMisuse { .. }), "{seen}");
}

#[tokio::test]
async fn the_secret_key_is_never_shown() {
    let echo = error("invalid_request_error", &format!("unknown {SECRET}"));
    let (seen, _) = pay(Do::Answer(http(401, &[], &echo))).await;
    let Reply::Unauthorized { error: StripeError { code, .. } } = &seen.reply else { panic!("{seen}") };
    assert_eq!(code.as_deref(), Some("unknown [secret key]"));
    let config = Config::new("https://api.stripe.com", SECRET);
    let shown = format!("{seen:?} {seen} {config:?} {:?}", Client::new(config.clone()).unwrap());
    assert!(!shown.contains("verysecret"), "{shown}");
}

#[test]
fn a_wrong_configuration_says_so() {
    for base in ["", "api.stripe.com", "ftp://api.stripe.com", "https://", "https://api.stripe.com/?x=1"] {
        assert!(matches!(Client::new(Config::new(base, SECRET)), Err(ConfigError::Base(_))), "{base}");
    }
    for key in ["", "sk_test_1\n", "sk test", "sk_é"] {
        assert!(matches!(Client::new(Config::new("https://api.stripe.com", key)), Err(ConfigError::Key)), "{key}");
    }
    assert!(matches!(Client::new(Config::new("http://127.0.0.1:1", "sk_live_1")), Err(ConfigError::InClear)));
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let stub = Stub::doing(vec![Do::Answer(http(200, &[], TRANSFER))]).await;
    let client = client(&stub);
    for turn in 0..20 {
        let seen = client.send(&payment(), Some(&format!("k:{turn}"))).await;
        assert!(matches!(seen.reply, Reply::Success(_)), "{seen}");
    }
    let asked = stub.asked();
    assert_eq!(asked.len(), 20);
    assert!(asked.iter().all(|asked| asked.connection == 0));
}

#[tokio::test]
async fn a_generated_builder_can_be_sent_too() {
    let stub = Stub::doing(vec![Do::Answer(http(404, &[], &error("invalid_request_error", "resource_missing")))]).await;
    let client = client(&stub);
    let seen = RetrieveTransfer::new("tr_1").send(&client).await.unwrap_err();
    assert!(matches!(&seen.reply, Reply::Rejected { error, .. } if error.code.as_deref() == Some("resource_missing")));
    assert_eq!((seen.status, seen.request_id.as_deref()), (Some(404), Some("req_1")));

    let create = CreateTransfer::new(Currency::USD, "acct_1").amount(100);
    for strategy in [RequestStrategy::Once, RequestStrategy::Retry(3), RequestStrategy::ExponentialBackoff(3)] {
        let seen = create.customize().request_strategy(strategy).send(&client).await.unwrap_err();
        assert!(matches!(seen.reply, Reply::NotSent { .. }), "{seen}");
    }
    let elsewhere = RetrieveTransfer::new("tr_1").customize().account_id("acct_1".into());
    assert!(matches!(elsewhere.send(&client).await.unwrap_err().reply, Reply::NotSent { .. }));
    assert_eq!(stub.asked().len(), 1);

    let key = IdempotencyKey::new("k:0").unwrap();
    let refused = create.customize().request_strategy(RequestStrategy::Idempotent(key)).send(&client).await;
    assert!(matches!(refused.unwrap_err().reply, Reply::Rejected { .. }));
    assert_eq!(stub.asked()[1].header("idempotency-key"), Some("k:0"));
    assert_eq!(Request::of(&create).method, Method::Post);
}
