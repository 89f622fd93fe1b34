//! A worker that ends between any two steps of a letter: one copy, but where the server's answer was lost with it.

use std::time::Duration;

use bursar_jobs::letters::{Maildir, Way};

use super::{
    ask, customer, job, refund,
    sink::{Sink, postbox_of},
    world,
};
use crate::{clawbacks::world::World, support};

/// The points of a letter, and the copies that arrive when a worker ends there.
const POINTS: [(&str, usize); 4] =
    [("before_intent", 1), ("after_intent", 1), ("after_request", 2), ("before_settlement", 1)];

#[tokio::test]
async fn a_worker_that_dies_around_a_letter_sends_at_most_one_copy_too_many_and_under_one_id() {
    for (point, copies) in POINTS {
        let sink = Sink::start().await;
        let world = world(&sink).await;
        ask(&world, &refund(), "k").await;
        assert!(world.step_of("send_letter", Some(point)).await);
        // What is known changes meanwhile; a copy that may be on its way is not contradicted.
        customer(&world, "cus_1", "alice", Some("alice@example.com"), Some("de")).await;
        world.settle_down().await;
        let taken = sink.taken();
        assert_eq!(taken.len(), copies, "{point}");
        assert!(taken.iter().all(|one| *one == taken[0]), "{point}: the same bytes");
        assert_eq!(job(&world, "k").await.0, "done", "{point}");
        let german = taken[0].header("Subject") != "Your refund of 9.99 USD";
        assert_eq!(german, point == "before_intent", "{point}: what was committed to is what is sent");
        let state: String =
            sqlx::query_scalar("SELECT state FROM bursar.letter").fetch_one(&world.db.pool).await.unwrap();
        assert_eq!(state, "sent", "{point}");
    }
}

#[tokio::test]
async fn a_worker_that_dies_around_a_letter_into_a_maildir_leaves_one_file() {
    for (point, _) in POINTS {
        let folder = support::scratch();
        let world = World::new().await.with_letters(postbox_of(Way::Maildir(Maildir::new(&*folder)), None));
        customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
        ask(&world, &refund(), "k").await;
        assert!(world.step_of("send_letter", Some(point)).await);
        world.settle_down().await;
        let count = |part: &str| std::fs::read_dir(folder.join(part)).unwrap().count();
        assert_eq!((count("new"), count("tmp"), count("cur")), (1, 0, 0), "{point}");
        assert_eq!(job(&world, "k").await.0, "done", "{point}");
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_around_a_letter_is_succeeded_by_one_that_sends_it() {
    for (point, copies) in POINTS {
        let sink = Sink::start().await;
        let world = world(&sink).await;
        ask(&world, &refund(), "k").await;
        sqlx::query("DELETE FROM apalis.workers").execute(&world.db.pool).await.unwrap();
        let worker = || {
            let probe = crate::queue::probe_at(&world.db.url).with("PROBE_STRIPE", &world.stub.url);
            probe.with("PROBE_STRIPE_KEY", "sk_test_stub").with("PROBE_SMTP", &sink.url())
        };
        let mut dies = worker().with("PROBE_KILL_AT", point).start();
        support::eventually(Duration::from_secs(30), || {
            let ended = dies.try_wait().unwrap();
            async move { ended.ok_or("still alive") }
        })
        .await;
        let _successor = worker().start();
        support::eventually(Duration::from_secs(30), || async {
            match job(&world, "k").await {
                (state, _) if state == "done" => Ok(()),
                other => Err(other),
            }
        })
        .await;
        let taken = sink.taken();
        assert_eq!(taken.len(), copies, "{point}");
        assert!(taken.iter().all(|one| *one == taken[0]), "{point}: the same bytes");
    }
}

#[tokio::test]
async fn a_worker_that_was_frozen_past_its_lease_sends_nothing() {
    let sink = Sink::start().await;
    let world = world(&sink).await.without_lease();
    ask(&world, &refund(), "k").await;
    assert!(world.step_of("send_letter", None).await);
    assert_eq!(sink.state.lock().unwrap().connections, 0);
    assert_eq!(job(&world, "k").await.0, "running", "whoever has it now settles it");
}

#[tokio::test]
async fn a_letter_leaves_holding_no_transaction() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    ask(&world, &refund(), "k").await;
    let gate = world.gate.clone();
    *gate.lock().unwrap() = Some("after_request");
    tokio::join!(world.step_of("send_letter", None), async {
        world.at_gate.notified().await;
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
        assert_eq!(open, 0);
        world.let_go.notify_one();
    });
    assert_eq!(job(&world, "k").await.0, "done");
}
