//! A year of a monthly and of an annual plan, both from January 31, through the sandbox's test clocks: renewals, upgrades, downgrades, a
//! card that fails, a pause, a move. The events come through webhooks in either layout, late and shuffled; in the end the books say what
//! a straightforward count of the sandbox's own invoices says.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bursar_jobs::terms::{Package, Terms};
use chrono::{DateTime, Months, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::world::*;
use crate::{sandbox::client::Client, support::eventually};

/// Takes every event and keeps it.
async fn sink() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move { take(stream, &kept).await });
        }
    });
    (url, taken)
}

async fn take(mut stream: TcpStream, kept: &Mutex<Vec<Value>>) {
    let mut text = Vec::new();
    loop {
        let mut bytes = vec![0; 16384];
        let Ok(read @ 1..) = stream.read(&mut bytes).await else { return };
        text.extend_from_slice(&bytes[..read]);
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if text.len() < end + 4 + length.parse::<usize>().unwrap() {
            continue;
        }
        kept.lock().unwrap().push(serde_json::from_slice(&text[end + 4..]).unwrap());
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
        text.clear();
    }
}

pub(super) struct Year {
    pub(super) world: World,
    pub(super) stripe: Client,
    taken: Arc<Mutex<Vec<Value>>>,
    /// Stripe lets three customers live by a clock.
    clocks: Vec<String>,
    /// Where the next shuffle goes on.
    order: u64,
    /// Months' worth by price, in millionths.
    prices: Vec<(String, i64)>,
    /// What was changed when: subscription, moment, from, to; in millionths.
    changes: Vec<(String, DateTime<Utc>, i64, i64)>,
    pub(super) now: DateTime<Utc>,
    pub(super) terms: Terms,
}

/// Later than any day that the tests run on: business time is never behind the true time, and it would be ahead of the sandbox's clock. The
/// year after it is a leap year.
pub(super) const ANCHOR: &str = "2055-01-31T10:20:30Z";

impl Year {
    pub(super) async fn begin(version: Option<&str>) -> Self {
        Self::priced(version, [1900; 3]).await
    }

    /// With what each tier costs.
    pub(super) async fn priced(version: Option<&str>, amounts: [i64; 3]) -> Self {
        let stripe = Client::start().await;
        let (url, taken) = sink().await;
        let version = version.map(|version| format!("&api_version={version}")).unwrap_or_default();
        stripe.post("/v1/webhook_endpoints", &format!("url={url}&enabled_events[]=*{version}")).await.id();
        let mut clocks = Vec::new();
        for _ in 0..4 {
            let clock = format!("frozen_time={}", at(ANCHOR).timestamp());
            clocks.push(stripe.post("/v1/test_helpers/test_clocks", &clock).await.id());
        }
        let product = stripe.post("/v1/products", "name=Credits").await.id();
        let mut terms = terms();
        terms.packages.push(Package {
            name: "medium".into(),
            credits: credits(200),
            amount: 2999,
            currency: "usd".into(),
            price: None,
        });
        let mut prices = Vec::new();
        for (tier, amount) in terms.tiers.iter_mut().zip(amounts) {
            tier.prices.clear();
            for interval in ["month", "year"] {
                let form =
                    format!("product={product}&currency=usd&unit_amount={amount}&recurring[interval]={interval}");
                let price = stripe.post("/v1/prices", &form).await.id();
                prices.push((price.clone(), tier.credits.micros()));
                tier.prices.push(price);
            }
        }
        let world = World::over(terms.clone(), &stripe.0.url, &stripe.0.key).await;
        world.now(ANCHOR).await;
        Self { world, stripe, taken, clocks, order: 7, prices, changes: Vec::new(), now: at(ANCHOR), terms }
    }

    /// The price of a tier (0 starter, 1 pro, 2 team), by the month or by the year.
    pub(super) fn price(&self, tier: usize, annual: bool) -> String {
        self.prices[2 * tier + usize::from(annual)].0.clone()
    }

    fn worth(&self, price: &str) -> i64 {
        self.prices.iter().find(|(id, _)| id == price).unwrap().1
    }

    /// A customer with a card that works, subscribed.
    pub(super) async fn subscribe(&self, user: &str, price: &str) -> (String, String) {
        let customer = self.customer(user, 0, "pm_card_visa").await;
        (customer.clone(), self.plan(user, &customer, price, "").await)
    }

    /// A customer with a card, on one of the clocks.
    pub(super) async fn customer(&self, user: &str, clock: usize, card: &str) -> String {
        let form = format!("email={user}@example.com&metadata[user_id]={user}&test_clock={}", self.clocks[clock]);
        let customer = self.stripe.post("/v1/customers", &form).await.id();
        self.card(&customer, card).await;
        customer
    }

    /// Subscribes to one price.
    pub(super) async fn plan(&self, user: &str, customer: &str, price: &str, more: &str) -> String {
        let form = format!("customer={customer}&items[0][price]={price}&metadata[user_id]={user}{more}");
        self.stripe.post("/v1/subscriptions", &form).await.id()
    }

    pub(super) async fn card(&self, customer: &str, card: &str) {
        let form = format!("customer={customer}");
        let method = self.stripe.post(&format!("/v1/payment_methods/{card}/attach"), &form).await.id();
        let form = format!("invoice_settings[default_payment_method]={method}");
        self.stripe.post(&format!("/v1/customers/{customer}"), &form).await.id();
    }

    /// Until then time passes at Stripe, and then here; the events since come in any order.
    pub(super) async fn pass(&mut self, to: &str) {
        self.advance(to).await;
        self.hear().await;
    }

    /// Until then time passes at Stripe.
    pub(super) async fn advance(&mut self, to: &str) {
        while self.now < at(to) {
            // A clock advances by two intervals of its shortest subscription at most.
            let next = (self.now + TimeDelta::days(25)).min(at(to));
            let form = format!("frozen_time={}", next.timestamp());
            for clock in &self.clocks {
                self.stripe.post(&format!("/v1/test_helpers/test_clocks/{clock}/advance"), &form).await.id();
            }
            self.now = next;
        }
    }

    /// An order that differs each time, and is the same in each run.
    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            self.order = self.order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            list.swap(i, usize::try_from(self.order >> 33).unwrap() % (i + 1));
        }
    }

    /// What has happened and was not heard of yet.
    pub(super) async fn taken(&mut self) -> Vec<Value> {
        eventually(Duration::from_secs(20), async || {
            let missing = self.stripe.get("/v1/events?delivery_success=false&limit=100").await.body;
            let missing = missing["data"].as_array().unwrap().len();
            if missing == 0 { Ok(()) } else { Err(missing) }
        })
        .await;
        std::mem::take(&mut *self.taken.lock().unwrap())
    }

    /// Hears what has happened, shuffled, and does what follows.
    pub(super) async fn hear(&mut self) {
        let mut events = self.taken().await;
        self.shuffle(&mut events);
        self.world.now(&(self.now + TimeDelta::minutes(1)).to_rfc3339()).await;
        for (i, event) in events.iter().enumerate() {
            self.world.hear(event).await;
            if i % 5 == 0 {
                self.world.drain().await;
            }
        }
        self.world.drain().await;
    }

    /// Changes the plan now, and hears of it.
    pub(super) async fn change(&mut self, subscription: &str, price: &str, quantity: i64, more: &str) {
        self.change_unheard(subscription, price, quantity, more).await;
        self.hear().await;
    }

    /// Changes the plan now, and remembers that.
    pub(super) async fn change_unheard(&mut self, subscription: &str, price: &str, quantity: i64, more: &str) {
        let before = self.stripe.get(&format!("/v1/subscriptions/{subscription}")).await.body;
        let item = &before["items"]["data"][0];
        let was = self.worth(item["price"]["id"].as_str().unwrap()) * item["quantity"].as_i64().unwrap();
        let form = format!(
            "items[0][id]={}&items[0][price]={price}&items[0][quantity]={quantity}{more}",
            item["id"].as_str().unwrap()
        );
        self.stripe.post(&format!("/v1/subscriptions/{subscription}"), &form).await.id();
        self.changes.push((subscription.to_owned(), self.now, was, self.worth(price) * quantity));
    }

    /// What a person counts by the sandbox's invoices and by what was changed when.
    pub(super) async fn counted(&self, subscription: &str) -> i64 {
        let shown = self.stripe.get(&format!("/v1/subscriptions/{subscription}")).await.body;
        let anchor = DateTime::from_timestamp(shown["billing_cycle_anchor"].as_i64().unwrap(), 0).unwrap();
        let path = format!("/v1/invoices?subscription={subscription}&status=paid&limit=100");
        let invoices = self.stripe.get(&path).await.body;
        let mut months: Vec<(DateTime<Utc>, DateTime<Utc>, i64)> = Vec::new();
        for invoice in invoices["data"].as_array().unwrap() {
            for line in invoice["lines"]["data"].as_array().unwrap() {
                let proration = &line["parent"]["subscription_item_details"]["proration"];
                if proration == true || line["parent"]["type"] == "invoice_item_details" || line["amount"] == 0 {
                    continue;
                }
                let moment = |name: &str| DateTime::from_timestamp(line["period"][name].as_i64().unwrap(), 0).unwrap();
                let price = line["pricing"]["price_details"]["price"].as_str().unwrap();
                let value = self.worth(price) * line["quantity"].as_i64().unwrap();
                let (start, end) = (moment("start"), moment("end"));
                if end - start < TimeDelta::days(40) {
                    months.push((start, end, value));
                    continue;
                }
                let month = |k| anchor.checked_add_months(Months::new(k)).unwrap();
                let first = (0..600).find(|k| month(*k) >= start).unwrap();
                for k in first..first + 12 {
                    let (from, to) = (month(k), month(k + 1));
                    if from <= self.now {
                        let now =
                            |sum: i64, (_, when, _, after): &(_, _, _, i64)| if *when <= from { *after } else { sum };
                        let of = self.changes.iter().filter(|(id, ..)| id == subscription);
                        months.push((from, to, of.fold(value, now)));
                    }
                }
            }
        }
        let mut sum = 0;
        for (start, end, value) in months {
            let within =
                self.changes.iter().filter(|(id, when, ..)| id == subscription && *when >= start && *when < end);
            let extra: i128 = within
                .map(|(_, when, was, is)| {
                    i128::from(is - was) * i128::from((end - *when).num_seconds())
                        / i128::from((end - start).num_seconds())
                })
                .sum();
            sum += value + i64::try_from(extra.max(0)).unwrap();
        }
        sum
    }
}

#[tokio::test]
async fn a_year_through_test_clocks_leaves_the_books_that_a_person_would_count() {
    for version in [None, Some("2024-06-20")] {
        let mut year = Year::begin(version).await;
        let (starter, pro, team) = (year.price(0, false), year.price(1, false), year.price(2, false));
        let annual = year.price(1, true);
        let (alice, monthly) = year.subscribe("alice", &starter).await;
        let (_, yearly) = year.subscribe("bob", &annual).await;
        year.hear().await;
        assert_eq!(year.world.balance_of("alice").await, credits(50));
        assert_eq!(year.world.balance_of("bob").await, credits(150));

        // February has no 31st, March has.
        year.pass("2055-03-15T12:00:00Z").await;
        year.change(&monthly, &pro, 1, "&proration_behavior=always_invoice").await;
        year.pass("2055-03-20T12:00:00Z").await;
        year.change(&monthly, &team, 1, "&proration_behavior=always_invoice").await;
        year.pass("2055-04-12T12:00:00Z").await;
        // A downgrade within the month, and up again: credits as refilled.
        year.change(&monthly, &starter, 1, "&proration_behavior=create_prorations").await;
        year.change(&monthly, &pro, 1, "&proration_behavior=create_prorations").await;
        year.pass("2055-05-10T00:00:00Z").await;
        year.change(&yearly, &annual, 2, "&proration_behavior=always_invoice").await;

        // June's renewal fails, and is paid by another card on the 5th.
        year.pass("2055-06-20T00:00:00Z").await;
        year.card(&alice, "pm_card_chargeCustomerFail").await;
        year.pass("2055-07-02T00:00:00Z").await;
        let status = |page: &Value| page["status"].as_str().unwrap().to_owned();
        let shown = |year: &Year, id: &str| -> Value {
            serde_json::from_slice(&year.world.bursar(&["subscriptions", "show", id, "--json"]).stdout).unwrap()
        };
        assert_eq!(status(&shown(&year, &monthly)), "past_due");
        let before = year.world.balance_of("alice").await;
        year.card(&alice, "pm_card_visa").await;
        let open = year.stripe.get(&format!("/v1/invoices?subscription={monthly}&status=open")).await.body;
        let open = open["data"][0]["id"].as_str().unwrap().to_owned();
        year.stripe.post(&format!("/v1/invoices/{open}/pay"), "").await.id();
        year.hear().await;
        assert_eq!(status(&shown(&year, &monthly)), "active");
        assert_eq!(year.world.balance_of("alice").await.micros(), before.micros() + credits(150).micros());

        // A pause of the collection: what falls due then is void, and grants nothing.
        year.pass("2055-08-10T00:00:00Z").await;
        year.stripe.post(&format!("/v1/subscriptions/{monthly}"), "pause_collection[behavior]=void").await.id();
        year.hear().await;
        assert_eq!(shown(&year, &monthly)["paused"], "void");
        year.pass("2055-10-05T00:00:00Z").await;
        year.stripe.post(&format!("/v1/subscriptions/{monthly}"), "pause_collection=").await.id();
        year.pass("2055-11-10T00:00:00Z").await;

        // Moved by an operator at the renewal of November 30.
        let before = year.world.balance_of("alice").await;
        let moved = year.world.bursar(&["subscriptions", "move", &monthly, "--price", &team]);
        assert!(moved.status.success(), "{moved:?}");
        year.hear().await;
        assert_eq!(year.world.balance_of("alice").await, before);
        year.pass("2055-12-02T00:00:00Z").await;
        assert_eq!(year.world.balance_of("alice").await.micros(), before.micros() + credits(500).micros());

        // Cancelled at the end of its period, and the annual plan to its last month.
        year.stripe.post(&format!("/v1/subscriptions/{monthly}"), "cancel_at_period_end=true").await.id();
        year.pass("2056-01-20T00:00:00Z").await;
        assert_eq!(status(&shown(&year, &monthly)), "canceled");

        for (user, subscription) in [("alice", &monthly), ("bob", &yearly)] {
            let (books, counted) = (year.world.balance_of(user).await.micros(), year.counted(subscription).await);
            assert_eq!(books, counted, "{user}, {version:?}: {:#}", json!(year.world.books().await));
        }
        let refills: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM bursar.posting p JOIN bursar.account a ON a.id = p.credit WHERE a.name = 'user:bob' AND p.kind = 'refill'",
        )
        .fetch_one(&year.world.db.pool)
        .await
        .unwrap();
        assert_eq!(refills, 12);
        year.world.is_clean().await;
    }
}

#[tokio::test]
async fn a_loop_between_the_month_and_the_year_nets_zero_by_the_sandboxs_own_invoices() {
    for version in [None, Some("2024-06-20")] {
        let mut year = Year::begin(version).await;
        let (month, annual) = (year.price(1, false), year.price(1, true));
        let (_, subscription) = year.subscribe("alice", &month).await;
        year.hear().await;
        year.pass("2055-02-14T00:00:00Z").await;
        for (hour, price) in [&annual, &month, &annual, &month].into_iter().enumerate() {
            year.pass(&format!("2055-02-14T0{}:00:00Z", hour + 1)).await;
            year.change(&subscription, price, 1, "&proration_behavior=always_invoice").await;
        }
        // Half of February was used, and of three months an hour each; what is there beside is the new month.
        let left = year.world.balance_of("alice").await;
        assert!(left > credits(222) && left < credits(224), "{version:?}: {left}: {:?}", year.world.books().await);
        year.world.is_clean().await;
    }
}
