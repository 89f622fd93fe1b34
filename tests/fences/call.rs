//! The same for what talks to Stripe: nothing leaves for a job that is not ours any more, and what came back for one has no effect.

use std::sync::atomic::{AtomicU32, Ordering};

use bursar_jobs::{
    Stripe, StripeConfig, StripeSeen,
    engine::{
        batch::{Disturbed, Performer, Report},
        call::{Answer, Call, Looked, Plan},
    },
};

use super::*;
use crate::support::{Database, database};

/// Asks a question whose answer grants a credit. Each job has a kind of its own; a look needs no Stripe.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ask {
    user: String,
}

static LOOKS: AtomicU32 = AtomicU32::new(0);

impl Job for Ask {
    const KIND: Kind = Kind { name: "fence_ask", max_attempts: 3, timeout: Duration::from_secs(30), batch: 1 };
}

impl Call for Ask {
    type Facts = ();

    /// What the database says to some users.
    async fn gather(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        let code = match self.user.as_str() {
            "locked" => "55P03",
            "away" => "40001",
            "refused" => "22012",
            _ => return Ok(()),
        };
        let raise = format!("DO $$ BEGIN RAISE 'told to' USING ERRCODE = '{code}'; END $$");
        sqlx::raw_sql(sqlx::AssertSqlSafe(raise)).execute(db).await.map(drop)
    }

    fn intent(&self, (): &(), _: &Terms) -> Result<Plan, JobError> {
        Ok(if self.user == "nobody" { Plan::Nothing(granted(&self.user)) } else { Plan::AskAll })
    }

    async fn look(&self, (): &(), _: &Stripe) -> Result<Looked, Box<StripeSeen>> {
        if self.user == "unasked" {
            LOOKS.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Looked::Found(json!({})))
    }

    fn resolve(&self, (): &(), _: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        Ok(granted(&self.user))
    }
}

/// What happens at a point of a call.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Cancelled,
    LeaseRanOut,
    ClaimedAgain,
}

/// Performs one question, during which something happens at a point.
async fn ask(user: &str, at: &'static str, meanwhile: Meanwhile) -> Database {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, Ask::KIND, &[user]).await;
    let batch = claim(&db.pool, WORKER, Ask::KIND).await.expect("it is ready");
    let (pool, held) = (db.pool.clone(), batch.clone());
    let reached = move |point: &'static str| {
        let (pool, held) = (pool.clone(), held.clone());
        let happens: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            if point != at {
                return;
            }
            match meanwhile {
                Meanwhile::Cancelled => cancel(&pool, &held.jobs[0].id).await,
                Meanwhile::LeaseRanOut => {
                    sql(&pool, "UPDATE apalis.workers SET lease_until = clock_timestamp()").await;
                }
                Meanwhile::ClaimedAgain => {
                    assert_eq!(settle(&pool, &held, &snooze()).await.len(), 1);
                    sql(&pool, "UPDATE apalis.jobs SET run_at = bursar.now()").await;
                    claim(&pool, WORKER, Ask::KIND).await.expect("a snooze is over");
                }
            }
        });
        happens
    };
    let stripe = Stripe::new(StripeConfig::new("http://127.0.0.1:9", "sk_test_fence")).unwrap();
    let context = Context { stripe: Some(stripe), points: Points(Some(Arc::new(reached))), ..context(&db.pool) };
    let report = (Performer::of_call::<Ask>().perform)(&context, &batch).await.unwrap();
    assert_eq!(report.stale, std::slice::from_ref(&batch.jobs[0].id), "{meanwhile:?} {at}: {report:?}");
    assert!(report.settled.is_empty(), "{report:?}");
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_a_job_that_is_not_ours_any_more_has_no_effect() {
    for meanwhile in [Meanwhile::Cancelled, Meanwhile::LeaseRanOut, Meanwhile::ClaimedAgain] {
        let db = ask("alice", "before_settlement", meanwhile).await;
        assert_eq!(count(&db.pool, POSTINGS).await, 0, "{meanwhile:?}");
        assert_eq!(count(&db.pool, FOLLOW_UPS).await, 0, "{meanwhile:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_asks_nothing_has_no_effect_once_its_worker_let_its_lease_run_out() {
    let db = ask("nobody", "before_intent", Meanwhile::LeaseRanOut).await;
    assert_eq!(count(&db.pool, POSTINGS).await, 0);
    assert_eq!(count(&db.pool, FOLLOW_UPS).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_for_a_job_that_is_not_ours_any_more() {
    for meanwhile in [Meanwhile::Cancelled, Meanwhile::ClaimedAgain] {
        let db = ask("unasked", "before_intent", meanwhile).await;
        assert_eq!(LOOKS.load(Ordering::Relaxed), 0, "{meanwhile:?}");
        assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.call").await, 0, "{meanwhile:?}");
    }
}

/// Performs the one job of a claim, with a Stripe that nobody asks.
async fn perform(db: &Database, batch: &Batch) -> Result<Report, Disturbed> {
    let stripe = Stripe::new(StripeConfig::new("http://127.0.0.1:9", "sk_test_fence")).unwrap();
    (Performer::of_call::<Ask>().perform)(&Context { stripe: Some(stripe), ..context(&db.pool) }, batch).await
}

#[tokio::test]
async fn what_the_database_says_decides_whether_an_attempt_is_spent() {
    for (user, spent) in [("locked", 0), ("refused", 1)] {
        let db = database().await;
        worker(&db.pool, WORKER).await;
        enqueue(&db.pool, Ask::KIND, &[user]).await;
        let batch = claim(&db.pool, WORKER, Ask::KIND).await.unwrap();
        assert_eq!(perform(&db, &batch).await.unwrap().settled.len(), 1, "{user}");
        assert_eq!(count(&db.pool, "SELECT attempt::bigint FROM bursar.job").await, spent, "{user}");
        assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE state = 'running'").await, 0, "{user}");
    }
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, Ask::KIND, &["away"]).await;
    let batch = claim(&db.pool, WORKER, Ask::KIND).await.unwrap();
    perform(&db, &batch).await.expect_err("it is repeated under its lease");
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE state = 'running'").await, 1);
}

#[tokio::test]
async fn an_answer_is_noted_with_its_call_and_its_posting_with_its_job() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, Ask::KIND, &["alice"]).await;
    let batch = claim(&db.pool, WORKER, Ask::KIND).await.unwrap();
    assert_eq!(perform(&db, &batch).await.unwrap().settled[0].outcome, "done");
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.call WHERE answered_at IS NOT NULL").await, 1);
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.posting p JOIN bursar.job j ON j.id = p.job_id").await, 1);
}

#[tokio::test]
async fn a_call_whose_arguments_cannot_be_read_is_dead_and_says_so() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    enqueue(&db.pool, Ask::KIND, &["alice"]).await;
    sql(&db.pool, "UPDATE apalis.jobs SET job = '[]'").await;
    let batch = claim(&db.pool, WORKER, Ask::KIND).await.unwrap();
    assert_eq!(perform(&db, &batch).await.unwrap().settled[0].outcome, "dead");
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE state = 'dead'").await, 1);
}
