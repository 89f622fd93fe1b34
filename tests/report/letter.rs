//! The report as a letter: on Mondays to the team, by hand to whoever is named.

use bursar_jobs::engine::{
    enqueue::enqueue,
    job::NewJob,
    kind::{Kind, SEND_REPORT},
};
use serde_json::{Value, json};

use crate::{clawbacks::world::World, letters::sink::Sink};

const KIND: Kind = SEND_REPORT;

#[tokio::test]
async fn a_tick_writes_to_the_team_about_the_week_before_once() {
    let sink = Sink::start().await;
    let world = World::new().await.with_letters(sink.postbox());
    for key in ["weekly_report:2026-11-16T06:00:00Z", "weekly_report:by_hand:1"] {
        let args = json!({"tick": "2026-11-16T06:00:00Z"});
        let (kind, max_attempts) = (KIND.name, KIND.max_attempts);
        let job = NewJob { kind, key: key.into(), args, max_attempts, delay_ms: 0, cause: None };
        enqueue(&world.db.pool, &[job]).await.unwrap();
    }
    world.run_due().await;
    let taken = sink.taken();
    assert_eq!(taken.len(), 1, "a week has one letter");
    assert_eq!(taken[0].header("Subject"), "The report of 2026-W46");
    assert_eq!(taken[0].to, ["ops@acme.example"]);
    assert!(taken[0].data.contains("text/html") && taken[0].text().contains("Payment success rate: none"));
}

#[tokio::test]
async fn an_operator_has_it_sent_to_an_address_and_that_is_on_record() {
    let sink = Sink::start().await;
    let world = World::new().await.with_letters(sink.postbox());
    let asked = world.bursar(&["report", "--week", "2026-W46", "--mail", "board@acme.example", "--json"]);
    assert!(asked.status.success(), "{asked:?}");
    let asked: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert!(asked["job_id"].is_string() && asked["period"] == "2026-W46", "{asked}");
    world.run_due().await;
    assert_eq!(sink.taken()[0].to, ["board@acme.example"]);
    let audit: Vec<(String, String, String)> = sqlx::query_as("SELECT what, subject, after ->> 'to' FROM bursar.audit")
        .fetch_all(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(audit, [("report.mail".into(), "2026-W46".into(), "b…@acme.example".into())]);
}
