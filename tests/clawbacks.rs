//! Refunds and disputes, from an event to the books and to the team.

mod parts;
mod sandbox;
pub mod stub;
mod team;
pub mod world;

use serde_json::{Value, json};

use world::World;

fn moved(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(key, amount)| ((*key).to_owned(), (*amount).to_owned())).collect()
}

/// A world in which alice has the 200 credits that she paid for.
async fn bought() -> World {
    let world = World::new().await;
    world.purchase();
    world.granted().await;
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "200");
    world
}

#[tokio::test]
async fn a_refund_takes_its_share_once_however_often_it_is_told() {
    let world = bought().await;
    world.refund("re_1", 2999, "succeeded");
    for kind in ["charge.refunded", "refund.created", "refund.updated", "charge.refund.updated", "charge.refunded"] {
        world.changed(kind).await;
    }
    world.settle_down().await;
    assert_eq!(world.moved().await, moved(&[("clawback:purchase:cs_1:re_1", "200")]));
    assert_eq!(world.balance("alice").await, "0");
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "refund.clawed_back");
    assert_eq!(
        (&told[0].1["refund"], &told[0].1["credits"], &told[0].1["user_id"]),
        (&json!("re_1"), &json!("200"), &json!("alice"))
    );
    world.verify();
}

#[tokio::test]
async fn partial_refunds_take_in_proportion_and_all_of_it_in_the_end() {
    let world = bought().await;
    for (id, amount) in [("re_1", 1000), ("re_2", 1000), ("re_3", 999)] {
        world.refund(id, amount, "succeeded");
        world.changed("charge.refunded").await;
        world.settle_down().await;
    }
    let all = [
        ("clawback:purchase:cs_1:re_1", "66.688896"),
        ("clawback:purchase:cs_1:re_2", "66.688896"),
        ("clawback:purchase:cs_1:re_3", "66.622208"),
    ];
    assert_eq!(world.moved().await, moved(&all));
    assert_eq!(world.balance("alice").await, "0");
}

#[tokio::test]
async fn a_pending_refund_takes_and_one_that_fails_gives_back_exactly_that() {
    let world = bought().await;
    world.refund("re_1", 1000, "pending");
    world.refund("re_2", 1999, "succeeded");
    world.changed("refund.created").await;
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "0");
    world.refund("re_1", 1000, "failed");
    world.changed("refund.failed").await;
    world.changed("refund.updated").await;
    world.settle_down().await;
    // Of a charge of 29.99, 19.99 went back: 133.311103 of 200.
    assert_eq!(world.balance("alice").await, "66.688897");
    let keys = world.moved().await;
    assert_eq!(keys[2].0, "restore:purchase:cs_1:re_1", "{keys:?}");
    world.refund("re_3", 1000, "canceled");
    world.changed("refund.created").await;
    world.settle_down().await;
    assert_eq!(world.moved().await.len(), keys.len(), "a cancelled refund takes nothing");
    world.verify();
}

#[tokio::test]
async fn a_refund_that_is_heard_of_before_its_purchase_takes_from_it_when_it_comes() {
    let world = World::new().await;
    world.purchase();
    world.refund("re_1", 2999, "succeeded");
    world.changed("charge.refunded").await;
    world.settle_down().await;
    assert!(world.moved().await.is_empty() && world.dead().await.is_empty());
    world.granted().await;
    world.settle_down().await;
    assert_eq!(world.moved().await, moved(&[("clawback:purchase:cs_1:re_1", "200")]));
    assert_eq!(world.balance("alice").await, "0");
}

#[tokio::test]
async fn a_grant_and_a_clawback_at_once_never_miss_each_other() {
    for _ in 0..5 {
        let world = World::new().await;
        world.purchase();
        world.refund("re_1", 2999, "succeeded");
        world.changed("charge.refunded").await;
        assert!(world.step_of("check_charge", None).await);
        world.granted().await;
        let (claw, grant) = (world.claim("claw_back").await.unwrap(), world.claim("grant_purchase").await.unwrap());
        tokio::join!(world.perform(&claw), world.perform(&grant));
        world.settle_down().await;
        assert_eq!(world.balance("alice").await, "0");
    }
}

#[tokio::test]
async fn an_answer_to_an_earlier_question_that_comes_later_changes_nothing() {
    let world = bought().await;
    world.refund("re_1", 2999, "pending");
    world.changed("refund.created").await;
    let slow = world.claim("check_charge").await.unwrap();
    *world.gate.lock().unwrap() = Some("after_request");
    let meanwhile = async {
        // It has its answer, and its worker stands still.
        world.at_gate.notified().await;
        world.refund("re_1", 2999, "failed");
        world.changed("refund.failed").await;
        assert!(world.step_of("check_charge", None).await);
        world.let_go.notify_one();
    };
    tokio::join!(world.perform(&slow), meanwhile);
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "200");
    assert!(world.moved().await.is_empty());
}

#[tokio::test]
async fn an_inquiry_moves_nothing_and_is_told() {
    let world = bought().await;
    world.dispute("du_1", "warning_needs_response");
    world.changed("charge.dispute.created").await;
    world.settle_down().await;
    world.dispute("du_1", "warning_closed");
    world.changed("charge.dispute.closed").await;
    world.settle_down().await;
    assert!(world.moved().await.is_empty());
    let told: Vec<String> = world.told().into_iter().map(|(what, _)| what).collect();
    assert_eq!(told, ["dispute.inquiry", "dispute.closed"]);
    assert!(flags(&world).await.is_empty());
}

async fn flags(world: &World) -> Vec<(String, String)> {
    sqlx::query_as("SELECT user_id, source FROM bursar.user_flag").fetch_all(&world.db.pool).await.unwrap()
}

#[tokio::test]
async fn a_dispute_takes_what_is_left_flags_the_user_and_tells_the_deadline_and_won_restores() {
    let world = bought().await;
    world.refund("re_1", 1000, "succeeded");
    world.dispute("du_1", "needs_response");
    for kind in ["charge.dispute.funds_withdrawn", "charge.dispute.created", "charge.refunded"] {
        world.changed(kind).await;
    }
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "0", "never twice by refund and dispute together");
    assert_eq!(flags(&world).await, [("alice".into(), "du_1".into())]);
    let said = world.bursar(&["credits", "balance", "alice", "--json"]);
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said, json!({"user_id": "alice", "balance": "0", "flags": [{"flag": "dispute", "source": "du_1"}]}));
    let told = world.told();
    let opened = told.iter().find(|(what, _)| what == "dispute.opened").unwrap();
    assert_eq!(opened.1["due_by"], json!("2027-01-15T08:00:00Z"));
    world.dispute("du_1", "under_review");
    world.changed("charge.dispute.updated").await;
    world.dispute("du_1", "won");
    world.changed("charge.dispute.closed").await;
    world.changed("charge.dispute.funds_reinstated").await;
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "133.311104");
    assert!(flags(&world).await.is_empty());
    let told: Vec<String> = world.told().into_iter().map(|(what, _)| what).collect();
    assert_eq!(
        told.iter().filter(|what| what.starts_with("dispute.")).collect::<Vec<_>>(),
        ["dispute.opened", "dispute.won"]
    );
    world.verify();
}

#[tokio::test]
async fn a_lost_dispute_stays_taken_a_second_one_takes_nothing_more_and_a_reopened_one_takes_again() {
    let world = bought().await;
    for (id, status, left) in [
        ("du_1", "needs_response", "0"),
        ("du_1", "lost", "0"),
        ("du_2", "needs_response", "0"),
        ("du_1", "won", "0"),
        ("du_2", "won", "200"),
        ("du_1", "under_review", "0"),
        ("du_1", "lost", "0"),
    ] {
        world.dispute(id, status);
        world.changed("charge.dispute.updated").await;
        world.settle_down().await;
        assert_eq!(world.balance("alice").await, left, "{id} {status}");
    }
    assert_eq!(world.moved().await.last().unwrap().0, "clawback:purchase:cs_1:du_1:2");
    assert_eq!(flags(&world).await.len(), 1);
    world.verify();
}

#[tokio::test]
async fn what_was_spent_leaves_a_balance_below_zero_that_later_grants_fill() {
    let world = bought().await;
    let spent = world.bursar(&["credits", "spend", "alice", "150", "--key", "k1"]);
    assert!(spent.status.success());
    world.refund("re_1", 2999, "succeeded");
    world.changed("charge.refunded").await;
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "-150");
    assert!(world.bursar(&["credits", "grant", "alice", "200", "--why", "goodwill"]).status.success());
    assert_eq!(world.balance("alice").await, "50");
    world.verify();
}

#[tokio::test]
async fn a_refund_of_an_invoice_takes_from_every_refill_that_it_paid_in_both_layouts() {
    for older in [false, true] {
        let world = World::new().await;
        let invoice = crate::jobs::event(crate::jobs::INVOICE, "evt_invoice", &[]);
        let id = invoice["data"]["object"]["id"].as_str().unwrap().to_owned();
        {
            let mut state = world.stub.state.lock().unwrap();
            let mut charge =
                json!({"id": "ch_1", "object": "charge", "amount": 600, "currency": "usd", "payment_intent": "pi_1"});
            if older {
                charge["invoice"] = json!(id);
            } else {
                // Two payments paid it, of which this is one.
                let paid = |payment: &str, intent: &str, amount: i64| {
                    json!({"id": payment, "object": "invoice_payment", "invoice": id, "amount_paid": amount, "status": "paid",
                           "payment": {"type": "payment_intent", "payment_intent": intent}})
                };
                state.payments.extend([paid("inpay_1", "pi_1", 600), paid("inpay_2", "pi_2", 600)]);
            }
            state.charges.push(charge);
        }
        world.hear(&invoice).await;
        world.settle_down().await;
        let granted: f64 = world.balance("alice").await.parse().unwrap();
        assert!(granted > 0.0);
        world.refund("re_1", 600, "succeeded");
        world.changed("charge.refunded").await;
        world.settle_down().await;
        let left: f64 = world.balance("alice").await.parse().unwrap();
        let share = if older { 0.0 } else { granted / 2.0 };
        assert!((left - share).abs() < 0.000_001, "{older}: {granted} {left}");
    }
}

#[tokio::test]
async fn every_page_of_refunds_counts() {
    let world = bought().await;
    world.stub.state.lock().unwrap().page = 2;
    for i in 0..7 {
        world.refund(&format!("re_{i}"), 400, "succeeded");
    }
    world.changed("charge.refunded").await;
    world.settle_down().await;
    assert_eq!(world.moved().await.len(), 7);
    assert_eq!(world.balance("alice").await, "13.271091");
}

#[tokio::test]
async fn bad_input_is_dead_with_the_reason_and_moves_nothing() {
    type Spoil = fn(&World);
    let cases: [(&str, Spoil); 4] = [
        ("more than was charged", |world| world.refund("re_1", 3000, "succeeded")),
        ("which this version does not know", |world| world.refund("re_1", 10, "teleported")),
        ("which this version does not know", |world| world.dispute("du_1", "appealed")),
        ("but ch_1 is in usd", |world| {
            world.refund("re_1", 10, "succeeded");
            world.stub.state.lock().unwrap().refunds[0]["currency"] = json!("eur");
        }),
    ];
    for (reason, spoil) in cases {
        let world = bought().await;
        spoil(&world);
        world.changed("charge.refunded").await;
        world.settle_down().await;
        let dead = world.dead().await;
        assert!(
            dead.len() == 1
                && (dead[0].contains(reason) || reason.starts_with("more than") && dead[0].contains("took 2999")),
            "{dead:?}"
        );
        assert!(world.moved().await.is_empty());
    }
}

#[tokio::test]
async fn what_is_not_ours_is_skipped_and_says_so() {
    let world = World::new().await;
    world.purchase();
    world.stub.state.lock().unwrap().sessions.clear();
    world.refund("re_1", 100, "succeeded");
    world.changed("charge.refunded").await;
    let stranger = json!({"id": "evt_s", "object": "event", "type": "charge.refunded", "livemode": false,
                          "data": {"object": {"id": "ch_unknown", "object": "charge"}}});
    world.hear(&stranger).await;
    let connected = json!({"id": "evt_c", "object": "event", "type": "charge.refunded", "livemode": false, "account": "acct_1",
                           "data": {"object": {"id": "ch_1", "object": "charge"}}});
    world.hear(&connected).await;
    world.settle_down().await;
    assert!(world.dead().await.is_empty() && world.moved().await.is_empty() && world.told().is_empty());
    let reasons: Vec<String> =
        sqlx::query_scalar("SELECT reason FROM bursar.job WHERE reason LIKE 'not ours%' ORDER BY reason")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_in_a_check_takes_back_once() {
    for point in ["before_intent", "after_intent", "after_request", "before_settlement"] {
        let world = bought().await;
        world.refund("re_1", 1500, "succeeded");
        world.changed("charge.refunded").await;
        assert!(world.step_of("check_charge", Some(point)).await);
        world.settle_down().await;
        assert_eq!(world.moved().await.len(), 1, "{point}");
    }
}

#[tokio::test]
async fn an_operator_who_has_looked_takes_a_disputes_flag_away_until_it_comes_to_something_else() {
    let world = bought().await;
    world.dispute("du_1", "needs_response");
    world.changed("charge.dispute.created").await;
    world.settle_down().await;
    let unflag = || world.bursar(&["credits", "unflag", "alice", "du_1", "--why", "a friend of ours"]);
    assert!(unflag().status.success());
    assert!(flags(&world).await.is_empty());
    assert_eq!(unflag().status.code(), Some(1), "once");
    assert_eq!(world.bursar(&["credits", "unflag", "bob", "du_1", "--why", "x"]).status.code(), Some(3));
    let why: Vec<String> =
        sqlx::query_scalar("SELECT why FROM bursar.audit WHERE what = 'credits.unflag' AND subject = 'alice'")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(why, ["a friend of ours"]);
    world.changed("charge.dispute.updated").await;
    world.settle_down().await;
    assert!(flags(&world).await.is_empty(), "nothing is new");
    world.dispute("du_1", "lost");
    world.changed("charge.dispute.closed").await;
    world.settle_down().await;
    assert_eq!(flags(&world).await.len(), 1);
    assert_eq!(world.balance("alice").await, "0");
}
