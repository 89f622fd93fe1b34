//! `web` as its senders meet it: the real server on a port of its own, a real database, bytes on a socket.

pub mod client;
mod drain;
mod outage;
mod refusals;
mod strangers;

use std::{collections::BTreeMap, net::SocketAddr};

use bursar::{
    config,
    stop::{self, Stopper},
    web::{self, Settings, WebError},
};
use bursar_jobs::base::clock;
use sqlx::PgPool;
use tokio::{net::TcpListener, task::JoinHandle};

use self::client::{Client, Reply, stripe_signature};
use crate::support;

const WEBHOOK: &str = "/api/stripe/webhook";
const CHECKOUT: &str = r#"{"id":"evt_1","object":"event","type":"checkout.session.completed","created":1790000000,
    "livemode":false,"api_version":"2026-09-30.endive","data":{"object":{"id":"cs_1","mode":"payment"}}}"#;

/// A server, until it is stopped or its test ends.
struct Server {
    address: SocketAddr,
    stopper: Stopper,
    end: JoinHandle<Result<(), WebError>>,
}

impl Server {
    async fn start(pool: &PgPool) -> Self {
        Self::start_with(pool, |_| {}).await
    }

    async fn start_with(pool: &PgPool, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = stop::channel();
        let end = tokio::spawn(web::run(settings, pool.clone(), listener, stop));
        Self { address, stopper, end }
    }

    /// Waits until it has ended by itself.
    async fn ended(self) {
        self.end.await.unwrap().unwrap();
    }
}

fn settings() -> Settings {
    let variables = [
        ("DATABASE_URL", "postgres://nobody@localhost/unused"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_old_of_the_endpoint, whsec_new_of_the_endpoint"),
        ("VERIFICATION_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
        ("BURSAR_WEB__WEBHOOK_PATHS", "/api/stripe/webhook,/stripe/connect"),
    ];
    let variables: BTreeMap<_, _> = variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    config::Settings::from_parts(&[], variables, None).unwrap().web().unwrap()
}

/// Sends an event as Stripe would, over a connection of its own.
async fn deliver(server: &Server, body: &str) -> Reply {
    Client::connect(server.address)
        .await
        .post(WEBHOOK, &[stripe_signature("whsec_new_of_the_endpoint", body)], body)
        .await
}

async fn events(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM bursar.event").fetch_one(pool).await.unwrap()
}

/// The kinds of the jobs that an event became.
async fn jobs_of(pool: &PgPool, event: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT kind FROM bursar.job WHERE cause = $1").bind(event).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn a_signed_event_is_on_disk_with_its_job_and_its_very_bytes() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let reply = deliver(&server, CHECKOUT).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"received":true}"#));
    let (kind, object, body): (String, String, Vec<u8>) =
        sqlx::query_as("SELECT type, object_id, body FROM bursar.event WHERE id = 'evt_1' AND source = 'stripe'")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!(
        (kind.as_str(), object.as_str(), body.as_slice()),
        ("checkout.session.completed", "cs_1", CHECKOUT.as_bytes())
    );
    assert_eq!(jobs_of(&database.pool, "evt_1").await, ["grant_purchase"]);

    let again = deliver(&server, CHECKOUT).await;
    assert_eq!((again.status, again.body.as_str()), (200, r#"{"received":true,"duplicate":true}"#));
    assert_eq!(jobs_of(&database.pool, "evt_1").await.len(), 1);
}

#[tokio::test]
async fn any_secret_any_v1_and_any_configured_path_will_do() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let mut client = Client::connect(server.address).await;
    let time = clock::now().timestamp();
    for (nth, path) in [WEBHOOK, "/stripe/connect?from=stripe"].into_iter().enumerate() {
        let body = CHECKOUT.replace("evt_1", &format!("evt_{nth}"));
        let [stranger, old] =
            ["whsec_stranger", "whsec_old_of_the_endpoint"].map(|secret| client::hex_hmac(secret, time, &body));
        let header = ("stripe-signature", format!("t={time},v1={stranger},v1={old},v0={stranger}"));
        assert_eq!(client.post(path, &[header], &body).await.status, 200, "{path}");
    }
    assert_eq!(events(&database.pool).await, 2);
}

#[tokio::test]
async fn a_type_that_nobody_knows_and_a_thin_event_are_stored_too() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let thin = r#"{"id":"evt_thin","object":"v2.core.event","type":"v2.core.account.updated","created":"2026-10-01T00:00:00.000Z",
        "livemode":true,"related_object":{"id":"acct_1","type":"v2.core.account","url":"/v2/core/accounts/acct_1"}}"#;
    let unknown =
        r#"{"id":"evt_new","type":"moon.phase_changed","created":1790000000,"data":{"object":{"phase":["full"]}}}"#;
    assert_eq!(deliver(&server, thin).await.status, 200);
    assert_eq!(deliver(&server, unknown).await.status, 200);
    let kept: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT type, object_id FROM bursar.event ORDER BY id").fetch_all(&database.pool).await.unwrap();
    let expected = [("moon.phase_changed", None), ("v2.core.account.updated", Some("acct_1"))];
    assert_eq!(kept, expected.map(|(kind, object)| (kind.to_owned(), object.map(String::from))));
    assert_eq!(jobs_of(&database.pool, "evt_new").await, ["note_event"]);
}

#[tokio::test]
async fn the_same_event_a_thousand_times_at_once_is_one() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let address = server.address;
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(50));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let start = std::sync::Arc::clone(&start);
        senders.spawn(async move {
            let mut client = Client::connect(address).await;
            let header = stripe_signature("whsec_new_of_the_endpoint", CHECKOUT);
            start.wait().await;
            let mut new = 0;
            for _ in 0..20 {
                let reply = client.post(WEBHOOK, std::slice::from_ref(&header), CHECKOUT).await;
                assert_eq!(reply.status, 200);
                new += usize::from(!reply.body.contains("duplicate"));
            }
            new
        });
    }
    let new: usize = senders.join_all().await.into_iter().sum();
    assert_eq!((new, events(&database.pool).await, jobs_of(&database.pool, "evt_1").await.len()), (1, 1, 1));
}

#[tokio::test]
async fn a_verification_becomes_a_payout_to_record() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let body = r#"{"type":"job.verified","timestamp":"2026-11-01T12:00:00Z",
        "data":{"job_id":"job_1","skill":"research","receiver_id":"r1","sender_id":"s1"}}"#;
    let mut client = Client::connect(server.address).await;
    let headers = client::standard_signature("ver_1", body);
    let reply = client.post("/api/verifications", &headers, body).await;
    assert_eq!((reply.status, reply.body.as_str()), (202, r#"{"received":true}"#));
    assert_eq!(jobs_of(&database.pool, "ver_1").await, ["record_payout"]);
    let again = client.post("/api/verifications", &headers, body).await;
    assert_eq!((again.status, again.body.as_str()), (202, r#"{"received":true,"duplicate":true}"#));

    // The id is signed too.
    let mut other = headers.clone();
    other[0].1 = "ver_2".to_owned();
    let reply = client.post("/api/verifications", &other, body).await;
    assert_eq!(reply.status, 400);
    assert!(reply.detail().contains("VERIFICATION_SECRET"), "{}", reply.body);
    assert_eq!(events(&database.pool).await, 1);
}

#[tokio::test]
async fn a_type_that_nothing_acts_on_is_told_or_refused_as_the_settings_say() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let body = r#"{"type":"job.verifed","data":{"job_id":"job_1","skill":"research","receiver_id":"r1"}}"#;
    let headers = client::standard_signature("ver_1", body);
    let mut client = Client::connect(server.address).await;
    for answer in [r#"{"received":true,"acted_on":false}"#, r#"{"received":true,"duplicate":true,"acted_on":false}"#] {
        let reply = client.post("/api/verifications", &headers, body).await;
        assert_eq!((reply.status, reply.body.as_str()), (202, answer));
    }
    let strict = Server::start_with(&database.pool, |settings| settings.refuse_unknown_types = true).await;
    let headers = client::standard_signature("ver_2", body);
    let reply = Client::connect(strict.address).await.post("/api/verifications", &headers, body).await;
    assert_eq!(reply.status, 422);
    assert!(reply.detail().contains("job.verified"), "{}", reply.body);
    assert_eq!(events(&database.pool).await, 1);
}

#[tokio::test]
async fn a_signed_event_that_no_database_keeps_or_no_job_reads_is_refused_by_name() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let mut client = Client::connect(server.address).await;
    for (field, body) in [
        (
            "timestamp",
            r#"{"type":"job.verified","timestamp":"-4800-01-01T00:00:00Z","data":{"job_id":"j","skill":"s","receiver_id":"r"}}"#,
        ),
        ("data.receiver_id", r#"{"type":"job.verified","data":{"job_id":"j","skill":"s","receiver_id":7}}"#),
        ("data.job_id", r#"{"type":"job.verified","data":{"job_id":7,"skill":"s","receiver_id":"r"}}"#),
        ("data.receiver_id", r#"{"type":"job.verified","data":{"job_id":"j","skill":"s"}}"#),
        ("a JSON object", r#"["job.verified",null,{"job_id":"j","skill":"s","receiver_id":"r"}]"#),
    ] {
        let headers = client::standard_signature("ver_1", body);
        let reply = client.post("/api/verifications", &headers, body).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.body);
        assert!(reply.detail().contains(field), "{body}: {}", reply.body);
    }
    for body in [
        r#"{"id":"evt_1","type":"invoice.paid","created":-210898425600}"#,
        r#"["evt_1","invoice.paid",1,false,null,null,null,null]"#,
    ] {
        let (name, signature) = client::stripe_signature("whsec_new_of_the_endpoint", body);
        let reply = client.post("/api/stripe/webhook", &[(name, signature)], body).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.body);
    }
    assert_eq!(events(&database.pool).await, 0);
}
