//! A deployment in which everything is well, and what the doctor says of it.

use std::{collections::BTreeMap, net::SocketAddr};

use bursar::{
    config::Settings,
    schedule,
    stop::{self, Stopper},
    web,
};
use bursar_jobs::{engine::kind, event_gaps::watch_events};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    letters::sink::Sink,
    sandbox::client::Client,
    support::{Database, bursar, database},
};

pub struct Bench {
    pub db: Database,
    pub stripe: Client,
    pub sink: Sink,
    /// Where web is reached.
    pub url: String,
    /// The endpoint of the platform's own events, and that of connected accounts.
    pub endpoints: [String; 2],
    variables: BTreeMap<String, String>,
    _web: Stopper,
}

/// What it said, as programs read it.
#[derive(Debug)]
pub struct Report {
    pub code: Option<i32>,
    pub checks: Vec<Value>,
}

/// The types that a platform's endpoint is to have, and a Connect endpoint.
pub fn types(connect: bool) -> Vec<&'static str> {
    let of_connect = |kind: &str| kind.starts_with("account.") || kind.starts_with("capability.");
    kind::STRIPE_EVENTS.iter().map(|(kind, _)| *kind).filter(|kind| of_connect(kind) == connect).collect()
}

pub fn enabled(types: &[&str]) -> String {
    types.iter().flat_map(|kind| ["&enabled_events[]=", kind]).collect()
}

impl Bench {
    pub async fn new() -> Self {
        let (db, stripe, sink) = (database().await, Client::start().await, Sink::start().await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        for (price, amount) in [("price_starter", 1000), ("price_pro", 2500), ("price_team", 7500)] {
            stripe.0.sell(price, price, amount);
        }
        stripe.0.set_up_portal();
        let mut endpoints = Vec::new();
        for connect in [false, true] {
            let form = format!("url={url}/api/stripe/webhook&connect={connect}{}", enabled(&types(connect)));
            endpoints.push(stripe.post("/v1/webhook_endpoints", &form).await.id());
        }
        let variables: BTreeMap<String, String> = [
            ("DATABASE_URL", db.url.clone()),
            ("STRIPE_API_BASE", stripe.0.url.clone()),
            ("STRIPE_SECRET_KEY", "sk_test_4eC39HqLyjWDarjtT1zdp7dc".to_owned()),
            ("STRIPE_WEBHOOK_SECRET", "whsec_fedcba9876543210fedcba9876543210".to_owned()),
            ("VERIFICATION_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=".to_owned()),
            ("API_TOKEN", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned()),
            ("STRIPE_PRICE_STARTER", "price_starter".to_owned()),
            ("STRIPE_PRICE_PRO", "price_pro".to_owned()),
            ("STRIPE_PRICE_TEAM", "price_team".to_owned()),
            ("SMTP_URL", sink.url()),
            ("BURSAR_LETTERS__FROM", "Acme <billing@acme.example>".to_owned()),
            ("BURSAR_CHECKOUT__AUTOMATIC_TAX", "true".to_owned()),
            // Somebody who answers.
            ("BURSAR_NOTIFY__URL", format!("{url}/healthz")),
            ("NOTIFY_SECRET", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".to_owned()),
            ("BURSAR_WEB__PUBLIC_URL", url.clone()),
            ("BURSAR_DATABASE__MAX_CONNECTIONS", "5".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let settings = Settings::from_parts(&[], variables.clone(), None).unwrap();
        let web = serve(&settings, &db, listener, address);
        schedule::declare(&db.pool, &settings.calendar().unwrap()).await.unwrap();
        let kinds: Vec<&str> = kind::ALL.iter().map(|kind| kind.name).collect();
        sqlx::query(
            "INSERT INTO apalis.workers (id, worker_type, storage_name, lease_until, kinds)
             VALUES ('worker-1', 'test', 'test', clock_timestamp() + interval '1 hour', $1)",
        )
        .bind(kinds)
        .execute(&db.pool)
        .await
        .unwrap();
        let endpoints = endpoints.try_into().unwrap();
        let bench = Self { db, stripe, sink, url, endpoints, variables, _web: web };
        bench.plant("INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')").await;
        watch_events::begin(&bench.db.pool).await.unwrap();
        bench
    }

    /// Runs a command with the bench's settings and these over them; an empty one takes away.
    pub async fn run(&self, args: &[&str], over: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let mut command = bursar(args);
        command.envs(&self.variables).envs(over.iter().copied());
        // The sandbox and web answer from this very process.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    pub async fn examine(&self, over: &[(&str, &str)]) -> Report {
        let (code, out, err) = self.run(&["doctor", "--json"], over).await;
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line} {err}"));
        Report { code, checks: out.lines().map(line).collect() }
    }

    pub async fn plant(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.db.pool).await.unwrap();
    }

    /// What is put wrong at Stripe, as its dashboard or the sandbox takes it.
    pub async fn at_stripe(&self, path: &str, body: &str) {
        let reply = self.stripe.post(path, body).await;
        assert_eq!(reply.status, 200, "{path} {body}: {}", reply.text);
    }

    pub fn secret(&self, name: &str) -> &str {
        &self.variables[name]
    }

    /// Those that must never be shown.
    pub fn secrets(&self) -> Vec<String> {
        let names = ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "VERIFICATION_SECRET", "API_TOKEN", "NOTIFY_SECRET"];
        names.iter().map(|name| self.variables[*name].clone()).collect()
    }
}

fn serve(settings: &Settings, db: &Database, listener: TcpListener, address: SocketAddr) -> Stopper {
    let mut web = settings.web().unwrap();
    web.address = address;
    let (stopper, stop) = stop::channel();
    tokio::spawn(web::run(web, db.pool.clone(), listener, stop));
    stopper
}

/// An address that takes connections and never answers.
pub async fn black_hole() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(one) = listener.accept().await {
            held.push(one);
        }
    });
    format!("http://{address}")
}

/// An address that answers everything by this, with the head's lines after the first.
pub async fn parrot(status: &str, head: &str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer =
        format!("HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    tokio::spawn(async move {
        while let Ok((mut one, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut asked = vec![0; 65_536];
                let read = one.read(&mut asked).await?;
                assert!(read > 0);
                one.write_all(answer.as_bytes()).await
            });
        }
    });
    format!("http://{address}")
}

impl Report {
    fn check(&self, name: &str) -> &Value {
        self.checks
            .iter()
            .find(|check| check["check"] == name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.checks))
    }

    pub fn result(&self, name: &str) -> &str {
        self.check(name)["result"].as_str().unwrap()
    }

    pub fn seen(&self, name: &str) -> &str {
        self.check(name)["seen"].as_str().unwrap()
    }

    pub fn remedy(&self, name: &str) -> &str {
        self.check(name)["remedy"].as_str().unwrap_or_default()
    }

    pub fn results(&self) -> BTreeMap<String, String> {
        let text = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
        self.checks.iter().map(|check| (text(check, "check"), text(check, "result"))).collect()
    }

    pub fn other_than_ok(&self) -> Vec<(&str, &str)> {
        let mut others: Vec<_> = self
            .checks
            .iter()
            .map(|check| (check["check"].as_str().unwrap(), check["result"].as_str().unwrap()))
            .filter(|(_, result)| *result != "ok")
            .collect();
        others.sort_unstable();
        others
    }
}
