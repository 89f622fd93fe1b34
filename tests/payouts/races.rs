//! Two hands on one payout, answers that come late, and verdicts that contradict each other.

use std::sync::Arc;

use bursar_jobs::engine::context::{Context, Points};
use serde_json::json;
use tokio::sync::Notify;

use super::world::World;

/// A context that waits at a point until it is let go, and says when it is there.
fn held_at(context: Context, point: &'static str) -> (Context, Arc<Notify>, Arc<Notify>) {
    let (there, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (seen, gate) = (Arc::clone(&there), Arc::clone(&go));
    let points = Points(Some(Arc::new(move |reached| {
        let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
        Box::pin(async move {
            if reached == point {
                seen.notify_one();
                gate.notified().await;
            }
        })
    })));
    (Context { points, ..context }, there, go)
}

/// A second job for a payout, as a release while the first is alive would have made one.
async fn second_job(world: &World, job: &str) {
    let job = bursar_jobs::payouts::pay_receiver::PayReceiver::release(job, 99, "test");
    bursar_jobs::engine::enqueue::enqueue(&world.db.pool, &[job]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_another_job_has_paid_changes_nothing() {
    for fault in
        [r#""fault": "balance_insufficient""#, r#""fault": "lose_answer""#, r#""fault": "saved_500", "applied": true"#]
    {
        let world = World::new().await;
        world.receiver("bob").await;
        world.verify("job_1", "bob").await;
        second_job(&world, "job_1").await;
        world.stripe.fault(&format!(r#"{{"route": "POST /v1/transfers", {fault}}}"#)).await;
        let late = world.claim("pay_receiver").await.unwrap();
        let (context, there, go) = held_at(world.context(), "before_settlement");
        let performer = world.performer("pay_receiver");
        let late = tokio::spawn(async move { (performer.perform)(&context, &late).await.unwrap() });
        there.notified().await;
        // It holds an answer in its hands; another job brings the payout to its end.
        world.settle_down().await;
        world.is_paid_once("job_1").await;
        go.notify_one();
        late.await.unwrap();
        world.settle_down().await;
        world.is_paid_once("job_1").await;
    }
}

#[tokio::test]
async fn a_job_that_was_cancelled_lets_nothing_out() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify("job_1", "bob").await;
    let claimed = world.claim("pay_receiver").await.unwrap();
    assert!(world.bursar(&["jobs", "cancel", &claimed.jobs[0].id]).status.success());
    let report = (world.performer("pay_receiver").perform)(&world.context(), &claimed).await.unwrap();
    assert!(report.settled.is_empty());
    assert_eq!((world.sent().await, world.payout("job_1").await.0.as_str()), (0, "held"));
    assert!(world.bursar(&["payouts", "release", "job_1"]).status.success());
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_cancelled_while_it_looked_lets_nothing_out() {
    let world = World::new().await;
    world.receiver("bob").await;
    // Too old to be sent before a look.
    world.verify_at("job_1", "bob", 48).await;
    let claimed = world.claim("pay_receiver").await.unwrap();
    let id = claimed.jobs[0].id.clone();
    let (context, there, go) = held_at(world.context(), "after_request");
    let performer = world.performer("pay_receiver");
    let looking = tokio::spawn(async move { (performer.perform)(&context, &claimed).await.unwrap() });
    there.notified().await;
    assert!(world.bursar(&["jobs", "cancel", &id]).status.success());
    go.notify_one();
    assert_eq!(looking.await.unwrap().stale, [id]);
    assert_eq!(world.sent().await, 0);
}

#[tokio::test]
async fn a_job_that_gave_up_says_so_on_its_payout_which_can_be_released() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verify("job_1", "bob").await;
    sqlx::query("UPDATE apalis.jobs SET max_attempts = 2, allowance = 2 WHERE job_type = 'pay_receiver'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "limit_429", "times": 2}"#).await;
    world.settle_down().await;
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!(state, "sending");
    assert!(reason.starts_with("stopped: "), "{reason}");
    let released = world.bursar(&["payouts", "release", "job_1"]);
    assert!(released.status.success(), "{released:?}");
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn an_account_that_became_active_without_a_word_is_found_by_the_sweep() {
    let world = World::new().await;
    let account = world.account("bob").await;
    world.account_updated(&account).await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    assert_eq!(world.payout("job_1").await.0, "held");
    world.activate(&account).await;
    assert!(bursar_jobs::payouts::release_held::is_due(&world.db.pool).await.unwrap());
    let sweep = bursar_jobs::payouts::release_held::SweepHeld::of(bursar_jobs::base::clock::now());
    bursar_jobs::engine::enqueue::enqueue(&world.db.pool, &[sweep]).await.unwrap();
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_answer_about_an_account_does_not_overwrite_a_newer_one() {
    let world = World::new().await;
    let account = world.account("bob").await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    world.account_updated(&account).await;
    let older = world.claim("check_account").await.unwrap();
    let (context, there, go) = held_at(world.context(), "before_settlement");
    let performer = world.performer("check_account");
    let older = tokio::spawn(async move { (performer.perform)(&context, &older).await.unwrap() });
    there.notified().await;
    world.activate(&account).await;
    world.account_updated(&account).await;
    world.settle_down().await;
    go.notify_one();
    older.await.unwrap();
    let active: bool = sqlx::query_scalar("SELECT active FROM bursar.receiver WHERE user_id = 'bob'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert!(active);
    world.is_paid_once("job_1").await;
}

#[tokio::test]
async fn a_job_that_was_rejected_and_then_verified_is_an_operators_matter() {
    use bursar_jobs::{
        base::credits::Credits,
        ledger::{self, Posting},
    };
    let world = World::new().await;
    world.receiver("bob").await;
    let pool = &world.db.pool;
    ledger::post(pool, &[Posting::grant("purchase", "p".into(), "alice", Credits::from_micros(10_000_000))])
        .await
        .unwrap();
    ledger::spend(pool, "alice", Credits::from_micros(2_000_000), "k", Some("job_1"), None).await.unwrap();
    let data = json!({"job_id": "job_1", "skill": "research", "receiver_id": "bob", "sender_id": "alice"});
    world.tell("msg_1", &json!({"type": "job.rejected", "data": data})).await;
    world.settle_down().await;
    world.verify("job_1", "bob").await;
    world.settle_down().await;
    assert_eq!((world.transfers().await.len(), world.dead_jobs().await), (0, 1));
}

#[tokio::test]
async fn a_verification_for_another_currency_is_dead_with_the_reason() {
    let world = World::new().await;
    world.receiver("bob").await;
    let data = json!({"job_id": "job_1", "skill": "research", "receiver_id": "bob", "currency": "eur"});
    world.tell("msg_1", &json!({"type": "job.verified", "data": data})).await;
    world.settle_down().await;
    let reason: String = sqlx::query_scalar("SELECT reason FROM bursar.job WHERE state = 'dead'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert!(reason.contains("in eur"), "{reason}");
    assert_eq!(world.transfers().await.len(), 0);
}

/// A gate that lets one request out, and then none for a minute.
#[derive(Debug, Default)]
struct OneTurn(std::sync::atomic::AtomicBool);

impl bursar_jobs::Gate for OneTurn {
    fn turn(&self, _: bursar_jobs::Lane) -> bursar_jobs::Later<'_, Result<(), std::time::Duration>> {
        let used = self.0.swap(true, std::sync::atomic::Ordering::SeqCst);
        Box::pin(std::future::ready(if used { Err(std::time::Duration::from_mins(1)) } else { Ok(()) }))
    }

    fn limited(&self, _: Option<std::time::Duration>) -> bursar_jobs::Later<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn a_refusal_that_could_not_be_asked_about_again_is_no_verdict() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.balance(0).await;
    world.verify("job_1", "bob").await;
    let batch = world.claim("pay_receiver").await.unwrap();
    let stripe = world.context().stripe.unwrap().behind(Arc::new(OneTurn::default()));
    let context = Context { stripe: Some(stripe), ..world.context() };
    (world.performer("pay_receiver").perform)(&context, &batch).await.unwrap();
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!((state.as_str(), world.dead_jobs().await), ("sending", 0), "{reason}");
    // The platform has money again, and nobody lends a hand.
    assert!(world.step_of("pay_receiver", None).await);
    world.balance(100_000).await;
    world.settle_down().await;
    world.is_paid_once("job_1").await;
}
