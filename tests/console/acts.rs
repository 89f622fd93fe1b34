//! What is done in the rooms: replay an event, run, pause and resume a schedule; and how the audit tells of it.

use bursar_jobs::{
    desk::access::Role,
    schedules::{self, CatchUp, Declared},
};
use serde_json::{Value, json};

use super::{Desk, get, post};
use crate::support::bursar;

const EVENT: &str = r#"
    SELECT bursar.receive('stripe', 'evt_1', 'invoice.paid', NULL, false, NULL, NULL, 'in_1',
        '{"id": "evt_1", "type": "invoice.paid", "livemode": false, "data": {"object": {"id": "in_1"}}}', 'refill_tier', 3);
    UPDATE apalis.jobs SET status = 'Failed', done_at = now(), reason = 'sells no tier'"#;

async fn acts(desk: &Desk) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM bursar.audit").fetch_one(&desk.db.pool).await.unwrap()
}

#[tokio::test]
async fn an_event_is_replayed_by_an_operator_once_and_what_stands_against_it_is_said() {
    let desk = Desk::open().await;
    desk.plant(EVENT).await;
    let (vera, olga) = (desk.visitor("vera", Role::Viewer).await, desk.visitor("olga", Role::Operator).await);
    olga.sees("/events/evt_1", &["action=\"/events/evt_1/replay\"", "sells no tier"]).await;
    assert_eq!(vera.send("/events/evt_1/replay", "").await.status, 403, "a viewer looks");
    let forged = post(desk.address, "/events/evt_1/replay", &olga.cookie, &format!("csrf={}", vera.csrf)).await;
    assert_eq!(forged.status, 403, "another's form");
    assert_eq!(post(desk.address, "/events/evt_1/replay", &olga.cookie, "why=x").await.status, 403, "no form of ours");
    assert_eq!(get(desk.address, "/events/evt_1/replay", &olga.cookie).await.status, 404, "a link does nothing");
    assert_eq!((desk.count("dead").await, acts(&desk).await), (1, 0), "nothing changed");

    let came = olga.send("/events/evt_1/replay", "why=the+price+is+mended").await;
    assert_eq!((came.status, came.header("location")), (303, Some("/events/evt_1")));
    assert_eq!((desk.count("ready").await, acts(&desk).await), (1, 1));
    let again = olga.send("/events/evt_1/replay", "").await;
    assert_eq!(again.status, 409);
    assert!(
        again.body.contains("The job of event evt_1 is ready already: there is nothing to replay"),
        "{}",
        again.body
    );
    assert_eq!(olga.send("/events/evt_none/replay", "").await.status, 404);
    desk.plant("UPDATE bursar.event SET body = 'x'").await;
    let unreadable = olga.send("/events/evt_1/replay", "").await;
    assert!(unreadable.status == 409 && unreadable.body.contains("cannot be read"), "{}", unreadable.body);
    desk.plant("UPDATE bursar.event SET body = NULL").await;
    let pruned = olga.send("/events/evt_1/replay", "").await;
    assert!(pruned.status == 409 && pruned.body.contains("was pruned"), "{}", pruned.body);
    assert!(!olga.page("/events/evt_1").await.body.contains("/replay"), "what cannot be read is not offered");
    assert_eq!(acts(&desk).await, 1, "what was refused is no act");
}

/// Two schedules: one that counts, one that releases money.
async fn with_schedules() -> Desk {
    let desk = Desk::open().await;
    let declared = [("usage", "sum_usage"), ("pay", "pay_receiver")].map(|(name, kind)| Declared {
        name: name.into(),
        cron: "0 * * * *".parse().unwrap(),
        kind: kind.into(),
        args: serde_json::Map::new(),
        catch_up: CatchUp::Once,
        built_in: false,
    });
    schedules::declare(&desk.db.pool, &declared).await.unwrap();
    desk
}

#[tokio::test]
async fn a_schedule_is_run_paused_and_resumed_by_an_operator_and_each_is_written_down() {
    let desk = with_schedules().await;
    let (vera, olga) = (desk.visitor("vera", Role::Viewer).await, desk.visitor("olga", Role::Operator).await);
    let page = vera.sees("/schedules", &["usage", "0 * * * *", "sum_usage", "never by its time"]).await;
    assert!(!page.contains("name=\"act\""), "a viewer is offered nothing");
    let page = olga.sees("/schedules", &["Run usage now", "Pause usage", "Pause pay"]).await;
    assert!(!page.contains("Run pay now"), "firing what releases money takes a payer");
    assert_eq!(vera.send("/schedules/usage", "act=run").await.status, 403);
    assert_eq!(olga.send("/schedules/pay", "act=run").await.status, 403);
    assert_eq!(post(desk.address, "/schedules/usage", &olga.cookie, "act=run").await.status, 403, "no form of ours");
    for odd in ["act=stop", "", "act=pause%20"] {
        let status = olga.send("/schedules/usage", odd).await.status;
        assert_eq!(status, if odd.starts_with("act=pause") { 303 } else { 400 }, "{odd:?}");
    }
    assert_eq!(olga.send("/schedules/none", "act=run").await.status, 404);
    assert_eq!(olga.send("/schedules/none", "act=pause").await.status, 404);
    assert_eq!(olga.send("/schedules/usage", "act=pause").await.status, 303, "paused as it is");
    assert_eq!(acts(&desk).await, 1, "what changes nothing is no act");
    olga.sees("/schedules", &["paused</span>", "Resume usage"]).await;
    assert_eq!(olga.send("/schedules/usage", "act=resume").await.status, 303);

    let ran = olga.send("/schedules/usage", "act=run&why=now").await;
    assert_eq!(ran.status, 303);
    let job = ran.header("location").unwrap().to_owned();
    olga.sees(&job, &["sum_usage"]).await;
    olga.sees("/schedules", &[&job, "ready</span>"]).await;
    desk.plant(
        "UPDATE apalis.jobs SET status = 'Failed', done_at = now(), reason = 'no <meter>' WHERE job_type = 'sum_usage'",
    )
    .await;
    vera.sees("/schedules", &["dead</span>: no &lt;meter&gt;"]).await;
    // A tick by its time since then is what came last.
    desk.plant(
        "UPDATE bursar.schedule SET last_at = '2026-11-21 07:00Z' WHERE name = 'usage';
         SELECT bursar.enqueue('[{\"kind\": \"sum_usage\", \"key\": \"usage:2026-11-21T07:00:00Z\", \"args\": {}, \"max_attempts\": 3}]')",
    )
    .await;
    assert!(!vera.sees("/schedules", &["ready</span>"]).await.contains(&job));
    let whats: Vec<String> =
        sqlx::query_scalar("SELECT what FROM bursar.audit WHERE who = 'olga' AND via = 'console' ORDER BY id")
            .fetch_all(&desk.db.pool)
            .await
            .unwrap();
    assert_eq!(whats, ["schedule.pause", "schedule.resume", "schedule.run"]);
}

/// What the command says, an object a line.
fn listed(desk: &Desk, args: &[&str]) -> Vec<Value> {
    let said =
        bursar(&[&["audit", "list", "--json"], args].concat()).env("DATABASE_URL", &desk.db.url).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_audit_tells_who_did_what_to_what_and_why_in_the_console_and_at_the_command_line() {
    let desk = with_schedules().await;
    desk.plant(EVENT).await;
    let olga = desk.visitor("olga", Role::Operator).await;
    assert_eq!(olga.send("/events/evt_1/replay", "why=a+%3Cb%3Ebetter%3C%2Fb%3E+price").await.status, 303);
    assert_eq!(olga.send("/schedules/usage", "act=pause").await.status, 303);
    let cli = bursar(&["schedule", "resume", "usage", "--why", "it is mended"])
        .env("DATABASE_URL", &desk.db.url)
        .output()
        .unwrap();
    assert!(cli.status.success());
    desk.plant(
        "INSERT INTO bursar.audit (who, via, what, subject, at) SELECT 'zoe', 'cli', 'jobs.retry', 'job-' || n, now() - interval '2 days' FROM generate_series(1, 120) n",
    )
    .await;

    let page = olga
        .sees(
            "/audit?who=olga",
            &["events.replay", "/events/evt_1", "a &lt;b&gt;better&lt;/b&gt; price", "schedule.pause"],
        )
        .await;
    assert!(!page.contains("<td>schedule.resume</td>") && !page.contains("<td>jobs.retry</td>"), "{page}");
    olga.sees("/audit?subject=usage", &["{&quot;paused&quot;:true}", "{&quot;paused&quot;:false}", "it is mended"])
        .await;
    let some = olga.sees("/audit?what=schedule", &["schedule.pause", "schedule.resume"]).await;
    assert!(!some.contains("<td>events.replay</td>"));
    assert!(olga.page("/audit?what=sched").await.body.contains("No such acts"), "a word is whole");
    assert!(!olga.page("/audit?since=1d").await.body.contains("<td>zoe"));
    let (mut path, mut seen) = ("/audit?what=jobs.retry".to_owned(), 0);
    for _ in 0..10 {
        let page = olga.page(&path).await.body;
        seen += page.matches("<td>jobs.retry</td>").count();
        let Some(at) = page.find("\" rel=\"next\"") else { break };
        path = page[..at].rsplit("href=\"").next().unwrap().replace("&amp;", "&");
    }
    assert_eq!(seen, 120, "each once, over three pages");

    let one = listed(&desk, &["--subject", "evt_1"]).remove(0);
    assert_eq!(
        (&one["who"], &one["via"], &one["what"], &one["why"], &one["before"]["state"]),
        (&json!("olga"), &json!("console"), &json!("events.replay"), &json!("a <b>better</b> price"), &json!("dead"))
    );
    let names: Vec<&String> = one.as_object().unwrap().keys().collect();
    assert_eq!(names, ["after", "at", "before", "id", "subject", "via", "what", "who", "why"]);
    assert_eq!(listed(&desk, &["--what", "schedule"]).len(), 2);
    assert_eq!(listed(&desk, &["--who", "zoe", "--limit", "7"]).len(), 7);
    assert!(listed(&desk, &["--who", "zoe", "--since", "1d"]).is_empty());
    let said = bursar(&["audit", "list", "--who", "olga"]).env("DATABASE_URL", &desk.db.url).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("events.replay"));
}

#[tokio::test]
async fn what_would_pay_somebody_takes_a_payer_by_every_door() {
    let desk = Desk::open().await;
    // A verified job that a payer has stopped before it became a payout.
    desk.plant(
        r#"SELECT bursar.receive('verification', 'v_1', 'job.verified', NULL, NULL, NULL, NULL, 'job_1',
               '{"type": "job.verified", "timestamp": "2026-11-21T00:00:00Z", "data": {"job_id": "job_1", "skill": "research", "receiver_id": "bob", "sender_id": "alice"}}',
               'record_payout', 3);
           UPDATE apalis.jobs SET status = 'Killed', done_at = bursar.now() - interval '1 minute'"#,
    )
    .await;
    let id: String = sqlx::query_scalar("SELECT id FROM apalis.jobs").fetch_one(&desk.db.pool).await.unwrap();
    let (olga, paul) = (desk.visitor("olga", Role::Operator).await, desk.visitor("paul", Role::Payer).await);
    let dry = olga.send("/bulk", "state=cancelled&verb=retry&step=dry-run").await.body;
    assert!(dry.contains("takes a payer") && !dry.contains("name=\"step\" value=\"act\""), "{dry}");
    for (path, fields) in [
        (format!("/jobs/{id}/retry"), ""),
        ("/events/v_1/replay".to_owned(), ""),
        ("/bulk".to_owned(), "state=cancelled&verb=retry&step=act&seal=x"),
    ] {
        let came = olga.send(&path, fields).await;
        assert_eq!(came.status, 403, "{path}: {}", came.body);
    }
    assert!(!olga.page("/events/v_1").await.body.contains("/replay\""), "what would be refused is not offered");
    assert_eq!((desk.count("cancelled").await, acts(&desk).await), (1, 0), "nothing changed");
    assert_eq!(paul.send("/events/v_1/replay", "").await.status, 303);
}
