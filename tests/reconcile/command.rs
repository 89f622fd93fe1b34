//! The command, as an operator uses it: beside a worker, without one, and beside one that is killed in the middle.

use std::{
    process::{Command, Output},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::world::{World, about};
use crate::support::{Child, bursar, eventually};

impl World {
    /// A worker as a process of its own, by the settings of this world.
    fn worker(&self) -> Child {
        Child::spawn(&mut self.worker_command())
    }

    fn worker_command(&self) -> Command {
        let mut command = bursar(&["worker"]);
        command.env("DATABASE_URL", &self.db.url).env("STRIPE_SECRET_KEY", &self.stripe.0.key);
        command.env("STRIPE_API_BASE", &self.stripe.0.url).env("STRIPE_PRICE_PRO", &self.monthly);
        command.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command
    }

    async fn command(&self, args: &[&str]) -> Output {
        let mut command = bursar(args);
        command.env("DATABASE_URL", &self.db.url);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Nobody but worker processes works.
    async fn leave(&self) {
        sqlx::query("DELETE FROM apalis.workers").execute(&self.db.pool).await.unwrap();
    }

    /// Waits until nothing is left to do now.
    async fn is_quiet(&self) {
        eventually(Duration::from_mins(1), || async {
            let left: Vec<(String, String)> =
                sqlx::query_as("SELECT kind, state FROM bursar.job WHERE state IN ('ready', 'running')")
                    .fetch_all(&self.db.pool)
                    .await
                    .unwrap();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_month_that_is_not_over_or_is_none_is_wrong_use() {
    let world = World::new().await;
    let month = world.month_said();
    for bad in [month.as_str(), "2026-13", "October", "2999-01", "26-10"] {
        let (code, out, err) = said(&world.command(&["reconcile", "--month", bad]).await);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{bad}: {err}");
        assert!(err.contains("hint: "), "{err}");
    }
    let (code, _, err) = said(&world.command(&["reconcile", "show", "2020-01.1"]).await);
    assert_eq!(code, Some(3), "{err}");
    let (code, _, err) = said(&world.command(&["reconcile", "judge", "7", "--why", "x"]).await);
    assert_eq!(code, Some(3), "{err}");
    let (code, out, err) = said(&world.command(&["reconcile", "list"]).await);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    let begun: i64 =
        sqlx::query_scalar("SELECT count(*) FROM bursar.reconciliation").fetch_one(&world.db.pool).await.unwrap();
    assert_eq!(begun, 0);
}

#[tokio::test]
async fn without_a_worker_the_command_says_so_and_the_run_waits() {
    let world = World::new().await;
    world.month_is_over().await;
    world.leave().await;
    let (code, out, err) = said(&world.command(&["reconcile"]).await);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("no worker is alive") && err.contains("bursar worker"), "{err}");
    let run = format!("{}.1", world.month_said());
    assert!(said(&world.command(&["reconcile", "show", &run]).await).1.contains("running: invoices"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_worker_findings_are_shown_repaired_and_gone() {
    let world = World::new().await;
    let (session, _) = world.buy("alice").await;
    world.subscribe("bob", &world.monthly).await;
    world.hear(|event| about(event, &session)).await;
    world.month_is_over().await;
    world.hear(|_| true).await;
    world.leave().await;
    let _worker = world.worker();
    let month = world.month_said();
    let (code, out, err) = said(&world.command(&["reconcile", "--json"]).await);
    assert_eq!(code, Some(1), "{out} {err}");
    let verdict: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
    assert_eq!(
        (&verdict["month"], &verdict["state"], &verdict["open"]),
        (&month.clone().into(), &"done".into(), &1.into())
    );
    let finding = &verdict["findings"][0];
    for (field, wanted) in [
        ("type", "missing_grant"),
        ("object", session.as_str()),
        ("user_id", "alice"),
        ("amount", "200"),
        ("state", "open"),
    ] {
        assert_eq!(finding[field], wanted, "{finding}");
    }
    assert_eq!(finding["automatic"], true);
    assert!(err.contains("1 finding is left") && err.contains("--repair"), "{err}");
    assert!(err.contains("4 objects") && err.contains("done "), "the progress: {err}");
    let (code, out, err) = said(&world.command(&["reconcile", "--month", &month, "--repair"]).await);
    assert_eq!(code, Some(0), "{out} {err}");
    assert!(out.contains("missing_grant") && out.contains("repaired"), "{out}");
    world.is_quiet().await;
    assert_eq!(world.balance("alice").await, "200");
    let (code, out, err) = said(&world.command(&["reconcile"]).await);
    assert_eq!(code, Some(0), "{out} {err}");
    assert!(out.contains("nothing to be found"), "{out}");
    let (_, out, _) = said(&world.command(&["reconcile", "list", "--json"]).await);
    let runs: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        runs.iter().map(|run| run["run"].as_str().unwrap()).collect::<Vec<_>>(),
        [3, 2, 1].map(|n| format!("{month}.{n}"))
    );
    let (_, out, _) = said(&world.command(&["reconcile", "show", &format!("{month}.1")]).await);
    assert!(out.contains("gone") && out.contains(&session), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_in_the_middle_is_followed_by_another() {
    let world = World::new().await;
    let (session, _) = world.buy("alice").await;
    world.hear(|_| true).await;
    world.month_is_over().await;
    world.leave().await;
    // The first worker stands still in the middle of the list, and is killed there.
    world.stripe.fault(r#"{"route": "GET /v1/refunds", "fault": "slow", "ms": 8000}"#).await;
    let dies = world.worker();
    let asked = tokio::spawn({
        let mut command = bursar(&["reconcile", "--repair", "--json"]);
        command.env("DATABASE_URL", &world.db.url);
        async move { tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap() }
    });
    eventually(Duration::from_secs(30), || async {
        let phase: Option<String> =
            sqlx::query_scalar("SELECT phase FROM bursar.reconciliation").fetch_optional(&world.db.pool).await.unwrap();
        if phase.as_deref() == Some("charges") { Ok(()) } else { Err(phase) }
    })
    .await;
    dies.signal(Signal::SIGKILL);
    let _successor = world.worker();
    let (code, out, err) = said(&asked.await.unwrap());
    assert_eq!(code, Some(0), "{out} {err}");
    let verdict: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (verdict["findings"].as_array().unwrap().len(), &verdict["findings"][0]["object"]),
        (1, &session.clone().into())
    );
    // A session, a charge: nothing was counted twice.
    assert_eq!(verdict["objects"], 2, "{verdict}");
    world.is_quiet().await;
    assert_eq!(world.balance("alice").await, "200");
    world.verify();
}

#[tokio::test]
async fn the_calendar_compares_the_month_before_and_tells_the_team() {
    let world = World::new().await;
    world.buy("alice").await;
    world.hear(|_| true).await;
    world.month_is_over().await;
    let tick = super::world::now_at(&world.stripe).await;
    let args = serde_json::json!({ "tick": tick });
    sqlx::query("SELECT FROM bursar.enqueue($1)")
        .bind(serde_json::json!([{ "kind": "reconcile", "key": "reconcile:tick", "args": args, "max_attempts": 3 }]))
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.drain().await;
    let run = format!("{}.1", world.month_said());
    assert_eq!(world.found(&run).await.len(), 1);
    assert_eq!(world.balance("alice").await, "0", "nobody asked for repairs");
    let told: Vec<(String, Value)> = sqlx::query_as(
        "SELECT key, convert_from(args, 'UTF8')::jsonb FROM bursar.job WHERE kind = 'notify_team' AND key LIKE 'reconcile:%'",
    )
    .fetch_all(&world.db.pool)
    .await
    .unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1["type"], "reconciliation.found");
    assert_eq!((&told[0].1["data"]["run"], &told[0].1["data"]["findings"]), (&run.into(), &1.into()));
}
