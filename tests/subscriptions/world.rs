//! A database with its own business time, a stand-in for Stripe, and the jobs between them.

use std::{collections::BTreeMap, process::Output, sync::Arc, time::Duration};

use bursar_jobs::{
    StripeConfig,
    base::credits::Credits,
    engine::{
        batch::Performer,
        context::{Context, Points},
        job::{Batch, Claimed},
    },
    inbox::{self, envelope::Envelope},
    ledger,
    terms::{PayoutTerms, Policy, RefillTerms, Terms, Tier},
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::Row;

use super::stripe::Stripe;
use crate::support::{self, Database, begin_at, database};

pub const SUB: &str = "sub_1";

pub struct World {
    pub db: Database,
    pub stripe: Stripe,
    context: Context,
    performers: Vec<Performer>,
}

/// A moment.
pub fn at(text: &str) -> DateTime<Utc> {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    text.parse().unwrap()
}

pub fn credits(whole: i64) -> Credits {
    Credits::whole(whole).unwrap()
}

pub fn terms() -> Terms {
    let tier = |name: &str, amount| Tier {
        name: name.into(),
        credits: credits(amount),
        prices: vec![format!("price_{name}"), format!("price_{name}_annual")],
        refill: RefillTerms::default(),
    };
    Terms {
        tiers: vec![tier("starter", 50), tier("pro", 150), tier("team", 500)],
        packages: Vec::new(),
        skills: BTreeMap::new(),
        payout: PayoutTerms { minor_units_per_credit: 50, currency: "usd".into(), ..Default::default() },
        initial_credits: Credits::ZERO,
        livemode: false,
        stripe_on: true,
        grace: Duration::from_hours(7 * 24),
        selling: bursar_jobs::terms::Selling::default(),
        dunning: bursar_jobs::dunning::Dunning::default(),
    }
}

pub fn with_policy(policy: Policy) -> Terms {
    let mut terms = terms();
    terms.tiers.iter_mut().for_each(|tier| tier.refill.policy = policy);
    terms
}

/// A subscription as Stripe answers it.
#[derive(Debug, Clone)]
pub struct Sub {
    pub id: &'static str,
    pub status: &'static str,
    pub price: String,
    pub quantity: i64,
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    pub anchor: DateTime<Utc>,
    pub more: Value,
}

impl Sub {
    pub fn new(price: &str, start: &str, end: &str) -> Self {
        let (start, end) = (at(start), at(end));
        Self { id: SUB, status: "active", price: price.into(), quantity: 1, start, end, anchor: start, more: json!({}) }
    }

    pub fn object(&self, legacy: bool) -> Value {
        let interval = if self.price.ends_with("annual") { "year" } else { "month" };
        let mut item = json!({"id": "si_1", "object": "subscription_item", "quantity": self.quantity,
            "price": {"id": self.price, "object": "price", "recurring": {"interval": interval, "interval_count": 1}}});
        let mut object = json!({"id": self.id, "object": "subscription", "status": self.status, "customer": "cus_1",
            "metadata": {"user_id": "alice"}, "billing_cycle_anchor": self.anchor.timestamp(), "cancel_at_period_end": false,
            "cancel_at": null, "ended_at": null, "trial_end": null, "pause_collection": null, "schedule": null});
        let periods = if legacy { &mut object } else { &mut item };
        periods["current_period_start"] = json!(self.start.timestamp());
        periods["current_period_end"] = json!(self.end.timestamp());
        object["items"] = json!({"object": "list", "data": [item], "has_more": false});
        for (name, value) in self.more.as_object().unwrap() {
            object[name] = value.clone();
        }
        object
    }

    /// The event that its plan changed from these prices.
    pub fn updated(&self, id: &str, when: &str, from: (&str, i64), legacy: bool) -> Value {
        let before = Self { price: from.0.into(), quantity: from.1, ..self.clone() }.object(legacy);
        let previous = if legacy {
            json!({"plan": {"id": from.0, "object": "plan"}, "quantity": from.1})
        } else {
            json!({"items": before["items"]})
        };
        let mut event = event(id, "customer.subscription.updated", when, &self.object(legacy));
        event["data"]["previous_attributes"] = previous;
        event
    }

    /// The event that its present period was paid.
    pub fn paid(&self, id: &str, legacy: bool) -> Value {
        let line = line(self.id, &self.price, self.quantity, 1900, (self.start, self.end), false, legacy);
        let when = self.start.to_rfc3339();
        event(id, "invoice.paid", &when, &invoice(&format!("in_{id}"), self.id, &[line], legacy))
    }
}

pub fn line(
    sub: &str,
    price: &str,
    quantity: i64,
    amount: i64,
    (start, end): (DateTime<Utc>, DateTime<Utc>),
    proration: bool,
    legacy: bool,
) -> Value {
    let mut line = json!({"id": format!("il_{price}_{}", start.timestamp()), "object": "line_item", "amount": amount, "quantity": quantity,
                          "period": {"start": start.timestamp(), "end": end.timestamp()}, "metadata": {}});
    if legacy {
        line["price"] = json!({"id": price, "object": "price"});
        line["proration"] = json!(proration);
        line["subscription"] = json!(sub);
    } else {
        line["pricing"] = json!({"type": "price_details", "price_details": {"price": price}});
        line["parent"] = json!({"type": "subscription_item_details",
                                "subscription_item_details": {"subscription": sub, "proration": proration}});
    }
    line
}

pub fn invoice(id: &str, sub: &str, lines: &[Value], legacy: bool) -> Value {
    let details = json!({"subscription": sub, "metadata": {"user_id": "alice"}});
    let mut invoice = json!({"id": id, "object": "invoice", "status": "paid", "customer": "cus_1", "metadata": {},
                             "lines": {"object": "list", "data": lines, "has_more": false}});
    if legacy {
        invoice["subscription"] = json!(sub);
        invoice["subscription_details"] = json!({"metadata": {"user_id": "alice"}});
        invoice["paid"] = json!(true);
    } else {
        invoice["parent"] = json!({"type": "subscription_details", "subscription_details": details});
    }
    invoice
}

pub fn event(id: &str, kind: &str, when: &str, object: &Value) -> Value {
    json!({"id": id, "object": "event", "type": kind, "created": at(when).timestamp(), "livemode": false,
           "data": {"object": object}})
}

impl World {
    /// With a postbox.
    pub fn with_letters(mut self, postbox: bursar_jobs::letters::Postbox) -> Self {
        self.context.letters = Some(postbox);
        self
    }

    pub async fn new(terms: Terms) -> Self {
        let stripe = Stripe::start().await;
        let url = stripe.url.clone();
        Self { stripe, ..Self::over(terms, &url, "sk_test_stand_in").await }
    }

    /// A world over a Stripe that is there.
    pub async fn over(terms: Terms, url: &str, key: &str) -> Self {
        let db = database().await;
        let mut config = StripeConfig::new(url, key);
        config.timeout = Duration::from_secs(5);
        let context = Context {
            domains: bursar_jobs::registry::DOMAINS,
            notify: None,
            letters: None,
            pool: db.pool.clone(),
            terms: Arc::new(terms),
            stripe: Some(bursar_jobs::Stripe::new(config).unwrap()),
            lease: Arc::new(|_| true),
            points: Points(None),
            locked: Arc::default(),
        };
        for statement in [
            "INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until) VALUES ('w', 'w', 'w', clock_timestamp() + interval '1 day')",
            "INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')",
        ] {
            sqlx::query(statement).execute(&db.pool).await.unwrap();
        }
        // Before each date that is named in these tests.
        begin_at(&db.pool, "2026-12-01T00:00:00Z").await;
        Self { db, stripe: Stripe::default(), context, performers: bursar_jobs::performers() }
    }

    /// The settings are these from now on.
    pub fn deploy(&mut self, terms: Terms) {
        self.context.terms = Arc::new(terms);
    }

    /// It is this moment now, or later where it was.
    pub async fn now(&self, when: &str) {
        sqlx::query("UPDATE bursar.clock SET ahead = greatest(ahead, $1 - clock_timestamp())")
            .bind(at(when))
            .execute(&self.db.pool)
            .await
            .unwrap();
    }

    pub fn has(&self, sub: &Sub) {
        self.stripe.put(&format!("/v1/subscriptions/{}", sub.id), sub.object(false));
    }

    /// What a price costs an interval, in cents.
    pub fn sells(&self, price: &str, amount: i64, interval: &str) {
        let object = json!({"id": price, "object": "price", "currency": "usd", "unit_amount": amount,
                            "recurring": {"interval": interval, "interval_count": 1}});
        self.stripe.put(&format!("/v1/prices/{price}"), object);
    }

    pub async fn hear(&self, event: &Value) {
        let body = serde_json::to_vec(event).unwrap();
        inbox::receive(&self.db.pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
    }

    /// Hears events and does what follows after each.
    pub async fn play(&self, events: &[Value]) {
        for event in events {
            self.hear(event).await;
            self.drain().await;
        }
    }

    /// Performs whatever is ready until nothing is.
    pub async fn drain(&self) {
        for _ in 0..1000 {
            if !self.step().await {
                return;
            }
        }
        panic!("not settled after 1000 claims");
    }

    async fn step(&self) -> bool {
        let mut any = false;
        for performer in &self.performers {
            let Some(batch) = self.claim(performer).await else { continue };
            (performer.perform)(&self.context, &batch).await.unwrap();
            any = true;
        }
        any
    }

    /// Performs all that is ready at the same time, each job alone, until nothing is.
    pub async fn drain_at_once(&self) {
        for _ in 0..1000 {
            let mut running = tokio::task::JoinSet::new();
            for performer in &self.performers {
                let mut one = *performer;
                one.kind.batch = 1;
                while let Some(batch) = self.claim(&one).await {
                    let context = self.context.clone();
                    running.spawn(async move {
                        // A deadlock or a lock that is held costs no attempt: the queue repeats it.
                        while (one.perform)(&context, &batch).await.is_err() {}
                    });
                }
            }
            if running.is_empty() {
                // What waits for a lock looks again soon.
                let waits: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.job WHERE state = 'scheduled' AND run_at < bursar.now() + interval '1 minute'")
                    .fetch_one(&self.db.pool)
                    .await
                    .unwrap();
                if waits == 0 {
                    return;
                }
                sqlx::query("UPDATE apalis.jobs SET run_at = bursar.now() WHERE status = 'Pending' AND run_at < bursar.now() + interval '1 minute'")
                    .execute(&self.db.pool)
                    .await
                    .unwrap();
            }
            while let Some(done) = running.join_next().await {
                done.unwrap();
            }
        }
        panic!("not settled after 1000 rounds");
    }

    /// Claims what is ready of a kind, and is due by business time.
    pub async fn claim(&self, performer: &Performer) -> Option<Batch> {
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

    pub async fn balance(&self) -> String {
        self.balance_of("alice").await.to_string()
    }

    pub async fn balance_of(&self, user: &str) -> Credits {
        ledger::balance(&self.db.pool, user).await.unwrap()
    }

    /// What was posted: the kind and the amount in credits, oldest first; what took credits is negative.
    pub async fn books(&self) -> Vec<(String, String)> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT p.kind, CASE WHEN c.name = 'user:alice' THEN p.amount ELSE -p.amount END FROM bursar.posting p
             JOIN bursar.account c ON c.id = p.credit ORDER BY p.id",
        )
        .fetch_all(&self.db.pool)
        .await
        .unwrap();
        rows.into_iter().map(|(kind, micros)| (kind, Credits::from_micros(micros).to_string())).collect()
    }

    /// The starts of the months that were refilled, as their keys say.
    pub async fn refilled(&self) -> Vec<String> {
        let keys: Vec<String> =
            sqlx::query_scalar("SELECT key FROM bursar.posting WHERE kind = 'refill' ORDER BY right(key, 20)")
                .fetch_all(&self.db.pool)
                .await
                .unwrap();
        keys.into_iter().map(|key| key[key.len() - 20..key.len() - 10].to_owned()).collect()
    }

    pub async fn spend(&self, whole: i64, key: &str) {
        let status: String = sqlx::query_scalar("SELECT status FROM bursar.spend('alice', $1::bigint::numeric, $2)")
            .bind(whole)
            .bind(key)
            .fetch_one(&self.db.pool)
            .await
            .unwrap();
        assert_eq!(status, "done");
    }

    pub async fn grant(&self, whole: i64) {
        let posting = ledger::Posting::grant("purchase", format!("cs_{whole}"), "alice", credits(whole));
        ledger::post(&self.db.pool, &[posting]).await.unwrap();
    }

    /// State and reason of the jobs of a kind, oldest first.
    pub async fn jobs(&self, kind: &str) -> Vec<(String, String)> {
        sqlx::query_as("SELECT state, coalesce(reason, '') FROM bursar.job WHERE kind = $1 ORDER BY id")
            .bind(kind)
            .fetch_all(&self.db.pool)
            .await
            .unwrap()
    }

    pub async fn is_clean(&self) {
        let dead: Vec<(String, String)> =
            sqlx::query_as("SELECT kind, coalesce(reason, '') FROM bursar.job WHERE state = 'dead'")
                .fetch_all(&self.db.pool)
                .await
                .unwrap();
        assert!(dead.is_empty(), "{dead:?}");
        let verified = self.bursar(&["ledger", "verify", "--json"]);
        assert!(verified.status.success(), "{verified:?}");
    }

    /// Runs the operator's command on this database.
    pub fn bursar(&self, args: &[&str]) -> Output {
        support::bursar(args).env("DATABASE_URL", &self.db.url).output().unwrap()
    }
}
