//! Reversals: what was paid for a job that was refunded comes back once, or is carried; and our books say what the sandbox's say.

mod dashboard;
mod debts;
mod matrix;

use std::process::Output;

use serde_json::{Value, json};

use crate::payouts::world::World;

const WHY: [&str; 2] = ["--why", "the sender was refunded"];

/// A payout of 1.00 USD that is paid.
pub async fn paid(world: &World, job: &str, receiver: &str) {
    world.verify(job, receiver).await;
    world.settle_down().await;
    world.is_paid_once(job).await;
}

/// `bursar payouts reverse`, which must succeed.
pub async fn reverse(world: &World, job: &str, more: &[&str]) {
    let done = try_reverse(world, job, more);
    assert!(done.status.success(), "{done:?}");
    // Attempts follow each other here without a pause, and while a key is in flight each is refused.
    sqlx::query("UPDATE apalis.jobs SET max_attempts = 10000, allowance = 10000 WHERE job_type = 'reverse_transfer'")
        .execute(&world.db.pool)
        .await
        .unwrap();
}

pub fn try_reverse(world: &World, job: &str, more: &[&str]) -> Output {
    world.bursar(&[&["payouts", "reverse", job][..], &WHY[..], more].concat())
}

/// What the sandbox's own books say of reversals.
pub async fn made(world: &World) -> Vec<Value> {
    world.stripe.get("/_sandbox/ledger").await.body["reversals"].as_array().unwrap().clone()
}

pub async fn shown(world: &World, job: &str) -> Value {
    serde_json::from_slice(&world.bursar(&["payouts", "show", job, "--json"]).stdout).unwrap()
}

/// What Stripe tells of a Transfer that was reversed.
pub async fn tell_reversed(world: &World, event: &str, transfer: &str) {
    let object = world.stripe.get(&format!("/v1/transfers/{transfer}")).await.body;
    world.hear(&json!({"id": event, "object": "event", "type": "transfer.reversed", "livemode": false, "data": {"object": object}})).await;
}

/// What a receiver has on the account at Stripe, from now on.
pub async fn receiver_has(world: &World, account: &str, available: i64) {
    let body = json!({"currency": "usd", "available": available, "account": account}).to_string();
    world.stripe.send("POST", "/_sandbox/balance", &body, &[]).await.unwrap();
}

/// Each reversal at the sandbox is booked once, what left and came back is the same there and here, and the books are in order.
pub async fn books_agree(world: &World) {
    let ledger = world.stripe.get("/_sandbox/ledger").await.body;
    let at_stripe: i64 = ledger["transfers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["amount"].as_i64().unwrap() - t["amount_reversed"].as_i64().unwrap())
        .sum();
    let ours: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(CASE a.id WHEN p.credit THEN p.amount ELSE -p.amount END), 0)::bigint
         FROM bursar.posting p JOIN bursar.account a ON a.id IN (p.debit, p.credit) WHERE a.name = 'stripe'",
    )
    .fetch_one(&world.db.pool)
    .await
    .unwrap();
    assert_eq!(ours, at_stripe, "what left, less what came back");
    let mut there: Vec<(String, i64)> = made(world)
        .await
        .iter()
        .map(|r| (format!("transfer_reversal:{}", r["id"].as_str().unwrap()), r["amount"].as_i64().unwrap()))
        .collect();
    there.sort();
    let here: Vec<(String, i64)> = sqlx::query_as(
        "SELECT key, amount FROM bursar.posting WHERE kind = 'transfer_reversal' ORDER BY key COLLATE \"C\"",
    )
    .fetch_all(&world.db.pool)
    .await
    .unwrap();
    assert_eq!(here, there, "each reversal once");
    let verified = world.bursar(&["ledger", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn a_paid_payout_is_reversed_at_stripe_and_in_the_books_once() {
    let world = World::new().await;
    world.receiver("bob").await;
    paid(&world, "job_1", "bob").await;
    reverse(&world, "job_1", &[]).await;
    world.settle_down().await;
    let (state, reason, transfer) = world.payout("job_1").await;
    assert_eq!((state.as_str(), reason.as_str()), ("reversed", "1.00 USD came back"));
    let back = made(&world).await;
    assert_eq!((back.len(), &back[0]["amount"], back[0]["transfer"].as_str()), (1, &json!(100), transfer.as_deref()));
    assert_eq!(world.owed_to("bob").await, 0);
    let page = shown(&world, "job_1").await;
    assert_eq!((&page["reversed"], &page["returned"], &page["carried"]), (&json!(100), &json!(100), &json!(0)));
    assert_eq!(page["reversals"][0]["reversal_id"], back[0]["id"]);
    let keys: Vec<&str> =
        page["calls"].as_array().unwrap().iter().filter_map(|c| c["idempotency_key"].as_str()).collect();
    assert!(keys.contains(&"reversal:job_1:1:1"), "{keys:?}");
    books_agree(&world).await;

    // Again, and by the event of our own reversal, twice: nothing more.
    let again = try_reverse(&world, "job_1", &["--json"]);
    assert!(again.status.success());
    assert!(String::from_utf8_lossy(&again.stdout).contains(r#""result":"already""#), "{again:?}");
    for event in ["evt_1", "evt_2"] {
        tell_reversed(&world, event, transfer.as_deref().unwrap()).await;
    }
    world.settle_down().await;
    books_agree(&world).await;
    assert_eq!((made(&world).await.len(), world.dead_jobs().await), (1, 0));
    let acts: Vec<(String, String, Option<String>)> =
        sqlx::query_as("SELECT what, subject, why FROM bursar.audit ORDER BY id")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(acts, [("payouts.reverse".into(), "job_1".into(), Some(WHY[1].into()))]);
}

#[tokio::test]
async fn parts_are_absolute_and_never_beyond_what_was_sent() {
    let world = World::new().await;
    world.receiver("bob").await;
    paid(&world, "job_1", "bob").await;
    reverse(&world, "job_1", &["--amount", "0.30"]).await;
    world.settle_down().await;
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!((state.as_str(), reason.as_str()), ("paid", "0.30 USD of it is reversed"));
    reverse(&world, "job_1", &["--amount", "0.30"]).await;
    reverse(&world, "job_1", &["--amount", "0.20"]).await;
    world.settle_down().await;
    assert_eq!(made(&world).await.len(), 1, "so much in all: it was so already");
    // Two at once: what is on its way counts.
    reverse(&world, "job_1", &["--amount", "0.50"]).await;
    reverse(&world, "job_1", &["--amount", "0.50"]).await;
    world.settle_down().await;
    let amounts: Vec<Value> = made(&world).await.iter().map(|r| r["amount"].clone()).collect();
    assert_eq!(json!(amounts), json!([30, 20]));
    for (amount, code) in [("1.01", 1), ("0", 2), ("-1", 2), ("0.005", 2), ("x", 2)] {
        let refused = try_reverse(&world, "job_1", &[&format!("--amount={amount}")]);
        assert_eq!(refused.status.code(), Some(code), "{amount}: {refused:?}");
    }
    books_agree(&world).await;
    reverse(&world, "job_1", &[]).await;
    world.settle_down().await;
    assert_eq!(world.payout("job_1").await.0, "reversed");
    assert_eq!(made(&world).await.len(), 3);
    books_agree(&world).await;
}

#[tokio::test]
async fn of_what_was_not_sent_the_debt_is_undone() {
    let world = World::new().await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    assert_eq!((world.payout("job_1").await.0.as_str(), world.owed_to("bob").await), ("held", 100));
    assert_eq!(
        try_reverse(&world, "job_1", &["--amount", "0.50"]).status.code(),
        Some(1),
        "nothing was sent to take a part of"
    );
    reverse(&world, "job_1", &[]).await;
    reverse(&world, "job_1", &[]).await;
    assert_eq!((world.payout("job_1").await.0.as_str(), world.owed_to("bob").await), ("reversed", 0));
    // Neither a release nor its account nor the verification told again lets it go.
    assert_eq!(world.bursar(&["payouts", "release", "job_1"]).status.code(), Some(1));
    world.receiver("bob").await;
    world.settle_down().await;
    assert_eq!((world.transfers().await.len(), world.payout("job_1").await.0.as_str()), (0, "reversed"));

    for state in ["skipped", "rejected"] {
        let job = format!("job_{state}");
        world.verify(&job, "carol").await;
        sqlx::query("UPDATE bursar.payout SET state = $2 WHERE job_id = $1")
            .bind(&job)
            .bind(state)
            .execute(&world.db.pool)
            .await
            .unwrap();
        give_up(&world, "pay_receiver").await;
        assert_eq!(world.dead_jobs().await, 1);
        reverse(&world, &job, &[]).await;
        assert_eq!(world.dead_jobs().await, 0, "there is nothing left to look at");
        world.settle_down().await;
        assert_eq!((world.payout(&job).await.0.as_str(), world.owed_to("carol").await), ("reversed", 0), "{state}");
    }
    books_agree(&world).await;
    assert_eq!(world.bursar(&["payouts", "reverse", "nothing", "--why", "x"]).status.code(), Some(3));
}

/// The jobs of a kind that wait have made their last attempt.
async fn give_up(world: &World, kind: &str) {
    sqlx::query(
        "UPDATE apalis.jobs SET status = 'Failed', done_at = bursar.now() WHERE job_type = $1 AND status = 'Pending'",
    )
    .bind(kind)
    .execute(&world.db.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_reversal_that_is_let_go_again_cancels_its_dead_job_and_is_made_once() {
    let world = World::new().await;
    world.receiver("bob").await;
    paid(&world, "job_1", "bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers/{id}/reversals", "fault": "lose_answer"}"#).await;
    reverse(&world, "job_1", &[]).await;
    world.step_of("reverse_transfer", None).await;
    give_up(&world, "reverse_transfer").await;
    assert_eq!((world.dead_jobs().await, world.payout("job_1").await.0.as_str()), (1, "paid"));
    reverse(&world, "job_1", &[]).await;
    assert_eq!(world.dead_jobs().await, 0);
    world.settle_down().await;
    assert_eq!((made(&world).await.len(), world.payout("job_1").await.0.as_str()), (1, "reversed"));
    books_agree(&world).await;
}

#[tokio::test]
async fn what_is_under_way_or_not_known_is_refused_until_it_is_known() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "lose_answer"}"#).await;
    world.verify("job_1", "bob").await;
    assert!(world.step_of("pay_receiver", Some("after_intent")).await);
    for state in ["sending", "unknown"] {
        assert_eq!(world.payout("job_1").await.0, state);
        let refused = try_reverse(&world, "job_1", &[]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("bursar payouts show job_1"), "{refused:?}");
        world.step_of("pay_receiver", None).await;
    }
    world.settle_down().await;
    world.is_paid_once("job_1").await;
    reverse(&world, "job_1", &[]).await;
    world.settle_down().await;
    assert_eq!(world.payout("job_1").await.0, "reversed");
    books_agree(&world).await;
}

#[tokio::test]
async fn a_verification_told_again_changes_nothing_and_says_so_and_another_is_a_conflict() {
    let world = World::new().await;
    world.receiver("bob").await;
    paid(&world, "job_paid", "bob").await;
    paid(&world, "job_reversed", "bob").await;
    reverse(&world, "job_reversed", &[]).await;
    world.verify("job_held", "carol").await;
    world.settle_down().await;
    for (job, receiver, state) in
        [("job_paid", "bob", "paid"), ("job_reversed", "bob", "reversed"), ("job_held", "carol", "held")]
    {
        let data = |receiver: &str, skill: &str| json!({"type": "job.verified", "data": {"job_id": job, "skill": skill, "receiver_id": receiver}});
        let reason = async |id: &str| -> (String, String) {
            sqlx::query_as(
                "SELECT state, coalesce(reason, '') FROM bursar.job WHERE cause = $1 AND kind = 'record_payout'",
            )
            .bind(id)
            .fetch_one(&world.db.pool)
            .await
            .unwrap()
        };
        let (twin, other) = (format!("msg_twin_{job}"), format!("msg_other_{job}"));
        world.tell(&twin, &data(receiver, "research")).await;
        world.tell(&other, &data("mallory", "research")).await;
        world.settle_down().await;
        let (ended, said) = reason(&twin).await;
        assert_eq!((ended.as_str(), said), ("done", format!("job {job} has its payout, which is {state}")));
        let (ended, said) = reason(&other).await;
        assert_eq!(ended, "dead");
        assert!(said.contains("to mallory"), "{said}");
        assert_eq!(world.payout(job).await.0, state);
    }
    assert_eq!(world.transfers().await.len(), 2);
    books_agree(&world).await;
}
