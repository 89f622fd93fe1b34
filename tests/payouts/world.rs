//! A database, a sandbox, and the engine driven by hand: one attempt at a time, cut short where a test says.

use std::{
    collections::BTreeMap,
    process::Output,
    sync::{Arc, Mutex},
    time::Duration,
};

use bursar::sandbox::Options;
use bursar_jobs::{
    Stripe, StripeConfig,
    base::credits::Credits,
    engine::{
        batch::Performer,
        context::{Context, Points},
        job::{Batch, Claimed},
    },
    inbox::{self, envelope::Envelope},
    terms::{PayoutTerms, RefillTerms, Selling, Terms, Tier},
};
use serde_json::{Value, json};
use sqlx::Row;
use tokio::sync::Notify;

use crate::{
    sandbox::client::Client,
    support::{self, Database, database},
};

/// Shorter than any fault that is slow, longer than any answer on this machine.
const PATIENCE: Duration = Duration::from_millis(200);
/// More attempts than any payout here can need.
const MOST_STEPS: usize = 2000;

pub struct World {
    pub db: Database,
    pub stripe: Arc<Client>,
    context: Context,
    performers: Vec<Performer>,
    /// Where the next attempt is to be cut short.
    cut: Arc<Mutex<Option<&'static str>>>,
    was_cut: Arc<Notify>,
}

impl World {
    pub async fn new() -> Self {
        Self::seeded(None).await
    }

    /// With a sandbox whose ids and chaos derive from this.
    pub async fn seeded(seed: Option<u64>) -> Self {
        let client = Client::with(Options { seed, ..Options::default() }).await;
        Self::over(database().await, Arc::new(client)).await
    }

    /// The world as it goes on, and one whose database is as it is now: what comes back from a dump, beside the same Stripe.
    pub async fn dump(self) -> (Self, Self) {
        self.db.pool.close().await;
        let (on, back) = support::duplicate(&self.db.url).await;
        (Self::over(on, Arc::clone(&self.stripe)).await, Self::over(back, self.stripe).await)
    }

    async fn over(db: Database, stripe: Arc<Client>) -> Self {
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
        config.timeout = PATIENCE;
        let context = Context {
            domains: bursar_jobs::registry::DOMAINS,
            pool: db.pool.clone(),
            terms: Arc::new(terms()),
            stripe: Some(Stripe::new(config).unwrap()),
            notify: None,
            letters: None,
            lease: Arc::new(|_| true),
            points,
            locked: Arc::default(),
        };
        sqlx::query("INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until) VALUES ('w', 'w', 'w', clock_timestamp() + interval '1 day') ON CONFLICT DO NOTHING")
            .execute(&db.pool)
            .await
            .unwrap();
        Self { db, stripe, context, performers: bursar_jobs::performers(), cut, was_cut }
    }

    /// The same world under other terms.
    pub fn on_terms(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        let mut terms = terms();
        change(&mut terms);
        self.context.terms = Arc::new(terms);
        self
    }

    /// Forbids requests, as for a worker that was frozen past its lease.
    pub fn without_lease(&self) -> Context {
        Context { lease: Arc::new(|_| false), ..self.context.clone() }
    }

    pub fn context(&self) -> Context {
        self.context.clone()
    }

    pub async fn tell(&self, id: &str, event: &Value) {
        let body = serde_json::to_vec(event).unwrap();
        inbox::receive(&self.db.pool, &Envelope::verification(id, &body).unwrap(), &body).await.unwrap();
    }

    pub async fn hear(&self, event: &Value) {
        let body = serde_json::to_vec(event).unwrap();
        inbox::receive(&self.db.pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
    }

    pub async fn verify(&self, job: &str, receiver: &str) {
        self.verify_at(job, receiver, 0).await;
    }

    /// A verification of some hours ago. Its debt is recorded here.
    pub async fn verify_at(&self, job: &str, receiver: &str, hours_ago: i64) {
        let at = bursar_jobs::base::clock::now() - chrono::TimeDelta::hours(hours_ago);
        let event = json!({"type": "job.verified", "timestamp": at.to_rfc3339(),
                           "data": {"job_id": job, "skill": "research", "receiver_id": receiver, "sender_id": "alice"}});
        self.tell(&format!("msg_{job}"), &event).await;
        assert!(self.step_of("record_payout", None).await, "the debt is recorded first");
        // Attempts follow each other here without a pause, and while a key is in flight each is refused.
        sqlx::query("UPDATE apalis.jobs SET max_attempts = 10000, allowance = 10000 WHERE job_type = 'pay_receiver'")
            .execute(&self.db.pool)
            .await
            .unwrap();
    }

    pub fn invoice(id: &str, customer: &str) -> Value {
        let path = format!("{}/fixtures/invoice.paid.json", env!("CARGO_MANIFEST_DIR"));
        let mut event: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        event["id"] = json!(id);
        event["data"]["object"]["customer"] = json!(customer);
        event["data"]["object"]["parent"]["subscription_details"]["metadata"] = json!({});
        event["data"]["object"]["parent"]["subscription_details"]["subscription"] = json!(format!("sub_{id}"));
        event["data"]["object"]["lines"]["data"][0]["metadata"] = json!({});
        event["data"]["object"]["lines"]["data"][0]["parent"]["subscription_item_details"]["subscription"] =
            json!(format!("sub_{id}"));
        event
    }

    /// An account for a user, as bursar makes it; not active yet.
    pub async fn account(&self, user: &str) -> String {
        let form = format!("type=express&capabilities[transfers][requested]=true&metadata[user_id]={user}");
        self.stripe.post("/v1/accounts", &form).await.id()
    }

    pub async fn activate(&self, account: &str) {
        let path = format!("/_sandbox/accounts/{account}");
        self.stripe.send("POST", &path, r#"{"state": "active"}"#, &[]).await.unwrap();
    }

    pub async fn account_updated(&self, account: &str) {
        let id = format!("evt_{}", uuid::Uuid::new_v4().simple());
        let event = json!({"id": id, "object": "event", "type": "account.updated", "livemode": false, "account": account,
                           "data": {"object": {"id": account, "object": "account"}}});
        self.hear(&event).await;
    }

    /// A receiver with an active account, and the account.
    pub async fn receiver(&self, user: &str) -> String {
        let account = self.account(user).await;
        self.activate(&account).await;
        self.account_updated(&account).await;
        assert!(self.step_of("check_account", None).await);
        account
    }

    /// Performs one job that is there, whatever its time; false: there is none. Cut short at a point, it is as if its worker had died
    /// there, and the sweep had noticed.
    pub async fn step(&self, cut: Option<&'static str>) -> bool {
        let kinds: Vec<String> = self.performers.iter().map(|p| p.kind.name.to_owned()).collect();
        for kind in kinds {
            if self.step_of(&kind, cut).await {
                return true;
            }
        }
        false
    }

    pub async fn step_of(&self, kind: &str, cut: Option<&'static str>) -> bool {
        let Some(batch) = self.claim(kind).await else { return false };
        let performer = *self.performers.iter().find(|p| p.kind.name == kind).unwrap();
        *self.cut.lock().unwrap() = cut;
        tokio::select! {
            done = (performer.perform)(&self.context, &batch) => drop(done.unwrap()),
            () = self.was_cut.notified() => self.sweep().await,
        }
        true
    }

    /// Claims one job of a kind, now.
    pub async fn claim(&self, kind: &str) -> Option<Batch> {
        sqlx::query("UPDATE apalis.jobs SET run_at = clock_timestamp() WHERE status = 'Pending'")
            .execute(&self.db.pool)
            .await
            .unwrap();
        let row = sqlx::query("SELECT * FROM bursar.claim('w', ARRAY[$1], ARRAY[1], ARRAY[60000::bigint], 1)")
            .bind(kind)
            .fetch_optional(&self.db.pool)
            .await
            .unwrap()?;
        let job = Claimed {
            claimed_at: row.get("claimed_at"),
            id: row.get("id"),
            key: row.get("key"),
            args: row.get("args"),
            attempt: row.get("attempt"),
            max_attempts: row.get("max_attempts"),
            allowance: row.get("allowance"),
            enqueued_at: row.get("enqueued_at"),
        };
        let kind = self.performers.iter().find(|p| p.kind.name == kind).unwrap().kind;
        Some(Batch { kind, worker: "w".into(), lease: row.get("lease"), jobs: vec![job] })
    }

    /// What a sweep does about the attempts that run: they are lost.
    pub async fn sweep(&self) {
        sqlx::query(
            "UPDATE apalis.jobs SET deadline = clock_timestamp() - interval '1 second' WHERE status = 'Running'",
        )
        .execute(&self.db.pool)
        .await
        .unwrap();
        sqlx::query("SELECT FROM bursar.sweep(100)").execute(&self.db.pool).await.unwrap();
    }

    /// Performs whatever there is until nothing is left but what waits for an operator.
    pub async fn settle_down(&self) {
        for _ in 0..MOST_STEPS {
            if !self.step(None).await {
                return;
            }
        }
        let open: Vec<(String, String, Option<String>)> =
            sqlx::query_as("SELECT kind, state, reason FROM bursar.job WHERE state NOT IN ('done', 'dead')")
                .fetch_all(&self.db.pool)
                .await
                .unwrap();
        panic!("not settled after {MOST_STEPS} attempts: {open:?}");
    }

    /// State, reason and Transfer.
    pub async fn payout(&self, job: &str) -> (String, String, Option<String>) {
        sqlx::query_as("SELECT state, coalesce(reason, ''), transfer_id FROM bursar.payout WHERE job_id = $1")
            .bind(job)
            .fetch_one(&self.db.pool)
            .await
            .unwrap()
    }

    pub async fn owed_to(&self, receiver: &str) -> i64 {
        sqlx::query_scalar("SELECT balance FROM bursar.account WHERE name = $1")
            .bind(format!("receiver:{receiver}"))
            .fetch_one(&self.db.pool)
            .await
            .unwrap()
    }

    pub async fn dead_jobs(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM bursar.job WHERE state = 'dead'")
            .fetch_one(&self.db.pool)
            .await
            .unwrap()
    }

    pub fn performer(&self, kind: &str) -> Performer {
        *self.performers.iter().find(|p| p.kind.name == kind).unwrap()
    }

    /// What the platform has at Stripe.
    pub async fn balance(&self, available: i64) {
        let body = json!({"currency": "usd", "available": available}).to_string();
        self.stripe.send("POST", "/_sandbox/balance", &body, &[]).await.unwrap();
    }

    /// What the sandbox's own books say.
    pub async fn transfers(&self) -> Vec<Value> {
        let ledger = self.stripe.get("/_sandbox/ledger").await.body;
        ledger["transfers"].as_array().unwrap().clone()
    }

    pub async fn requests(&self) -> Vec<Value> {
        let all = self.stripe.get("/_sandbox/requests").await.body;
        all["requests"].as_array().unwrap().clone()
    }

    /// The requests that bursar made, without those of the test's own hand.
    pub async fn requests_of_ours(&self) -> Vec<Value> {
        let made_by_hand = ["/v1/accounts", "/v1/customers"];
        let ours =
            |r: &Value| !(r["method"] == "POST" && made_by_hand.contains(&r["path"].as_str().unwrap_or_default()));
        self.requests().await.into_iter().filter(ours).collect()
    }

    /// How many Transfers were asked for.
    pub async fn sent(&self) -> usize {
        let asked = |r: &&Value| r["method"] == "POST" && r["path"] == "/v1/transfers";
        self.requests().await.iter().filter(asked).count()
    }

    /// Exactly one Transfer for the payout, and our books say the same.
    pub async fn is_paid_once(&self, job: &str) {
        let (state, reason, transfer) = self.payout(job).await;
        let group = format!("payout:{job}");
        let transfers: Vec<Value> =
            self.transfers().await.into_iter().filter(|t| t["transfer_group"] == group.as_str()).collect();
        assert_eq!(transfers.len(), 1, "{state}: {reason}: {transfers:?}");
        assert_eq!(state, "paid", "{reason}");
        assert_eq!(transfer.as_deref(), transfers[0]["id"].as_str());
        let booked: Vec<i64> = sqlx::query_scalar("SELECT amount FROM bursar.posting WHERE key = $1")
            .bind(format!("transfer:{job}"))
            .fetch_all(&self.db.pool)
            .await
            .unwrap();
        assert_eq!(booked, [transfers[0]["amount"].as_i64().unwrap()]);
    }

    /// Runs the operator's command on this database.
    pub fn bursar(&self, args: &[&str]) -> Output {
        support::bursar(args).env("DATABASE_URL", &self.db.url).output().unwrap()
    }
}

fn terms() -> Terms {
    let credits = |whole| Credits::whole(whole).unwrap();
    Terms {
        tiers: vec![Tier {
            name: "pro".into(),
            credits: credits(150),
            prices: vec!["price_pro".into()],
            refill: RefillTerms::default(),
        }],
        packages: Vec::new(),
        skills: BTreeMap::from([("research".into(), credits(2))]),
        payout: PayoutTerms { minor_units_per_credit: 50, currency: "usd".into(), ..Default::default() },
        initial_credits: Credits::ZERO,
        livemode: false,
        stripe_on: true,
        selling: Selling::default(),
        dunning: bursar_jobs::dunning::Dunning::default(),
        grace: Duration::from_hours(7 * 24),
    }
}
