//! What an operator's release leaves behind: no dead job that nobody needs to look at, no finding that is over.

use super::world::World;

/// A payout whose Transfer was made, whose answer was lost, and whose job gave up.
async fn given_up(world: &World) -> String {
    world.receiver("bob").await;
    world.stripe.fault(r#"{"route": "POST /v1/transfers", "fault": "lose_answer"}"#).await;
    world.verify("job_1", "bob").await;
    world.step_of("pay_receiver", None).await;
    let (state, reason, _) = world.payout("job_1").await;
    assert_eq!(state, "unknown");
    assert!(reason.starts_with("not known: ") && !reason.contains("unknown: "), "{reason}");
    let (said, whole): (String, String) = sqlx::query_as(
        "SELECT errors ->> 0, errors ->> 1 FROM bursar.attempt a JOIN apalis.jobs j ON j.id = a.job_id WHERE j.job_type = 'pay_receiver'",
    )
    .fetch_one(&world.db.pool)
    .await
    .unwrap();
    assert!(!said.contains("client error") && said.starts_with("unknown: "), "{said}");
    assert!(whole.len() > said.len() && whole.contains("client error"), "the attempt keeps all of it: {whole}");
    sqlx::query("UPDATE apalis.jobs SET status = 'Failed', done_at = bursar.now() WHERE job_type = 'pay_receiver'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    let transfer = world.transfers().await[0]["id"].as_str().unwrap().to_owned();
    sqlx::query("INSERT INTO bursar.reconciliation (id, month, asked_by, state) VALUES ('2026-10.1', '2026-10-01', 'schedule', 'done')")
        .execute(&world.db.pool)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO bursar.finding (run, type, object, evidence, automatic, remedy)
         SELECT '2026-10.1', type, object, '{}', false, 'look'
         FROM (VALUES ('payout_stuck', 'job_1'), ('unknown_transfer', $1), ('unknown_transfer', 'tr_other'), ('payout_stuck', 'job_2')) AS f (type, object)",
    )
    .bind(&transfer)
    .execute(&world.db.pool)
    .await
    .unwrap();
    transfer
}

#[tokio::test]
async fn a_release_cancels_the_dead_job_and_the_payment_closes_what_was_found() {
    let world = World::new().await;
    let transfer = given_up(&world).await;
    assert_eq!(world.dead_jobs().await, 1);
    let released = world.bursar(&["payouts", "release", "job_1", "--why", "looked at"]);
    assert!(released.status.success(), "{released:?}");
    assert_eq!(world.dead_jobs().await, 0, "the new job goes on with it");
    let (reason, who, why): (String, String, Option<String>) = sqlx::query_as(
        "SELECT j.reason, a.who, a.why FROM bursar.job j JOIN bursar.audit a ON a.subject = j.id AND a.what = 'jobs.cancel'
         WHERE j.kind = 'pay_receiver' AND j.key = 'job_1:0' AND j.state = 'cancelled'",
    )
    .fetch_one(&world.db.pool)
    .await
    .unwrap();
    assert!(reason.contains("job_1:1 goes on with it") && reason.contains(&who), "{reason}");
    assert_eq!(why.as_deref(), Some("looked at"));
    let open = || async {
        sqlx::query_as::<_, (String, String)>(
            "SELECT type, object FROM bursar.finding WHERE state = 'open' ORDER BY type, object",
        )
        .fetch_all(&world.db.pool)
        .await
        .unwrap()
    };
    assert_eq!(open().await.len(), 4, "nothing is closed before it is paid");
    settle_down(&world).await;
    world.is_paid_once("job_1").await;
    let left = [("payout_stuck", "job_2"), ("unknown_transfer", "tr_other")];
    assert_eq!(open().await, left.map(|(kind, object)| (kind.to_owned(), object.to_owned())));
    let closed: Vec<String> =
        sqlx::query_scalar("SELECT closed_by FROM bursar.finding WHERE state = 'repaired' ORDER BY type")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(closed, [format!("the payout is paid by {transfer}"), format!("the payout is paid by {transfer}")]);
}

#[tokio::test]
async fn a_dead_job_that_is_retried_at_that_moment_is_left_alone_and_nothing_is_sent_twice() {
    let world = World::new().await;
    given_up(&world).await;
    // Somebody else's retry holds the row; the release does not wait for it.
    let mut retry = world.db.pool.begin().await.unwrap();
    sqlx::query("UPDATE apalis.jobs SET status = 'Pending', max_attempts = attempts + 10, run_at = bursar.now() WHERE status = 'Failed'")
        .execute(&mut *retry)
        .await
        .unwrap();
    let released = world.bursar(&["payouts", "release", "job_1"]);
    assert!(released.status.success(), "{released:?}");
    retry.commit().await.unwrap();
    settle_down(&world).await;
    world.is_paid_once("job_1").await;
    assert_eq!((world.dead_jobs().await, world.sent().await), (0, 1), "it was found by looking");
}

/// As the world does it, but past jobs that an operator cancelled.
async fn settle_down(world: &World) {
    while world.step(None).await {}
}
