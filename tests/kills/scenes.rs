//! What is played: a payout, a reversal, a case of dunning, a letter.

use std::future::Future;

use bursar_jobs::{
    base::audit::Via,
    desk::reverse_payout::{self, Asked, Became},
    engine::enqueue::enqueue,
    inbox::envelope::Envelope,
    notifications::send_email::SendLetter,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{track::Kill, world::World};

/// The debt of a verified job of 2 credits, in cents.
const AMOUNT: i64 = 100;
const DAY: i64 = 24 * 60 * 60;

/// Something that bursar does by itself once it has begun.
pub trait Scene: Send + Sync + Sized + 'static {
    /// What the scene is made of: at every point of these somebody dies. The bound: jobs that only follow what Stripe tells meanwhile, such as
    /// `sync_subscription` of a case, are left alone, for how often they run depends on when they are told.
    const KINDS: &[&str];

    /// All that was before, when nobody dies.
    fn prepare(world: &World) -> impl Future<Output = Self> + Send;

    /// From its beginning to its end, whoever dies meanwhile.
    fn play(&self, world: &World) -> impl Future<Output = ()> + Send;

    /// What must be true in the end.
    fn check(&self, world: &World, kill: Option<&Kill>) -> impl Future<Output = ()> + Send;
}

/// bob's account, which may receive.
async fn receiver(world: &World) {
    let form = "type=express&capabilities[transfers][requested]=true&metadata[user_id]=bob";
    let account = world.stripe.post("/v1/accounts", form).await.id();
    let path = format!("/_sandbox/accounts/{account}");
    world.stripe.send("POST", &path, r#"{"state": "active"}"#, &[]).await.unwrap();
    let event = json!({"id": "evt_active", "object": "event", "type": "account.updated", "livemode": false,
                       "account": account, "data": {"object": {"id": account, "object": "account"}}});
    let body = serde_json::to_vec(&event).unwrap();
    world.receive(&Envelope::stripe(&body).unwrap(), &body).await;
    world.finish().await;
}

/// Tells that bob's job is verified.
async fn verified(world: &World) {
    let event = json!({"type": "job.verified", "timestamp": bursar_jobs::base::clock::now().to_rfc3339(),
                       "data": {"job_id": "job_1", "skill": "research", "receiver_id": "bob", "sender_id": "alice"}});
    let body = serde_json::to_vec(&event).unwrap();
    world.receive(&Envelope::verification("msg_1", &body).unwrap(), &body).await;
}

/// State and Transfer of the payout.
async fn payout(world: &World) -> (String, Option<String>) {
    sqlx::query_as("SELECT state, transfer_id FROM bursar.payout WHERE job_id = 'job_1'")
        .fetch_one(&world.pool)
        .await
        .unwrap()
}

/// Amounts of the postings of a kind.
async fn postings(world: &World, kind: &str) -> Vec<i64> {
    sqlx::query_scalar("SELECT amount FROM bursar.posting WHERE kind = $1")
        .bind(kind)
        .fetch_all(&world.pool)
        .await
        .unwrap()
}

/// What the sandbox's own books list under this name.
async fn ledger(world: &World, list: &str) -> Vec<Value> {
    world.stripe.get("/_sandbox/ledger").await.body[list].as_array().unwrap().clone()
}

/// `job.verified`, the debt recorded, the receiver paid.
pub struct Payout;

impl Scene for Payout {
    const KINDS: &[&str] = &["pay_receiver"];

    async fn prepare(world: &World) -> Self {
        receiver(world).await;
        Self
    }

    async fn play(&self, world: &World) {
        verified(world).await;
        world.finish().await;
    }

    async fn check(&self, world: &World, _: Option<&Kill>) {
        let transfers = ledger(world, "transfers").await;
        assert_eq!(transfers.len(), 1, "{transfers:?}");
        assert_eq!(transfers[0]["amount"], AMOUNT);
        assert_eq!(payout(world).await, ("paid".into(), transfers[0]["id"].as_str().map(str::to_owned)));
        assert_eq!(postings(world, "transfer").await, [AMOUNT]);
        assert_eq!(world.keys("POST", "/v1/transfers").await.len(), 1, "one key");
    }
}

/// An operator takes back what was paid, and Stripe tells of it.
pub struct Reversal;

impl Scene for Reversal {
    const KINDS: &[&str] = &["reverse_transfer", "check_transfer"];

    async fn prepare(world: &World) -> Self {
        receiver(world).await;
        verified(world).await;
        world.finish().await;
        Self
    }

    async fn play(&self, world: &World) {
        let mut tx = world.pool.begin().await.unwrap();
        let asked = Asked {
            job_id: "job_1",
            amount: None,
            who: "ops",
            via: Via::Cli,
            why: "the sender was refunded",
            after_saved_failure: false,
        };
        let became = reverse_payout::ask(&mut tx, asked).await.unwrap();
        assert!(matches!(became, Became::Begun { amount: AMOUNT, .. }), "{became:?}");
        tx.commit().await.unwrap();
        world.finish().await;
    }

    async fn check(&self, world: &World, _: Option<&Kill>) {
        let reversals = ledger(world, "reversals").await;
        assert_eq!(reversals.len(), 1, "{reversals:?}");
        assert_eq!(reversals[0]["amount"], AMOUNT);
        let (state, transfer) = payout(world).await;
        assert_eq!(state, "reversed");
        assert_eq!(postings(world, "transfer_reversal").await, [AMOUNT]);
        let path = format!("/v1/transfers/{}/reversals", transfer.unwrap());
        assert_eq!(world.keys("POST", &path).await.len(), 1, "one key");
    }
}

/// A renewal that fails: its case, the letter of day 0, the try of day 1, and the pause of day 2.
pub struct Dunning {
    customer: String,
    subscription: String,
}

impl Dunning {
    async fn card(world: &World, customer: &str, card: &str) {
        let form = format!("customer={customer}");
        let method = world.stripe.post(&format!("/v1/payment_methods/{card}/attach"), &form).await.id();
        let form = format!("invoice_settings[default_payment_method]={method}");
        world.stripe.post(&format!("/v1/customers/{customer}"), &form).await.id();
    }
}

impl Scene for Dunning {
    const KINDS: &[&str] = &["open_dunning", "dunning_step", "send_letter", "retry_invoice", "pause_subscription"];

    async fn prepare(world: &World) -> Self {
        let form = "email=alice@example.com&metadata[user_id]=alice";
        let customer = world.stripe.post("/v1/customers", form).await.id();
        Self::card(world, &customer, "pm_card_visa").await;
        let form = format!("customer={customer}&items[0][price]={}&metadata[user_id]=alice", world.price);
        let subscription = world.stripe.post("/v1/subscriptions", &form).await.id();
        world.settle().await;
        Self::card(world, &customer, "pm_card_chargeCustomerFail").await;
        world.settle().await;
        let shown = world.stripe.get(&format!("/v1/subscriptions/{subscription}")).await.body;
        let end = shown["items"]["data"][0]["current_period_end"].as_i64().unwrap();
        // An invoice is a draft for an hour.
        world.advance(end + 60 * 60 + 1 - world.clock().await["now"].as_i64().unwrap()).await;
        Self { customer, subscription }
    }

    async fn play(&self, world: &World) {
        world.pass(5 * 60).await;
        world.pass(2 * DAY + 60 * 60).await;
    }

    async fn check(&self, world: &World, kill: Option<&Kill>) {
        let (state, invoice, failed): (String, String, DateTime<Utc>) =
            sqlx::query_as("SELECT state, invoice_id, failed_at FROM bursar.dunning_case")
                .fetch_one(&world.pool)
                .await
                .unwrap();
        assert_eq!(state, "paused");
        let steps: Vec<(String, String)> = sqlx::query_as("SELECT step, state FROM bursar.dunning_step ORDER BY step")
            .fetch_all(&world.pool)
            .await
            .unwrap();
        assert!(steps.iter().all(|(_, state)| state == "done"), "{steps:?}");
        assert_eq!(steps.len(), 3, "{steps:?}");
        let charges = world.stripe.get(&format!("/v1/charges?customer={}&limit=100", self.customer)).await.body;
        let tries: Vec<i64> = charges["data"]
            .as_array()
            .unwrap()
            .iter()
            .rev()
            .map(|charge| charge["created"].as_i64().unwrap() - failed.timestamp())
            .filter(|after| *after >= -DAY / 2)
            .map(|after| (after + DAY / 2).div_euclid(DAY))
            .collect();
        assert_eq!(tries, [0, 1], "one try of the card a step, by the sandbox's charges");
        let asked = world.keys("POST", &format!("/v1/invoices/{invoice}/pay")).await;
        assert_eq!(asked, [format!("dunning:{invoice}:retry:1:1")]);
        let path = format!("/v1/subscriptions/{}", self.subscription);
        assert_eq!(world.keys("POST", &path).await, [format!("dunning:{invoice}:pause:1")], "one pause");
        assert_eq!(world.stripe.get(&path).await.body["pause_collection"]["behavior"], "void");
        assert_eq!(postings(world, "refill").await.len(), 1, "the month that was paid");
        world.wrote(&["Your payment of 19.00 USD did not go through", "Your subscription is paused"], kill);
    }
}

/// A letter to a user, by SMTP.
pub struct Letter;

impl Scene for Letter {
    const KINDS: &[&str] = &["send_letter"];

    async fn prepare(world: &World) -> Self {
        sqlx::query(
            "INSERT INTO bursar.customer (id, user_id, email, email_asked_at) VALUES ('cus_1', 'alice', 'alice@example.com', bursar.now())",
        )
        .execute(&world.pool)
        .await
        .unwrap();
        Self
    }

    async fn play(&self, world: &World) {
        let letter = SendLetter::to_user("refund_made", "alice", "re_1").with("amount", "9.99 USD");
        enqueue(&world.pool, &[letter.job("refund_made:re_1".into(), None)]).await.unwrap();
        world.finish().await;
    }

    async fn check(&self, world: &World, kill: Option<&Kill>) {
        world.wrote(&["Your refund of 9.99 USD"], kill);
        let state: String = sqlx::query_scalar("SELECT state FROM bursar.letter").fetch_one(&world.pool).await.unwrap();
        assert_eq!(state, "sent");
    }
}
