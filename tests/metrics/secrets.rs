//! A whole run at the most talkative level, and nothing secret in it.

use bursar_jobs::{engine::enqueue::enqueue, notifications::send_email::SendLetter};
use serde_json::{Value, json};

use super::{SOON, TOKEN, VERIFICATION_SECRET, WEBHOOK_SECRET, World, purchase};
use crate::{
    support::{bursar, eventually},
    web::client::{Client, head, stripe_signature},
};

const CARD: &str = "4242424242424242";
const LETTER: &str = "planted-in-a-letter";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_holds_a_secret_a_card_or_a_letter_s_body_at_any_level_and_its_lines_name_what_they_are_about() {
    let world = World::start(&[
        ("BURSAR_LOG__FILTER", "trace"),
        ("BURSAR_LETTERS__PORTAL_URL", "https://acme.example/planted-in-a-letter"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=planted-otlp-header"),
        ("BURSAR_NOTIFY__URL", "http://127.0.0.1:9/planted-hook"),
        ("NOTIFY_SECRET", "whsec_cGxhbnRlZC1ub3RpZnktc2VjcmV0LTAxMjM0NTY3ODk="),
    ])
    .await;
    world.receiver("bob").await;
    let mut event = purchase(1);
    event["data"]["object"]["card"] = json!({"number": CARD, "cvc": "987-planted-cvc"});
    assert_eq!(world.hear(&event).await.status, 200);
    assert_eq!(world.verify("job_1", "bob").await.status, 202);
    // What is refused is said, but not quoted.
    let strange = format!("{{\"id\":\"{CARD}\",\"object\":\"event\"}}");
    let forged = [stripe_signature("whsec_stranger", &strange)];
    assert_eq!(Client::connect(world.web).await.post("/api/stripe/webhook", &forged, &strange).await.status, 400);
    let signed = [stripe_signature(WEBHOOK_SECRET, &strange)];
    assert_eq!(Client::connect(world.web).await.post("/api/stripe/webhook", &signed, &strange).await.status, 400);
    for token in [TOKEN, "planted-wrong-token"] {
        let mut client = Client::connect(world.api).await;
        client.send(&head("GET", "/api/credits/alice", &[("authorization", format!("Bearer {token}"))], 0)).await;
        client.reply().await;
    }
    // What is signed and of another shape is told, and not repeated.
    let mut odd = purchase(2);
    odd["livemode"] = json!("planted-in-an-event");
    assert_eq!(world.hear(&odd).await.status, 400);
    let mut odd = purchase(3);
    odd["data"]["object"]["amount_total"] = json!("planted-in-an-event");
    odd["data"]["object"]["amount_subtotal"] = json!("planted-in-an-event");
    assert_eq!(world.hear(&odd).await.status, 200);
    let opened = json!({"type": "user.created", "timestamp": bursar_jobs::base::clock::now().to_rfc3339(),
                        "data": {"user_id": "dora", "email": "planted.mail@example.com"}});
    assert_eq!(world.tell("msg_dora", &opened).await.status, 202);
    let (token, session) = sign_in(&world).await;
    sqlx::query(
        "INSERT INTO bursar.customer (id, user_id, email, email_asked_at) VALUES ('cus_1', 'alice', 'alice@example.com', bursar.now())
         ON CONFLICT (id) DO UPDATE SET email = excluded.email",
    )
    .execute(&world.db.pool)
    .await
    .unwrap();
    let letter = SendLetter::to_user("refund_made", "alice", "re_1")
        .with("amount", "9.99 USD")
        .with("credits", LETTER.to_owned());
    enqueue(&world.db.pool, &[letter.job("planted".into(), None)]).await.unwrap();
    world.settled().await;
    let sent = world.count("SELECT count(*) FROM bursar.letter WHERE state = 'sent'").await;
    let why: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT state, reason FROM bursar.job WHERE kind = 'send_letter'")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(sent, 1, "{why:?}");
    world.scrape(2).await;

    // The last lines are written a moment after what they tell of.
    let is_paid = |line: &Value| line["kind"] == "pay_receiver" && line["outcome"] == "done";
    eventually(SOON, || async {
        let log = world.log("worker");
        if lines(&log).iter().any(is_paid) { Ok(()) } else { Err("the payout is not told yet") }
    })
    .await;
    let planted = [
        &world.stripe.0.key,
        WEBHOOK_SECRET,
        VERIFICATION_SECRET,
        TOKEN,
        CARD,
        LETTER,
        "plantedDatabasePassword",
        "planted-otlp-header",
        "planted-wrong-token",
        "987-planted-cvc",
        "cGxhbnRlZC1ub3RpZnktc2VjcmV0LTAxMjM0NTY3ODk=",
        "planted-in-an-event",
        "planted.mail@example.com",
        "alice@example.com",
        &token,
        &session,
    ];
    for process in ["web", "worker", "api"] {
        let log = world.log(process);
        assert!(log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\""), "{process} is talkative");
        for secret in planted {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is in the log of {process}");
        }
    }

    let log = world.log("worker");
    let lines = lines(&log);
    let granted = lines.iter().find(|line| line["kind"] == "grant_purchase" && line["outcome"] == "done").unwrap();
    assert_eq!((granted["event"].as_str(), granted["user"].as_str()), (Some("evt_1"), Some("alice")));
    assert!(granted["job"].is_string());
    let called = lines.iter().find(|line| line["request"] == "POST /v1/transfers").unwrap();
    assert!(called["stripe_request"].as_str().unwrap().starts_with("req_"), "{called}");
    assert_eq!(called["span"]["kind"], "pay_receiver", "{called}");
    assert!(called["span"]["job"].is_string());
}

/// A token of an operator's, and the session that it begins; the console is looked at with it.
async fn sign_in(world: &World) -> (String, String) {
    let mut command = bursar(&["tokens", "create", "ops", "--role", "viewer"]);
    let made = command.env("DATABASE_URL", &world.db.url).output().unwrap();
    let words = String::from_utf8(made.stdout).unwrap();
    let token = words.split_whitespace().find(|word| word.starts_with("bursar_")).unwrap_or_else(|| panic!("{words}"));
    let host = ("host", world.api.to_string());
    let form = ("content-type", "application/x-www-form-urlencoded".to_owned());
    let came =
        Client::connect(world.api).await.post("/sign-in", &[host.clone(), form], &format!("token={token}")).await;
    let cookie = came.header("set-cookie").unwrap_or_else(|| panic!("{came:?}")).split(';').next().unwrap().to_owned();
    let session = cookie.split_once('=').unwrap().1.to_owned();
    let mut client = Client::connect(world.api).await;
    client.send(&head("GET", "/jobs", &[host, ("cookie", cookie)], 0)).await;
    assert_eq!(client.reply().await.status, 200);
    (token.to_owned(), session)
}

/// Settings that are wrong, each with something in it that nobody may see.
const WRONG: [(&str, &str); 19] = [
    ("DATABASE_URL", "postgres://u:planted@[bad"),
    ("DATABASE_URL", "mysql://u:planted@h/x"),
    ("DATABASE_URL", "planted"),
    ("DATABASE_URL", "postgres://u:planted@h:port/x"),
    ("STRIPE_SECRET_KEY", "planted"),
    ("STRIPE_SECRET_KEY", "pk_live_planted"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_planted x"),
    ("VERIFICATION_SECRET", "whsec_planted!"),
    ("API_TOKEN", "planted planted"),
    ("SMTP_URL", "http://u:planted@h"),
    ("SMTP_URL", "smtp://u:planted@[bad"),
    ("SMTP_URL", "smtp://u:planted@h:port"),
    ("NOTIFY_SECRET", "planted"),
    ("BURSAR_NOTIFY__URL", "ftp://u:planted@h"),
    ("STRIPE_API_BASE", "ftp://u:planted@h"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://u:planted@h"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "planted"),
    ("BURSAR_DATABASE__LISTEN_URL", "postgres://u:planted@[bad"),
    ("BURSAR_API__TOKENN", "planted"),
];

#[test]
fn neither_help_nor_a_refused_setting_shows_a_secret() {
    for (name, value) in WRONG {
        for arguments in [&["worker"][..], &["api"], &["migrate"], &["jobs", "list"], &["worker", "--help"]] {
            let mut command = bursar(arguments);
            command.env("BURSAR_LOG__FILTER", "trace").env("STRIPE_SECRET_KEY", "sk_test_planted");
            command.env("STRIPE_WEBHOOK_SECRET", "whsec_planted").env("SMTP_URL", "smtp://u:planted@127.0.0.1:1");
            command.env("API_TOKEN", "planted-api-token-of-some-length").env("API_PORT", "0");
            command.env("BURSAR_METRICS__WORKER_PORT", "off").env(name, value);
            shows_nothing(&mut command, &format!("{name}={value} {arguments:?}"));
        }
    }
    let mut command = bursar(&["jobs", "list"]);
    command.env("DATABASE_URL", "postgres://u:planted@127.0.0.1:1/x");
    shows_nothing(&mut command, "a database that is away");
}

fn shows_nothing(command: &mut std::process::Command, what: &str) {
    let done = command.output().unwrap();
    let said = [done.stdout, done.stderr].map(|said| String::from_utf8(said).unwrap()).join("\n");
    assert!(!said.trim().is_empty(), "{what}");
    assert!(!said.contains("planted"), "{what}: {said}");
}

fn lines(log: &str) -> Vec<Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
