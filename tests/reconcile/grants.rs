//! What was paid and not granted, and what was granted and is not what was paid.

use std::sync::Arc;

use bursar_jobs::{
    base::credits::Credits,
    ledger::{self, Posting},
};
use serde_json::json;

use super::world::{World, about, found};

#[tokio::test]
async fn a_month_in_which_all_was_heard_has_no_findings() {
    let world = World::new().await;
    let (_, intent) = world.buy("alice").await;
    world.subscribe("bob", &world.monthly).await;
    world.subscribe("carol", &world.annual).await;
    world.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=1000")).await.id();
    world.hear_all().await;
    world.month_is_over().await;
    world.hear_all().await;
    assert_eq!(world.reconcile(false).await, []);
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM bursar.reconciled").fetch_one(&world.db.pool).await.unwrap();
    assert_eq!(seen, 0, "what was seen is forgotten when it is over");
    assert_eq!(world.dead().await, []);
    world.verify();
}

#[tokio::test]
async fn what_was_paid_while_webhooks_were_lost_is_found_and_repaired_once() {
    let world = World::new().await;
    let (session, _) = world.buy("alice").await;
    let (_, invoice) = world.subscribe("bob", &world.monthly).await;
    world.hear(|event| about(event, &session) || about(event, &invoice)).await;
    assert_eq!((world.balance("alice").await, world.balance("bob").await), ("0".into(), "0".into()));
    world.month_is_over().await;
    world.hear(|_| true).await;
    let open = [
        found("missing_grant", &invoice, "bob", "150", "open"),
        found("missing_grant", &session, "alice", "200", "open"),
    ];
    assert_eq!(world.reconcile(false).await, open, "looking changes nothing");
    assert_eq!(world.balance("alice").await, "0");
    let repaired =
        open.clone().map(|(what, object, user, amount, _)| (what, object, user, amount, "repaired".to_owned()));
    assert_eq!(world.reconcile(true).await, repaired);
    assert_eq!((world.balance("alice").await, world.balance("bob").await), ("200".into(), "150".into()));
    assert_eq!(world.reconcile(true).await, [], "a second one finds nothing");
    // What was found first is not there any more.
    let gone: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.finding WHERE run LIKE '%.1' AND state = 'gone'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(gone, 2);
    // The inbox says who made the event, and the audit who wanted it.
    let (kind, made): (String, Vec<u8>) = sqlx::query_as("SELECT type, body FROM bursar.event WHERE id = $1")
        .bind(format!("reconcile:{invoice}:paid"))
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
    assert_eq!((kind.as_str(), &made["api_version"]), ("invoice.paid", &json!("2026-09-30.endive")));
    assert!(made["made_by"]["reconciliation"].is_string());
    let audited: Vec<(String, String, String)> =
        sqlx::query_as("SELECT who, via, subject FROM bursar.audit WHERE what = 'reconcile.repair' ORDER BY id")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(audited, [&invoice, &session].map(|object| ("tester".into(), "console".into(), object.clone())));
    // The real events come after all, and change nothing.
    for event in world.events().await.into_iter().filter(|event| about(event, &session) || about(event, &invoice)) {
        let body = serde_json::to_vec(&event).unwrap();
        let envelope = bursar_jobs::inbox::envelope::Envelope::stripe(&body).unwrap();
        bursar_jobs::inbox::receive(&world.db.pool, &envelope, &body).await.unwrap();
    }
    world.drain().await;
    assert_eq!((world.balance("alice").await, world.balance("bob").await), ("200".into(), "150".into()));
    world.verify();
}

#[tokio::test]
async fn a_grant_whose_job_was_deleted_is_found_with_what_is_known_of_its_event() {
    let world = World::new().await;
    let (session, _) = world.buy("alice").await;
    for event in world.events().await.into_iter().filter(|event| about(event, &session)) {
        let body = serde_json::to_vec(&event).unwrap();
        let envelope = bursar_jobs::inbox::envelope::Envelope::stripe(&body).unwrap();
        bursar_jobs::inbox::receive(&world.db.pool, &envelope, &body).await.unwrap();
    }
    sqlx::query("DELETE FROM apalis.jobs").execute(&world.db.pool).await.unwrap();
    world.month_is_over().await;
    let repaired = [found("missing_grant", &session, "alice", "200", "repaired")];
    assert_eq!(world.reconcile(true).await, repaired);
    let (evidence, remedy) = world.evidence("missing_grant").await;
    let month = world.month.format("%Y-%m");
    assert_eq!(
        remedy,
        format!("bursar reconcile --month {month} --repair"),
        "of this month, not of whichever is the last"
    );
    assert_eq!(evidence["events"][0]["type"], "checkout.session.completed", "{evidence}");
    assert_eq!(evidence["events"][0]["job"], json!(null), "{evidence}");
    assert_eq!(world.balance("alice").await, "200");
    assert_eq!(world.reconcile(true).await, []);
}

#[tokio::test]
async fn an_invoice_that_was_made_in_the_month_before_and_paid_in_this_one_counts_in_this_one() {
    let world = World::new().await;
    let customer = world.stripe.post("/v1/customers", "name=x&metadata[user_id]=alice").await.id();
    let form = format!(
        "customer={customer}&items[0][price]={}&collection_method=send_invoice&days_until_due=30&metadata[user_id]=alice",
        world.monthly
    );
    let subscription = world.stripe.post("/v1/subscriptions", &form).await;
    let invoice = subscription.body["latest_invoice"].as_str().unwrap().to_owned();
    world.stripe.post(&format!("/v1/invoices/{invoice}/finalize"), "").await;
    world.month_is_over().await;
    assert_eq!(world.reconcile(false).await, [], "nothing was paid in its month");
    world.stripe.post(&format!("/v1/invoices/{invoice}/pay"), "paid_out_of_band=true").await.id();
    world.hear(|_| true).await;
    let mut next = world;
    next.month = next.month.checked_add_months(chrono::Months::new(1)).unwrap();
    next.month_is_over().await;
    let missing = next.reconcile(false).await;
    assert!(missing.contains(&found("missing_grant", &invoice, "alice", "150", "open")), "{missing:?}");
}

#[tokio::test]
async fn a_grant_that_nothing_was_paid_for_is_found_and_the_command_beside_it_settles_it() {
    let world = World::new().await;
    world.buy("alice").await;
    world.hear_all().await;
    let grant = |kind, key: &str, reference: Option<&str>| {
        let mut posting = Posting::grant(kind, key.into(), "mallory", Credits::whole(70).unwrap());
        posting.reference = reference.map(str::to_owned);
        posting
    };
    let false_ones = [
        grant("purchase", "purchase:cs_false", Some("cs_false")),
        grant("refill", "refill:sub_false", None),
        grant("plan_change", "plan_change:sub_false", Some("sub_false")),
    ];
    ledger::post(&world.db.pool, &false_ones).await.unwrap();
    // A session that is there, and not paid.
    let form = "mode=payment&success_url=https://shop.example&metadata[user_id]=mallory&metadata[credits]=200\
                &line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=2999\
                &line_items[0][price_data][product_data][name]=200&line_items[0][quantity]=1";
    let unpaid = world.stripe.post("/v1/checkout/sessions", form).await.id();
    ledger::post(&world.db.pool, &[grant("purchase", &format!("purchase:{unpaid}"), Some(&unpaid))]).await.unwrap();
    world.month_is_over().await;
    let seen = world.reconcile(true).await;
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!(seen.iter().all(|(what, _, user, amount, state)| {
        (what.as_str(), user.as_str(), amount.as_str(), state.as_str())
            == ("grant_without_payment", "mallory", "70", "open")
    }));
    let remedies: Vec<String> = sqlx::query_scalar("SELECT remedy FROM bursar.finding WHERE state = 'open'")
        .fetch_all(&world.db.pool)
        .await
        .unwrap();
    for remedy in remedies {
        let words: Vec<&str> = remedy.split_whitespace().skip(1).map(|word| word.trim_matches('\'')).collect();
        let done = world.bursar(&words);
        assert!(done.status.success(), "{remedy}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(world.balance("mallory").await, "0");
    assert_eq!(world.reconcile(true).await, [], "what was settled by hand is not found again");
    world.verify();
}

#[tokio::test]
async fn a_grant_of_another_amount_is_found_and_corrected_by_hand() {
    let world = World::new().await;
    let (session, _) = world.buy("alice").await;
    let (_, invoice) = world.subscribe("bob", &world.monthly).await;
    let mut wrong = Posting::grant("purchase", format!("purchase:{session}"), "alice", Credits::whole(250).unwrap());
    wrong.reference = Some(session.clone());
    ledger::post(&world.db.pool, &[wrong]).await.unwrap();
    world.hear(|event| about(event, &session)).await;
    world.month_is_over().await;
    // The tier is worth more now than when it was granted.
    let mut after = world;
    let mut terms = (*after.context.terms).clone();
    terms.tiers[0].credits = Credits::whole(160).unwrap();
    after.context.terms = std::sync::Arc::new(terms);
    let seen = after.reconcile(true).await;
    assert_eq!(
        seen,
        [found("wrong_amount", &invoice, "bob", "-10", "open"), found("wrong_amount", &session, "alice", "50", "open"),]
    );
    let (evidence, remedy) = after.evidence("wrong_amount").await;
    assert_eq!((&evidence["books"]["credits"], &evidence["books"]["expected"]), (&json!("250"), &json!("200")));
    assert_eq!(remedy, format!("bursar credits revoke alice 50 --key reconcile:{session} --why '…'"));
    let key = format!("reconcile:{session}");
    assert!(after.bursar(&["credits", "revoke", "alice", "50", "--key", &key, "--why", "x"]).status.success());
    let judged: i64 = sqlx::query_scalar("SELECT id FROM bursar.finding WHERE object = $1")
        .bind(&invoice)
        .fetch_one(&after.db.pool)
        .await
        .unwrap();
    let judge = after.bursar(&["reconcile", "judge", &judged.to_string(), "--why", "the price rose later"]);
    assert!(judge.status.success(), "{}", String::from_utf8_lossy(&judge.stderr));
    let again = after.reconcile(true).await;
    assert_eq!(again, [found("wrong_amount", &invoice, "bob", "-10", "judged")]);
}

#[tokio::test]
async fn a_month_of_a_year_that_was_not_refilled_is_found_and_refilled() {
    let mut world = World::new().await;
    let (subscription, _) = world.subscribe("carol", &world.annual).await;
    world.hear_all().await;
    assert_eq!(world.balance("carol").await, "150");
    // The job of the next month is lost, and with it all that would have followed.
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type = 'refill_month'").execute(&world.db.pool).await.unwrap();
    world.month_is_over().await;
    assert_eq!(world.reconcile(true).await, []);
    world.month = world.month.checked_add_months(chrono::Months::new(1)).unwrap();
    world.month_is_over().await;
    let seen = world.reconcile(true).await;
    let (what, object, user, amount, state) = seen.first().unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(
        (what.as_str(), user.as_str(), amount.as_str(), state.as_str()),
        ("missing_grant", "carol", "150", "repaired")
    );
    assert!(object.starts_with(&subscription), "{object}");
    assert_eq!(world.balance("carol").await, "300");
    assert_eq!(world.reconcile(true).await, []);
    // The months after it come by themselves again.
    world.pass(60).await;
    world.drain().await;
    assert_eq!(world.balance("carol").await, "600");
    world.verify();
}

#[tokio::test]
async fn a_rise_of_plan_that_was_paid_for_and_not_heard_of_is_granted() {
    let world = World::new().await;
    let (subscription, _) = world.subscribe("bob", &world.monthly).await;
    world.hear_all().await;
    world.pass(10).await;
    let item = world.stripe.get(&format!("/v1/subscriptions/{subscription}")).await.body;
    let item = item["items"]["data"][0]["id"].as_str().unwrap().to_owned();
    let form = format!("items[0][id]={item}&items[0][price]={}&proration_behavior=always_invoice", world.team);
    world.stripe.post(&format!("/v1/subscriptions/{subscription}"), &form).await.id();
    let lost = |event: &serde_json::Value| event["type"] != "invoice.paid";
    let known = world.balance("bob").await;
    world.hear(|_| true).await;
    world.month_is_over().await;
    world.hear(lost).await;
    let seen = world.reconcile(true).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((seen[0].0.as_str(), seen[0].4.as_str()), ("missing_grant", "repaired"), "{seen:?}");
    world.drain().await;
    assert_ne!(world.balance("bob").await, known, "{:?}", world.dead().await);
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}

#[tokio::test]
async fn a_repair_whose_job_came_to_nothing_is_repaired_again() {
    let world = World::new().await;
    let (_, intent) = world.buy("alice").await;
    world.hear_all().await;
    let (_, invoice) = world.subscribe("bob", &world.monthly).await;
    let refund = world.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=2999")).await.id();
    world.hear(|_| true).await;
    world.month_is_over().await;
    let lost = ["refill_tier", "check_charge"];
    let pause = "INSERT INTO bursar.paused_kind (kind) SELECT unnest($1::text[])";
    sqlx::query(pause).bind(lost).execute(&world.db.pool).await.unwrap();
    let repaired = [
        found("missing_grant", &invoice, "bob", "150", "repaired"),
        found("refund_not_clawed", &refund, "alice", "200", "repaired"),
    ];
    assert_eq!(world.reconcile(true).await, repaired);
    // What was to follow is lost as well.
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type = ANY ($1)").bind(lost).execute(&world.db.pool).await.unwrap();
    sqlx::query("DELETE FROM bursar.paused_kind").execute(&world.db.pool).await.unwrap();
    assert_eq!(world.reconcile(true).await, repaired);
    assert_eq!((world.balance("bob").await, world.balance("alice").await), ("150".into(), "0".into()));
    assert_eq!(world.reconcile(true).await, []);
}

/// The settings of now say what an invoice should have granted, and the books what it has, under whatever name.
#[tokio::test]
async fn a_renamed_tier_is_no_finding_and_a_price_that_was_put_right_is_never_repaired_by_a_second_grant() {
    let mut world = World::new().await;
    let (_, invoice) = world.subscribe("bob", &world.monthly).await;
    world.hear_all().await;
    world.month_is_over().await;
    world.hear_all().await;
    let as_it_was = world.context.terms.clone();
    let mut renamed = (*as_it_was).clone();
    renamed.tiers[0].name = "professional".into();
    world.context.terms = Arc::new(renamed);
    assert_eq!(world.reconcile(true).await, []);

    let mut swapped = (*as_it_was).clone();
    let (pro, team) = (swapped.tiers[0].prices.clone(), swapped.tiers[1].prices.clone());
    (swapped.tiers[0].prices, swapped.tiers[1].prices) = (team, pro);
    world.context.terms = Arc::new(swapped);
    let balance = world.balance("bob").await;
    assert_eq!(world.reconcile(true).await, [found("wrong_amount", &invoice, "bob", "-350", "open")]);
    assert_eq!(world.balance("bob").await, balance, "nothing was granted again");
    let (_, remedy) = world.evidence("wrong_amount").await;
    let key = format!("reconcile:{invoice}");
    assert_eq!(remedy, format!("bursar credits grant bob 350 --key {key} --why '…'"));
    let by_hand = world.bursar(&["credits", "grant", "bob", "350", "--key", &key, "--why", "its price was swapped"]);
    assert!(by_hand.status.success(), "{by_hand:?}");
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}
