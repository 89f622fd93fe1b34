//! One trace from the request that brought an event, through its jobs, to what Stripe was asked.

use bursar::telemetry::traces::trace_of;

use super::{
    SOON, World, purchase,
    sink::{Sink, Span},
    verified,
};
use crate::support::eventually;

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
    assert_eq!(pay.parent, request.id, "its cause is the event");
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
