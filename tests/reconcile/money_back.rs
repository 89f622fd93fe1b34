//! Refunds and disputes that nobody heard of.

use bursar_jobs::ledger::{self, Account, CREDITS, Posting};
use serde_json::json;

use super::world::{World, found};

#[tokio::test]
async fn a_refund_that_was_not_heard_of_is_found_and_taken_back_once() {
    let world = World::new().await;
    let (_, intent) = world.buy("alice").await;
    world.hear_all().await;
    let refund = world.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=2999")).await.id();
    world.hear(|_| true).await;
    world.month_is_over().await;
    assert_eq!(world.reconcile(false).await, [found("refund_not_clawed", &refund, "alice", "200", "open")]);
    assert_eq!(world.balance("alice").await, "200");
    assert_eq!(world.reconcile(true).await, [found("refund_not_clawed", &refund, "alice", "200", "repaired")]);
    assert_eq!(world.balance("alice").await, "0");
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}

#[tokio::test]
async fn a_refund_of_a_purchase_that_was_not_heard_of_either_is_found_with_it() {
    let world = World::new().await;
    let (session, intent) = world.buy("alice").await;
    let refund = world.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=1000")).await.id();
    world.hear(|_| true).await;
    world.month_is_over().await;
    let seen = world.reconcile(true).await;
    assert_eq!(
        seen,
        [
            found("missing_grant", &session, "alice", "200", "repaired"),
            found("refund_not_clawed", &refund, "alice", "0", "repaired"),
        ]
    );
    assert_eq!(world.balance("alice").await, "133.311104");
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}

#[tokio::test]
async fn a_refund_that_failed_since_gives_the_credits_back() {
    let world = World::new().await;
    let (_, intent) = world.buy("alice").await;
    world.hear_all().await;
    let refund = world.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=2999")).await.id();
    world.hear_all().await;
    assert_eq!(world.balance("alice").await, "0");
    let body = json!({ "status": "failed" }).to_string();
    let failed = world.stripe.send("POST", &format!("/_sandbox/refunds/{refund}"), &body, &[]).await.unwrap();
    assert_eq!(failed.status, 200, "{}", failed.text);
    world.hear(|_| true).await;
    world.month_is_over().await;
    assert_eq!(world.reconcile(true).await, [found("refund_not_clawed", &refund, "alice", "-200", "repaired")]);
    assert_eq!(world.balance("alice").await, "200");
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}

#[tokio::test]
async fn a_dispute_that_was_not_heard_of_is_found_and_flags_its_user() {
    let world = World::new().await;
    let (_, intent) = world.buy("alice").await;
    world.hear_all().await;
    let charge = world.stripe.get(&format!("/v1/payment_intents/{intent}")).await.body["latest_charge"].clone();
    let path = format!("/_sandbox/charges/{}/dispute", charge.as_str().unwrap());
    let opened = world.stripe.send("POST", &path, "{}", &[]).await.unwrap();
    let dispute = opened.body["id"].as_str().unwrap_or_else(|| panic!("{}", opened.text)).to_owned();
    world.hear(|_| true).await;
    world.month_is_over().await;
    world.hear(|_| true).await;
    let seen = world.reconcile(true).await;
    assert_eq!(seen, [found("dispute_not_taken", &dispute, "alice", "200", "repaired")]);
    assert_eq!(world.balance("alice").await, "0");
    let flagged: Vec<String> = sqlx::query_scalar("SELECT user_id FROM bursar.user_flag WHERE flag = 'dispute'")
        .fetch_all(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(flagged, ["alice"]);
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}

#[tokio::test]
async fn a_refund_that_was_heard_of_and_whose_job_never_ran_is_found_by_the_books_alone() {
    let world = World::new().await;
    let (_, intent) = world.buy("alice").await;
    world.hear_all().await;
    let refund = world.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=2999")).await.id();
    // The charge is on record; the job that takes back is cancelled before it runs.
    sqlx::query("INSERT INTO bursar.paused_kind (kind) VALUES ('claw_back')").execute(&world.db.pool).await.unwrap();
    world.hear_all().await;
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type = 'claw_back'").execute(&world.db.pool).await.unwrap();
    sqlx::query("DELETE FROM bursar.paused_kind").execute(&world.db.pool).await.unwrap();
    world.month_is_over().await;
    assert_eq!(world.reconcile(true).await, [found("refund_not_clawed", &refund, "alice", "200", "repaired")]);
    assert_eq!(world.balance("alice").await, "0");
    assert_eq!(world.reconcile(true).await, []);
}

/// Before a dispute took its part alone, one over 9.00 of 29.99 took the whole grant.
#[tokio::test]
async fn what_an_older_version_took_whole_for_a_dispute_over_a_part_is_given_back() {
    let world = World::new().await;
    let (session, intent) = world.buy("alice").await;
    world.hear_all().await;
    // The sandbox disputes what is not refunded; the refund fails afterwards.
    let refund = world.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=2099")).await.id();
    let charge = world.stripe.get(&format!("/v1/payment_intents/{intent}")).await.body["latest_charge"].clone();
    let path = format!("/_sandbox/charges/{}/dispute", charge.as_str().unwrap());
    let opened = world.stripe.send("POST", &path, "{}", &[]).await.unwrap();
    let dispute = opened.body["id"].as_str().unwrap_or_else(|| panic!("{}", opened.text)).to_owned();
    assert_eq!(opened.body["amount"], 900);
    let body = json!({ "status": "failed" }).to_string();
    world.stripe.send("POST", &format!("/_sandbox/refunds/{refund}"), &body, &[]).await.unwrap();
    // All of it is on record, and what took back is the older version's.
    sqlx::query("INSERT INTO bursar.paused_kind (kind) VALUES ('claw_back')").execute(&world.db.pool).await.unwrap();
    world.hear_all().await;
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type = 'claw_back'").execute(&world.db.pool).await.unwrap();
    sqlx::query("DELETE FROM bursar.paused_kind").execute(&world.db.pool).await.unwrap();
    let (grant, key): (i64, String) = sqlx::query_as("SELECT id, key FROM bursar.posting WHERE ref = $1")
        .bind(&session)
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    let user = Account::User("alice".into());
    let taken = Posting {
        reverses: Some(grant),
        reference: Some(dispute.clone()),
        ..Posting::new("reversal", format!("clawback:{key}:{dispute}"), user, Account::Issuance, CREDITS, 200_000_000)
    };
    ledger::post(&world.db.pool, &[taken]).await.unwrap();
    assert_eq!(world.balance("alice").await, "0");

    world.month_is_over().await;
    let seen = world.reconcile(true).await;
    assert_eq!(seen, [found("dispute_not_taken", &dispute, "alice", "-139.979994", "repaired")]);
    assert_eq!(world.balance("alice").await, "139.979994");
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}

/// An upgrade in the middle of the month, paid at once: its invoice's payment intent.
async fn upgraded(world: &World) -> String {
    let (subscription, _) = world.subscribe("bob", &world.monthly).await;
    world.hear_all().await;
    world.pass(10).await;
    world.hear_all().await;
    let item = world.stripe.get(&format!("/v1/subscriptions/{subscription}")).await.body;
    let item = item["items"]["data"][0]["id"].as_str().unwrap().to_owned();
    let form = format!("items[0][id]={item}&items[0][price]={}&proration_behavior=always_invoice", world.team);
    world.stripe.post(&format!("/v1/subscriptions/{subscription}"), &form).await.id();
    let invoice = world.stripe.get(&format!("/v1/subscriptions/{subscription}")).await.body["latest_invoice"].clone();
    let path = format!("/v1/invoice_payments?invoice={}", invoice.as_str().unwrap());
    let payments = world.stripe.get(&path).await.body;
    payments["data"][0]["payment"]["payment_intent"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_refund_of_an_upgrade_that_was_not_heard_of_is_found_and_taken_back_once() {
    let world = World::new().await;
    let intent = upgraded(&world).await;
    let before = "150";
    world.hear_all().await;
    assert_ne!(world.balance("bob").await, before);
    let refund = world.stripe.post("/v1/refunds", &format!("payment_intent={intent}")).await.id();
    world.hear(|_| true).await;
    // To its end, and not into the next period: the renewal is another matter.
    world.month_is_over().await;
    world.hear_all().await;
    let with_upgrade = world.balance("bob").await;
    let seen = world.reconcile(true).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(
        (seen[0].0.as_str(), seen[0].1.as_str(), seen[0].4.as_str()),
        ("refund_not_clawed", refund.as_str(), "repaired")
    );
    world.drain().await;
    assert_ne!(world.balance("bob").await, with_upgrade, "{:?}", world.dead().await);
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}

#[tokio::test]
async fn a_refund_of_an_upgrade_that_a_repair_granted_takes_it_back() {
    let world = World::new().await;
    let intent = upgraded(&world).await;
    world.hear(|_| true).await;
    world.month_is_over().await;
    world.hear(|event| event["type"] != "invoice.paid").await;
    let before = world.balance("bob").await;
    let seen = world.reconcile(true).await;
    assert!(seen.len() == 1 && seen[0].0 == "missing_grant", "{seen:?}");
    world.drain().await;
    assert_ne!(world.balance("bob").await, before, "the rise is granted: {:?}", world.dead().await);
    world.stripe.post("/v1/refunds", &format!("payment_intent={intent}")).await.id();
    world.hear_all().await;
    world.drain().await;
    assert_eq!(world.balance("bob").await, before, "what was refunded is taken back");
    world.verify();
}

#[tokio::test]
async fn a_credit_note_that_was_not_heard_of_is_found_and_taken_back_once() {
    let world = World::new().await;
    let (_, invoice) = world.subscribe("alice", &world.monthly).await;
    world.hear_all().await;
    let granted: f64 = world.balance("alice").await.parse().unwrap();
    let total = world.stripe.get(&format!("/v1/invoices/{invoice}")).await.body["total"].as_i64().unwrap();
    // Half to the balance, and half of the rest outside of Stripe.
    let half = total / 2;
    let form = format!("invoice={invoice}&credit_amount={}&out_of_band_amount={}", half / 2, half - half / 2);
    let note = world.stripe.post("/v1/credit_notes", &form).await.id();
    world.hear(|_| true).await;
    world.month_is_over().await;
    let seen = world.reconcile(false).await;
    assert_eq!(
        (seen.len(), seen[0].0.as_str(), seen[0].1.as_str(), seen[0].4.as_str()),
        (1, "refund_not_clawed", note.as_str(), "open"),
        "{seen:?}"
    );
    assert_eq!(world.balance("alice").await, granted.to_string());
    let repaired = world.reconcile(true).await;
    assert_eq!((repaired.len(), repaired[0].4.as_str()), (1, "repaired"), "{repaired:?}");
    let left: f64 = world.balance("alice").await.parse().unwrap();
    assert!((left - granted / 2.0).abs() < 0.1, "{granted}: {left}");
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}
