//! One rate at Stripe for all processes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bursar::{queue, stop};
use bursar_jobs::{
    Gate, Lane, Later, Stripe, StripeConfig, StripeRequest as Request, StripeSeen as Seen, engine::rate_limit::Turns,
    terms::Terms,
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    queue::{enqueue, probe_at},
    sandbox::client::Client,
    support::{Database, database, eventually},
};

fn get(path: &str) -> Request {
    serde_json::from_value(json!({"method": "GET", "path": path, "form": ""})).unwrap()
}

/// A process's client: a pool of its own, a gate of its own.
async fn process(db: &Database, stripe: &Client, limit: Option<u32>) -> Stripe {
    let client = Stripe::new(StripeConfig::new(&stripe.0.url, &stripe.0.key)).unwrap();
    let pool = PgPool::connect(&db.url).await.unwrap();
    match limit {
        Some(limit) => client.behind(Arc::new(Turns::new(pool, limit))),
        None => client,
    }
}

/// Sends until it was not kept back.
async fn insist(client: &Stripe, path: &str) -> Seen {
    loop {
        let seen = client.send(&get(path), None).await;
        if seen.kept_back().is_none() {
            return seen;
        }
    }
}

async fn log(stripe: &Client) -> Vec<Value> {
    stripe.get("/_sandbox/requests").await.body["requests"].as_array().unwrap().clone()
}

/// How many requests each second saw, by the sandbox's clock.
async fn per_second(stripe: &Client) -> BTreeMap<i64, usize> {
    let mut seconds = BTreeMap::new();
    for request in log(stripe).await {
        if request["user_agent"].as_str().unwrap_or_default().starts_with("bursar/") {
            *seconds.entry(request["at"].as_i64().unwrap()).or_default() += 1;
        }
    }
    seconds
}

/// Twenty turns a second: what the way heaps up stays below the limit, and all of it together took its time.
fn is_within_25(seconds: &BTreeMap<i64, usize>) {
    assert!(seconds.values().all(|count| *count <= 25), "{seconds:?}");
    let (first, last) = (seconds.keys().next().unwrap(), seconds.keys().next_back().unwrap());
    let span = usize::try_from(last - first + 1).unwrap();
    assert!(seconds.values().sum::<usize>() <= 20 * span + 3, "{seconds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_together_never_send_more_than_the_limit_in_a_second() {
    let (db, stripe) = (database().await, Client::start().await);
    let account = stripe.receiver().await;
    let args: Vec<Value> = (0..100).map(|_| json!({"account": account})).collect();
    enqueue(&db.pool, "check_account", 25, &args).await;
    let worker = || {
        let probe = probe_at(&db.url).with("PROBE_STRIPE", &stripe.0.url);
        probe.with("PROBE_STRIPE_KEY", &stripe.0.key).with("PROBE_RATE", "25").start()
    };
    let _workers = [worker(), worker()];
    eventually(Duration::from_mins(1), || async {
        let done: i64 =
            sqlx::query_scalar("SELECT count(*) FROM bursar.job WHERE kind = 'check_account' AND state = 'done'")
                .fetch_one(&db.pool)
                .await
                .unwrap();
        if done == 100 { Ok(()) } else { Err(format!("{done} done")) }
    })
    .await;
    let seconds = per_second(&stripe).await;
    assert_eq!(seconds.values().sum::<usize>(), 100);
    is_within_25(&seconds);
    let workers: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT worker) FROM bursar.attempt").fetch_one(&db.pool).await.unwrap();
    assert_eq!(workers, 2, "both took part");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payouts_go_first_however_much_bulk_work_stands_before_them() {
    let (db, stripe) = (database().await, Client::start().await);
    let (one, two) = (process(&db, &stripe, Some(25)).await, process(&db, &stripe, Some(25)).await);
    let mut bulk = tokio::task::JoinSet::new();
    let sent = Arc::new(AtomicUsize::new(0));
    for n in 0..500 {
        let client = if n % 2 == 0 { &one } else { &two }.in_lane(Lane::Bulk);
        let sent = Arc::clone(&sent);
        bulk.spawn(async move {
            drop(insist(&client, "/v1/events").await);
            sent.fetch_add(1, Ordering::Relaxed);
        });
    }
    eventually(Duration::from_secs(10), || async {
        let sent = sent.load(Ordering::Relaxed);
        if sent >= 5 { Ok(()) } else { Err(sent) }
    })
    .await;
    let before = sent.load(Ordering::Relaxed);
    let begun = Instant::now();
    let money = one.in_lane(Lane::Money);
    for _ in 0..20 {
        let first = Instant::now();
        assert_eq!(money.send(&get("/v1/balance"), None).await.status, Some(200), "a payout is not kept back");
        assert!(first.elapsed() < Duration::from_secs(3), "{:?}", first.elapsed());
    }
    let (took, meanwhile) = (begun.elapsed(), sent.load(Ordering::Relaxed) - before);
    println!("20 payouts took {took:?}; {meanwhile} of 500 bulk requests went meanwhile");
    // Bulk work has half at most: ten a second.
    assert!(meanwhile <= 15 + took.as_millis() as usize / 100, "{meanwhile} in {took:?}");
    assert!(sent.load(Ordering::Relaxed) < 480, "the payouts did not wait for the bulk");
    bulk.shutdown().await;
    is_within_25(&per_second(&stripe).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_stops_every_process_for_as_long_as_stripe_says() {
    let (db, stripe) = (database().await, Client::start().await);
    let answers = Arc::new(Mutex::new(Vec::<(Instant, Option<u16>)>::new()));
    let mut senders = tokio::task::JoinSet::new();
    for lane in [Lane::Money, Lane::Ordinary] {
        let client = process(&db, &stripe, Some(100)).await.in_lane(lane);
        let answers = Arc::clone(&answers);
        senders.spawn(async move {
            loop {
                let seen = insist(&client, "/v1/balance").await;
                answers.lock().unwrap().push((Instant::now(), seen.status));
            }
        });
    }
    let answered = |least: usize| {
        let answers = Arc::clone(&answers);
        eventually(Duration::from_secs(20), move || {
            let count = answers.lock().unwrap().len();
            async move { if count >= least { Ok(()) } else { Err(count) } }
        })
    };
    answered(30).await;
    stripe.fault(r#"{"route": "GET /v1/balance", "fault": "limit_429", "retry_after": 2}"#).await;
    eventually(Duration::from_secs(10), || {
        let limited = answers.lock().unwrap().iter().any(|(_, status)| *status == Some(429));
        async move { limited.then_some(()).ok_or("no 429 yet") }
    })
    .await;
    let so_far = answers.lock().unwrap().len();
    answered(so_far + 30).await;
    senders.shutdown().await;
    let answers = answers.lock().unwrap();
    let said = answers.iter().find(|(_, status)| *status == Some(429)).unwrap().0;
    // A turn that was taken before may still be used: a tenth of a second's worth.
    let quiet = (said + Duration::from_millis(250), said + Duration::from_millis(1900));
    let broke = answers.iter().filter(|(at, _)| (quiet.0..quiet.1).contains(at)).count();
    assert_eq!(broke, 0, "nobody sends for two seconds");
    assert!(answers.iter().filter(|(at, _)| *at > quiet.1).count() >= 20, "and then they go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_locked_slows_nobody_else() {
    let (db, stripe) = (database().await, Client::start().await);
    let client = process(&db, &stripe, Some(100)).await;
    stripe.fault(r#"{"route": "GET /v1/balance", "fault": "lock_timeout", "retry_after": 30}"#).await;
    assert_eq!(insist(&client, "/v1/balance").await.status, Some(429));
    let begun = Instant::now();
    assert_eq!(insist(&client, "/v1/balance").await.status, Some(200));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn without_the_database_a_tenth_of_the_rate_goes_on() {
    let db = database().await;
    let pool = PgPool::connect(&db.url).await.unwrap();
    let gate = Turns::new(pool.clone(), 100);
    gate.turn(Lane::Ordinary).await.unwrap();
    pool.close().await;
    let begun = Instant::now();
    for _ in 0..5 {
        gate.turn(Lane::Money).await.expect("a limiter fails no job");
    }
    let took = begun.elapsed();
    // A tenth of 80 a second: 125 ms from one to the next.
    assert!((Duration::from_millis(490)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limiter_itself_costs_little() {
    let (db, stripe) = (database().await, Client::start().await);
    let mut rates = Vec::new();
    for limit in [None, Some(1_000_000)] {
        let client = process(&db, &stripe, limit).await;
        let begun = Instant::now();
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let client = client.clone();
            senders.spawn(async move {
                for _ in 0..100 {
                    assert_eq!(insist(&client, "/v1/balance").await.status, Some(200));
                }
            });
        }
        while let Some(done) = senders.join_next().await {
            done.unwrap();
        }
        rates.push(800.0 / begun.elapsed().as_secs_f64());
    }
    println!(
        "requests a second without a limiter {:.0}, with one {:.0}: {:.2}",
        rates[0],
        rates[1],
        rates[1] / rates[0]
    );
    assert!(rates[1] > rates[0] * 0.4, "{rates:?}");
}

/// A gate whose turn is in a minute.
#[derive(Debug)]
struct Later60;

impl Gate for Later60 {
    fn turn(&self, _: Lane) -> Later<'_, Result<(), Duration>> {
        Box::pin(std::future::ready(Err(Duration::from_mins(1))))
    }

    fn limited(&self, _: Option<Duration>) -> Later<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn a_job_whose_turn_is_far_waits_in_the_queue_and_spends_no_attempt() {
    let (db, stripe) = (database().await, Client::start().await);
    let account = stripe.receiver().await;
    enqueue(&db.pool, "check_account", 25, &[json!({"account": account})]).await;
    let client = Stripe::new(StripeConfig::new(&stripe.0.url, &stripe.0.key)).unwrap().behind(Arc::new(Later60));
    let (stopper, stop) = stop::channel();
    let options = queue::Options { stripe: Some(client), ..queue::Options::default() };
    let terms = Terms { stripe_on: true, ..crate::jobs::terms() };
    let worker = tokio::spawn(queue::run(db.pool.clone(), options, Arc::new(terms), stop));
    let (attempt, wait, reason) = eventually(Duration::from_secs(30), || async {
        let row: Option<(i32, f64, String)> = sqlx::query_as(
            "SELECT attempt, extract(epoch FROM run_at - bursar.now())::float8, reason FROM bursar.job WHERE state = 'scheduled'",
        )
        .fetch_optional(&db.pool)
        .await
        .unwrap();
        row.ok_or("not yet")
    })
    .await;
    stopper.stop();
    worker.await.unwrap().unwrap();
    assert_eq!(attempt, 0);
    assert!((50.0..62.0).contains(&wait), "{wait}");
    assert!(reason.contains("requests_per_second"), "{reason}");
    assert!(per_second(&stripe).await.is_empty(), "nothing left");
}
