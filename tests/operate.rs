//! The operator's commands, through the built program: names, exit codes, and what they change.

mod bulk;
mod credits;
mod events;
mod held;
mod jobs;
mod ledger;
mod manual;
mod payouts;
mod processes;
mod release;
mod shown;

use bursar_jobs::inbox::{self, envelope::Envelope};
use serde_json::{Value, json};

use crate::support::{bursar, database::Database};

/// What a command said, and how it ended.
struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Answer {
    /// The objects it printed, one a line.
    #[track_caller]
    fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// The one object it printed.
    #[track_caller]
    fn object(&self) -> Value {
        let objects = self.objects();
        assert_eq!(objects.len(), 1, "{} {}", self.out, self.err);
        objects.into_iter().next().unwrap()
    }

    /// It ended with this code, and with a hint where that is a failure.
    #[track_caller]
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        if code == 1 || code == 3 {
            assert!(self.err.contains("error: ") && self.err.contains("hint: "), "{}", self.err);
        }
        self
    }
}

/// Runs a command against a database.
fn ask(db: &Database, args: &[&str]) -> Answer {
    let output = bursar(args).env("DATABASE_URL", &db.url).output().unwrap();
    Answer {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The names of an object's members.
fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Receives a Stripe event, as web does; the id of its job.
async fn receive(db: &Database, id: &str, kind: &str) -> String {
    let body = json!({"id": id, "type": kind, "created": 1_790_000_000, "livemode": false, "api_version": "2026-09-30.endive",
        "data": {"object": {"id": format!("obj_{id}"), "mode": "payment"}}});
    let body = serde_json::to_vec_pretty(&body).unwrap();
    inbox::receive(&db.pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
    sqlx::query_scalar("SELECT id FROM apalis.jobs WHERE idempotency_key = $1")
        .bind(id)
        .fetch_one(&db.pool)
        .await
        .unwrap()
}

/// Claims all ready jobs of a kind for a worker that lives, as the queue does; the lease.
async fn claim(db: &Database, kind: &str) -> uuid::Uuid {
    sqlx::query(
        "INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until, kinds)
         VALUES ('worker-1', 'test', 'test', clock_timestamp() + interval '1 hour', ARRAY[$1]) ON CONFLICT DO NOTHING",
    )
    .bind(kind)
    .execute(&db.pool)
    .await
    .unwrap();
    sqlx::query_scalar("SELECT lease FROM bursar.claim('worker-1', ARRAY[$1], ARRAY[10], ARRAY[60000::bigint]) LIMIT 1")
        .bind(kind)
        .fetch_one(&db.pool)
        .await
        .unwrap()
}

/// Settles one attempt, as the queue does; whether it counted.
async fn settle(db: &Database, lease: uuid::Uuid, settlement: Value) -> bool {
    let settled: Option<String> = sqlx::query_scalar("SELECT bursar.settle('worker-1', $1, $2)")
        .bind(lease)
        .bind(json!([settlement]))
        .fetch_optional(&db.pool)
        .await
        .unwrap();
    settled.is_some()
}

/// A `grant_purchase` that a first attempt left dead; the ids of its event and of the job.
async fn dead_job(db: &Database, event: &str) -> String {
    let id = receive(db, event, "checkout.session.completed").await;
    let lease = claim(db, "grant_purchase").await;
    let errors = json!(["the credits do not agree", "the price is \u{1b}[31munknown"]);
    let dead = json!({"id": id, "attempt": 1, "outcome": "dead", "reason": "quarantined", "errors": errors});
    assert!(settle(db, lease, dead).await);
    id
}

/// Runs a statement of the test's own.
async fn plant(db: &Database, statements: &'static str) {
    sqlx::raw_sql(statements).execute(&db.pool).await.unwrap();
}

#[tokio::test]
async fn wrong_use_ends_with_2_and_a_missing_database_with_1() {
    let db = crate::support::database().await;
    for wrong in [
        &["jobs", "list", "--state", "failed"][..],
        &["jobs", "retry"],
        &["jobs", "pause", "grant_purchases"],
        &["jobs", "list", "--limit", "0"],
        &["events", "list", "--since", "yesterday"],
        &["credits", "balance", ""],
        &["credits", "balance", "a\nb"],
        &["payouts", "list", "--state", "sent"],
        &["nothing"],
    ] {
        let answer = ask(&db, wrong);
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{wrong:?}: {}", answer.err);
    }
    let known = ask(&db, &["jobs", "pause", "grant_purchases"]);
    assert!(known.err.contains("grant_purchase") && known.err.contains("note_event"), "{}", known.err);

    // A port that nobody listens on: bound, and never accepting, would hang; closed again, it refuses.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away =
        bursar(&["jobs", "list"]).env("DATABASE_URL", format!("postgres://u@127.0.0.1:{port}/x")).output().unwrap();
    let said = String::from_utf8(away.stderr).unwrap();
    assert_eq!(away.status.code(), Some(1));
    assert!(said.contains("hint: is PostgreSQL running"), "{said}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let db = crate::support::database().await;
    // More than a pipe holds, so that the writer meets the closed end.
    plant(&db, "INSERT INTO bursar.event (source, id, type) SELECT 'stripe', 'evt_' || n, 'x.y' FROM generate_series(1, 5000) n").await;
    for json in [&["--json"][..], &[]] {
        let mut command = bursar(&[&["events", "list", "--limit", "5000"], json].concat());
        command.env("DATABASE_URL", &db.url).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    }
}

#[tokio::test]
async fn a_pipe_gets_plain_text_and_a_database_never_migrated_gets_the_remedy() {
    let db = crate::support::database().await;
    let id = dead_job(&db, "evt_1").await;
    let page = ask(&db, &["jobs", "show", &id]).ended(0);
    assert!(!page.out.contains('\u{1b}') && page.out.contains("\\u{1b}[31munknown"), "{}", page.out);

    plant(&db, "DROP SCHEMA bursar CASCADE").await;
    let answer = ask(&db, &["jobs", "list"]).ended(1);
    assert!(answer.err.contains("bursar migrate"), "{}", answer.err);
}
