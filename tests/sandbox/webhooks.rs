//! Events arrive where they were asked for, signed, and again when they were not taken.

use std::{net::Ipv4Addr, time::Duration};

use bursar::sandbox::{Options, Webhook};
use bursar_jobs::base::clock;
use ring::hmac;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::client::Client;
use crate::support::eventually;

/// Takes one delivery and answers it: its signature and its event.
async fn receive(listener: &TcpListener, status: u16) -> (String, Value) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    loop {
        let mut bytes = [0; 8192];
        let read = stream.read(&mut bytes).await.unwrap();
        text += std::str::from_utf8(&bytes[..read]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            break;
        }
    }
    stream.write_all(format!("HTTP/1.1 {status} OK\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let signature = head.lines().find_map(|line| line.strip_prefix("stripe-signature: ")).unwrap();
    let event: Value = serde_json::from_str(body).unwrap();
    // What is verified below is what was received, byte for byte.
    assert_eq!(event.to_string(), body);
    (signature.to_owned(), event)
}

fn assert_signed(signature: &str, secret: &str, event: &Value) {
    let time = signature.strip_prefix("t=").and_then(|rest| rest.split(',').next()).unwrap();
    let time: i64 = time.parse().unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{time}.{event}").as_bytes());
    let hex = tag.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(signature, format!("t={time},v1={hex}"));
    // By the receiver's clock, however far the sandbox's is ahead.
    assert!((clock::now().timestamp() - time).abs() < 60, "{time}");
}

#[tokio::test]
async fn an_event_is_signed_and_sent_again_until_it_is_taken() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/api/stripe/webhook", listener.local_addr().unwrap());
    let webhooks = vec![Webhook { url, secret: "whsec_test".to_owned(), connect: false }];
    let client = Client::with(Options { webhooks, ..Options::default() }).await;
    client.post("/_sandbox/advance", r#"{"seconds":86400}"#).await;
    let customer = client.post("/v1/customers", "email=a@example.com").await.id();
    let (_, refused) = receive(&listener, 503).await;
    let (signature, taken) = receive(&listener, 200).await;
    assert_eq!((&refused, &taken["type"]), (&taken, &"customer.created".into()));
    assert_eq!(
        (&taken["data"]["object"]["id"], &taken["api_version"]),
        (&customer.into(), &"2026-09-30.endive".into())
    );
    assert_signed(&signature, "whsec_test", &taken);
    eventually(Duration::from_secs(5), async || {
        let missing = client.get("/v1/events?delivery_success=false").await.body;
        if missing["data"] == serde_json::json!([]) { Ok(()) } else { Err(missing) }
    })
    .await;
}

#[tokio::test]
async fn what_happens_on_connected_accounts_goes_to_connect_endpoints_alone() {
    let (ours, connect) = (
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
    );
    let client = Client::start().await;
    let mut secrets = Vec::new();
    for (listener, is_connect) in [(&ours, false), (&connect, true)] {
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let form = format!(
            "url={url}&connect={is_connect}&enabled_events[]=account.updated&enabled_events[]=transfer.created"
        );
        let endpoint = client.post("/v1/webhook_endpoints", &form).await;
        secrets.push(endpoint.body["secret"].as_str().unwrap().to_owned());
        assert!(client.get(&format!("/v1/webhook_endpoints/{}", endpoint.id())).await.body.get("secret").is_none());
    }
    let to = client.receiver().await;
    client.post("/v1/transfers", &super::client::transfer(&to)).await.id();
    let (signature, event) = receive(&connect, 200).await;
    assert_eq!((&event["type"], &event["account"]), (&"account.updated".into(), &to.into()));
    assert_signed(&signature, &secrets[1], &event);
    let (signature, event) = receive(&ours, 200).await;
    assert_eq!((&event["type"], event.get("account")), (&"transfer.created".into(), None));
    assert_signed(&signature, &secrets[0], &event);
    for elsewhere in ["https://127.0.0.1:1", "http://example.com", "http://10.0.0.1/hook", "nonsense"] {
        let reply = client.post("/v1/webhook_endpoints", &format!("url={elsewhere}&enabled_events[]=*")).await;
        assert_eq!((reply.status, reply.error().2), (400, "url"), "{elsewhere}");
    }
}
