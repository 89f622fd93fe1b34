//! States: what Stripe says now, until when it gives access, and whose it is.

use serde_json::{Value, json};

use super::world::*;

/// Status, access until, whether there is access.
fn access(world: &World) -> (String, Option<String>, bool) {
    let shown = world.bursar(&["subscriptions", "show", SUB, "--json"]);
    assert!(shown.status.success(), "{shown:?}");
    let page: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let until = page["access_until"].as_str().map(|at| at[..10].to_owned());
    (page["status"].as_str().unwrap().to_owned(), until, page["has_access"].as_bool().unwrap())
}

fn told(id: &str, kind: &str, sub: &Sub, when: &str) -> Value {
    event(id, &format!("customer.subscription.{kind}"), when, &sub.object(false))
}

#[tokio::test]
async fn access_follows_the_state_that_stripe_has_now() {
    let end = at("2027-05-01").timestamp();
    let cases = [
        ("active", json!({}), Some("2027-05-01"), true),
        ("trialing", json!({"trial_end": end}), Some("2027-05-01"), true),
        ("active", json!({"cancel_at_period_end": true, "cancel_at": end}), Some("2027-05-01"), true),
        ("active", json!({"cancel_at": at("2027-04-20").timestamp()}), Some("2027-04-20"), true),
        ("active", json!({"pause_collection": {"behavior": "void"}}), None, false),
        ("past_due", json!({}), Some("2027-04-08"), false),
        ("canceled", json!({"ended_at": at("2027-04-05").timestamp()}), Some("2027-04-05"), false),
        ("unpaid", json!({}), None, false),
        ("paused", json!({}), None, false),
        ("incomplete", json!({}), None, false),
        ("incomplete_expired", json!({}), None, false),
        ("a_word_of_2031", json!({}), None, false),
    ];
    for (status, more, until, has) in cases {
        let world = World::new(terms()).await;
        let sub = Sub { status, more, ..Sub::new("price_pro", "2027-04-01", "2027-05-01") };
        world.has(&sub);
        world.now("2027-04-10").await;
        world.play(&[told("evt_1", "updated", &sub, "2027-04-10")]).await;
        assert_eq!(access(&world), (status.to_owned(), until.map(str::to_owned), has), "{sub:?}");
    }
}

#[tokio::test]
async fn access_does_not_flicker_at_a_renewal_and_ends_with_a_cancellation() {
    for (more, has) in
        [(json!({}), true), (json!({"cancel_at_period_end": true, "cancel_at": at("2027-05-01").timestamp()}), false)]
    {
        let world = World::new(terms()).await;
        let sub = Sub { more, ..Sub::new("price_pro", "2027-04-01", "2027-05-01") };
        world.has(&sub);
        world.now("2027-04-10").await;
        world.play(&[told("evt_1", "updated", &sub, "2027-04-10")]).await;
        world.now("2027-05-01T00:00:10Z").await;
        assert_eq!(access(&world).2, has);
        let user = bursar_jobs::subscriptions::subscription::of_user(&world.db.pool, "alice").await.unwrap().unwrap();
        assert_eq!((user.has_access, user.tier.as_deref(), user.is_open), (has, Some("pro"), true));
    }
    let world = World::new(terms()).await;
    assert_eq!(bursar_jobs::subscriptions::subscription::of_user(&world.db.pool, "nobody").await.unwrap(), None);
}

#[tokio::test]
async fn an_unpaid_renewal_keeps_what_was_paid_and_the_grace() {
    let world = World::new(terms()).await;
    let sub = Sub::new("price_pro", "2027-04-01", "2027-05-01");
    world.has(&sub);
    world.now("2027-04-01").await;
    world.play(&[sub.paid("evt_1", false)]).await;
    // An upgrade's invoice is not paid: the month that was paid stays.
    let late = Sub { status: "past_due", ..sub.clone() };
    world.has(&late);
    world.now("2027-04-20").await;
    let failed = event("evt_2", "invoice.payment_failed", "2027-04-20", &invoice("in_2", SUB, &[], false));
    world.play(&[failed]).await;
    assert_eq!(access(&world), ("past_due".into(), Some("2027-05-01".into()), true));
    let late = Sub { status: "past_due", ..Sub::new("price_pro", "2027-05-01", "2027-06-01") };
    world.has(&late);
    world.now("2027-05-03").await;
    world.play(&[told("evt_3", "updated", &late, "2027-05-01")]).await;
    assert_eq!(access(&world), ("past_due".into(), Some("2027-05-08".into()), true));
    world.now("2027-05-09").await;
    assert!(!access(&world).2);
}

#[tokio::test]
async fn events_out_of_order_end_in_the_state_that_stripe_has_now() {
    let active = Sub::new("price_pro", "2027-04-01", "2027-05-01");
    let ended = Sub { status: "canceled", more: json!({"ended_at": at("2027-04-10").timestamp()}), ..active.clone() };
    let world = World::new(terms()).await;
    world.has(&ended);
    world.now("2027-04-11").await;
    world
        .play(&[
            told("evt_3", "deleted", &ended, "2027-04-10"),
            told("evt_1", "created", &active, "2027-04-01"),
            told("evt_2", "resumed", &active, "2027-04-05"),
        ])
        .await;
    assert_eq!(access(&world), ("canceled".into(), Some("2027-04-10".into()), false));
    world.is_clean().await;
}

#[tokio::test]
async fn an_answer_to_an_earlier_question_counts_for_nothing() {
    let world = World::new(terms()).await;
    let sub = Sub::new("price_pro", "2027-04-01", "2027-05-01");
    world.has(&sub);
    world.now("2027-04-02").await;
    world.play(&[told("evt_1", "updated", &sub, "2027-04-02")]).await;
    // As if a question had been asked later, and answered: the one asked before it changes nothing.
    sqlx::query("UPDATE bursar.subscription SET asked_at = bursar.now() + interval '1 hour', status = 'unpaid'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.play(&[told("evt_2", "updated", &sub, "2027-04-02")]).await;
    assert_eq!(access(&world).0, "unpaid");
    let (_, why) = world.jobs("sync_subscription").await.pop().unwrap();
    assert!(why.contains("a later question"), "{why}");
}

#[tokio::test]
async fn a_subscription_of_nobody_is_not_ours_and_one_of_a_customer_waits_for_the_link() {
    let world = World::new(terms()).await;
    world.now("2027-04-02").await;
    let nobody = Sub { more: json!({"metadata": {}}), ..Sub::new("price_other", "2027-04-01", "2027-05-01") };
    world.has(&nobody);
    world.play(&[told("evt_1", "updated", &nobody, "2027-04-02")]).await;
    assert!(world.jobs("sync_subscription").await[0].1.contains("not ours"));

    let unnamed = Sub { more: json!({"metadata": {}}), ..Sub::new("price_pro", "2027-04-01", "2027-05-01") };
    world.has(&unnamed);
    world.play(&[told("evt_2", "updated", &unnamed, "2027-04-02")]).await;
    assert_eq!(world.jobs("sync_subscription").await[1].0, "scheduled");
    let customer = json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "alice"}});
    world.play(&[event("evt_3", "customer.created", "2027-04-02", &customer)]).await;
    assert_eq!(access(&world).0, "active");
}

#[tokio::test]
async fn a_subscription_of_whom_two_things_are_said_is_quarantined() {
    let world = World::new(terms()).await;
    world.now("2027-04-02").await;
    let customer = json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "bob"}});
    let sub = Sub::new("price_pro", "2027-04-01", "2027-05-01");
    world.has(&sub);
    world
        .play(&[
            event("evt_1", "customer.created", "2027-04-02", &customer),
            told("evt_2", "updated", &sub, "2027-04-02"),
        ])
        .await;
    let (state, why) = world.jobs("sync_subscription").await.pop().unwrap();
    assert_eq!(state, "dead");
    assert!(why.contains("whose is"), "{why}");
}

#[tokio::test]
async fn a_trial_that_will_end_is_told_once() {
    let world = World::new(terms()).await;
    let more = json!({"trial_end": at("2027-04-15").timestamp()});
    let sub = Sub { status: "trialing", more, ..Sub::new("price_pro", "2027-04-01", "2027-04-15") };
    world.has(&sub);
    world.now("2027-04-12").await;
    for id in ["evt_1", "evt_2"] {
        world.play(&[told(id, "trial_will_end", &sub, "2027-04-12")]).await;
    }
    let letters: Vec<String> = sqlx::query_scalar("SELECT key FROM bursar.job WHERE kind = 'send_letter'")
        .fetch_all(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(letters, [format!("trial_will_end:{SUB}:{}", at("2027-04-15").timestamp())]);
    assert!(world.jobs("send_letter").await[0].1.contains("no letters"));
    let args: Vec<u8> = sqlx::query_scalar("SELECT args FROM bursar.job WHERE kind = 'send_letter'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&args).unwrap();
    assert_eq!(told["fields"], json!({"deadline": "2027-04-15"}), "the price says no amount here");
}

#[tokio::test]
async fn the_mail_address_of_a_customer_is_kept_as_stripe_has_it_now() {
    let world = World::new(terms()).await;
    world.now("2027-04-02").await;
    let customer =
        |email: &str| json!({"id": "cus_1", "object": "customer", "email": email, "metadata": {"user_id": "alice"}});
    world.stripe.put("/v1/customers/cus_1", customer("now@example.com"));
    for (id, kind, email) in [
        ("evt_1", "created", "first@example.com"),
        ("evt_3", "updated", "now@example.com"),
        ("evt_2", "updated", "second@example.com"),
    ] {
        world.play(&[event(id, &format!("customer.{kind}"), "2027-04-02", &customer(email))]).await;
        let kept: Option<String> =
            sqlx::query_scalar("SELECT email FROM bursar.customer").fetch_one(&world.db.pool).await.unwrap();
        assert_eq!(kept.as_deref(), Some("now@example.com"));
    }
}

#[tokio::test]
async fn what_nothing_follows_from_is_recorded_and_counted() {
    let world = World::new(terms()).await;
    for (i, kind) in ["checkout.session.expired", "payment_intent.payment_failed", "payment_intent.payment_failed"]
        .iter()
        .enumerate()
    {
        world.play(&[event(&format!("evt_{i}"), kind, "2027-04-02", &json!({"id": "x_1", "mode": "payment"}))]).await;
    }
    let counts: Vec<(String, i64)> = sqlx::query_as("SELECT type, events FROM bursar.event_counts ORDER BY type")
        .fetch_all(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(counts, [("checkout.session.expired".into(), 1), ("payment_intent.payment_failed".into(), 2)]);
    assert!(world.jobs("note_event").await.iter().all(|(state, why)| state == "done" && !why.is_empty()));
}

#[tokio::test]
async fn lists_are_for_people_and_for_programs() {
    let world = World::new(terms()).await;
    let sub = Sub::new("price_pro", "2027-04-01", "2027-05-01");
    world.has(&sub);
    world.now("2027-04-01").await;
    world.play(&[sub.paid("evt_1", false)]).await;
    let listed = world.bursar(&["subscriptions", "list", "--json", "--user", "alice"]);
    let one: Value = serde_json::from_slice(&listed.stdout).unwrap();
    for (name, value) in
        [("id", json!(SUB)), ("tier", json!("pro")), ("credits_a_month", json!("150")), ("status", json!("active"))]
    {
        assert_eq!(one[name], value, "{one}");
    }
    let shown = String::from_utf8(world.bursar(&["subscriptions", "show", SUB]).stdout).unwrap();
    assert!(shown.contains("refilled      2027-04-01 00:00:00 UTC: 150 credits"), "{shown}");
    assert_eq!(world.bursar(&["subscriptions", "show", "sub_none"]).status.code(), Some(3));
}

#[tokio::test]
async fn hostile_answers_end_dead_with_the_reason_and_nothing_is_granted() {
    let cases = [
        (json!({"metadata": {"user_id": "x".repeat(300)}}), 1, "malformed"),
        (json!({"metadata": {"user_id": "a\u{0}b"}}), 1, "malformed"),
        (json!({}), i64::MAX, "cannot be counted"),
        (json!({}), -1, "cannot be counted"),
        (json!({"items": "many"}), 1, "does not read"),
    ];
    for (more, quantity, reason) in cases {
        let world = World::new(terms()).await;
        let sub = Sub { quantity, more, ..Sub::new("price_pro", "2027-04-01", "2027-05-01") };
        world.has(&sub);
        world.now("2027-04-02").await;
        let told = event(
            "evt_1",
            "customer.subscription.updated",
            "2027-04-02",
            &json!({"id": SUB, "object": "subscription"}),
        );
        world.play(&[told]).await;
        let (state, why) = world.jobs("sync_subscription").await.pop().unwrap();
        assert!(state == "dead" && why.contains(reason), "{state}: {why}");
        assert!(world.books().await.is_empty());
    }
}
