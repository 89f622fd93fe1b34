//! A database, a sandbox whose clock goes with it, a mail server, and a worker that runs one job at a time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use bursar::{
    queue::{self, Options},
    stop::{self, Stopper},
};
use bursar_jobs::{
    Stripe, StripeConfig,
    base::credits::Credits,
    dunning::{Final, Schedule},
    inbox::{self, envelope::Envelope},
    terms::Terms,
};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::runtime::Runtime;

use super::{
    server::Server,
    track::{Kill, Track, Victim},
};
use crate::{
    letters::sink::{Sink, Taken, postbox},
    sandbox::client::Client,
    subscriptions::world::terms,
    support::eventually,
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// How soon a dead worker's jobs are another's.
const LEASE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
/// More turns than any scene here can need.
const MOST_TURNS: usize = 300;

pub struct World {
    pub pool: PgPool,
    pub stripe: Client,
    pub sink: Sink,
    pub track: Arc<Track>,
    /// What a month of the tier costs.
    pub price: String,
    name: String,
    url: String,
    terms: Arc<Terms>,
    worker: Mutex<Option<Worker>>,
    /// The events that were heard.
    heard: Mutex<HashSet<String>>,
}

/// A worker on a runtime of its own, with which all of it ends at once.
struct Worker {
    runtime: Option<Runtime>,
    // Dropped early it would say stop, which nobody hears who is killed.
    _stopper: Stopper,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl World {
    pub async fn new(server: &Server) -> Self {
        let (name, url) = server.database().await;
        let options = PgPoolOptions::new().max_connections(3).acquire_timeout(Duration::from_secs(5));
        let pool = options.connect(&url).await.unwrap();
        let (stripe, sink) = (Client::start().await, Sink::start().await);
        stripe.send("POST", "/_sandbox/settings", r#"{"smart_retries": false}"#, &[]).await.unwrap();
        let product = stripe.post("/v1/products", "name=Credits").await.id();
        let form = format!("product={product}&currency=usd&unit_amount=1900&recurring[interval]=month");
        let price = stripe.post("/v1/prices", &form).await.id();
        let mut terms = terms();
        terms.tiers[1].prices.push(price.clone());
        terms.skills.insert("research".into(), Credits::whole(2).unwrap());
        terms.dunning.schedule =
            Schedule { retry_days: vec![1], letter_days: vec![0], final_day: 2, last: Final::Pause };
        let world = Self {
            pool,
            stripe,
            sink,
            track: Arc::default(),
            price,
            name,
            url,
            terms: Arc::new(terms),
            worker: Mutex::default(),
            heard: Mutex::default(),
        };
        world.start_worker();
        world
    }

    fn start_worker(&self) {
        let (stopper, stop) = stop::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (url, terms, track) = (self.url.clone(), Arc::clone(&self.terms), Arc::clone(&self.track));
        let config = StripeConfig::new(&self.stripe.0.url, &self.stripe.0.key);
        let postbox = postbox(&self.sink.url(), None);
        runtime.spawn(async move {
            let pool = PgPoolOptions::new().max_connections(6).acquire_timeout(Duration::from_secs(5));
            let pool = pool.connect_lazy(&url).unwrap();
            let options = Options {
                lease: LEASE,
                poll: POLL,
                concurrency: 1,
                stripe: Some(Stripe::new(config).unwrap()),
                letters: Some(postbox),
                points: track.points(&pool),
                ..Options::default()
            };
            queue::run(pool, options, terms, stop).await
        });
        *self.worker.lock().unwrap() = Some(Worker { runtime: Some(runtime), _stopper: stopper });
    }

    /// Kills whom the scene is to do without for a moment.
    pub async fn suffer(&self, server: &Server, kill: Option<&Kill>) {
        let Some(kill) = kill else { return };
        let hit = tokio::time::timeout(PATIENCE, self.track.hit()).await;
        assert!(hit.is_ok(), "the point was never reached, but: {:?}", self.track.reached());
        match kill.victim {
            Victim::Database => {
                server.kill().await;
                self.track.go_on();
                server.restart().await;
            }
            Victim::Worker => {
                drop(self.worker.lock().unwrap().take());
                self.start_worker();
            }
        }
    }

    pub async fn end(self, server: &Server) {
        drop(self.worker.lock().unwrap().take());
        self.pool.close().await;
        server.forget(&self.name).await;
    }

    /// One statement, however often the database dies meanwhile.
    pub async fn execute(&self, statement: &'static str, number: i64) {
        eventually(PATIENCE, || async {
            sqlx::query(statement).bind(number).execute(&self.pool).await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Takes an event, or a verification.
    pub async fn receive(&self, envelope: &Envelope, body: &[u8]) {
        eventually(PATIENCE, || async {
            inbox::receive(&self.pool, envelope, body).await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Takes what has happened at the sandbox since; how much was new.
    async fn hear(&self) -> usize {
        let page = self.stripe.get("/v1/events?limit=100").await.body;
        assert_eq!(page["has_more"], false, "no scene here is so long");
        let mut new = 0;
        for event in page["data"].as_array().unwrap().iter().rev() {
            let id = event["id"].as_str().unwrap();
            if !self.heard.lock().unwrap().contains(id) {
                let body = serde_json::to_vec(event).unwrap();
                self.receive(&Envelope::stripe(&body).unwrap(), &body).await;
                self.heard.lock().unwrap().insert(id.to_owned());
                new += 1;
            }
        }
        new
    }

    /// Until nothing is left to do now, and nothing more is heard.
    pub async fn settle(&self) {
        self.until_none("state IN ('ready', 'running')").await;
    }

    /// Until every job is at its end, and nothing more is heard.
    pub async fn finish(&self) {
        self.until_none("state NOT IN ('done', 'dead')").await;
    }

    async fn until_none(&self, such: &str) {
        let query = format!("SELECT kind, state, coalesce(reason, '') FROM bursar.job WHERE {such}");
        eventually(PATIENCE, || async {
            let open: Vec<(String, String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(query.as_str()))
                .fetch_all(&self.pool)
                .await
                .map_err(|error| error.to_string())?;
            match (open.as_slice(), self.hear().await) {
                ([], 0) => Ok(()),
                (open, new) => Err(format!("{new} events were new, and these are open: {open:?}")),
            }
        })
        .await;
    }

    pub async fn clock(&self) -> Value {
        self.stripe.get("/_sandbox/clock").await.body
    }

    /// Both clocks go on.
    pub async fn advance(&self, seconds: i64) {
        let ahead = self.clock().await["ahead_seconds"].as_i64().unwrap() + seconds;
        self.execute("UPDATE bursar.clock SET ahead = greatest(ahead, $1::bigint * interval '1 second')", ahead).await;
        let body = json!({"seconds": seconds}).to_string();
        let reply = self.stripe.send("POST", "/_sandbox/advance", &body, &[]).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    /// From one thing that is due to the next, with whatever follows from each.
    pub async fn pass(&self, seconds: i64) {
        let target = self.clock().await["now"].as_i64().unwrap() + seconds;
        for _ in 0..MOST_TURNS {
            self.settle().await;
            let clock = self.clock().await;
            let now = clock["now"].as_i64().unwrap();
            if now >= target {
                return;
            }
            // In one look: a job that has become due since must not be jumped over while it runs.
            let (busy, job): (i64, Option<i64>) = sqlx::query_as(
                "SELECT count(*) FILTER (WHERE state IN ('ready', 'running')),
                        ceil(extract(epoch FROM min(run_at) FILTER (WHERE state = 'scheduled')))::bigint FROM bursar.job",
            )
            .fetch_one(&self.pool)
            .await
            .unwrap();
            if busy > 0 {
                continue;
            }
            let due = [clock["next"].as_i64(), job].into_iter().flatten().min();
            self.advance(due.map_or(target, |due| due.clamp(now + 1, target)) - now).await;
        }
        panic!("not there after {MOST_TURNS} turns");
    }

    /// The requests that bursar made of this kind, each key once.
    pub async fn keys(&self, method: &str, path: &str) -> Vec<String> {
        let all = self.stripe.get("/_sandbox/requests").await.body;
        let such = all["requests"].as_array().unwrap().iter().filter(|r| r["method"] == method && r["path"] == path);
        let mut keys: Vec<String> = such.filter_map(|r| r["idempotency_key"].as_str()).map(str::to_owned).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// These letters and no others were taken, each once; one whose sender was killed before it could say so comes again, as it was.
    pub fn wrote(&self, subjects: &[&str], kill: Option<&Kill>) {
        let taken = self.sink.taken();
        let mut letters: Vec<(&Taken, usize)> = Vec::new();
        for one in &taken {
            match letters.iter_mut().find(|(known, _)| known.header("Message-ID") == one.header("Message-ID")) {
                Some((known, copies)) => {
                    assert_eq!(known.data, one.data, "a copy is the same");
                    *copies += 1;
                }
                None => letters.push((one, 1)),
            }
        }
        let said: Vec<String> = letters.iter().map(|(letter, _)| letter.header("Subject")).collect();
        assert_eq!(said, subjects);
        let copies = taken.len() - letters.len();
        assert_eq!(copies, usize::from(kill.is_some_and(Kill::forgets_an_answer)), "of {said:?}");
    }

    /// The books are in order and say what the sandbox's say; every job is done, at no more than one lost attempt for a dead worker.
    pub async fn is_sound(&self, kill: Option<&Kill>) {
        let wrong = sqlx::raw_sql(include_str!("../../src/operate/verify.sql")).fetch_all(&self.pool).await.unwrap();
        let wrong: Vec<String> = wrong.iter().map(|row| sqlx::Row::get(row, 2)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let ledger = self.stripe.get("/_sandbox/ledger").await.body;
        let left: i64 = ledger["transfers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["amount"].as_i64().unwrap() - t["amount_reversed"].as_i64().unwrap())
            .sum();
        let booked: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(CASE a.id WHEN p.credit THEN p.amount ELSE -p.amount END), 0)::bigint
             FROM bursar.posting p JOIN bursar.account a ON a.id IN (p.debit, p.credit) WHERE a.name = 'stripe'",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap();
        assert_eq!(booked, left, "what left, less what came back");
        let bad: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT kind, state, coalesce(reason, '') FROM bursar.job WHERE state NOT IN ('done', 'scheduled')",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(bad.is_empty(), "not done: {bad:?}");
        let wasted: Vec<(String, String)> = sqlx::query_as(
            "SELECT j.kind, a.outcome FROM bursar.attempt a JOIN bursar.job j ON j.id = a.job_id
             WHERE a.outcome IN ('lost', 'retry', 'dead')",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let lost = kill.filter(|kill| kill.victim == Victim::Worker);
        let lost: Vec<(String, String)> =
            lost.map(|kill| (kill.point.kind.clone(), "lost".into())).into_iter().collect();
        assert_eq!(wasted, lost, "attempts that came to nothing");
    }
}
