//! Walks of many pages, cut short between and within them; and the watch in a whole instance.

use sqlx::PgPool;

use super::{Deaf, EVENTS, MINUTE};
use crate::{dev_run::Folder, sandbox::client::Client};

/// More than two pages.
const MANY: usize = 230;

async fn customers(stripe: &Client) {
    for n in 0..MANY {
        stripe.post("/v1/customers", &format!("metadata[user_id]=user_{n}")).await.id();
    }
}

const LINKED: &str = "SELECT count(*) FROM bursar.customer WHERE user_id LIKE 'user\\_%'";

#[tokio::test]
async fn more_events_than_a_page_holds_are_all_found_also_those_of_one_second() {
    let deaf = Deaf::begun().await;
    customers(&deaf.stripe).await;
    deaf.tick().await;
    let many = i64::try_from(MANY).unwrap();
    assert_eq!((deaf.count(EVENTS).await, deaf.count(LINKED).await), (many, many));
    let per_second = "SELECT max(n) FROM (SELECT count(*) AS n FROM bursar.event GROUP BY created) AS seconds";
    assert!(deaf.count(per_second).await > 20, "some share a second");
    assert_eq!(deaf.gaps()["found"].as_i64(), Some(many));
}

#[tokio::test]
async fn a_walk_that_is_killed_anywhere_goes_on_from_its_page() {
    let deaf = Deaf::begun().await;
    customers(&deaf.stripe).await;
    deaf.pass(15 * MINUTE).await;
    let world = &deaf.world;
    while world.step_of("fire_schedule", None).await
        && deaf.count("SELECT count(*) FROM bursar.job WHERE kind = 'watch_events'").await == 0
    {}
    assert!(world.step_of("watch_events", None).await);
    let mark = "SELECT extract(epoch FROM compared_until)::bigint FROM bursar.event_watch";
    let before = deaf.count(mark).await;
    let open = "SELECT count(*) FROM bursar.job WHERE kind = 'read_events' AND state IN ('ready', 'scheduled')";
    let mut pages = 0;
    while deaf.count(open).await > 0 {
        assert_eq!(deaf.count(mark).await, before, "the mark stays until the end");
        for point in ["before_intent", "after_intent", "after_request", "before_settlement"] {
            let had = deaf.count(EVENTS).await;
            assert!(world.step_of("read_events", Some(point)).await, "{point}");
            assert_eq!(deaf.count(EVENTS).await, had, "cut short at {point}: nothing of the page");
        }
        assert!(world.step_of("read_events", None).await);
        pages += 1;
    }
    // Three pages of the first list, one of each other.
    assert!((4..=6).contains(&pages), "{pages} pages");
    assert!(deaf.count(mark).await > before);
    assert_eq!(deaf.count(EVENTS).await, i64::try_from(MANY).unwrap());
    world.run_due().await;
    assert_eq!(deaf.count(LINKED).await, i64::try_from(MANY).unwrap());
}

#[tokio::test]
async fn an_event_that_the_sandbox_loses_is_found_by_the_instance_of_dev() {
    let folder = Folder::new();
    let _dev = folder.start(&["dev"]).await;
    let instance = folder.instance().unwrap();
    let sandbox = instance.sandbox.unwrap();
    let said = |line: &str| {
        let said = folder.paste(line);
        assert!(said.status.success(), "{said:?}");
        let text = String::from_utf8(said.stdout).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|_| panic!("{text}"))
    };
    said(&format!(r#"curl -s {sandbox}/_sandbox/events/faults -d '{{"fault": "lost", "times": 100}}'"#));
    let key = "-u sk_test_bursar_sandbox: -g";
    let customer = said(&format!("curl -s {key} {sandbox}/v1/customers -d 'metadata[user_id]=carol'"));
    let form =
        format!("customer={}&items[0][price]=price_pro&metadata[user_id]=carol", customer["id"].as_str().unwrap());
    said(&format!("curl -s {key} {sandbox}/v1/subscriptions -d '{form}'"));
    let advanced = folder.command(&["sandbox", "advance", "16m"]).output().unwrap();
    assert!(advanced.status.success(), "{advanced:?}");
    let balance = "SELECT trim_scale(bursar.balance('carol'))::text";
    folder.eventually(balance, "150").await;
    // Delivered after all, each of them.
    let listed = said(&format!("curl -s {key} '{sandbox}/v1/events?limit=100'"));
    let endpoints = said(&format!("curl -s {key} '{sandbox}/v1/webhook_endpoints?limit=10'"));
    said(&format!("curl -s -X DELETE {sandbox}/_sandbox/events/faults"));
    for event in listed["data"].as_array().unwrap() {
        let (id, endpoint) = (event["id"].as_str().unwrap(), endpoints["data"][0]["id"].as_str().unwrap());
        said(&format!("curl -s {key} {sandbox}/v1/events/{id}/retry -d webhook_endpoint={endpoint}"));
    }
    let advanced = folder.command(&["sandbox", "advance", "20m"]).output().unwrap();
    assert!(advanced.status.success(), "{advanced:?}");
    folder.eventually(balance, "150").await;
    let pool = PgPool::connect(&instance.database_url).await.unwrap();
    let missed: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.missed_event WHERE type = 'invoice.paid'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(missed, 1);
    pool.close().await;
}
