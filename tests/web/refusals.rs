//! What is refused, how, and that it leaves nothing behind.

use std::time::Duration;

use bursar_jobs::base::clock;

use super::{
    CHECKOUT, Server, WEBHOOK,
    client::{self, Client, Header, hex_hmac, stripe_signature, stripe_signature_at},
    deliver, events,
};
use crate::support;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_signature_that_proves_nothing_is_a_400_and_no_row() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let now = clock::now().timestamp();
    let good = stripe_signature("whsec_new_of_the_endpoint", CHECKOUT);
    let compact = serde_json::from_str::<serde_json::Value>(CHECKOUT).unwrap().to_string();
    // To the second it is tested beside the code; here the clock moves while the request is on its way.
    let cases: [(&str, Vec<Header>, &str, &str); 8] = [
        ("missing", vec![], CHECKOUT, "header is missing"),
        ("twice", vec![good.clone(), good.clone()], CHECKOUT, "repeated"),
        ("malformed", vec![("stripe-signature", "v1=00".to_owned())], CHECKOUT, "malformed"),
        ("wrong secret", vec![stripe_signature("whsec_other", CHECKOUT)], CHECKOUT, "STRIPE_WEBHOOK_SECRET"),
        (
            "v0 only",
            vec![("stripe-signature", format!("t={now},v0={}", hex_hmac("whsec_new_of_the_endpoint", now, CHECKOUT)))],
            CHECKOUT,
            "no signature",
        ),
        ("re-serialised", vec![good], &compact, "rewrites the body"),
        ("stale", vec![stripe_signature_at("whsec_new_of_the_endpoint", CHECKOUT, now - 301)], CHECKOUT, "clock"),
        ("ahead", vec![stripe_signature_at("whsec_new_of_the_endpoint", CHECKOUT, now + 310)], CHECKOUT, "clock"),
    ];
    for (what, headers, body, words) in cases {
        let reply = Client::connect(server.address).await.post(WEBHOOK, &headers, body).await;
        assert_eq!(reply.status, 400, "{what}");
        assert!(reply.detail().contains(words), "{what}: {}", reply.body);
    }
    assert_eq!(events(&database.pool).await, 0);
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_is_a_400_and_no_row() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    for body in [
        "",
        "hello",
        "[]",
        "{\"type\":\"x\"}",
        "{\"id\":\"\",\"type\":\"x\"}",
        "{\"id\":7,\"type\":\"x\"}",
        "{\"id\":\"a\\u0000\",\"type\":\"x\"}",
    ] {
        let reply = deliver(&server, body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.detail().contains("no event"), "{}", reply.body);
    }
    let body = "{\"type\":\"job.verified\"}";
    let headers = client::standard_signature("ver_1", body);
    assert_eq!(Client::connect(server.address).await.post("/api/verifications", &headers, body).await.status, 400);
    assert_eq!(events(&database.pool).await, 0);
}

#[tokio::test]
async fn one_mebibyte_is_taken_and_one_byte_more_is_not() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let padded = |size: usize| format!("{CHECKOUT}{}", " ".repeat(size - CHECKOUT.len()));
    let (fits, over) = (padded(MIB), padded(MIB + 1));

    // As declared; also many times over, and the sender still hears why.
    for body in [&over, &padded(5 * MIB)] {
        let reply = deliver(&server, body).await;
        assert_eq!(reply.status, 413);
        assert!(reply.detail().contains("1048576 bytes"), "{}", reply.body);
    }
    // In chunks that declare nothing.
    let mut client = Client::connect(server.address).await;
    let (name, signature) = stripe_signature("whsec_new_of_the_endpoint", &over);
    client
        .send(&format!(
            "POST {WEBHOOK} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n{name}: {signature}\r\n\r\n"
        ))
        .await;
    client.send(&format!("{:x}\r\n{over}\r\n0\r\n\r\n", over.len())).await;
    assert_eq!(client.reply().await.status, 413);
    // By a sender that asks first: it need not send at all.
    let mut client = Client::connect(server.address).await;
    client.send(&client::head("POST", WEBHOOK, &[("expect", "100-continue".to_owned())], MIB + 1)).await;
    assert_eq!(client.reply().await.status, 413);
    // More than declared: the rest is no request.
    let mut client = Client::connect(server.address).await;
    client.send(&client::head("POST", WEBHOOK, &[stripe_signature("whsec_new_of_the_endpoint", "")], 10)).await;
    client.send(CHECKOUT).await;
    assert_eq!(client.reply().await.status, 400);
    assert_eq!(events(&database.pool).await, 0);

    assert_eq!(deliver(&server, &fits).await.status, 200);
    assert_eq!(events(&database.pool).await, 1);
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_say_so() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let mut client = Client::connect(server.address).await;
    for (method, path, status, allow) in [
        ("GET", "/", 404, None),
        ("POST", "/api/stripe/webhook/", 404, None),
        ("GET", WEBHOOK, 405, Some("POST")),
        ("PUT", "/api/verifications", 405, Some("POST")),
        ("POST", "/healthz", 405, Some("GET, HEAD")),
        ("DELETE", "/readyz", 405, Some("GET, HEAD")),
    ] {
        let reply = client.request(method, path).await;
        assert_eq!((reply.status, reply.header("allow")), (status, allow), "{method} {path}");
        assert!(!reply.detail().is_empty());
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client.request("GET", path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn what_is_switched_off_is_not_there() {
    let database = support::database().await;
    let server = Server::start_with(&database.pool, |settings| {
        settings.stripe = None;
        settings.verifications = None;
    })
    .await;
    let mut client = Client::connect(server.address).await;
    for (path, words) in [(WEBHOOK, "STRIPE_WEBHOOK_SECRET"), ("/api/verifications", "VERIFICATION_SECRET")] {
        let reply = client.request("POST", path).await;
        assert_eq!(reply.status, 404);
        assert!(reply.detail().contains(words), "{}", reply.body);
    }
}

#[tokio::test]
async fn a_sender_that_dawdles_or_rambles_is_let_go() {
    let database = support::database().await;
    let soon = Duration::from_millis(500);
    let server =
        Server::start_with(&database.pool, |settings| (settings.limits.head, settings.limits.body) = (soon, soon))
            .await;
    // Half a head, and silence.
    let mut client = Client::connect(server.address).await;
    client.send("POST /api/stripe/webhook HT").await;
    assert!(client.is_closed().await);
    // Kept alive, and silence.
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.request("GET", "/healthz").await.status, 200);
    assert!(client.is_closed().await);
    // Half a body, and silence.
    let mut client = Client::connect(server.address).await;
    client
        .send(&client::head(
            "POST",
            WEBHOOK,
            &[stripe_signature("whsec_new_of_the_endpoint", CHECKOUT)],
            CHECKOUT.len(),
        ))
        .await;
    client.send(&CHECKOUT[..20]).await;
    assert_eq!(client.reply().await.status, 408);
    // A head without end.
    let mut client = Client::connect(server.address).await;
    client.send(&client::head("GET", "/healthz", &[("x", "y".repeat(20 << 10))], 0)).await;
    assert_eq!(client.reply().await.status, 431);
}
