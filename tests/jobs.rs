//! The jobs, from a stored event to the books: an event is received, the queue drained, and the world read.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bursar::{queue, stop};
use bursar_jobs::{
    credits::Credits,
    envelope::Envelope,
    inbox::{self, Received},
    ledger,
    terms::{Package, PayoutTerms, Terms, Tier},
};
use serde_json::{Value, json};

use crate::support::{Database, database, eventually};

fn credits(whole: i64) -> Credits {
    Credits::whole(whole).unwrap()
}

fn terms() -> Terms {
    let tier = |name: &str, amount| Tier {
        name: name.into(),
        credits: credits(amount),
        prices: vec![format!("price_{name}")],
    };
    let package = |amount, price| Package {
        name: format!("p{amount}"),
        credits: credits(amount),
        amount: price,
        currency: "usd".into(),
        price: Some(format!("price_p{amount}")),
    };
    Terms {
        tiers: vec![tier("starter", 50), tier("pro", 150), tier("team", 500)],
        packages: vec![package(50, 999), package(200, 2999)],
        skills: BTreeMap::from([("research".into(), credits(2))]),
        payout: PayoutTerms { minor_units_per_credit: 50, currency: "usd".into() },
        initial_credits: Credits::ZERO,
        livemode: false,
        stripe_on: true,
    }
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
}

/// A fixture with some of it replaced, by JSON pointer; `null` takes away.
fn event(name: &str, id: &str, patches: &[(&str, Value)]) -> Value {
    let mut event = fixture(name);
    event["id"] = json!(id);
    for (pointer, value) in patches {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = event.pointer_mut(parent).unwrap_or_else(|| panic!("{name} has no {parent}"));
        match parent {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            _ if value.is_null() => drop(parent.as_object_mut().unwrap().remove(key)),
            _ => parent[key] = value.clone(),
        }
    }
    event
}

async fn receive(db: &Database, event: &Value) -> Received {
    let body = serde_json::to_vec(event).unwrap();
    inbox::receive(&db.pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap()
}

async fn verify(db: &Database, id: &str, event: &Value) -> Received {
    let body = serde_json::to_vec(event).unwrap();
    inbox::receive(&db.pool, &Envelope::verification(id, &body).unwrap(), &body).await.unwrap()
}

/// Runs a worker until nothing is ready or running.
async fn drain(db: &Database, terms: Terms) {
    let (stopper, stop) = stop::channel();
    let worker = tokio::spawn(queue::run(db.pool.clone(), queue::Options::default(), Arc::new(terms), stop));
    eventually(Duration::from_secs(30), || async {
        let open: Vec<String> =
            sqlx::query_scalar("SELECT kind || ' ' || state FROM bursar.job WHERE state IN ('ready', 'running')")
                .fetch_all(&db.pool)
                .await
                .unwrap();
        if open.is_empty() { Ok(()) } else { Err(open) }
    })
    .await;
    stopper.stop();
    worker.await.unwrap().unwrap();
}

/// State, last outcome and reason of the job of an event.
async fn end_of(db: &Database, event: &str) -> (String, String, String) {
    sqlx::query_as(
        "SELECT j.state, a.outcome, coalesce(j.reason, '') FROM bursar.job j JOIN bursar.attempt a ON a.job_id = j.id
         WHERE j.key = $1 ORDER BY a.id DESC LIMIT 1",
    )
    .bind(event)
    .fetch_one(&db.pool)
    .await
    .unwrap()
}

async fn balance(db: &Database, user: &str) -> String {
    ledger::balance(&db.pool, user).await.unwrap().to_string()
}

async fn postings(db: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM bursar.posting").fetch_one(&db.pool).await.unwrap()
}

const CHECKOUT: &str = "checkout.session.completed.json";
const INVOICE: &str = "invoice.paid.json";
const LEGACY: &str = "invoice.paid.legacy.json";

#[tokio::test]
async fn a_paid_checkout_grants_its_package_once_per_session() {
    let db = database().await;
    assert_eq!(receive(&db, &event(CHECKOUT, "evt_1", &[])).await, Received::New);
    assert_eq!(receive(&db, &event(CHECKOUT, "evt_1", &[])).await, Received::Duplicate);
    // A twin: another event for the same session (Stripe: one change can arrive as two events).
    assert_eq!(receive(&db, &event(CHECKOUT, "evt_2", &[])).await, Received::New);
    drain(&db, terms()).await;
    assert_eq!(balance(&db, "alice").await, "200");
    let ends = [end_of(&db, "evt_1").await.1, end_of(&db, "evt_2").await.1];
    assert!(ends.contains(&"done".into()) && ends.contains(&"skip".into()), "{ends:?}");
}

#[tokio::test]
async fn a_delayed_payment_is_granted_when_it_succeeds_and_not_before() {
    let db = database().await;
    receive(&db, &event(CHECKOUT, "evt_1", &[("/data/object/payment_status", json!("unpaid"))])).await;
    drain(&db, terms()).await;
    assert_eq!(end_of(&db, "evt_1").await.1, "skip");
    assert_eq!(balance(&db, "alice").await, "0");
    receive(&db, &event(CHECKOUT, "evt_2", &[("/type", json!("checkout.session.async_payment_succeeded"))])).await;
    drain(&db, terms()).await;
    assert_eq!(balance(&db, "alice").await, "200");
}

#[tokio::test]
async fn credits_that_are_not_what_was_paid_are_quarantined_with_the_reason() {
    let db = database().await;
    let metadata = |credits: Value| ("/data/object/metadata", json!({"user_id": "alice", "credits": credits}));
    let cases = [
        ("missing", vec![("/data/object/metadata", json!({"user_id": "alice"}))], "metadata.credits is missing"),
        ("negative", vec![metadata(json!("-200"))], "not more than zero"),
        ("nan", vec![metadata(json!("NaN"))], "metadata.credits is \"NaN\""),
        ("exponent", vec![metadata(json!("1e9"))], "metadata.credits is \"1e9\""),
        ("huge", vec![metadata(json!("99999999999999999999"))], "at most"),
        ("zero", vec![metadata(json!("0"))], "not more than zero"),
        ("other", vec![metadata(json!("500"))], "metadata.credits says 500, but what was paid for grants 200"),
        ("price", vec![("/data/object/amount_subtotal", json!(12345))], "no package costs 123.45 USD"),
        ("currency", vec![("/data/object/currency", json!("eur"))], "no package costs 29.99 EUR"),
        ("two users", vec![("/data/object/client_reference_id", json!("bob"))], "whose is it"),
        ("status", vec![("/data/object/payment_status", json!("maybe"))], "neither paid nor unpaid"),
        (
            "nul in the user",
            vec![
                ("/data/object/metadata", json!({"user_id": "al\u{0}ice", "credits": "200"})),
                ("/data/object/client_reference_id", Value::Null),
            ],
            "the user id is malformed",
        ),
        ("nul in the credits", vec![metadata(json!("2\u{0}00"))], "digits with at most"),
        (
            "long user",
            vec![
                ("/data/object/metadata", json!({"user_id": "x".repeat(300), "credits": "200"})),
                ("/data/object/client_reference_id", Value::Null),
            ],
            "the user id is malformed",
        ),
    ];
    for (id, patches, _) in &cases {
        receive(&db, &event(CHECKOUT, id, patches)).await;
    }
    drain(&db, terms()).await;
    for (id, _, reason) in &cases {
        let (state, outcome, seen) = end_of(&db, id).await;
        assert_eq!((state.as_str(), outcome.as_str()), ("dead", "dead"), "{id}: {seen}");
        assert!(seen.contains(reason), "{id}: {seen}");
    }
    assert_eq!(postings(&db).await, 0);
}

#[tokio::test]
async fn the_operators_retry_after_a_fix_grants_once() {
    let db = database().await;
    let mut before = terms();
    before.packages.clear();
    receive(&db, &event(CHECKOUT, "evt_1", &[])).await;
    drain(&db, before).await;
    assert_eq!(end_of(&db, "evt_1").await.0, "dead");
    let retry = "UPDATE apalis.jobs SET status = 'Pending', run_at = clock_timestamp(), max_attempts = attempts + allowance, done_at = NULL";
    for _ in 0..2 {
        sqlx::query(retry).execute(&db.pool).await.unwrap();
        drain(&db, terms()).await;
    }
    assert_eq!(balance(&db, "alice").await, "200");
    assert_eq!(postings(&db).await, 1);
}

#[tokio::test]
async fn discounts_and_price_ids_are_no_obstacle() {
    let db = database().await;
    let coupon =
        [("/data/object/payment_status", json!("no_payment_required")), ("/data/object/amount_total", json!(0))];
    receive(&db, &event(CHECKOUT, "coupon", &coupon)).await;
    let lines = json!({"object": "list", "has_more": false, "data": [{"quantity": 2, "price": {"id": "price_p50"}}]});
    let by_price = [
        ("/data/object/id", json!("cs_2")),
        ("/data/object/amount_subtotal", json!(1998)),
        ("/data/object/line_items", lines),
        ("/data/object/metadata", json!({"user_id": "alice", "credits": "100"})),
    ];
    receive(&db, &event(CHECKOUT, "by_price", &by_price)).await;
    drain(&db, terms()).await;
    assert_eq!(balance(&db, "alice").await, "300");
}

#[tokio::test]
async fn a_refill_is_granted_once_in_both_layouts_both_types_and_any_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let db = database().await;
        let succeeded = ("/type", json!("invoice.payment_succeeded"));
        let events = [
            event(INVOICE, "evt_0", &[]),
            event(INVOICE, "evt_1", std::slice::from_ref(&succeeded)),
            event(LEGACY, "evt_2", &[]),
            event(LEGACY, "evt_3", &[succeeded]),
        ];
        for i in order {
            receive(&db, &events[i]).await;
            if i == 0 {
                drain(&db, terms()).await;
            }
        }
        drain(&db, terms()).await;
        assert_eq!(balance(&db, "alice").await, "150", "order {order:?}");
        assert_eq!(postings(&db).await, 1);
    }
}

#[tokio::test]
async fn both_layouts_read_alike() {
    let mut seen: Vec<(String, String)> = Vec::new();
    for name in [INVOICE, LEGACY] {
        let db = database().await;
        receive(&db, &event(name, "evt_1", &[])).await;
        drain(&db, terms()).await;
        seen.push(sqlx::query_as("SELECT key, amount::text FROM bursar.posting").fetch_one(&db.pool).await.unwrap());
    }
    assert_eq!(seen[0], seen[1]);
}

const NO_METADATA: [(&str, Value); 3] = [
    ("/data/object/parent/subscription_details/metadata", Value::Null),
    ("/data/object/lines/data/0/metadata", Value::Null),
    ("/data/object/metadata", Value::Null),
];

#[tokio::test]
async fn an_invoice_before_its_customer_is_known_waits_and_is_granted_once_when_it_is() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_invoice", &NO_METADATA)).await;
    drain(&db, terms()).await;
    let (state, outcome, reason) = end_of(&db, "evt_invoice").await;
    assert_eq!((state.as_str(), outcome.as_str()), ("scheduled", "snooze"), "{reason}");
    assert_eq!(
        sqlx::query_scalar::<_, i32>("SELECT attempt FROM bursar.job").fetch_one(&db.pool).await.unwrap(),
        0,
        "a wait is no attempt"
    );

    let subscription = [
        ("/data/object/id", json!("cs_sub")),
        ("/data/object/mode", json!("subscription")),
        ("/data/object/customer", json!("cus_BursarAlice")),
        ("/data/object/metadata", json!({})),
        ("/data/object/client_reference_id", json!("alice")),
    ];
    receive(&db, &event(CHECKOUT, "evt_link", &subscription)).await;
    drain(&db, terms()).await;
    drain(&db, terms()).await;
    assert_eq!(end_of(&db, "evt_link").await.1, "done");
    assert_eq!(end_of(&db, "evt_invoice").await.1, "done", "the link wakes what waited for it");
    assert_eq!(balance(&db, "alice").await, "150");
}

#[tokio::test]
async fn a_wait_has_an_age_limit_and_then_is_dead() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_1", &NO_METADATA)).await;
    sqlx::query("UPDATE apalis.jobs SET enqueued_at = enqueued_at - interval '73 hours'")
        .execute(&db.pool)
        .await
        .unwrap();
    drain(&db, terms()).await;
    let (state, _, reason) = end_of(&db, "evt_1").await;
    assert_eq!(state, "dead");
    assert!(reason.contains("waited 72 h in vain"), "{reason}");
}

#[tokio::test]
async fn what_a_paid_invoice_refills_follows_the_lines() {
    let cases = [
        ("two seats", vec![("/data/object/lines/data/0/quantity", json!(2))], "300", "done"),
        ("a trial", vec![("/data/object/lines/data/0/amount", json!(0))], "0", "skip"),
        (
            "a proration",
            vec![("/data/object/lines/data/0/parent/subscription_item_details/proration", json!(true))],
            "0",
            "skip",
        ),
        (
            "paid by balance",
            vec![("/data/object/amount_due", json!(0)), ("/data/object/amount_paid", json!(0))],
            "150",
            "done",
        ),
        (
            "another price",
            vec![("/data/object/lines/data/0/pricing/price_details/price", json!("price_other"))],
            "0",
            "dead",
        ),
        ("not paid", vec![("/data/object/status", json!("open"))], "0", "skip"),
        ("more lines", vec![("/data/object/lines/has_more", json!(true))], "0", "dead"),
        ("an unknown word", vec![("/data/object/billing_reason", json!("a_reason_of_2031"))], "150", "done"),
    ];
    for (case, patches, granted, outcome) in cases {
        let db = database().await;
        receive(&db, &event(INVOICE, "evt_1", &patches)).await;
        drain(&db, terms()).await;
        let end = end_of(&db, "evt_1").await;
        assert_eq!((balance(&db, "alice").await.as_str(), end.1.as_str()), (granted, outcome), "{case}: {end:?}");
    }
}

#[tokio::test]
async fn an_invoice_of_whom_two_things_are_said_is_quarantined() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_1", &[("/data/object/lines/data/0/metadata", json!({"user_id": "bob"}))])).await;
    drain(&db, terms()).await;
    let end = end_of(&db, "evt_1").await;
    assert_eq!(end.0, "dead");
    assert!(end.2.contains("whose is"), "{end:?}");
}

#[tokio::test]
async fn a_customer_belongs_to_one_user_for_ever() {
    let db = database().await;
    let customer = |id: &str, user: &str| {
        json!({"id": id, "object": "event", "type": "customer.created", "livemode": false,
               "data": {"object": {"id": "cus_1", "object": "customer", "metadata": {"user_id": user}}}})
    };
    receive(&db, &customer("evt_1", "alice")).await;
    drain(&db, terms()).await;
    receive(&db, &customer("evt_2", "bob")).await;
    receive(&db, &customer("evt_3", "alice")).await;
    drain(&db, terms()).await;
    assert_eq!(end_of(&db, "evt_1").await.1, "done");
    assert_eq!(end_of(&db, "evt_2").await.0, "dead");
    assert_eq!(end_of(&db, "evt_3").await.1, "skip");
}

#[tokio::test]
async fn what_is_not_ours_is_stored_and_skipped_with_the_reason() {
    let db = database().await;
    let cases = [
        ("live", event(CHECKOUT, "live", &[("/livemode", json!(true))]), "live mode"),
        ("connect", event(CHECKOUT, "connect", &[("/account", json!("acct_1"))]), "connected account acct_1"),
        (
            "nobody",
            event(
                CHECKOUT,
                "nobody",
                &[("/data/object/metadata", json!({})), ("/data/object/client_reference_id", Value::Null)],
            ),
            "names no user",
        ),
        (
            "unknown",
            event(CHECKOUT, "unknown", &[("/type", json!("treasury.flying_car"))]),
            "does not act on treasury.flying_car",
        ),
        (
            "thin",
            json!({"id": "thin", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found",
                   "created": "2026-11-01T00:00:00.000Z", "livemode": false, "related_object": {"id": "mtr_1"}}),
            "does not act on",
        ),
    ];
    for (_, event, _) in &cases {
        assert_eq!(receive(&db, event).await, Received::New);
    }
    drain(&db, terms()).await;
    for (id, _, reason) in &cases {
        let (state, outcome, seen) = end_of(&db, id).await;
        assert_eq!((state.as_str(), outcome.as_str()), ("done", "skip"), "{id}");
        assert!(seen.contains(reason), "{id}: {seen}");
    }
    assert_eq!(postings(&db).await, 0);
}

#[tokio::test]
async fn an_event_that_does_not_read_is_dead_and_not_lost() {
    let db = database().await;
    receive(&db, &event(CHECKOUT, "evt_1", &[("/data/object/amount_subtotal", json!("a lot"))])).await;
    drain(&db, terms()).await;
    let (state, _, reason) = end_of(&db, "evt_1").await;
    assert_eq!(state, "dead");
    assert!(reason.contains("does not read"), "{reason}");
}

fn verified(job: &str, receiver: &str, skill: &str) -> Value {
    json!({"type": "job.verified", "timestamp": "2026-11-01T09:45:00Z",
           "data": {"job_id": job, "skill": skill, "receiver_id": receiver, "sender_id": "alice"}})
}

async fn payout(db: &Database, job: &str) -> (String, i64, String, String) {
    sqlx::query_as("SELECT receiver_id, amount, currency, state FROM bursar.payout WHERE job_id = $1")
        .bind(job)
        .fetch_one(&db.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_verified_job_is_a_debt_to_its_receiver_once_whatever_the_delivery() {
    let db = database().await;
    verify(&db, "msg_1", &verified("job_1", "bob", "research")).await;
    verify(&db, "msg_2", &verified("job_1", "bob", "research")).await;
    drain(&db, terms()).await;
    assert_eq!(payout(&db, "job_1").await, ("bob".into(), 100, "usd".into(), "held".into()));
    let owed: i64 =
        sqlx::query_scalar("SELECT balance FROM bursar.account WHERE name = 'receiver:bob' AND unit = 'usd'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(owed, 100);

    verify(&db, "msg_3", &verified("job_1", "mallory", "research")).await;
    verify(&db, "msg_4", &verified("job_2", "bob", "juggling")).await;
    drain(&db, terms()).await;
    assert!(end_of(&db, "msg_3").await.2.contains("to bob"), "another receiver for the same job is a conflict");
    let (state, _, reason) = end_of(&db, "msg_4").await;
    assert_eq!(state, "dead");
    assert!(reason.contains("\"juggling\" has no price"), "{reason}");
    assert_eq!(postings(&db).await, 1);
}

#[tokio::test]
async fn where_stripe_is_off_a_payout_is_recorded_as_skipped() {
    let db = database().await;
    verify(&db, "msg_1", &verified("job_1", "bob", "research")).await;
    drain(&db, Terms { stripe_on: false, ..terms() }).await;
    assert_eq!(payout(&db, "job_1").await.3, "skipped");
}

#[tokio::test]
async fn a_new_user_gets_an_account_and_the_initial_credits_once() {
    let db = database().await;
    let created = json!({"type": "user.created", "timestamp": "2026-11-01T09:45:00Z", "data": {"user_id": "carol"}});
    verify(&db, "msg_1", &created).await;
    verify(&db, "msg_2", &created).await;
    drain(&db, Terms { initial_credits: credits(5), ..terms() }).await;
    assert_eq!(balance(&db, "carol").await, "5");
    let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.account WHERE name = 'user:carol'")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(accounts, 1);
}

#[tokio::test]
async fn a_batch_with_one_conflict_in_it_settles_the_others_and_quarantines_that_one() {
    let db = database().await;
    for i in 0..20 {
        verify(&db, &format!("msg_{i}"), &verified(&format!("job_{i}"), "bob", "research")).await;
    }
    verify(&db, "twice", &verified("job_7", "mallory", "research")).await;
    drain(&db, terms()).await;
    let states: Vec<(String, i64)> = sqlx::query_as("SELECT state, count(*) FROM bursar.job GROUP BY 1 ORDER BY 1")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(states, [("dead".into(), 1), ("done".into(), 20)]);
    assert_eq!(postings(&db).await, 20);
}

#[tokio::test]
async fn what_is_long_done_is_pruned_and_what_matters_is_kept() {
    let db = database().await;
    receive(&db, &event(CHECKOUT, "old", &[])).await;
    receive(
        &db,
        &event(CHECKOUT, "dead", &[("/data/object/id", json!("cs_2")), ("/data/object/currency", json!("eur"))]),
    )
    .await;
    drain(&db, terms()).await;
    sqlx::query("UPDATE apalis.jobs SET done_at = done_at - interval '31 days'").execute(&db.pool).await.unwrap();
    sqlx::query("UPDATE bursar.event SET received_at = received_at - interval '91 days'")
        .execute(&db.pool)
        .await
        .unwrap();
    sqlx::query("SELECT bursar.prune(1000)").execute(&db.pool).await.unwrap();
    sqlx::query("SELECT bursar.prune(1000)").execute(&db.pool).await.unwrap();
    let jobs: Vec<String> = sqlx::query_scalar("SELECT key FROM bursar.job").fetch_all(&db.pool).await.unwrap();
    assert_eq!(jobs, ["dead"], "a dead job waits for an operator for ever");
    let bodies: Vec<(String, bool)> =
        sqlx::query_as("SELECT id, body IS NOT NULL FROM bursar.event ORDER BY id").fetch_all(&db.pool).await.unwrap();
    assert_eq!(bodies, [("dead".into(), true), ("old".into(), false)]);
    assert_eq!(
        receive(&db, &event(CHECKOUT, "old", &[])).await,
        Received::Duplicate,
        "an id is never taken for new again"
    );
    assert_eq!(postings(&db).await, 1);
}

#[tokio::test]
async fn an_invoice_of_nobody_for_a_price_of_nobody_is_not_ours() {
    let db = database().await;
    let mut patches = NO_METADATA.to_vec();
    patches.push(("/data/object/lines/data/0/pricing/price_details/price", json!("price_other")));
    receive(&db, &event(INVOICE, "evt_1", &patches)).await;
    drain(&db, terms()).await;
    let end = end_of(&db, "evt_1").await;
    assert_eq!(end.1, "skip");
    assert!(end.2.contains("not ours"), "{end:?}");
}

#[tokio::test]
async fn one_id_from_both_sources_is_two_events_and_two_jobs() {
    let db = database().await;
    let stripe = json!({"id": "same", "object": "event", "type": "a.new.type", "livemode": false, "data": {"object": {"id": 7}}});
    assert_eq!(receive(&db, &stripe).await, Received::New);
    assert_eq!(verify(&db, "same", &json!({"type": "another.new.type", "data": {}})).await, Received::New);
    drain(&db, terms()).await;
    let keys: Vec<String> =
        sqlx::query_scalar("SELECT key FROM bursar.job ORDER BY key").fetch_all(&db.pool).await.unwrap();
    assert_eq!(keys, ["same", "verification:same"]);
}

#[tokio::test]
async fn another_body_under_a_known_webhook_id_is_not_acknowledged() {
    let db = database().await;
    assert_eq!(verify(&db, "w1", &verified("job_1", "bob", "research")).await, Received::New);
    assert_eq!(verify(&db, "w1", &verified("job_1", "bob", "research")).await, Received::Duplicate);
    assert_eq!(verify(&db, "w1", &verified("job_2", "carol", "research")).await, Received::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_an_application_leaves_open_costs_no_attempt_and_stops_nobody_else() {
    let db = database().await;
    for (id, user) in [("evt_0", "alice"), ("evt_1", "alice"), ("evt_2", "bob"), ("evt_3", "alice")] {
        let patches = [
            ("/data/object/id", json!(format!("cs_{id}"))),
            ("/data/object/client_reference_id", json!(user)),
            ("/data/object/metadata", json!({"user_id": user, "credits": "200"})),
        ];
        receive(&db, &event(CHECKOUT, id, &patches)).await;
        if id == "evt_0" {
            drain(&db, terms()).await;
        }
    }
    let mut open = db.pool.begin().await.unwrap();
    let spent = ledger::spend(&mut *open, "alice", credits(1), "thinking", None, None).await.unwrap();
    assert!(matches!(spent, ledger::Spent::Done { .. }));

    drain(&db, terms()).await;
    assert_eq!(balance(&db, "bob").await, "200", "an innocent batch-mate is done");
    let waiting: Vec<(String, i32, String)> =
        sqlx::query_as("SELECT state, attempt, reason FROM bursar.job WHERE state <> 'done'")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    for (state, attempt, reason) in waiting {
        assert_eq!((state.as_str(), attempt), ("scheduled", 0), "{reason}");
        assert!(reason.contains("another transaction holds a lock"), "{reason}");
    }
    open.commit().await.unwrap();
    sqlx::query("UPDATE apalis.jobs SET run_at = clock_timestamp() WHERE status = 'Pending'")
        .execute(&db.pool)
        .await
        .unwrap();
    drain(&db, terms()).await;
    assert_eq!(balance(&db, "alice").await, "599");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_made_while_an_invoice_decides_to_wait_wakes_it_all_the_same() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_invoice", &NO_METADATA)).await;
    // Old, so that a lost wake-up would show: the next look by itself would be half an hour away.
    sqlx::query("UPDATE apalis.jobs SET enqueued_at = enqueued_at - interval '10 hours'")
        .execute(&db.pool)
        .await
        .unwrap();
    // The settlement is held up after the facts were gathered; the link comes in between.
    let mut barrier = db.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE bursar.attempt IN SHARE MODE").execute(&mut *barrier).await.unwrap();
    let (stopper, stop) = stop::channel();
    let worker = tokio::spawn(queue::run(db.pool.clone(), queue::Options::default(), Arc::new(terms()), stop));
    eventually(Duration::from_secs(20), || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE relation = 'bursar.attempt'::regclass AND NOT granted",
        )
        .fetch_one(&db.pool)
        .await
        .unwrap();
        if waiting > 0 { Ok(()) } else { Err("nobody settles yet") }
    })
    .await;
    let customer = json!({"id": "evt_link", "object": "event", "type": "customer.updated", "livemode": false,
                          "data": {"object": {"id": "cus_BursarAlice", "object": "customer", "metadata": {"user_id": "alice"}}}});
    receive(&db, &customer).await;
    barrier.rollback().await.unwrap();
    eventually(Duration::from_secs(20), || async {
        let balance = balance(&db, "alice").await;
        if balance == "150" { Ok(()) } else { Err(balance) }
    })
    .await;
    stopper.stop();
    worker.await.unwrap().unwrap();
}
