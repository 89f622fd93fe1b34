//! Checkouts whose payment never comes, and those beside a subscription whose first payment never came.

use std::{net::SocketAddr, time::Duration};

use bursar::stop::Stopper;
use serde_json::{Value, json};

use super::shop::{SOON, Shop, get, post, read, serve};
use crate::{payouts::world::World, support::eventually, web::client::Reply};

const CHECKOUT: &str = "/api/stripe/checkout";

/// A shop that is driven by hand, and alice's subscription there.
struct Scene {
    world: World,
    address: SocketAddr,
    _api: Stopper,
    customer: String,
    subscription: String,
    invoice: String,
}

impl Scene {
    /// It waits for its first payment, and bursar has heard of it.
    async fn incomplete() -> Self {
        let scene = Self::subscribed("payment_behavior=default_incomplete").await;
        assert_eq!(scene.status().await, ("incomplete".into(), Some("incomplete".into())));
        scene
    }

    async fn subscribed(more: &str) -> Self {
        let world = World::new().await;
        let form = "currency=usd&unit_amount=2500&recurring[interval]=month&product_data[name]=pro";
        let price = world.stripe.post("/v1/prices", form).await.id();
        let world = world.on_terms(|terms| terms.tiers[0].prices = vec![price.clone()]);
        let (address, api) = serve(&world.db.pool, |settings| {
            settings.patience = Duration::from_millis(50);
            settings.terms.tiers.iter_mut().find(|tier| tier.name == "pro").unwrap().prices = vec![price.clone()];
        })
        .await;
        let customer = world.stripe.post("/v1/customers", "email=a@example.com&metadata[user_id]=alice").await.id();
        if more.contains("off_session") {
            let path = "/v1/payment_methods/pm_usBankAccount_noAccount/attach";
            let method = world.stripe.post(path, &format!("customer={customer}")).await.id();
            let form = format!("invoice_settings[default_payment_method]={method}");
            assert_eq!(world.stripe.post(&format!("/v1/customers/{customer}"), &form).await.status, 200);
        }
        let form = format!("customer={customer}&items[0][price]={price}&metadata[user_id]=alice&{more}");
        let made = world.stripe.post("/v1/subscriptions", &form).await;
        assert_eq!(made.status, 200, "{}", made.text);
        let invoice = made.body["latest_invoice"].as_str().unwrap().to_owned();
        let scene = Self { world, address, _api: api, customer, subscription: made.id(), invoice };
        scene.hear("evt_1", "customer.subscription.created", &made.body).await;
        assert!(scene.world.step_of("link_subscriber", None).await);
        scene.sync().await;
        scene
    }

    async fn hear(&self, id: &str, kind: &str, object: &Value) {
        let event = json!({"id": id, "object": "event", "type": kind, "livemode": false, "data": {"object": object}});
        self.world.hear(&event).await;
    }

    async fn sync(&self) {
        while self.world.step_of("sync_subscription", None).await {}
    }

    /// Its status at Stripe, and here.
    async fn status(&self) -> (String, Option<String>) {
        let there = self.world.stripe.get(&format!("/v1/subscriptions/{}", self.subscription)).await.body;
        let here = sqlx::query_scalar("SELECT status FROM bursar.subscription WHERE id = $1")
            .bind(&self.subscription)
            .fetch_optional(&self.world.db.pool)
            .await
            .unwrap();
        (there["status"].as_str().unwrap().to_owned(), here)
    }

    async fn ask(&self) -> Reply {
        post(self.address, CHECKOUT, &json!({"user_id": "alice", "tier": "pro"}), Some("k")).await
    }

    /// Performs what the checkout waits for, until it is made or not. With a point each attempt dies there once before it goes through.
    async fn settle(&self, cut: Option<&'static str>) {
        for _ in 0..40 {
            for kind in ["create_checkout", "expire_subscription", "sync_subscription"] {
                if let Some(point) = cut {
                    self.world.step_of(kind, Some(point)).await;
                }
                self.world.step_of(kind, None).await;
            }
            let state: String = sqlx::query_scalar("SELECT state FROM bursar.checkout WHERE key = 'k'")
                .fetch_one(&self.world.db.pool)
                .await
                .unwrap();
            if state != "asked" {
                self.sync().await;
                return;
            }
        }
        panic!("nothing became of the checkout");
    }

    async fn pay(&self) {
        let pay = format!("/v1/invoices/{}/pay", self.invoice);
        let paid = self.world.stripe.post(&pay, "payment_method=pm_card_visa").await;
        assert_eq!(paid.body["status"], "paid", "{}", paid.text);
    }

    async fn sessions(&self) -> usize {
        self.world.stripe.get("/v1/checkout/sessions").await.body["data"].as_array().unwrap().len()
    }

    /// The user has the subscription that was paid, and the checkout says so.
    async fn is_the_only_one(&self) {
        let reply = self.ask().await;
        assert_eq!((reply.status, &read(&reply)["subscription_id"]), (409, &json!(self.subscription)), "{reply:?}");
        assert_eq!(self.sessions().await, 0);
        assert_eq!(self.status().await, ("active".into(), Some("active".into())));
        let all = self.world.stripe.get(&format!("/v1/subscriptions?customer={}&status=all", self.customer)).await;
        assert_eq!(all.body["data"].as_array().unwrap().len(), 1);
        assert_eq!(self.world.dead_jobs().await, 0);
    }
}

#[tokio::test]
async fn a_subscription_that_waits_for_its_first_payment_makes_way_wherever_the_worker_is_killed() {
    for cut in [None, Some("before_intent"), Some("after_intent"), Some("after_request"), Some("before_settlement")] {
        let scene = Scene::incomplete().await;
        assert_eq!(scene.ask().await.status, 503, "nobody has done it yet");
        assert!(scene.world.step_of("create_checkout", cut).await);
        assert_eq!(scene.sessions().await, 0, "{cut:?}: no page while the other can be paid");
        scene.settle(cut).await;
        let reply = scene.ask().await;
        assert_eq!(reply.status, 200, "{cut:?}: {reply:?}");
        assert_eq!(scene.sessions().await, 1, "{cut:?}");
        assert_eq!(scene.status().await, ("incomplete_expired".into(), Some("incomplete_expired".into())), "{cut:?}");
        let invoice = scene.world.stripe.get(&format!("/v1/invoices/{}", scene.invoice)).await;
        assert_eq!(invoice.body["status"], "void", "{cut:?}");
        assert_eq!(scene.world.dead_jobs().await, 0, "{cut:?}");
        let session = read(&reply)["session"].as_str().unwrap().to_owned();
        let paid = scene.world.stripe.post(&format!("/_sandbox/checkout/{session}/complete"), "{}").await;
        assert_eq!(paid.status, 200, "{}", paid.text);
        let active =
            scene.world.stripe.get(&format!("/v1/subscriptions?customer={}&status=active", scene.customer)).await;
        assert_eq!(active.body["data"].as_array().unwrap().len(), 1, "{cut:?}: the one that was paid on the page");
    }
}

#[tokio::test]
async fn a_first_payment_that_came_before_anybody_looked_keeps_its_subscription_the_only_one() {
    let scene = Scene::incomplete().await;
    // Its event has not come.
    scene.pay().await;
    scene.ask().await;
    scene.settle(None).await;
    scene.is_the_only_one().await;
}

#[tokio::test]
async fn a_first_payment_that_comes_between_the_look_and_the_void_keeps_its_subscription_the_only_one() {
    for cut in [None, Some("after_intent"), Some("after_request")] {
        let scene = Scene::incomplete().await;
        scene.ask().await;
        assert!(scene.world.step_of("create_checkout", None).await);
        assert!(scene.world.step_of("expire_subscription", None).await, "looks: it is incomplete");
        if cut == Some("after_intent") {
            assert!(scene.world.step_of("expire_subscription", cut).await, "the void is decided, and has not left");
        }
        scene.pay().await;
        scene.settle(cut.filter(|point| *point == "after_request")).await;
        scene.is_the_only_one().await;
    }
}

#[tokio::test]
async fn a_first_invoice_that_stripe_does_not_make_void_is_waited_for() {
    let scene = Scene::incomplete().await;
    scene.ask().await;
    // As while a debit is under way: refused, and saved.
    let fault = r#"{"route": "POST /v1/invoices/{id}/void", "fault": "balance_insufficient"}"#;
    scene.world.stripe.fault(fault).await;
    scene.settle(None).await;
    let reply = scene.ask().await;
    assert_eq!(reply.status, 409, "{reply:?}");
    assert!(reply.body.contains("may be under way"), "{reply:?}");
    assert_eq!((scene.sessions().await, scene.status().await.0.as_str()), (0, "incomplete"));
    // What was asked for then is over; the first payment may come as ever.
    while scene.world.step_of("create_checkout", None).await {}
    scene.pay().await;
    assert_eq!((scene.sessions().await, scene.status().await.0.as_str()), (0, "active"));
}

#[tokio::test]
async fn a_subscription_whose_debit_failed_makes_way_too() {
    let scene = Scene::subscribed("off_session=true").await;
    let sql = "INSERT INTO bursar.checkout (id, user_id, key, asked, mode, item, credits, fields, state, session_id, payment_status)
               VALUES ('c', 'alice', 'first', '{}', 'subscription', 'tier:pro', 1, '[]', 'complete', 'cs_1', 'unpaid')";
    sqlx::raw_sql(sql).execute(&scene.world.db.pool).await.unwrap();
    scene.world.stripe.post("/_sandbox/advance", r#"{"seconds": 864000}"#).await;
    assert_eq!(scene.status().await.0, "past_due");
    let session = json!({"id": "cs_1", "object": "checkout.session", "mode": "subscription", "status": "complete",
        "payment_status": "unpaid", "subscription": scene.subscription, "metadata": {"user_id": "alice"}});
    scene.hear("evt_2", "checkout.session.async_payment_failed", &session).await;
    assert!(scene.world.step_of("fail_checkout", None).await);
    scene.sync().await;
    assert_eq!(scene.ask().await.status, 503);
    scene.settle(None).await;
    let reply = scene.ask().await;
    assert_eq!((reply.status, scene.sessions().await), (200, 1), "{reply:?}");
    assert_eq!(scene.status().await, ("canceled".into(), Some("canceled".into())));
    assert_eq!(scene.world.dead_jobs().await, 0);
}

#[tokio::test]
async fn a_debit_that_fails_after_the_checkout_fails_it_with_the_reason() {
    let shop = Shop::open().await;
    let session = shop.checkout(json!({"user_id": "alice", "package": "small"})).await;
    let form = "type=us_bank_account&us_bank_account[account_number]=000222222227&us_bank_account[routing_number]=110000000\
                &us_bank_account[account_holder_type]=individual&billing_details[name]=a&billing_details[email]=a@x.example";
    let method = shop.stripe.post("/v1/payment_methods", form).await;
    assert_eq!(method.status, 200, "{}", method.text);
    let pay = format!("payment_method={}", method.id());
    let done = shop.stripe.post(&format!("/v1/payment_pages/{session}/confirm"), &pay).await;
    assert_eq!((done.status, &done.body["payment_status"]), (200, &json!("unpaid")), "{}", done.text);
    shop.hear("evt_1", "checkout.session.completed", &session).await;
    let standing = async || read(&get(shop.address, &format!("{CHECKOUT}/{session}"), &[]).await);
    // Read here, for whoever asks by HTTP looks at Stripe, and the debit may have failed there by now.
    let kept: String = sqlx::query_scalar("SELECT state FROM bursar.checkout WHERE session_id = $1")
        .bind(&session)
        .fetch_one(&shop.db.pool)
        .await
        .unwrap();
    assert_eq!(kept, "complete");
    shop.stripe.post("/_sandbox/advance", r#"{"seconds": 864000}"#).await;
    shop.hear("evt_2", "checkout.session.async_payment_failed", &session).await;
    eventually(SOON, || async {
        let standing = standing().await;
        let why = standing["reason"].as_str().unwrap_or_default().to_owned();
        if standing["state"] == "failed" && why.contains("the payment failed: ") { Ok(()) } else { Err(standing) }
    })
    .await;
    assert_eq!(shop.balance("alice").await, "0");
    let other = shop.checkout(json!({"user_id": "alice", "package": "small"})).await;
    assert_ne!(other, session);
    // The first event, late: what has failed stays so.
    shop.hear("evt_3", "checkout.session.completed", &session).await;
    assert_eq!(standing().await["state"], "failed");
    let next = read(&get(shop.address, &format!("{CHECKOUT}/{other}"), &[]).await);
    assert_eq!((&next["state"], &next["reason"]), (&json!("open"), &Value::Null));
}

#[tokio::test]
async fn a_debit_that_failed_without_an_event_is_seen_by_whoever_looks() {
    let shop = Shop::open().await;
    let session = shop.checkout(json!({"user_id": "alice", "package": "small"})).await;
    let pay = "payment_method=pm_usBankAccount_noAccount";
    let done = shop.stripe.post(&format!("/v1/payment_pages/{session}/confirm"), pay).await;
    assert_eq!((done.status, &done.body["payment_status"]), (200, &json!("unpaid")), "{}", done.text);
    shop.stripe.post("/_sandbox/advance", r#"{"seconds": 864000}"#).await;
    let standing = read(&get(shop.address, &format!("{CHECKOUT}/{session}"), &[]).await);
    assert_eq!(standing["state"], "failed", "{standing}");
}
