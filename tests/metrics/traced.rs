//! One trace from the request that brought an event, through its jobs, to what Stripe was asked.

#![expect(clippy::float_cmp, reason = "they are counts, which a float holds exactly")]

use std::net::SocketAddr;

use bursar::telemetry::traces::trace_of;
use bursar_jobs::{engine::enqueue::enqueue, notifications::send_email::SendLetter};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use super::{
    SOON, TOKEN, World, purchase,
    sink::{Sink, Span},
    verified,
};
use crate::{
    support::eventually,
    web::client::{Client, Header, standard_signature},
};

fn named<'a>(spans: &'a [Span], name: &str) -> Result<&'a Span, String> {
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    spans.iter().find(|span| span.name == name).ok_or_else(|| format!("no {name} in {names:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_the_web_request_over_the_jobs_to_the_transfer() {
    let sink = Sink::start().await;
    let endpoint = format!("http://{}/", sink.address);
    let own =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=planted, x-two=2")];
    let world = World::start(&own).await;
    world.receiver("bob").await;
    let event = verified("job_1", "bob");
    for _ in 0..2 {
        assert_eq!(world.tell("msg_job_1", &event).await.status, 202);
    }
    world.settled().await;
    let of_event = || sink.spans().into_iter().filter(|span| span.trace == trace_of("msg_job_1")).collect::<Vec<_>>();
    let spans = eventually(SOON, || async {
        let spans = of_event();
        named(&spans, "POST /v1/transfers")?;
        if spans.iter().filter(|span| span.name == "receive job.verified").count() < 2 {
            return Err("both receipts are not told yet".to_owned());
        }
        named(&spans, "job record_payout")?;
        Ok::<_, String>(spans)
    })
    .await;
    let request =
        spans.iter().find(|span| span.attributes.get("bursar.received").is_some_and(|what| what == "new")).unwrap();
    let (record, pay) = (named(&spans, "job record_payout").unwrap(), named(&spans, "job pay_receiver").unwrap());
    let transfer = named(&spans, "POST /v1/transfers").unwrap();

    assert_eq!(
        [&request.service, &record.service, &transfer.service],
        ["bursar-web", "bursar-worker", "bursar-worker"]
    );
    assert!(request.parent.is_empty(), "it is the root");
    let again = spans.iter().filter(|span| span.name == "receive job.verified" && span.id != request.id);
    let again: Vec<_> = again.map(|span| (&span.parent, span.attributes["bursar.received"].as_str())).collect();
    assert_eq!(again, [(&request.id, "duplicate")]);
    assert_eq!(record.parent, request.id);
    assert_eq!(pay.parent, record.id, "it is under the job that enqueued it");
    assert_eq!(transfer.parent, pay.id);
    assert_eq!((request.kind, record.kind, transfer.kind), (2, 5, 3), "server, consumer, client");
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), spans.len(), "each span has an id of its own");
    assert!(spans.iter().all(|span| span.id.len() == 8 && span.trace.len() == 16 && span.start <= span.end));

    let kept: Option<String> =
        sqlx::query_scalar("SELECT request_id FROM bursar.call WHERE what = 'send' ORDER BY id DESC LIMIT 1")
            .fetch_one(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(transfer.attributes.get("stripe.request_id").cloned(), kept);
    assert!(kept.is_some());
    assert_eq!(pay.attributes["bursar.outcome"], "done");
    assert_eq!(record.attributes["bursar.user"], "bob");
    assert_eq!(pay.attributes["bursar.cause"], "msg_job_1");
    let heads = sink.heads();
    assert!(heads.iter().all(|head| {
        head.starts_with("post /v1/traces ")
            && head.contains("content-type: application/x-protobuf")
            && head.contains("x-two: 2")
    }));
}

/// A context, its trace and its span: of W3C's own examples, with another ending.
fn context(nth: u8, flags: &str) -> (String, Vec<u8>, Vec<u8>) {
    let (trace, span) = (format!("0af7651916cd43dd8448eb211c8031{nth:02x}"), format!("b7ad6b71692033{nth:02x}"));
    let bytes = |hex: &str, length: usize| u128::from_str_radix(hex, 16).unwrap().to_be_bytes()[16 - length..].to_vec();
    (format!("00-{trace}-{span}-{flags}"), bytes(&trace, 16), bytes(&span, 8))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_api_goes_on_with_its_sender_s_trace_over_the_jobs_it_leads_to() {
    let sink = Sink::start().await;
    let endpoint = format!("http://{}/", sink.address);
    let world = World::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await;
    let buy = async |user: &str, token: &str, traceparent: &str| {
        let body = json!({"user_id": user, "package": "small"}).to_string();
        let headers = [("authorization", format!("Bearer {token}")), ("traceparent", traceparent.to_owned())];
        Client::connect(world.api).await.post("/api/stripe/checkout", &headers, &body).await.status
    };
    let ((good, trace, sender), (unwanted, other, _)) = (context(1, "01"), context(2, "00"));
    assert_eq!(buy("alice", "planted-wrong-token", &context(3, "01").0).await, 401);
    assert_eq!(buy("carol", TOKEN, &unwanted).await, 200);
    assert_eq!(buy("bob", TOKEN, &format!("{good}-'; DROP TABLE spans")).await, 200);
    assert_eq!(buy("alice", TOKEN, &good).await, 200);
    let spans = eventually(SOON, || async {
        let all = sink.spans();
        let spans: Vec<Span> = all.iter().filter(|span| span.trace == trace).cloned().collect();
        for name in
            ["POST /api/stripe/checkout", "job create_checkout", "job create_customer", "POST /v1/checkout/sessions"]
        {
            named(&spans, name)?;
        }
        // The malformed one's is a trace of its own.
        let requests = all.iter().filter(|span| span.name == "POST /api/stripe/checkout").count();
        if requests == 2 { Ok(spans) } else { Err(format!("{requests} requests are told")) }
    })
    .await;
    let span = |name: &str| named(&spans, name).unwrap();
    let request = span("POST /api/stripe/checkout");
    assert_eq!((&request.parent, request.service.as_str(), request.kind), (&sender, "bursar-api", 2));
    assert_eq!(request.attributes["http.response.status_code"], "200");
    let checkouts: Vec<&Span> = spans.iter().filter(|span| span.name == "job create_checkout").collect();
    assert!(checkouts.iter().all(|job| job.parent == request.id));
    let session = span("POST /v1/checkout/sessions");
    assert!(checkouts.iter().any(|job| job.id == session.parent));
    let all = sink.spans();
    let of_bob = all.iter().find(|span| span.name == "POST /api/stripe/checkout" && span.trace != trace).unwrap();
    assert!(of_bob.parent.is_empty(), "what is malformed is nobody's trace");
    assert!(!all.iter().any(|span| span.trace == other), "its sender wants no spans");
    assert!(!all.iter().any(|span| span.trace == context(3, "01").1), "strangers join no trace");
}

#[tokio::test]
async fn a_verification_is_linked_to_its_sender_s_trace_and_what_no_event_caused_begins_its_own() {
    let sink = Sink::start().await;
    let endpoint = format!("http://{}/", sink.address);
    let world = World::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await;
    let event = verified("job_1", "bob").to_string();
    let mut headers: Vec<Header> = standard_signature("msg_job_1", &event).to_vec();
    let (traceparent, trace, sender) = context(1, "01");
    headers.push(("traceparent", traceparent));
    assert_eq!(Client::connect(world.web).await.post("/api/verifications", &headers, &event).await.status, 202);
    // As an operator has them made.
    let letters = ["one", "two"]
        .map(|key| SendLetter::to_user("refund_made", "alice", key).job(key.into(), Some("operator".into())));
    enqueue(&world.db.pool, &letters).await.unwrap();
    let spans = eventually(SOON, || async {
        let spans = sink.spans();
        named(&spans, "receive job.verified")?;
        let letters = spans.iter().filter(|span| span.name == "job send_letter").count();
        if letters == 2 { Ok(spans) } else { Err(format!("{letters} letters are told")) }
    })
    .await;
    let receipt = named(&spans, "receive job.verified").unwrap();
    assert_eq!(receipt.link, Some((trace, sender)));
    assert_eq!(receipt.trace, trace_of("msg_job_1"));
    let letters: Vec<&Span> = spans.iter().filter(|span| span.name == "job send_letter").collect();
    assert_ne!(letters[0].trace, letters[1].trace, "all that operators ever do is not one trace");
    assert!(letters.iter().all(|letter| letter.parent.is_empty()));
}

/// A collector that says 200 and never stops talking. How much of it was heard is told when the other side has gone.
async fn babbler() -> (SocketAddr, mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let (chunk, mut said) = (format!("10000\r\n{}\r\n", "x".repeat(0x10000)), 0);
                let mut taken = [0; 1024];
                assert!(stream.read(&mut taken).await.unwrap() > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
                while stream.write_all(chunk.as_bytes()).await.is_ok() {
                    said += chunk.len();
                }
                tell.send(said).unwrap();
            });
        }
    });
    (address, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_stops_talking_is_not_listened_to() {
    let (address, mut heard) = babbler().await;
    let world = World::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"))]).await;
    assert_eq!(world.hear(&purchase(1)).await.status, 200);
    let said = tokio::time::timeout(SOON, heard.recv()).await.unwrap().unwrap();
    assert!(said < 32 << 20, "{said} bytes were taken of an answer that nobody needs");
    world.settled().await;
    assert_eq!(world.scrape(0).await.sum("bursar_spans_dropped_total", &[]), 0.0, "it said that it has them");
    assert!(!world.log("web").contains("traces could not be sent"));
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", away.local_addr().unwrap());
    drop(away);
    let world = World::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    assert_eq!(world.hear(&purchase(1)).await.status, 200);
    world.settled().await;
    assert_eq!(world.count("SELECT count(*) FROM bursar.posting").await, 1);
    eventually(SOON, || async {
        let dropped = world.scrape(0).await.sum("bursar_spans_dropped_total", &[]);
        if dropped >= 1.0 { Ok(()) } else { Err(dropped) }
    })
    .await;
    assert_eq!(world.log("web").matches("traces could not be sent").count(), 1, "said once");
}
