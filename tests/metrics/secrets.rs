//! A whole run at the most talkative level, and nothing secret in it.

use bursar_jobs::{enqueue::enqueue, send_letter::SendLetter};
use serde_json::{Value, json};

use super::{SOON, TOKEN, VERIFICATION_SECRET, WEBHOOK_SECRET, World, purchase};
use crate::{
    support::eventually,
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

fn lines(log: &str) -> Vec<Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
