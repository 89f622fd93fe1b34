//! A comparison whose worker dies at any point goes on where it was, counts nothing twice and finds the same; so do its repairs.

use super::world::{World, about};

const POINTS: [&str; 4] = ["before_intent", "after_intent", "after_request", "before_settlement"];

/// Two of each, and a webhook of each lost.
async fn damaged() -> World {
    let world = World::new().await;
    let mut lost = Vec::new();
    for user in ["alice", "bob"] {
        let (session, intent) = world.buy(user).await;
        let (_, invoice) = world.subscribe(user, &world.monthly).await;
        world.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=500")).await.id();
        if user == "alice" {
            lost.extend([session, invoice]);
        }
    }
    world.hear(|event| lost.iter().any(|id| about(event, id)) || event["type"] == "charge.refunded").await;
    world.month_is_over().await;
    world.hear(|_| true).await;
    world
}

async fn objects(world: &World, run: &str) -> i64 {
    sqlx::query_scalar("SELECT objects FROM bursar.reconciliation WHERE id = $1")
        .bind(run)
        .fetch_one(&world.db.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_worker_that_dies_at_any_point_of_any_step_leaves_nothing_out_and_counts_nothing_twice() {
    let world = damaged().await;
    let first = world.reconcile(false).await;
    assert!(first.len() >= 2, "{first:?}");
    let wanted = objects(&world, &format!("{}.1", world.month_said())).await;
    assert!(wanted >= 8, "{wanted}");
    for (i, point) in POINTS.into_iter().enumerate() {
        let run = world.begin(false).await;
        let mut deaths = 0;
        for _ in 0..500 {
            *world.cut.lock().unwrap() = Some(point);
            let any = world.step().await;
            // A second try of each step gets through.
            deaths += i64::from(world.cut.lock().unwrap().take().is_none());
            if !any {
                break;
            }
            world.drain_one().await;
        }
        world.drain().await;
        assert!(deaths > 5, "{point}: {deaths}");
        assert_eq!(world.found(&run).await, first, "{point}");
        assert_eq!(objects(&world, &run).await, wanted, "{point}");
        assert_eq!(run, format!("{}.{}", world.month_said(), i + 2));
    }
}

#[tokio::test]
async fn a_worker_that_dies_within_a_repair_repairs_once() {
    let world = damaged().await;
    world.begin(true).await;
    for _ in 0..500 {
        let point = POINTS[usize::try_from(world.jobs_done().await).unwrap() % POINTS.len()];
        *world.cut.lock().unwrap() = Some(point);
        if !world.step().await {
            break;
        }
        *world.cut.lock().unwrap() = None;
        world.drain_one().await;
    }
    world.drain().await;
    // 200 - 33.344448 for the refund, and 150 of the month.
    assert_eq!((world.balance("alice").await, world.balance("bob").await), ("316.655552".into(), "316.655552".into()));
    let twice: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT subject FROM bursar.audit WHERE what = 'reconcile.repair' GROUP BY subject HAVING count(*) > 1) s",
    )
    .fetch_one(&world.db.pool)
    .await
    .unwrap();
    assert_eq!(twice, 0);
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}

#[tokio::test]
async fn who_asks_for_a_month_that_is_being_compared_joins_in() {
    let world = damaged().await;
    let run = world.begin(false).await;
    world.step().await;
    assert_eq!(world.begin(true).await, run);
    world.drain().await;
    let states = world.found(&run).await;
    assert!(states.iter().all(|(.., state)| state == "repaired"), "{states:?}");
    let runs: i64 =
        sqlx::query_scalar("SELECT count(*) FROM bursar.reconciliation").fetch_one(&world.db.pool).await.unwrap();
    assert_eq!(runs, 1);
}

#[tokio::test]
async fn a_step_that_gives_up_stops_its_run_and_the_next_begins_anew() {
    let world = damaged().await;
    let run = world.begin(false).await;
    world.stripe.fault(r#"{"route": "GET /v1/charges", "fault": "unsaved_500", "times": 100000}"#).await;
    for _ in 0..60 {
        world.drain().await;
        sqlx::query(
            "UPDATE apalis.jobs SET run_at = bursar.now() WHERE status = 'Pending' AND job_type = 'reconcile_read'",
        )
        .execute(&world.db.pool)
        .await
        .unwrap();
    }
    let (state, reason): (String, Option<String>) =
        sqlx::query_as("SELECT state, reason FROM bursar.reconciliation WHERE id = $1")
            .bind(&run)
            .fetch_one(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(state, "stopped", "{reason:?}");
    assert!(reason.is_some_and(|why| !why.is_empty()));
    assert_eq!(world.stripe.send("DELETE", "/_sandbox/faults", "", &[]).await.unwrap().status, 200);
    assert!(!world.reconcile(true).await.is_empty());
}

#[tokio::test]
async fn a_run_whose_jobs_are_gone_is_stopped_and_another_begins() {
    let world = damaged().await;
    let run = world.begin(false).await;
    world.step().await;
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type LIKE 'reconcile%'").execute(&world.db.pool).await.unwrap();
    assert!(!world.reconcile(false).await.is_empty());
    let state: String = sqlx::query_scalar("SELECT state FROM bursar.reconciliation WHERE id = $1")
        .bind(&run)
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(state, "stopped");
}
