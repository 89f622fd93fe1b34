//! The jobs, from a stored event to the books: an event is received, the queue drained, and the world read.

mod by_hand;
mod rates;
mod refills;
mod verifications;
mod waits;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bursar::{queue, stop};
use bursar_jobs::{
    base::credits::Credits,
    inbox::{self, Received, envelope::Envelope},
    ledger,
    terms::{Package, PayoutTerms, RefillTerms, Selling, Terms, Tier},
};
use serde_json::{Value, json};

use crate::support::{Database, database, eventually};

fn credits(whole: i64) -> Credits {
    Credits::whole(whole).unwrap()
}

pub fn terms() -> Terms {
    let tier = |name: &str, amount| Tier {
        name: name.into(),
        credits: credits(amount),
        prices: vec![format!("price_{name}")],
        refill: RefillTerms::default(),
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
        payout: PayoutTerms { minor_units_per_credit: 50, currency: "usd".into(), ..Default::default() },
        initial_credits: Credits::ZERO,
        livemode: false,
        stripe_on: false,
        selling: Selling::default(),
        dunning: bursar_jobs::dunning::Dunning::default(),
        grace: Duration::from_hours(7 * 24),
    }
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
}

/// A fixture with some of it replaced, by JSON pointer; `null` takes away.
pub fn event(name: &str, id: &str, patches: &[(&str, Value)]) -> Value {
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

pub const CHECKOUT: &str = "checkout.session.completed.json";
pub const INVOICE: &str = "invoice.paid.json";
const LEGACY: &str = "invoice.paid.legacy.json";

const NO_METADATA: [(&str, Value); 3] = [
    ("/data/object/parent/subscription_details/metadata", Value::Null),
    ("/data/object/lines/data/0/metadata", Value::Null),
    ("/data/object/metadata", Value::Null),
];

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
