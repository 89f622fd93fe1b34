//! Two years of ten subscribers, by test clocks: anchors on the 31st and on a leap day, upgrades and downgrades, quantities, a trial, a card
//! that fails, a pause, refunds that come and that fail, disputes won and lost, purchases, spends, months in which nobody worked.
//! In the end the books, the sandbox's own books and a count by hand agree to the credit, in either layout.

use serde_json::Value;

use super::{
    world::*,
    year::{ANCHOR, Year},
};

/// One of the ten.
struct Life {
    user: &'static str,
    customer: String,
    subscriptions: Vec<String>,
    /// What was bought for once, less what was spent, and what banks took back; in millionths.
    beside: i64,
}

struct Story {
    year: Year,
    lives: Vec<Life>,
}

impl Story {
    async fn join(&mut self, user: &'static str, card: &str, price: &str, more: &str) {
        let customer = self.year.customer(user, self.lives.len() / 3, card).await;
        let subscription = self.year.plan(user, &customer, price, more).await;
        self.lives.push(Life { user, customer, subscriptions: vec![subscription], beside: 0 });
    }

    fn life(&mut self, user: &str) -> &mut Life {
        self.lives.iter_mut().find(|life| life.user == user).unwrap()
    }

    fn of(&self, user: &str) -> (String, String) {
        let life = self.lives.iter().find(|life| life.user == user).unwrap();
        (life.customer.clone(), life.subscriptions.last().unwrap().clone())
    }

    async fn change(&mut self, user: &str, price: &str, quantity: i64) {
        let (_, subscription) = self.of(user);
        self.year.change(&subscription, price, quantity, "&proration_behavior=create_prorations").await;
    }

    async fn update(&mut self, user: &str, form: &str) {
        let (_, subscription) = self.of(user);
        self.year.stripe.post(&format!("/v1/subscriptions/{subscription}"), form).await.id();
        self.year.hear().await;
    }

    /// The charge and the payment intent of the newest paid invoice.
    async fn newest(&self, user: &str) -> (String, String) {
        let (_, subscription) = self.of(user);
        let path = format!("/v1/invoices?subscription={subscription}&status=paid&limit=1&expand[]=data.payments");
        let invoice = self.year.stripe.get(&path).await.body["data"][0].clone();
        let intent =
            invoice["payments"]["data"][0]["payment"]["payment_intent"].as_str().unwrap_or_else(|| panic!("{invoice}"));
        let shown = self.year.stripe.get(&format!("/v1/payment_intents/{intent}")).await.body;
        (shown["latest_charge"].as_str().unwrap().to_owned(), intent.to_owned())
    }

    /// Gives money back for the newest invoice; `takes` is what that takes of its refill, in millionths.
    async fn refund(&mut self, user: &str, amount: i64, takes: i64) {
        let (_, intent) = self.newest(user).await;
        self.year.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount={amount}")).await.id();
        self.life(user).beside -= takes;
        self.year.hear().await;
    }

    /// A bank takes the newest payment back, and decides.
    async fn dispute(&mut self, user: &str, verdict: &str, takes: i64) {
        let (charge, _) = self.newest(user).await;
        let opened =
            self.year.stripe.send("POST", &format!("/_sandbox/charges/{charge}/dispute"), "{}", &[]).await.unwrap();
        let dispute = opened.body["id"]
            .as_str()
            .filter(|id| id.starts_with("du_") || id.starts_with("dp_"))
            .unwrap_or_else(|| panic!("{}", opened.text));
        self.year.hear().await;
        let body = format!(r#"{{"status":"{verdict}"}}"#);
        let closed = self.year.stripe.send("POST", &format!("/_sandbox/disputes/{dispute}"), &body, &[]).await.unwrap();
        assert_eq!(closed.status, 200, "{}", closed.text);
        self.life(user).beside -= takes;
        self.year.hear().await;
    }

    /// Buys 200 credits for 29.99, and gets back as much as that of it.
    async fn buy(&mut self, user: &'static str, refunded: i64) {
        let form = format!(
            "mode=payment&success_url=https://shop.example&client_reference_id={user}&metadata[user_id]={user}&metadata[credits]=200\
             &line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=2999\
             &line_items[0][price_data][product_data][name]=200"
        );
        let session = self.year.stripe.post("/v1/checkout/sessions", &form).await.id();
        let paid =
            self.year.stripe.send("POST", &format!("/_sandbox/checkout/{session}/complete"), "{}", &[]).await.unwrap();
        let intent = paid.body["payment_intent"].as_str().unwrap_or_else(|| panic!("{}", paid.text)).to_owned();
        self.life(user).beside += credits(200).micros();
        if refunded > 0 {
            self.year.stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount={refunded}")).await.id();
            self.life(user).beside -= credits(200).micros() * refunded / 2999;
        }
        self.year.hear().await;
    }

    async fn spend(&mut self, user: &'static str, whole: i64) {
        let key = format!("{user}-{whole}-{}", self.year.now);
        let status: String = sqlx::query_scalar("SELECT status FROM bursar.spend($1, $2::bigint::numeric, $3)")
            .bind(user)
            .bind(whole)
            .bind(key)
            .fetch_one(&self.year.world.db.pool)
            .await
            .unwrap();
        assert_eq!(status, "done", "{user} {whole}");
        self.life(user).beside -= credits(whole).micros();
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.year.world.db.pool).await.unwrap()
    }
}

async fn lived(version: Option<&str>) -> Story {
    let mut story = Story { year: Year::begin(version).await, lives: Vec::new() };
    let (starter, pro, team) = (story.year.price(0, false), story.year.price(1, false), story.year.price(2, false));
    let (starter_annual, pro_annual, team_annual) =
        (story.year.price(0, true), story.year.price(1, true), story.year.price(2, true));
    assert_eq!(ANCHOR[..10], *"2055-01-31");
    let visa = "pm_card_visa";
    story.join("alice", visa, &starter, "").await;
    story.join("bob", visa, &pro_annual, "").await;
    story.join("carol", visa, &starter, "&items[0][quantity]=3").await;
    story.join("dave", visa, &pro, "&trial_period_days=14").await;
    story.join("erin", visa, &pro, "").await;
    story.join("frank", visa, &pro, "").await;
    story.join("grace", visa, &starter, "").await;
    story.join("heidi", "pm_card_refundFail", &starter, "").await;
    story.year.hear().await;

    story.refund("grace", 950, credits(25).micros()).await;
    story.buy("alice", 0).await;
    story.spend("alice", 120).await;
    story.year.pass("2055-03-15T12:00:00Z").await;
    story.change("alice", &pro, 1).await;
    story.change("carol", &starter, 5).await;
    story.dispute("grace", "won", 0).await;
    story.year.pass("2055-03-20T12:00:00Z").await;
    story.change("alice", &team, 1).await;
    story.change("carol", &starter, 2).await;
    story.spend("bob", 300).await;

    // The rest of a refund, a refund that comes back, a bank that takes all.
    story.year.pass("2055-05-10T00:00:00Z").await;
    story.refund("grace", 1900, credits(50).micros()).await;
    story.refund("heidi", 1900, 0).await;
    story.dispute("frank", "lost", credits(150).micros()).await;

    // Erin's card fails in June, and another pays in July.
    story.year.pass("2055-06-20T00:00:00Z").await;
    let (erin, _) = story.of("erin");
    story.year.card(&erin, "pm_card_chargeCustomerFail").await;
    story.year.pass("2055-07-02T00:00:00Z").await;
    story.year.card(&erin, visa).await;
    story.year.pass("2055-07-10T00:00:00Z").await;
    story.change("alice", &starter, 1).await;
    story.update("frank", "pause_collection[behavior]=void").await;

    // Nobody works for six weeks.
    story.year.pass("2055-08-20T00:00:00Z").await;
    story.change("bob", &team_annual, 1).await;
    story.year.pass("2055-10-05T00:00:00Z").await;
    story.update("frank", "pause_collection=").await;
    story.buy("frank", 1500).await;
    story.year.pass("2055-12-20T00:00:00Z").await;
    story.update("alice", "cancel_at_period_end=true").await;

    // Two who come on the leap day, one for a month and one for a year.
    story.year.pass("2056-02-29T08:00:00Z").await;
    story.join("ivan", visa, &pro, "").await;
    story.join("judy", visa, &starter_annual, "").await;
    story.year.hear().await;
    story.year.pass("2056-05-15T00:00:00Z").await;
    story.change("ivan", &team, 1).await;
    story.change("ivan", &pro, 1).await;
    story.change("judy", &pro_annual, 1).await;
    let (alice, _) = story.of("alice");
    let again = story.year.plan("alice", &alice, &pro, "").await;
    story.life("alice").subscriptions.push(again);
    story.year.hear().await;
    story.year.pass("2056-09-01T00:00:00Z").await;
    story.spend("ivan", 200).await;
    story.update("dave", "cancel_at_period_end=true").await;
    story.year.pass("2057-01-20T00:00:00Z").await;
    story
}

#[tokio::test]
async fn two_years_of_ten_subscribers_agree_to_the_credit() {
    agree(None).await;
}

#[tokio::test]
async fn two_years_of_ten_subscribers_agree_in_the_older_layout() {
    agree(Some("2024-06-20")).await;
}

async fn agree(version: Option<&str>) {
    let story = lived(version).await;
    assert_eq!(story.lives.len(), 10);
    for life in &story.lives {
        let mut counted = life.beside;
        for subscription in &life.subscriptions {
            counted += story.year.counted(subscription).await;
        }
        let books = story.year.world.balance_of(life.user).await.micros();
        assert_eq!(books, counted, "{}, {version:?}", life.user);
    }
    // The sandbox's own books, and what ours know of them.
    let ledger = story.year.stripe.get("/_sandbox/ledger").await.body;
    let length = |name: &str| i64::try_from(ledger[name].as_array().unwrap().len()).unwrap();
    let failed = |refund: &&Value| refund["status"] == "failed";
    assert_eq!((length("refunds"), length("disputes")), (4, 2), "{ledger}");
    assert_eq!(ledger["refunds"].as_array().unwrap().iter().filter(failed).count(), 1);
    assert_eq!(story.count("SELECT count(*) FROM bursar.refund").await, 4);
    assert_eq!(story.count("SELECT count(*) FROM bursar.refund WHERE status = 'failed'").await, 1);
    assert_eq!(story.count("SELECT count(*) FROM bursar.dispute WHERE status IN ('won', 'lost')").await, 2);
    story.year.world.is_clean().await;
}
