//! Under load the numbers are those of the database.

#![expect(clippy::float_cmp, reason = "they are counts, which a float holds exactly")]

use std::collections::BTreeSet;

use bursar::telemetry::names::{self, From, Type};

use super::{SOON, World, ask, purchase};
use crate::{
    support::eventually,
    web::client::{Client, stripe_signature},
};

const PURCHASES: usize = 60;
const PAYOUTS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_each_process_shows_what_the_database_says() {
    let world = World::start(&[]).await;
    world.receiver("bob").await;
    for nth in 0..PURCHASES {
        // Each scrape is one under load.
        if nth % 20 == 0 {
            world.scrape(nth / 20).await;
        }
        let event = purchase(nth);
        assert_eq!(world.hear(&event).await.status, 200);
        if nth % 10 == 0 {
            assert_eq!(world.hear(&event).await.status, 200, "again");
        }
    }
    for nth in 0..PAYOUTS {
        assert_eq!(world.verify(&format!("job_{nth}"), "bob").await.status, 202);
    }
    // Nobody pays carol: hers is held.
    assert_eq!(world.verify("job_held", "carol").await.status, 202);
    let mut unknown = purchase(999);
    unknown["type"] = "invented.by.a.stranger".into();
    assert_eq!(world.hear(&unknown).await.status, 200);
    let forged = [stripe_signature("whsec_stranger", "{}")];
    assert_eq!(Client::connect(world.web).await.post("/api/stripe/webhook", &forged, "{}").await.status, 400);
    let signed = stripe_signature(super::WEBHOOK_SECRET, "{}");
    assert_eq!(Client::connect(world.web).await.post("/api/stripe/webhook", &[signed], "{}").await.status, 400);
    world.settled().await;

    let web = world.scrape(0).await;
    let received = |kind| web.sum("bursar_events_received_total", &[("source", "stripe"), ("type", kind)]);
    let database = "SELECT count(*) FROM bursar.event WHERE type = 'checkout.session.completed'";
    assert_eq!(received("checkout.session.completed"), number(world.count(database).await));
    assert_eq!((received("checkout.session.completed"), received("other")), (60.0, 1.0));
    assert_eq!(
        web.sum("bursar_events_received_total", &[]),
        number(world.count("SELECT count(*) FROM bursar.event").await)
    );
    assert_eq!(web.sum("bursar_events_received_total", &[("type", "job.verified")]), 6.0);
    assert_eq!(web.sum("bursar_events_duplicate_total", &[("source", "stripe")]), 6.0);
    for reason in ["signature", "not_an_event"] {
        assert_eq!(web.sum("bursar_events_rejected_total", &[("reason", reason)]), 1.0, "{reason}");
    }
    let answers = web.sum("bursar_http_requests_total", &[("server", "web")]);
    assert_eq!(answers, web.sum("bursar_http_request_duration_seconds_count", &[("server", "web")]));
    assert_eq!(web.sum("bursar_http_requests_total", &[("class", "4xx")]), 2.0);
    assert_eq!(web.sum("bursar_http_requests_total", &[("class", "5xx")]), 0.0);

    let attempts: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT j.kind, a.outcome, count(*) FROM bursar.attempt a JOIN bursar.job j ON j.id = a.job_id
         WHERE j.kind NOT IN ('fire_schedule', 'sweep_held', 'watch_events', 'read_events') GROUP BY 1, 2",
    )
    .fetch_all(&world.db.pool)
    .await
    .unwrap();
    assert!(
        attempts
            .iter()
            .any(|(kind, outcome, n)| (kind.as_str(), outcome.as_str(), *n) == ("grant_purchase", "done", 60))
    );
    // What is committed is counted a moment later.
    eventually(SOON, || async {
        let worker = world.scrape(1).await;
        let differs = attempts.iter().find(|(kind, outcome, n)| {
            worker.sum("bursar_jobs_settled_total", &[("kind", kind), ("outcome", outcome)]) != number(*n)
        });
        differs.map_or(Ok(()), |differs| Err(differs.clone()))
    })
    .await;
    let worker = world.scrape(1).await;
    assert_eq!(worker.sum("bursar_receipt_to_effect_seconds_count", &[("kind", "grant_purchase")]), 60.0);
    assert!(worker.sum("bursar_receipt_to_effect_seconds_sum", &[("kind", "grant_purchase")]) > 0.0);
    let sent = world.stripe.get("/_sandbox/requests").await.body["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|request| request["user_agent"].as_str().unwrap_or_default().starts_with("bursar/"))
        .count();
    assert_eq!(worker.sum("bursar_stripe_requests_total", &[]), number(i64::try_from(sent).unwrap()));
    assert_eq!(worker.sum("bursar_stale_settlements_total", &[]), 0.0);

    for nth in [1, 2] {
        // At most some seconds old.
        eventually(SOON, || async {
            let shown = world.scrape(nth).await;
            let held = shown.sum("bursar_payouts", &[("state", "held"), ("currency", "usd")]);
            let sum = shown.sum("bursar_payouts_minor_units", &[("state", "held"), ("currency", "usd")]);
            if (held, sum) == (1.0, 100.0) { Ok(()) } else { Err((held, sum)) }
        })
        .await;
        let shown = world.scrape(nth).await;
        assert_eq!(shown.sum("bursar_reading_ok", &[]), 10.0, "every reading reads");
        assert_eq!(shown.sum("bursar_workers_alive", &[]), 1.0);
        assert_eq!(shown.sum("bursar_ledger_drift_accounts", &[]), 0.0);
        assert!(shown.sum("bursar_ledger_checked_accounts", &[]) > 0.0);
        assert!(shown.sum("bursar_database_pool_connections", &[("state", "most")]) > 0.0);
    }
}

#[tokio::test]
async fn what_is_shown_is_what_the_list_of_names_says_and_only_where_it_says() {
    let world = World::start(&[]).await;
    assert_eq!(world.verify("job_1", "carol").await.status, 202);
    world.settled().await;
    // Something of everything; the tables of later versions are made where they are not there.
    sqlx::raw_sql(
        "UPDATE bursar.schedule SET last_at = bursar.now();
         INSERT INTO bursar.letter (key, job_id, letter, message_id, sender, recipient, bytes) VALUES ('k', 'j', 'l', '<m>', 's', 'r', '');
         CREATE TABLE IF NOT EXISTS bursar.dunning_case (invoice_id text, subscription_id text, user_id text, state text DEFAULT 'open',
             failed_at timestamptz, amount bigint, currency text, schedule jsonb);
         INSERT INTO bursar.dunning_case (invoice_id, subscription_id, user_id, failed_at, amount, currency, schedule)
         VALUES ('in_1', 'sub_1', 'alice', bursar.now(), 1, 'usd', '{}');
         CREATE TABLE IF NOT EXISTS bursar.reconciliation (id text, month date, asked_by text);
         CREATE TABLE IF NOT EXISTS bursar.finding (run text, type text, object text, state text DEFAULT 'open', evidence jsonb,
             automatic boolean, remedy text);
         INSERT INTO bursar.reconciliation (id, month, asked_by) VALUES ('r', '2026-10-01', 'me');
         INSERT INTO bursar.finding (run, type, object, evidence, automatic, remedy) VALUES ('r', 'user_unknown', 'o', '{}', false, '')",
    )
    .execute(&world.db.pool)
    .await
    .unwrap();
    eventually(SOON, || async {
        let shown = world.scrape(1).await.sum("bursar_open_findings", &[])
            + world.scrape(2).await.sum("bursar_open_findings", &[]);
        if shown == 2.0 { Ok(()) } else { Err(shown) }
    })
    .await;
    for (nth, from) in [
        &[From::Process, From::Web, From::Http][..],
        &[From::Process, From::Worker, From::Database],
        &[From::Process, From::Http, From::Database],
    ]
    .into_iter()
    .enumerate()
    {
        let shown = world.scrape(nth).await;
        let wanted: BTreeSet<&str> = names::ALL.iter().filter(|m| from.contains(&m.from)).map(|m| m.name).collect();
        let types: BTreeSet<&str> = shown.types.keys().map(String::as_str).collect();
        let (missing, more): (Vec<_>, Vec<_>) =
            (wanted.difference(&types).collect(), types.difference(&wanted).collect());
        assert_eq!((missing, more), (Vec::<&&str>::new(), Vec::new()), "process {nth}");
        for (name, labels) in shown.labels() {
            let metric = names::ALL.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(labels, metric.labels.iter().map(|label| (*label).to_owned()).collect(), "{name}");
            let kind = match metric.kind {
                Type::Counter => "counter",
                Type::Gauge => "gauge",
                Type::Histogram => "histogram",
            };
            assert_eq!(shown.types[&name], kind, "{name}");
            assert_eq!(
                metric.kind == Type::Counter,
                name.ends_with("_total"),
                "{name}: `_total` is for what only grows"
            );
        }
    }
}

#[tokio::test]
async fn nobody_reads_them_who_should_not_and_both_formats_are_there() {
    let world = World::start(&[]).await;
    assert_eq!(ask(world.web, &[]).await.status, 404, "web's own port is public");
    assert_eq!(ask(world.api, &[]).await.status, 401, "api's needs the token");
    let mut client = Client::connect(world.metrics[0]).await;
    assert_eq!(client.request("GET", "/").await.status, 404);
    assert_eq!(client.request("POST", "/metrics").await.status, 405);
    let open = ask(world.metrics[1], &[("accept", "application/openmetrics-text;version=1.0.0".to_owned())]).await;
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE bursar_jobs_settled counter\n"));
}

#[tokio::test]
async fn a_balance_that_was_changed_by_hand_is_seen_and_a_reading_that_fails_fails_alone() {
    let world = World::start(&[]).await;
    assert_eq!(world.hear(&purchase(1)).await.status, 200);
    world.settled().await;
    sqlx::raw_sql(
        "UPDATE bursar.account SET balance = balance + 1 WHERE name = 'user:alice';
         ALTER TABLE bursar.payout RENAME TO payout_away",
    )
    .execute(&world.db.pool)
    .await
    .unwrap();
    eventually(SOON, || async {
        let shown = world.scrape(2).await;
        let seen = (
            shown.sum("bursar_ledger_drift_accounts", &[]),
            shown.sum("bursar_reading_ok", &[("reading", "payouts")]),
            shown.sum("bursar_reading_ok", &[("reading", "queue")]),
        );
        if seen == (1.0, 0.0, 1.0) { Ok(()) } else { Err(seen) }
    })
    .await;
    sqlx::raw_sql(
        "UPDATE bursar.account SET balance = balance - 1 WHERE name = 'user:alice';
         ALTER TABLE bursar.payout_away RENAME TO payout",
    )
    .execute(&world.db.pool)
    .await
    .unwrap();
    eventually(SOON, || async {
        let shown = world.scrape(2).await;
        let seen = (shown.sum("bursar_ledger_drift_accounts", &[]), shown.sum("bursar_reading_ok", &[]));
        if seen == (0.0, 10.0) { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test")]
fn number(count: i64) -> f64 {
    count as f64
}
