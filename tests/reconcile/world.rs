//! A sandbox and a database in the middle of one month, and the engine driven by hand; then the next month, and a comparison.

use std::{
    collections::{BTreeMap, HashSet},
    process::Output,
    sync::{Arc, Mutex},
    time::Duration,
};

use bursar_jobs::{
    Stripe, StripeConfig,
    base::{audit::Via, credits::Credits},
    engine::{
        batch::Performer,
        context::{Context, Points},
        job::{Batch, Claimed},
    },
    inbox::{self, envelope::Envelope},
    ledger, reconciliation,
    terms::{Package, PayoutTerms, RefillTerms, Selling, Terms, Tier},
};
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use serde_json::{Value, json};
use sqlx::Row;
use tokio::sync::Notify;

use crate::{
    sandbox::client::Client,
    support::{self, Database, database},
};

const DAY: i64 = 86_400;

pub struct World {
    pub db: Database,
    pub stripe: Client,
    pub month: NaiveDate,
    pub monthly: String,
    pub team: String,
    pub annual: String,
    pub context: Context,
    performers: Vec<Performer>,
    heard: Mutex<HashSet<String>>,
    /// Where the next attempts are cut short, as if their worker had died there.
    pub cut: Arc<Mutex<Option<&'static str>>>,
    was_cut: Arc<Notify>,
}

/// A finding, as tests compare it: type, object, user, amount, state.
pub type Found = (String, String, String, String, String);

impl World {
    /// On the fifth of a month.
    pub async fn new() -> Self {
        let stripe = Client::start().await;
        let now = now_at(&stripe).await;
        let next = now.date_naive().with_day(1).unwrap().checked_add_months(Months::new(1)).unwrap();
        let fifth = next.with_day(5).unwrap().and_hms_opt(12, 0, 0).unwrap().and_utc();
        advance(&stripe, (fifth - now).num_seconds()).await;
        let price = async |name: &str, amount: i64, interval: &str| {
            let form =
                format!("currency=usd&unit_amount={amount}&recurring[interval]={interval}&product_data[name]={name}");
            stripe.post("/v1/prices", &form).await.id()
        };
        let (monthly, annual, team) =
            (price("pro", 1900, "month").await, price("pro", 19000, "year").await, price("team", 4900, "month").await);
        let tier = |name: &str, amount, prices: &[&String]| Tier {
            name: name.into(),
            credits: Credits::whole(amount).unwrap(),
            prices: prices.iter().map(|price| (*price).clone()).collect(),
            refill: RefillTerms::default(),
        };
        let terms = Terms {
            dunning: bursar_jobs::dunning::Dunning::default(),
            tiers: vec![tier("pro", 150, &[&monthly, &annual]), tier("team", 500, &[&team])],
            packages: vec![Package {
                name: "p200".into(),
                credits: Credits::whole(200).unwrap(),
                amount: 2999,
                currency: "usd".into(),
                price: None,
            }],
            skills: BTreeMap::from([("research".into(), Credits::whole(2).unwrap())]),
            payout: PayoutTerms { minor_units_per_credit: 50, currency: "usd".into(), ..PayoutTerms::default() },
            initial_credits: Credits::ZERO,
            livemode: false,
            stripe_on: true,
            selling: Selling::default(),
            grace: Duration::from_hours(7 * 24),
        };
        let db = database().await;
        for statement in [
            "INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until) VALUES ('w', 'w', 'w', clock_timestamp() + interval '1 day')",
            "INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')",
            "INSERT INTO bursar.clock (ahead) VALUES (interval '0')",
        ] {
            sqlx::query(statement).execute(&db.pool).await.unwrap();
        }
        let (cut, was_cut) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
        let points = {
            let (cut, was_cut) = (Arc::clone(&cut), Arc::clone(&was_cut));
            Points(Some(Arc::new(move |point| {
                let here = cut.lock().unwrap().take_if(|cut| *cut == point).is_some();
                let was_cut = Arc::clone(&was_cut);
                Box::pin(async move {
                    if here {
                        was_cut.notify_one();
                        std::future::pending::<()>().await;
                    }
                })
            })))
        };
        let config = StripeConfig::new(&stripe.0.url, &stripe.0.key);
        let context = Context {
            domains: bursar_jobs::registry::DOMAINS,
            letters: None,
            pool: db.pool.clone(),
            terms: Arc::new(terms),
            stripe: Some(Stripe::new(config).unwrap()),
            notify: None,
            lease: Arc::new(|_| true),
            points,
            locked: Arc::default(),
        };
        let performers = bursar_jobs::performers();
        let (month, heard) = (next, Mutex::default());
        let world = Self { db, stripe, month, monthly, team, annual, context, performers, heard, cut, was_cut };
        world.follow().await;
        world
    }

    /// Business time is the sandbox's.
    async fn follow(&self) {
        sqlx::query("UPDATE bursar.clock SET ahead = greatest(ahead, $1 - clock_timestamp())")
            .bind(now_at(&self.stripe).await)
            .execute(&self.db.pool)
            .await
            .unwrap();
    }

    /// Days pass here and there; nothing is heard of them yet.
    pub async fn pass(&self, days: i64) {
        advance(&self.stripe, days * DAY).await;
        self.follow().await;
    }

    /// The third of the next month.
    pub async fn month_is_over(&self) {
        let third = self.month.checked_add_months(Months::new(1)).unwrap().with_day(3).unwrap();
        let left = third.and_hms_opt(6, 0, 0).unwrap().and_utc() - now_at(&self.stripe).await;
        advance(&self.stripe, left.num_seconds()).await;
        self.follow().await;
    }

    /// Hears what happened at Stripe since, but for what gets lost, and does what follows.
    pub async fn hear(&self, gets_lost: impl Fn(&Value) -> bool) {
        for event in self.events().await {
            if self.heard.lock().unwrap().insert(event["id"].as_str().unwrap().to_owned()) && !gets_lost(&event) {
                let body = serde_json::to_vec(&event).unwrap();
                inbox::receive(&self.db.pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
            }
        }
        self.drain().await;
    }

    pub async fn hear_all(&self) {
        self.hear(|_| false).await;
    }

    /// All events of the sandbox, oldest first.
    pub async fn events(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after =
                all.last().map(|e| format!("&starting_after={}", e["id"].as_str().unwrap())).unwrap_or_default();
            let page = self.stripe.get(&format!("/v1/events?limit=100{after}")).await.body;
            all.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] != true {
                all.reverse();
                return all;
            }
        }
    }

    /// Performs whatever is due by business time until nothing is.
    pub async fn drain(&self) {
        for _ in 0..20_000 {
            if !self.step().await {
                return;
            }
        }
        panic!("not settled after 20000 claims");
    }

    /// Performs what is due of each kind, once; false: nothing was.
    pub async fn step(&self) -> bool {
        let mut any = false;
        for performer in &self.performers {
            let Some(batch) = self.claim(performer).await else { continue };
            tokio::select! {
                done = (performer.perform)(&self.context, &batch) => drop(done.unwrap()),
                () = self.was_cut.notified() => self.sweep().await,
            }
            any = true;
        }
        any
    }

    /// Lets the step that was cut short get through: one claim of each kind, undisturbed.
    pub async fn drain_one(&self) {
        *self.cut.lock().unwrap() = None;
        self.step().await;
    }

    pub async fn jobs_done(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM bursar.job WHERE state = 'done'")
            .fetch_one(&self.db.pool)
            .await
            .unwrap()
    }

    async fn sweep(&self) {
        for statement in [
            "UPDATE apalis.jobs SET deadline = clock_timestamp() - interval '1 second' WHERE status = 'Running'",
            "SELECT FROM bursar.sweep(100)",
            "UPDATE apalis.jobs SET run_at = bursar.now() WHERE status = 'Pending' AND attempts > 0",
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
        let jobs = rows.into_iter().map(|row| Claimed {
            claimed_at: row.get("claimed_at"),
            id: row.get("id"),
            key: row.get("key"),
            args: row.get("args"),
            attempt: row.get("attempt"),
            max_attempts: row.get("max_attempts"),
            allowance: row.get("allowance"),
            enqueued_at: row.get("enqueued_at"),
        });
        Some(Batch { kind: performer.kind, worker: "w".into(), lease, jobs: jobs.collect() })
    }

    /// Begins a comparison of the month, without doing anything of it.
    pub async fn begin(&self, repair: bool) -> String {
        let mut tx = self.db.pool.begin().await.unwrap();
        let begun = reconciliation::begin(&mut tx, self.month, "tester", repair.then_some(Via::Console)).await.unwrap();
        tx.commit().await.unwrap();
        begun.run
    }

    /// Compares the month, and says what was found.
    pub async fn reconcile(&self, repair: bool) -> Vec<Found> {
        let run = self.begin(repair).await;
        self.drain().await;
        let (state, reason): (String, Option<String>) =
            sqlx::query_as("SELECT state, reason FROM bursar.reconciliation WHERE id = $1")
                .bind(&run)
                .fetch_one(&self.db.pool)
                .await
                .unwrap();
        assert_eq!((state.as_str(), reason), ("done", None), "{:?}", self.dead().await);
        self.found(&run).await
    }

    pub async fn found(&self, run: &str) -> Vec<Found> {
        type Row = (String, String, Option<String>, Option<i64>, Option<String>, String);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT type, object, user_id, amount, unit, state FROM bursar.finding WHERE run = $1 ORDER BY id",
        )
        .bind(run)
        .fetch_all(&self.db.pool)
        .await
        .unwrap();
        let said = |amount: Option<i64>, unit: Option<String>| match unit.as_deref() {
            Some("credits") => Credits::from_micros(amount.unwrap()).to_string(),
            Some(unit) => format!("{} {unit}", amount.unwrap()),
            None => String::new(),
        };
        let row = rows.into_iter().map(|(what, object, user, amount, unit, state)| {
            (what, object, user.unwrap_or_default(), said(amount, unit), state)
        });
        row.collect()
    }

    /// The evidence and the remedy of the newest finding of a type.
    pub async fn evidence(&self, what: &str) -> (Value, String) {
        sqlx::query_as("SELECT evidence, remedy FROM bursar.finding WHERE type = $1 ORDER BY id DESC LIMIT 1")
            .bind(what)
            .fetch_one(&self.db.pool)
            .await
            .unwrap()
    }

    /// A session that sold 200 credits for 29.99; it and its payment intent. `more` goes into the form.
    pub async fn buy(&self, user: &str) -> (String, String) {
        let form = format!(
            "mode=payment&success_url=https://shop.example&client_reference_id={user}&metadata[user_id]={user}&metadata[credits]=200\
             &line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=2999\
             &line_items[0][price_data][product_data][name]=200"
        );
        self.buy_by(&form).await
    }

    pub async fn buy_by(&self, form: &str) -> (String, String) {
        let session = self.stripe.post("/v1/checkout/sessions", form).await.id();
        let complete = format!("/_sandbox/checkout/{session}/complete");
        let paid = self.stripe.send("POST", &complete, "{}", &[]).await.unwrap();
        let intent = paid.body["payment_intent"].as_str().unwrap_or_else(|| panic!("{}", paid.text)).to_owned();
        (session, intent)
    }

    /// A subscription of a user to a price, and its first invoice.
    pub async fn subscribe(&self, user: &str, price: &str) -> (String, String) {
        let named = if user.is_empty() { String::new() } else { format!("&metadata[user_id]={user}") };
        let customer = self.stripe.post("/v1/customers", &format!("name=x{named}")).await.id();
        let form = format!("customer={customer}&items[0][price]={price}{named}");
        let subscription = self.stripe.post("/v1/subscriptions", &form).await;
        let invoice = subscription.body["latest_invoice"].as_str().unwrap_or_else(|| panic!("{}", subscription.text));
        (subscription.id(), invoice.to_owned())
    }

    pub async fn balance(&self, user: &str) -> String {
        ledger::balance(&self.db.pool, user).await.unwrap().to_string()
    }

    pub async fn dead(&self) -> Vec<(String, String)> {
        sqlx::query_as("SELECT kind, coalesce(reason, '') FROM bursar.job WHERE state = 'dead' ORDER BY id")
            .fetch_all(&self.db.pool)
            .await
            .unwrap()
    }

    /// Runs the operator's command on this database.
    pub fn bursar(&self, args: &[&str]) -> Output {
        support::bursar(args).env("DATABASE_URL", &self.db.url).output().unwrap()
    }

    /// The books hold.
    pub fn verify(&self) {
        let verified = self.bursar(&["ledger", "verify", "--json"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }

    pub fn month_said(&self) -> String {
        self.month.format("%Y-%m").to_string()
    }
}

pub async fn now_at(stripe: &Client) -> DateTime<Utc> {
    let clock = stripe.get("/_sandbox/clock").await.body;
    DateTime::from_timestamp(clock["now"].as_i64().unwrap(), 0).unwrap()
}

async fn advance(stripe: &Client, seconds: i64) {
    let body = json!({ "seconds": seconds }).to_string();
    let passed = stripe.send("POST", "/_sandbox/advance", &body, &[]).await.unwrap();
    assert_eq!(passed.status, 200, "{}", passed.text);
}

/// A finding as tests write it.
pub fn found(what: &str, object: &str, user: &str, amount: &str, state: &str) -> Found {
    (what.into(), object.into(), user.into(), amount.into(), state.into())
}

/// Whether an event is about this object.
pub fn about(event: &Value, id: &str) -> bool {
    event["data"]["object"]["id"] == id
}
