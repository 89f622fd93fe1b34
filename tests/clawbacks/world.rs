//! A database, a Stripe that says what it is told to, and the engine driven by hand.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bursar_jobs::{
    Outgoing, Stripe, StripeConfig,
    base::credits::Credits,
    engine::{
        batch::Performer,
        context::{Context, Points},
        job::{Batch, Claimed},
    },
    inbox::{self, envelope::Envelope},
    ledger,
    terms::Terms,
};
use serde_json::{Value, json};
use sqlx::Row;
use tokio::sync::Notify;

use super::stub::Stub;
use crate::support::{self, Database, database};

/// Days, hours, minutes and seconds: `31d 0h 30m`.
fn micros(text: &str) -> i64 {
    let seconds = text.split(' ').map(|part| {
        let (count, unit) = part.split_at(part.len() - 1);
        count.parse::<i64>().unwrap()
            * match unit {
                "d" => 86_400,
                "h" => 3_600,
                "m" => 60,
                _ => 1,
            }
    });
    seconds.sum::<i64>() * 1_000_000
}

pub const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

pub struct World {
    pub db: Database,
    pub stub: Stub,
    context: Context,
    performers: Vec<Performer>,
    cut: Arc<Mutex<Option<&'static str>>>,
    was_cut: Arc<Notify>,
    /// Where the next attempt that gets there stands still, until it is let go.
    pub gate: Arc<Mutex<Option<&'static str>>>,
    pub at_gate: Arc<Notify>,
    pub let_go: Arc<Notify>,
}

impl World {
    /// As a worker that was frozen past its lease.
    pub fn without_lease(mut self) -> Self {
        self.context.lease = Arc::new(|_| false);
        self
    }

    /// With a postbox.
    pub fn with_letters(mut self, postbox: bursar_jobs::letters::Postbox) -> Self {
        self.context.letters = Some(postbox);
        self
    }

    /// Against the stub.
    pub async fn new() -> Self {
        let stub = Stub::start().await;
        let url = stub.url.clone();
        Self::over(stub, &url, "sk_test_stub").await
    }

    /// Against another Stripe; the stub is only the team's address.
    pub async fn against(url: &str, key: &str) -> Self {
        Self::over(Stub::start().await, url, key).await
    }

    async fn over(stub: Stub, url: &str, key: &str) -> Self {
        let db = database().await;
        let (cut, was_cut) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
        let (gate, at_gate, let_go) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let points = {
            let (cut, was_cut) = (Arc::clone(&cut), Arc::clone(&was_cut));
            let (gate, at_gate, let_go) = (Arc::clone(&gate), Arc::clone(&at_gate), Arc::clone(&let_go));
            Points(Some(Arc::new(move |point| {
                let here = *cut.lock().unwrap() == Some(point);
                let gated = gate.lock().unwrap().take_if(|gate| *gate == point).is_some();
                let (was_cut, at_gate, let_go) = (Arc::clone(&was_cut), Arc::clone(&at_gate), Arc::clone(&let_go));
                Box::pin(async move {
                    if gated {
                        at_gate.notify_one();
                        let_go.notified().await;
                    }
                    if here {
                        was_cut.notify_one();
                        std::future::pending::<()>().await;
                    }
                })
            })))
        };
        let terms = Terms { stripe_on: true, ..crate::jobs::terms() };
        let context = Context {
            domains: bursar_jobs::registry::DOMAINS,
            pool: db.pool.clone(),
            terms: Arc::new(terms),
            stripe: Some(Stripe::new(StripeConfig::new(url, key)).unwrap()),
            letters: None,
            notify: Some(Outgoing::new(&format!("{}/team", stub.url), SECRET).unwrap()),
            lease: Arc::new(|_| true),
            points,
            locked: Arc::default(),
        };
        sqlx::query("INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until) VALUES ('w', 'w', 'w', clock_timestamp() + interval '1 day')")
            .execute(&db.pool)
            .await
            .unwrap();
        Self { db, stub, context, performers: bursar_jobs::performers(), cut, was_cut, gate, at_gate, let_go }
    }

    /// A purchase of 200 credits for 29.99 by alice, paid by `ch_1`; its event is told only by [`Self::granted`].
    pub fn purchase(&self) {
        let mut state = self.stub.state.lock().unwrap();
        state.charges.push(
            json!({"id": "ch_1", "object": "charge", "amount": 2999, "currency": "usd", "payment_intent": "pi_1"}),
        );
        state.sessions.push(json!({"id": "cs_1", "object": "checkout.session", "payment_intent": "pi_1"}));
    }

    /// Tells of the purchase.
    pub async fn granted(&self) {
        let patches = [("/data/object/id", json!("cs_1"))];
        self.hear(&crate::jobs::event(crate::jobs::CHECKOUT, "evt_purchase", &patches)).await;
    }

    /// Says at Stripe how a refund of `ch_1` stands.
    pub fn refund(&self, id: &str, amount: i64, status: &str) {
        let mut state = self.stub.state.lock().unwrap();
        let created = i64::try_from(state.refunds.len()).unwrap();
        match state.refunds.iter_mut().find(|refund| refund["id"] == id) {
            Some(known) => known["status"] = json!(status),
            None => state.refunds.push(json!({"id": id, "object": "refund", "amount": amount, "currency": "usd",
                                              "status": status, "created": created, "charge": "ch_1"})),
        }
    }

    /// Says at Stripe how a dispute of `ch_1` stands.
    pub fn dispute(&self, id: &str, status: &str) {
        let mut state = self.stub.state.lock().unwrap();
        let created = i64::try_from(state.disputes.len()).unwrap();
        match state.disputes.iter_mut().find(|dispute| dispute["id"] == id) {
            Some(known) => known["status"] = json!(status),
            None => state.disputes.push(json!({"id": id, "object": "dispute", "amount": 2999, "currency": "usd", "charge": "ch_1",
                "status": status, "reason": "fraudulent", "created": created, "evidence_details": {"due_by": 1_800_000_000}})),
        }
    }

    /// An event that something about `ch_1` changed.
    pub async fn changed(&self, kind: &str) {
        let id = format!("evt_{}", uuid::Uuid::new_v4().simple());
        let object = match kind {
            "charge.refunded" => json!({"id": "ch_1", "object": "charge"}),
            kind if kind.starts_with("charge.dispute") => json!({"id": "du_x", "object": "dispute", "charge": "ch_1"}),
            _ => json!({"id": "re_x", "object": "refund", "charge": "ch_1", "payment_intent": "pi_1"}),
        };
        self.hear(&json!({"id": id, "object": "event", "type": kind, "livemode": false, "data": {"object": object}}))
            .await;
    }

    pub async fn hear(&self, event: &Value) {
        let body = serde_json::to_vec(event).unwrap();
        inbox::receive(&self.db.pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
    }

    /// Performs one job of a kind, whatever its time; cut short at a point, it is as if its worker had died there.
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
        sqlx::query("UPDATE apalis.jobs SET run_at = bursar.now() WHERE status = 'Pending'")
            .execute(&self.db.pool)
            .await
            .unwrap();
        self.claim_due(kind).await
    }

    async fn claim_due(&self, kind: &str) -> Option<Batch> {
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

    /// Performs what is due by business time, until nothing is; how many jobs that were.
    pub async fn run_due(&self) -> usize {
        let mut count = 0;
        loop {
            let mut any = false;
            for kind in self.performers.iter().map(|p| p.kind.name) {
                while let Some(batch) = self.claim_due(kind).await {
                    self.perform(&batch).await;
                    (any, count) = (true, count + 1);
                }
            }
            if !any {
                return count;
            }
        }
    }

    /// Moves business time to so long after the beginning of the hour it is in now.
    pub async fn jump(&self, after_the_hour: &str) {
        let known = "INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox') ON CONFLICT DO NOTHING";
        sqlx::query(known).execute(&self.db.pool).await.unwrap();
        sqlx::query(
            "INSERT INTO bursar.clock (ahead) SELECT date_trunc('hour', bursar.now(), 'UTC') + $1::interval - clock_timestamp()
             ON CONFLICT (one) DO UPDATE SET ahead = excluded.ahead",
        )
        .bind(sqlx::postgres::types::PgInterval { months: 0, days: 0, microseconds: micros(after_the_hour) })
        .execute(&self.db.pool)
        .await
        .unwrap();
    }

    pub async fn perform(&self, batch: &Batch) {
        let performer = *self.performers.iter().find(|p| p.kind == batch.kind).unwrap();
        drop((performer.perform)(&self.context, batch).await.unwrap());
    }

    async fn sweep(&self) {
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
        let kinds: Vec<&str> = self.performers.iter().map(|p| p.kind.name).collect();
        for _ in 0..500 {
            let mut any = false;
            for kind in &kinds {
                any |= self.step_of(kind, None).await;
            }
            if !any {
                return;
            }
        }
        panic!("not settled");
    }

    pub async fn balance(&self, user: &str) -> String {
        ledger::balance(&self.db.pool, user).await.unwrap().to_string()
    }

    /// Keys and amounts of what was taken and given back, in order.
    pub async fn moved(&self) -> Vec<(String, String)> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT key, amount FROM bursar.posting WHERE kind = 'reversal' ORDER BY id")
                .fetch_all(&self.db.pool)
                .await
                .unwrap();
        rows.into_iter().map(|(key, micros)| (key, Credits::from_micros(micros).to_string())).collect()
    }

    /// What the team was told: type, and the data.
    pub fn told(&self) -> Vec<(String, Value)> {
        let told = self.stub.asked("POST /team").into_iter().map(|asked| {
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            (body["type"].as_str().unwrap().to_owned(), body["data"].clone())
        });
        told.collect()
    }

    /// Lets a worker of its own process begin on what there is, killed at a point of a call; then another goes on until `done`.
    pub async fn killed_at(&self, point: &str, done: &'static str) {
        sqlx::query("DELETE FROM apalis.workers").execute(&self.db.pool).await.unwrap();
        let worker = || {
            let probe = crate::queue::probe_at(&self.db.url).with("PROBE_STRIPE", &self.stub.url);
            let team = format!("{}/team", self.stub.url);
            probe
                .with("PROBE_STRIPE_KEY", "sk_test_stub")
                .with("PROBE_NOTIFY", &team)
                .with("PROBE_NOTIFY_SECRET", SECRET)
        };
        let mut dies = worker().with("PROBE_KILL_AT", point).start();
        support::eventually(Duration::from_secs(30), || {
            let ended = dies.try_wait().unwrap();
            async move { ended.ok_or("still alive") }
        })
        .await;
        let _successor = worker().start();
        support::eventually(Duration::from_secs(30), || async {
            let is_done: bool = sqlx::query_scalar(done).fetch_one(&self.db.pool).await.unwrap();
            if is_done { Ok(()) } else { Err(point.to_owned()) }
        })
        .await;
    }

    pub async fn dead(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT reason FROM bursar.job WHERE state = 'dead' ORDER BY id")
            .fetch_all(&self.db.pool)
            .await
            .unwrap()
    }

    /// The books hold.
    pub fn verify(&self) {
        let verified =
            support::bursar(&["ledger", "verify", "--json"]).env("DATABASE_URL", &self.db.url).output().unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }

    pub fn bursar(&self, args: &[&str]) -> std::process::Output {
        support::bursar(args).env("DATABASE_URL", &self.db.url).output().unwrap()
    }
}
