//! A database, a sandbox whose clock goes with it, a subscriber, and the jobs performed by hand: cut short where a test says.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use bursar_jobs::{
    Stripe, StripeConfig,
    dunning::Final,
    engine::{
        batch::Performer,
        context::{Context, Points},
        job::{Batch, Claimed},
    },
    inbox::{self, envelope::Envelope},
    terms::Terms,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::Row;
use tokio::sync::Notify;

use crate::{
    sandbox::client::Client,
    subscriptions::world::terms,
    support::{Database, database},
};

pub const DAY: i64 = 24 * 60 * 60;
/// More turns than any month here can need.
const MOST_TURNS: usize = 3000;

pub struct World {
    pub db: Database,
    pub stripe: Client,
    pub customer: String,
    pub subscription: String,
    context: Context,
    performers: Vec<Performer>,
    /// What is to be cut short, once each: a kind of job, and the point.
    kills: Mutex<Vec<(&'static str, &'static str)>>,
    cut: Arc<Mutex<Option<&'static str>>>,
    was_cut: Arc<Notify>,
    /// The events that were heard.
    heard: Mutex<HashSet<String>>,
    price: String,
}

impl World {
    /// Alice subscribes by a card that pays; Stripe does not try again by itself.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn ending_with(last: Final) -> Self {
        Self::with(|terms| terms.dunning.schedule.last = last).await
    }

    pub async fn with(change: impl FnOnce(&mut Terms)) -> Self {
        let stripe = Client::start().await;
        let db = database().await;
        let settings = r#"{"smart_retries": false}"#;
        stripe.send("POST", "/_sandbox/settings", settings, &[]).await.unwrap();
        let product = stripe.post("/v1/products", "name=Credits").await.id();
        let form = format!("product={product}&currency=usd&unit_amount=1900&recurring[interval]=month");
        let price = stripe.post("/v1/prices", &form).await.id();
        let mut terms = terms();
        terms.tiers[1].prices.push(price.clone());
        change(&mut terms);
        let (cut, was_cut) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
        let points = {
            let (cut, was_cut) = (Arc::clone(&cut), Arc::clone(&was_cut));
            Points(Some(Arc::new(move |point| {
                let here = *cut.lock().unwrap() == Some(point);
                let was_cut = Arc::clone(&was_cut);
                Box::pin(async move {
                    if here {
                        was_cut.notify_one();
                        std::future::pending::<()>().await;
                    }
                })
            })))
        };
        let mut config = StripeConfig::new(&stripe.0.url, &stripe.0.key);
        config.timeout = Duration::from_secs(1);
        let context = Context {
            domains: bursar_jobs::registry::DOMAINS,
            letters: None,
            notify: None,
            pool: db.pool.clone(),
            terms: Arc::new(terms),
            stripe: Some(Stripe::new(config).unwrap()),
            lease: Arc::new(|_| true),
            points,
            locked: Arc::default(),
        };
        for statement in [
            "INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until) VALUES ('w', 'w', 'w', clock_timestamp() + interval '1 day')",
            "INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')",
            "INSERT INTO bursar.clock (ahead) VALUES (interval '0')",
        ] {
            sqlx::query(statement).execute(&db.pool).await.unwrap();
        }
        let mut world = Self {
            db,
            stripe,
            customer: String::new(),
            subscription: String::new(),
            context,
            performers: bursar_jobs::performers(),
            kills: Mutex::default(),
            cut,
            was_cut,
            heard: Mutex::default(),
            price,
        };
        let form = "email=alice@example.com&metadata[user_id]=alice";
        world.customer = world.stripe.post("/v1/customers", form).await.id();
        world.card("pm_card_visa").await;
        world.subscription = world.subscribe("").await;
        world.settle().await;
        assert_eq!(world.balance().await, "150");
        world
    }

    /// The settings are others from now on.
    pub fn deploy(&mut self, change: impl FnOnce(&mut Terms)) {
        let mut terms = Terms::clone(&self.context.terms);
        change(&mut terms);
        self.context.terms = Arc::new(terms);
    }

    pub async fn subscribe(&self, more: &str) -> String {
        let form = format!("customer={}&items[0][price]={}&metadata[user_id]=alice{more}", self.customer, self.price);
        self.stripe.post("/v1/subscriptions", &form).await.id()
    }

    /// The subscriber's card is this one from now on.
    pub async fn card(&self, card: &str) {
        let form = format!("customer={}", self.customer);
        let method = self.stripe.post(&format!("/v1/payment_methods/{card}/attach"), &form).await.id();
        let form = format!("invoice_settings[default_payment_method]={method}");
        self.stripe.post(&format!("/v1/customers/{}", self.customer), &form).await.id();
    }

    /// The card that was good until now behaves like this one from now on.
    pub async fn turns_into(&self, number: &str) {
        let customer = self.at_stripe(&format!("/v1/customers/{}", self.customer)).await;
        let method = customer["invoice_settings"]["default_payment_method"].as_str().unwrap().to_owned();
        let body = json!({ "becomes": number }).to_string();
        let path = format!("/_sandbox/payment_methods/{method}");
        assert_eq!(self.stripe.send("POST", &path, &body, &[]).await.unwrap().status, 200);
    }

    pub async fn smart_retries(&self, after: &str) {
        let settings = json!({"smart_retries": true, "after_retries": after}).to_string();
        self.stripe.send("POST", "/_sandbox/settings", &settings, &[]).await.unwrap();
    }

    /// The next renewal fails; answers its invoice. Time stands right after the failure, and the case is open.
    pub async fn renewal_fails(&self) -> String {
        self.renews().await;
        self.pass(5 * 60).await;
        self.invoice().await
    }

    /// The next renewal, with nobody at work here.
    pub async fn renews(&self) {
        let now = self.clock().await;
        let shown = self.stripe.get(&format!("/v1/subscriptions/{}", self.subscription)).await.body;
        let end = shown["items"]["data"][0]["current_period_end"].as_i64().unwrap();
        self.advance(end + 60 * 60 + 1 - now).await;
    }

    /// The subscription's newest invoice.
    pub async fn invoice(&self) -> String {
        let shown = self.stripe.get(&format!("/v1/subscriptions/{}", self.subscription)).await.body;
        shown["latest_invoice"].as_str().unwrap().to_owned()
    }

    pub async fn clock(&self) -> i64 {
        self.stripe.get("/_sandbox/clock").await.body["now"].as_i64().unwrap()
    }

    /// Both clocks go on, and nobody is at work.
    pub async fn advance(&self, seconds: i64) {
        let clock = self.stripe.get("/_sandbox/clock").await.body;
        let ahead = clock["ahead_seconds"].as_i64().unwrap() + seconds;
        sqlx::query("UPDATE bursar.clock SET ahead = greatest(ahead, $1::bigint * interval '1 second')")
            .bind(ahead)
            .execute(&self.db.pool)
            .await
            .unwrap();
        let body = json!({"seconds": seconds}).to_string();
        let reply = self.stripe.send("POST", "/_sandbox/advance", &body, &[]).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    /// As `bursar sandbox advance`: from one thing that is due to the next, with whatever follows from each.
    pub async fn pass(&self, seconds: i64) {
        let target = self.clock().await + seconds;
        for _ in 0..MOST_TURNS {
            self.settle().await;
            let clock = self.stripe.get("/_sandbox/clock").await.body;
            let now = clock["now"].as_i64().unwrap();
            if now >= target {
                return;
            }
            let job: Option<i64> = sqlx::query_scalar(
                "SELECT ceil(extract(epoch FROM min(run_at)))::bigint FROM apalis.jobs WHERE status = 'Pending'",
            )
            .fetch_one(&self.db.pool)
            .await
            .unwrap();
            let due = [clock["next"].as_i64(), job].into_iter().flatten().min();
            let to = due.map_or(target, |due| due.clamp(now + 1, target.max(now + 1)));
            self.advance(to - now).await;
        }
        panic!("not there after {MOST_TURNS} turns: {:?}", self.open_jobs().await);
    }

    /// A minute after a step is due, with nobody at work since a minute before.
    pub async fn just_past_day(&self, day: i64) {
        let failed: DateTime<Utc> =
            sqlx::query_scalar("SELECT failed_at FROM bursar.dunning_case").fetch_one(&self.db.pool).await.unwrap();
        self.pass(failed.timestamp() + day * DAY - 60 - self.clock().await).await;
        self.advance(120).await;
    }

    /// Works until whatever was to be killed is dead, and no further.
    pub async fn until_killed(&self) {
        for _ in 0..100 {
            self.hear().await;
            self.work().await;
            if self.all_killed() {
                return;
            }
            self.advance(1).await;
        }
        panic!("not reached: {:?}", self.kills.lock().unwrap());
    }

    /// To so many days after the first failure, and an hour.
    pub async fn to_day(&self, day: i64) {
        let failed: DateTime<Utc> =
            sqlx::query_scalar("SELECT failed_at FROM bursar.dunning_case").fetch_one(&self.db.pool).await.unwrap();
        let to = failed.timestamp() + day * DAY + 60 * 60;
        self.pass(to - self.clock().await).await;
    }

    async fn open_jobs(&self) -> Vec<(String, String, Option<String>)> {
        sqlx::query_as("SELECT kind, state, reason FROM bursar.job WHERE state NOT IN ('done', 'dead')")
            .fetch_all(&self.db.pool)
            .await
            .unwrap()
    }

    /// Hears what has happened, and performs whatever is ready, until nothing is.
    pub async fn settle(&self) {
        for _ in 0..MOST_TURNS {
            self.hear().await;
            if !self.work().await {
                return;
            }
        }
        panic!("not settled: {:?}", self.open_jobs().await);
    }

    /// Events that were not heard of yet, oldest first.
    pub async fn events(&self) -> Vec<Value> {
        let mut new: Vec<Value> = Vec::new();
        loop {
            let after = new.last().map(|event| format!("&starting_after={}", event["id"].as_str().unwrap()));
            let page = self.stripe.get(&format!("/v1/events?limit=100{}", after.unwrap_or_default())).await.body;
            let mut heard = self.heard.lock().unwrap();
            let more = page["data"].as_array().unwrap();
            let unknown = more.iter().take_while(|event| !heard.contains(event["id"].as_str().unwrap()));
            let before = new.len();
            new.extend(unknown.cloned());
            if new.len() - before < more.len() || page["has_more"] == false {
                heard.extend(new.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
                new.reverse();
                return new;
            }
        }
    }

    pub async fn hear(&self) {
        for event in self.events().await {
            self.receive(&event).await;
        }
    }

    pub async fn receive(&self, event: &Value) {
        let body = serde_json::to_vec(event).unwrap();
        inbox::receive(&self.db.pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
    }

    /// Performs one ready job of each kind; false: there is none.
    pub async fn work(&self) -> bool {
        let mut any = false;
        for performer in &self.performers {
            let Some(batch) = self.claim(performer).await else { continue };
            any = true;
            self.perform(performer, &batch).await;
        }
        any
    }

    async fn perform(&self, performer: &Performer, batch: &Batch) {
        let kill = {
            let mut kills = self.kills.lock().unwrap();
            let at = kills.iter().position(|(kind, _)| *kind == performer.kind.name);
            at.map(|at| kills.remove(at).1)
        };
        *self.cut.lock().unwrap() = kill;
        tokio::select! {
            done = (performer.perform)(&self.context, batch) => drop(done.unwrap()),
            () = self.was_cut.notified() => self.sweep().await,
        }
        *self.cut.lock().unwrap() = None;
    }

    /// The next attempt of a kind dies at this point.
    pub fn kill(&self, kind: &'static str, point: &'static str) {
        self.kills.lock().unwrap().push((kind, point));
    }

    pub fn all_killed(&self) -> bool {
        self.kills.lock().unwrap().is_empty()
    }

    /// What a sweep does about the attempt that died.
    async fn sweep(&self) {
        for statement in [
            "UPDATE apalis.jobs SET deadline = clock_timestamp() - interval '1 second' WHERE status = 'Running'",
            "SELECT FROM bursar.sweep(100)",
        ] {
            sqlx::query(statement).execute(&self.db.pool).await.unwrap();
        }
    }

    async fn claim(&self, performer: &Performer) -> Option<Batch> {
        let rows = sqlx::query("SELECT * FROM bursar.claim('w', ARRAY[$1], ARRAY[$2], ARRAY[60000::bigint], 1)")
            .bind(performer.kind.name)
            .bind(performer.kind.batch)
            .fetch_all(&self.db.pool)
            .await
            .unwrap();
        let lease = rows.first()?.get("lease");
        let jobs = rows
            .into_iter()
            .map(|row| Claimed {
                claimed_at: row.get("claimed_at"),
                id: row.get("id"),
                key: row.get("key"),
                args: row.get("args"),
                attempt: row.get("attempt"),
                max_attempts: row.get("max_attempts"),
                allowance: row.get("allowance"),
                enqueued_at: row.get("enqueued_at"),
            })
            .collect();
        Some(Batch { kind: performer.kind, worker: "w".into(), lease, jobs })
    }
}
