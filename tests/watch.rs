//! The gap watch: what never arrived is found in Stripe's own list, and acted on once.

mod walks;

use std::{sync::Arc, time::Duration};

use bursar::{queue, stop};
use bursar_jobs::{
    event_gaps::watch_events,
    inbox::{self, Received, envelope::Envelope},
    schedules::{self, CatchUp, Declared},
};
use serde_json::Value;

use crate::{
    clawbacks::world::World,
    sandbox::client::Client,
    support::{bursar, database, eventually},
};

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// A deployment whose webhooks never come: the sandbox knows of no endpoint.
struct Deaf {
    stripe: Client,
    world: World,
}

impl Deaf {
    /// The worker has started, and its watch has begun.
    async fn begun() -> Self {
        let deaf = Self::new().await;
        deaf.begin().await;
        deaf
    }

    async fn new() -> Self {
        let stripe = Client::start().await;
        let world = World::against(&stripe.0.url, &stripe.0.key).await;
        sqlx::query("INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')")
            .execute(&world.db.pool)
            .await
            .unwrap();
        Self { stripe, world }
    }

    async fn begin(&self) {
        watch_events::begin(&self.world.db.pool).await.unwrap();
        let tick = Declared {
            name: watch_events::SCHEDULE.into(),
            cron: watch_events::EVERY_QUARTER.parse().unwrap(),
            kind: "watch_events".into(),
            args: serde_json::Map::new(),
            catch_up: CatchUp::Once,
            built_in: true,
        };
        schedules::declare(&self.world.db.pool, &[tick]).await.unwrap();
    }

    /// Lets time pass for both clocks, and nothing be done meanwhile.
    async fn pass(&self, seconds: i64) {
        let ahead = "INSERT INTO bursar.clock (ahead) VALUES ($1 * interval '1 second')
                     ON CONFLICT (one) DO UPDATE SET ahead = clock.ahead + excluded.ahead";
        sqlx::query(ahead).bind(seconds).execute(&self.world.db.pool).await.unwrap();
        let said =
            self.stripe.send("POST", "/_sandbox/advance", &format!(r#"{{"seconds": {seconds}}}"#), &[]).await.unwrap();
        assert_eq!(said.status, 200, "{}", said.text);
    }

    /// The next tick, and what follows.
    async fn tick(&self) {
        self.pass(15 * MINUTE).await;
        self.world.run_due().await;
    }

    /// A purchase of 200 credits by alice.
    async fn buy(&self) {
        let form = "mode=payment&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=2999\
                    &line_items[0][price_data][product_data][name]=Credits&line_items[0][quantity]=1&success_url=https://x.example\
                    &metadata[credits]=200&metadata[user_id]=alice&client_reference_id=alice";
        let session = self.stripe.post("/v1/checkout/sessions", form).await.id();
        let confirm = format!("/v1/payment_pages/{session}/confirm");
        let paid = self.stripe.post(&confirm, "payment_method=pm_card_visa&expected_amount=2999").await;
        assert_eq!(paid.status, 200, "{}", paid.text);
    }

    async fn count(&self, what: &'static str) -> i64 {
        sqlx::query_scalar(what).fetch_one(&self.world.db.pool).await.unwrap()
    }

    async fn balance(&self) -> String {
        self.world.balance("alice").await
    }

    fn gaps(&self) -> Value {
        let said = self.world.bursar(&["events", "gaps", "--json"]);
        assert!(said.status.success(), "{said:?}");
        serde_json::from_slice(&said.stdout).unwrap()
    }

    /// What the team was told of one sort.
    fn told(&self, what: &str) -> Vec<Value> {
        self.world.told().into_iter().filter(|(kind, _)| kind == what).map(|(_, data)| data).collect()
    }
}

const EVENTS: &str = "SELECT count(*) FROM bursar.event";
const JOBS: &str = "SELECT count(*) FROM bursar.job WHERE kind = 'grant_purchase'";

#[tokio::test]
async fn an_event_that_never_arrived_is_credited_within_a_tick_and_once() {
    let deaf = Deaf::begun().await;
    deaf.buy().await;
    deaf.tick().await;
    assert_eq!(deaf.balance().await, "200");
    for _ in 0..3 {
        deaf.tick().await;
    }
    assert_eq!((deaf.balance().await.as_str(), deaf.count(JOBS).await), ("200", 1));
    deaf.world.verify();
    // Its webhook comes after all.
    let listed = deaf.stripe.get("/v1/events?limit=100&type=checkout.session.completed").await.body;
    let body = serde_json::to_vec(&listed["data"][0]).unwrap();
    let late = inbox::receive(&deaf.world.db.pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
    assert_eq!(late, Received::Duplicate);
    deaf.world.run_due().await;
    assert_eq!(deaf.balance().await, "200");

    let gaps = deaf.gaps();
    let missed = &gaps["missed"].as_array().unwrap();
    assert_eq!(gaps["found"], missed.len());
    assert!(missed.iter().any(|event| event["type"] == "checkout.session.completed"), "{gaps}");
    assert_eq!(gaps["walking"], false);
    assert!(gaps["behind_seconds"].as_i64().unwrap() < 16 * MINUTE, "{gaps}");
    assert!(gaps["compared_at"].is_string(), "{gaps}");
    let shown = deaf.world.bursar(&["events", "gaps"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("checkout.session.completed"), "{shown:?}");
    let told = deaf.told("events.missed");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0]["count"].as_i64().unwrap() >= 1 && told[0]["types"].to_string().contains("checkout"), "{told:?}");
}

#[tokio::test]
async fn a_fresh_deployment_imports_nothing_of_what_was_before_it() {
    let deaf = Deaf::new().await;
    deaf.buy().await;
    // Less than a walk goes back before its mark.
    deaf.pass(60 * MINUTE).await;
    deaf.begin().await;
    deaf.tick().await;
    assert_eq!((deaf.count(EVENTS).await, deaf.gaps()["found"].as_i64()), (0, Some(0)));
    deaf.buy().await;
    deaf.tick().await;
    assert_eq!((deaf.balance().await.as_str(), deaf.count(JOBS).await), ("200", 1), "the second purchase alone");
    assert!(deaf.told("events.behind").is_empty());
}

#[tokio::test]
async fn five_days_without_webhooks_and_worker_are_walked_back_over() {
    let deaf = Deaf::begun().await;
    deaf.tick().await;
    deaf.buy().await;
    deaf.pass(4 * DAY).await;
    deaf.buy().await;
    deaf.pass(DAY).await;
    deaf.world.run_due().await;
    assert_eq!(deaf.balance().await, "400", "each of both days");
    let told = deaf.told("events.behind");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["limit"], "3 days");
    deaf.tick().await;
    assert_eq!((deaf.balance().await.as_str(), deaf.told("events.behind").len()), ("400", 1));
    deaf.world.verify();
}

#[tokio::test]
async fn twenty_five_days_are_walked_back_over_and_what_stripe_forgot_is_said() {
    for (days, limit, balance) in [(26, "30 days", "200"), (32, "lost", "0")] {
        let deaf = Deaf::begun().await;
        deaf.tick().await;
        deaf.buy().await;
        deaf.pass(days * DAY).await;
        deaf.world.run_due().await;
        assert_eq!(deaf.balance().await, balance, "after {days} days");
        let told = deaf.told("events.behind");
        assert_eq!((told.len(), &told[0]["limit"]), (1, &limit.into()), "{told:?}");
        assert!(deaf.gaps()["behind_seconds"].as_i64().unwrap() < DAY, "compared by now");
    }
}

#[tokio::test]
async fn nothing_is_enqueued_again_whose_body_was_pruned() {
    let deaf = Deaf::begun().await;
    deaf.buy().await;
    deaf.tick().await;
    sqlx::query("UPDATE bursar.event SET body = NULL").execute(&deaf.world.db.pool).await.unwrap();
    sqlx::query("DELETE FROM apalis.jobs WHERE status = 'Done' AND job_type NOT IN ('fire_schedule')")
        .execute(&deaf.world.db.pool)
        .await
        .unwrap();
    let events = deaf.count(EVENTS).await;
    deaf.tick().await;
    assert_eq!((deaf.count(EVENTS).await, deaf.count(JOBS).await), (events, 0));
    assert_eq!(deaf.balance().await, "200");
}

#[tokio::test]
async fn a_stripe_that_does_not_answer_is_waited_for_and_warned_about_once() {
    let deaf = Deaf::begun().await;
    deaf.tick().await;
    deaf.buy().await;
    deaf.stripe.fault(r#"{"route": "GET /v1/events", "fault": "unsaved_500", "times": 40}"#).await;
    for _ in 0..4 {
        deaf.pass(20 * 60 * MINUTE).await;
        deaf.world.run_due().await;
    }
    assert_eq!(deaf.balance().await, "0");
    assert_eq!(deaf.told("events.behind").len(), 1, "{:?}", deaf.told("events.behind"));
    assert_eq!(deaf.gaps()["walking"], true);
    assert!(deaf.world.dead().await.is_empty(), "an outage of days kills no walk");
    let walks = "SELECT count(*) FROM bursar.job WHERE kind = 'read_events' AND state <> 'done'";
    assert_eq!(deaf.count(walks).await, 1, "one walk at a time");
    deaf.stripe.send("DELETE", "/_sandbox/faults", "", &[]).await.unwrap();
    deaf.tick().await;
    assert_eq!(deaf.balance().await, "200");
}

#[tokio::test]
async fn with_stripe_off_the_watch_is_skipped_and_says_so() {
    let db = database().await;
    sqlx::query(r#"SELECT bursar.enqueue('[{"kind": "watch_events", "key": "now", "args": {}, "max_attempts": 3}]')"#)
        .execute(&db.pool)
        .await
        .unwrap();
    let (stopper, stop) = stop::channel();
    let worker =
        tokio::spawn(queue::run(db.pool.clone(), queue::Options::default(), Arc::new(crate::jobs::terms()), stop));
    let reason = eventually(Duration::from_secs(30), || async {
        let reason = "SELECT reason FROM bursar.job WHERE kind = 'watch_events' AND state = 'done'";
        let reason: Option<String> = sqlx::query_scalar(reason).fetch_optional(&db.pool).await.unwrap();
        reason.ok_or("not done")
    })
    .await;
    assert!(reason.contains("Stripe is off"), "{reason}");
    stopper.stop();
    worker.await.unwrap().unwrap();
    let said = bursar(&["events", "gaps"]).env("DATABASE_URL", &db.url).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stderr).contains("the watch begins when"), "{said:?}");
}
