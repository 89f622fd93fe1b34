//! Schedules: one firing a tick, and what becomes of ticks that were missed.

use std::{sync::Arc, time::Duration};

use bursar::{
    config::{File, Settings},
    queue, stop,
};
use bursar_jobs::schedules::{self, CatchUp, Declared, Laid};
use serde_json::Value;

use crate::{
    clawbacks::world::World,
    support::{bursar, database, eventually, scratch},
};

fn hourly(name: &str, catch_up: CatchUp) -> Declared {
    Declared {
        name: name.into(),
        cron: "0 * * * *".parse().unwrap(),
        kind: "sum_usage".into(),
        args: serde_json::Map::new(),
        catch_up,
        built_in: false,
    }
}

/// Keys of the jobs that a schedule fired, in the order of their ticks.
async fn fired(pool: &sqlx::PgPool, schedule: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT key FROM bursar.job WHERE kind = 'sum_usage' AND key LIKE $1 || ':%' ORDER BY key")
        .bind(schedule)
        .fetch_all(pool)
        .await
        .unwrap()
}

fn list(world: &World) -> Vec<Value> {
    let said = world.bursar(&["schedule", "list", "--json"]);
    assert!(said.status.success());
    String::from_utf8(said.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_tick_fires_one_job_and_the_next_one_is_waited_for() {
    let world = World::new().await;
    world.jump("1h 30m").await;
    schedules::declare(&world.db.pool, &[hourly("h", CatchUp::Once)]).await.unwrap();
    assert_eq!(world.run_due().await, 0, "not before its tick");
    for ticks in 1..4 {
        world.jump("1h 0m 5s").await;
        world.run_due().await;
        assert_eq!(fired(&world.db.pool, "h").await.len(), ticks);
        assert_eq!(world.run_due().await, 0);
    }
    let line = list(&world).remove(0);
    let tick = format!("h:{}", line["last_at"].as_str().unwrap());
    assert_eq!(fired(&world.db.pool, "h").await.last(), Some(&tick), "the key says the tick: {line}");
    let waiting: Vec<String> =
        sqlx::query_scalar("SELECT state FROM bursar.job WHERE kind = 'fire_schedule' AND state <> 'done'")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(waiting, ["scheduled"]);
}

#[tokio::test]
async fn a_clock_that_jumps_a_month_is_caught_up_by_policy() {
    let world = World::new().await;
    world.jump("1h 30m").await;
    let all = [hourly("all", CatchUp::All), hourly("once", CatchUp::Once), hourly("none", CatchUp::None)];
    schedules::declare(&world.db.pool, &all).await.unwrap();
    world.jump("31d 0h 30m").await;
    world.run_due().await;
    let ticks = fired(&world.db.pool, "all").await;
    assert_eq!(ticks.len(), 31 * 24, "each missed tick, once");
    assert_eq!(
        fired(&world.db.pool, "once").await,
        [ticks.last().unwrap().replace("all", "once")],
        "one for all of them: the last"
    );
    assert!(fired(&world.db.pool, "none").await.is_empty());
    world.jump("1h 0m 5s").await;
    world.run_due().await;
    for (name, count) in [("all", 31 * 24 + 1), ("once", 2), ("none", 1)] {
        assert_eq!(fired(&world.db.pool, name).await.len(), count, "{name}: a tick that comes in time fires");
    }
}

#[tokio::test]
async fn two_workers_that_start_and_run_at_once_fire_each_tick_once() {
    let world = World::new().await;
    world.jump("1h 30m").await;
    let pool = world.db.pool.clone();
    let all = [hourly("all", CatchUp::All)];
    let (one, two) = tokio::join!(schedules::declare(&pool, &all), schedules::declare(&pool, &all));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.new.len() + two.new.len(), 1);
    world.jump("50h 30m").await;
    let (stopper, stop) = stop::channel();
    let run = || queue::run(pool.clone(), queue::Options::default(), Arc::new(crate::jobs::terms()), stop.clone());
    let workers = [tokio::spawn(run()), tokio::spawn(run())];
    eventually(Duration::from_secs(30), || async {
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.job WHERE state IN ('ready', 'running')")
            .fetch_one(&pool)
            .await
            .unwrap();
        let count = fired(&pool, "all").await.len();
        if open == 0 && count >= 50 { Ok(()) } else { Err((open, count)) }
    })
    .await;
    stopper.stop();
    for worker in workers {
        worker.await.unwrap().unwrap();
    }
    assert_eq!(fired(&pool, "all").await.len(), 50);
    let ticks: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.job WHERE kind = 'fire_schedule'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(ticks, 51, "a job a tick, and one that waits");
}

#[tokio::test]
async fn a_changed_file_takes_effect_at_restart_and_shows() {
    let world = World::new().await;
    world.jump("1h 30m").await;
    let pool = &world.db.pool;
    let declare = async |text: &str| {
        let file = File { name: "bursar.toml".into(), text: text.into() };
        let settings = Settings::from_parts(&[], std::iter::empty(), Some(&file)).unwrap();
        let mut declared = settings.calendar().unwrap().schedules;
        declared.retain(|one| !one.built_in);
        schedules::declare(pool, &declared).await.unwrap()
    };
    let new = declare(
        "[schedules.a]\ncron = '0 * * * *'\nkind = 'sum_usage'\n[schedules.b]\ncron = '15 * * * *'\nkind = 'sum_usage'",
    )
    .await;
    assert_eq!(new, Laid { new: vec!["a".into(), "b".into()], ..Laid::default() });
    let same = declare(
        "[schedules.a]\ncron = '0 * * * *'\nkind = 'sum_usage'\n[schedules.b]\ncron = '15 * * * *'\nkind = 'sum_usage'",
    )
    .await;
    assert_eq!(same, Laid::default());
    let changed = declare(
        "[schedules.a]\ncron = '45 * * * *'\nkind = 'sum_usage'\ncatch_up = 'all'\nargs = { deep = { n = 1 } }",
    )
    .await;
    assert_eq!(changed, Laid { changed: vec!["a".into()], gone: vec!["b".into()], ..Laid::default() });
    let lines = list(&world);
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["cron"], &lines[0]["catch_up"], &lines[0]["source"]),
        (&"45 * * * *".into(), &"all".into(), &"settings".into())
    );
    assert!(lines[0]["next_at"].as_str().unwrap().contains(":45:00"));
    world.jump("1h 46m").await;
    world.run_due().await;
    let keys = fired(pool, "a").await;
    assert!(keys.len() == 2 && keys.iter().all(|key| key.ends_with(":45:00Z")), "{keys:?}");
    assert!(fired(pool, "b").await.is_empty());
    let args: Vec<u8> =
        sqlx::query_scalar("SELECT args FROM bursar.job WHERE key = $1").bind(&keys[0]).fetch_one(pool).await.unwrap();
    let args: Value = serde_json::from_slice(&args).unwrap();
    assert_eq!(args["deep"]["n"], 1);
    assert!(args["tick"].is_string());
}

#[tokio::test]
async fn what_was_missed_while_no_worker_ran_is_caught_up_after_the_restart() {
    let world = World::new().await;
    world.jump("1h 30m").await;
    let all = [hourly("all", CatchUp::All)];
    schedules::declare(&world.db.pool, &all).await.unwrap();
    world.jump("3h 30m").await;
    schedules::declare(&world.db.pool, &all).await.unwrap();
    world.run_due().await;
    assert_eq!(fired(&world.db.pool, "all").await.len(), 3);
    // An operator cancels the job that waits: nothing fires, until a worker starts.
    sqlx::query("UPDATE apalis.jobs SET status = 'Killed' WHERE status = 'Pending'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.jump("2h 30m").await;
    assert_eq!(world.run_due().await, 0);
    schedules::declare(&world.db.pool, &all).await.unwrap();
    world.run_due().await;
    assert_eq!(fired(&world.db.pool, "all").await.len(), 5);
}

#[tokio::test]
async fn a_schedule_is_fired_by_hand_under_a_key_of_its_own_and_can_be_paused() {
    let world = World::new().await;
    world.jump("1h 30m").await;
    schedules::declare(&world.db.pool, &[hourly("h", CatchUp::Once)]).await.unwrap();
    for _ in 0..2 {
        assert!(world.bursar(&["schedule", "run", "h"]).status.success());
    }
    assert_eq!(fired(&world.db.pool, "h").await.len(), 2);
    let missing = world.bursar(&["schedule", "run", "nothing"]);
    assert_eq!(missing.status.code(), Some(3), "{}", String::from_utf8_lossy(&missing.stderr));
    assert!(world.bursar(&["schedule", "pause", "h"]).status.success());
    world.jump("2h 30m").await;
    world.run_due().await;
    assert_eq!(fired(&world.db.pool, "h").await.len(), 2, "its ticks pass");
    assert!(world.bursar(&["schedule", "resume", "h"]).status.success());
    world.jump("1h 0m 5s").await;
    world.run_due().await;
    assert_eq!(fired(&world.db.pool, "h").await.len(), 3);
}

#[tokio::test]
async fn a_time_that_is_none_refuses_at_boot_by_name_and_with_a_remedy() {
    let (db, folder) = (database().await, scratch());
    let cases = [
        ("cron = '61 * * * *'\nkind = 'sum_usage'", "`schedules.broken.cron`"),
        ("cron = '0 0 * * 1'\nkind = 'sum_usage'", "write Mon"),
        ("cron = '0 0 * * *'\nkind = 'make_coffee'", "Write a kind of job"),
        ("cron = '0 0 * * *'\nkind = 'sum_usage'\ncatch_up = 'twice'", "`once`, `all` or `none`"),
    ];
    for (text, wanted) in cases {
        let path = folder.join("bursar.toml");
        std::fs::write(&path, format!("[schedules.broken]\n{text}\n")).unwrap();
        let ended = bursar(&["worker"]).env("DATABASE_URL", &db.url).env("BURSAR_CONFIG", &path).output().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{words}");
        assert!(words.contains(wanted), "{words}");
    }
}
