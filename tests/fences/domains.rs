//! A change that no domain takes is made by nobody: its batch is rolled back, and nothing else of it stands.

use bursar_jobs::engine::{batch::Performer, change::Change};

use super::*;
use crate::support::database;

/// A change of a domain that the registry does not list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unlisted;

impl Change for Unlisted {}

/// Grants a credit, and wants what no domain makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lost {
    user: String,
}

impl Job for Lost {
    const KIND: Kind = Kind { name: "fence_lost", max_attempts: 3, timeout: Duration::from_secs(30), batch: 10 };
}

impl Pure for Lost {
    type Facts = ();

    async fn gather(_: &mut PgConnection, jobs: &[Self]) -> Result<Vec<()>, sqlx::Error> {
        Ok(vec![(); jobs.len()])
    }

    fn run(&self, (): &(), _: &Terms) -> Result<Effects, JobError> {
        Ok(Effects { changes: vec![Unlisted.into()], ..granted(&self.user) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_no_domain_takes_rolls_back_its_batch() {
    let db = database().await;
    worker(&db.pool, WORKER).await;
    let job = NewJob {
        kind: Lost::KIND.name,
        key: "alice".into(),
        args: json!({ "user": "alice" }),
        max_attempts: Lost::KIND.max_attempts,
        delay_ms: 0,
        cause: None,
    };
    bursar_jobs::engine::enqueue::enqueue(&db.pool, &[job]).await.unwrap();
    let batch = claim(&db.pool, WORKER, Lost::KIND).await.expect("it is ready");

    let report = (Performer::of::<Lost>().perform)(&context(&db.pool), &batch).await.unwrap();

    let outcomes: Vec<&str> = report.settled.iter().map(|settled| settled.outcome).collect();
    assert_eq!(outcomes, ["retry"]);
    let reason = report.settled[0].reason.as_deref().unwrap_or_default();
    assert!(reason.contains("no domain takes Unlisted"), "{reason}");
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.posting").await, 0);
    assert_eq!(count(&db.pool, "SELECT count(*) FROM bursar.job WHERE kind = 'fence_follow'").await, 0);
}
