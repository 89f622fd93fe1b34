//! A shop: a database, a sandbox, a worker and the server.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bursar::{
    api, config, queue,
    stop::{self, Stopper},
};
use bursar_jobs::{
    Stripe, StripeConfig,
    base::credits::Credits,
    inbox::{self, envelope::Envelope},
    ledger,
    terms::{Package, Terms},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::{
    sandbox::client::Client as Sandbox,
    support::{Database, database, eventually},
    web::client::{Client, Header, Reply, head},
};

pub const TOKEN: &str = "let-me-in-to-test-it";
pub const SOON: Duration = Duration::from_secs(20);

pub struct Shop {
    pub db: Database,
    pub stripe: Sandbox,
    pub address: SocketAddr,
    _stoppers: Vec<Stopper>,
}

/// What is sold: tiers as ever, two packages, and amounts.
pub fn settings() -> api::Settings {
    let variables = [
        ("DATABASE_URL", "postgres://nobody@localhost/unused"),
        ("API_TOKEN", TOKEN),
        ("BURSAR_CHECKOUT__CURRENCIES", "usd,jpy,kwd,ugx,isk"),
        ("BURSAR_CHECKOUT__PER_MINUTE", "1000"),
    ];
    let variables: BTreeMap<_, _> = variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    config::Settings::from_parts(&[], variables, None).unwrap().api().unwrap()
}

/// A server over a database, until its stopper goes.
pub async fn serve(pool: &PgPool, change: impl FnOnce(&mut api::Settings)) -> (SocketAddr, Stopper) {
    let mut settings = settings();
    change(&mut settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stopper, stop) = stop::channel();
    tokio::spawn(api::run(settings, pool.clone(), listener, stop));
    (address, stopper)
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    /// The worker has the settings' terms, with prices that the sandbox has.
    pub async fn open_with(change: impl FnOnce(&mut api::Settings)) -> Self {
        let (db, stripe) = (database().await, Sandbox::start().await);
        let price = stripe
            .post("/v1/prices", "currency=usd&unit_amount=1900&recurring[interval]=month&product_data[name]=pro")
            .await
            .id();
        let mut settings = settings();
        settings.terms.stripe_on = true;
        for tier in settings.terms.tiers.iter_mut().filter(|tier| tier.name == "pro") {
            tier.prices = vec![price.clone()];
        }
        change(&mut settings);
        let config = StripeConfig::new(&stripe.0.url, &stripe.0.key);
        let options = queue::Options {
            stripe: Some(Stripe::new(config).unwrap()),
            poll: Duration::from_millis(20),
            ..queue::Options::default()
        };
        let (stopper, stop) = stop::channel();
        tokio::spawn(queue::run(db.pool.clone(), options, Arc::new(settings.terms.clone()), stop));
        let (address, api) = serve(&db.pool, |own| *own = settings).await;
        Self { db, stripe, address, _stoppers: vec![stopper, api] }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        post(self.address, path, body, None).await
    }

    pub async fn keyed(&self, path: &str, key: &str, body: &Value) -> Reply {
        post(self.address, path, body, Some(key)).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        get(self.address, path, &[]).await
    }

    /// Buys, up to the page where one pays: its session.
    pub async fn checkout(&self, body: Value) -> String {
        let reply = self.post("/api/stripe/checkout", &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        read(&reply)["session"].as_str().unwrap().to_owned()
    }

    /// Pays at Stripe. No event comes of it here.
    pub async fn pay(&self, session: &str) {
        let reply = self.stripe.post(&format!("/_sandbox/checkout/{session}/complete"), "{}").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    /// The event of a session, as Stripe has it now.
    pub async fn hear(&self, id: &str, kind: &str, session: &str) {
        self.hear_of(id, kind, &format!("/v1/checkout/sessions/{session}")).await;
    }

    /// The event of any object, as Stripe has it now.
    pub async fn hear_of(&self, id: &str, kind: &str, path: &str) {
        let object = self.stripe.get(path).await.body;
        let event = json!({"id": id, "object": "event", "type": kind, "livemode": false, "data": {"object": object}});
        let body = serde_json::to_vec(&event).unwrap();
        inbox::receive(&self.db.pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
        self.job_is(id, "done").await;
    }

    pub async fn job_is(&self, key: &str, wanted: &str) {
        eventually(SOON, || async {
            let seen: Vec<(String, Option<String>)> =
                sqlx::query_as("SELECT state, reason FROM bursar.job WHERE key = $1")
                    .bind(key)
                    .fetch_all(&self.db.pool)
                    .await
                    .unwrap();
            if seen.iter().any(|(state, _)| state == wanted) { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    pub async fn balance(&self, user: &str) -> String {
        ledger::balance(&self.db.pool, user).await.unwrap().to_string()
    }

    pub async fn session(&self, id: &str) -> Value {
        self.stripe.get(&format!("/v1/checkout/sessions/{id}?expand[]=line_items")).await.body
    }

    pub async fn sessions(&self) -> usize {
        self.stripe.get("/v1/checkout/sessions?limit=100").await.body["data"].as_array().unwrap().len()
    }

    pub async fn customers(&self) -> Vec<Value> {
        self.stripe.get("/v1/customers?limit=100").await.body["data"].as_array().unwrap().clone()
    }
}

pub async fn post(address: SocketAddr, path: &str, body: &Value, key: Option<&str>) -> Reply {
    let mut headers = vec![("authorization", format!("Bearer {TOKEN}"))];
    headers.extend(key.map(|key| ("idempotency-key", key.to_owned())));
    Client::connect(address).await.post(path, &headers, &body.to_string()).await
}

pub async fn get(address: SocketAddr, path: &str, more: &[Header]) -> Reply {
    let headers = [&[("authorization", format!("Bearer {TOKEN}"))], more].concat();
    let mut client = Client::connect(address).await;
    client.send(&head("GET", path, &headers, 0)).await;
    client.reply().await
}

pub fn read(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
}

pub fn credits(whole: i64) -> Credits {
    Credits::whole(whole).unwrap()
}

pub fn package(name: &str, amount: i64, price: Option<&str>) -> Package {
    Package {
        name: name.into(),
        credits: credits(amount),
        amount: amount * 10,
        currency: "usd".into(),
        price: price.map(str::to_owned),
    }
}

pub fn terms_with(settings: &mut api::Settings, change: impl FnOnce(&mut Terms)) {
    change(&mut settings.terms);
}
