//! Letters: one for each step, whatever crashes in between, and refusals that end.

mod content;
mod kills;
pub mod sink;
mod told;

use std::time::Duration;

use bursar_jobs::{
    engine::enqueue::{Enqueued, enqueue},
    notifications::send_email::SendLetter,
};
use chrono::{DateTime, Utc};

use self::sink::{CA, Sink, Tls, Wrong, postbox};
use crate::clawbacks::world::World;

/// A world whose letters come to a sink, and in which alice can be written to.
async fn world(sink: &Sink) -> World {
    let world = World::new().await.with_letters(sink.postbox());
    customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
    world
}

async fn customer(world: &World, id: &str, user: &str, email: Option<&str>, locales: Option<&str>) {
    sqlx::query(
        "INSERT INTO bursar.customer (id, user_id, email, email_asked_at, locales) VALUES ($1, $2, $3, bursar.now(), $4)
         ON CONFLICT (id) DO UPDATE SET email = excluded.email, locales = excluded.locales",
    )
    .bind(id)
    .bind(user)
    .bind(email)
    .bind(locales)
    .execute(&world.db.pool)
    .await
    .unwrap();
}

fn refund() -> SendLetter {
    SendLetter::to_user("refund_made", "alice", "re_1").with("amount", "9.99 USD")
}

async fn ask(world: &World, letter: &SendLetter, key: &str) {
    let enqueued = enqueue(&world.db.pool, &[letter.job(key.into(), None)]).await.unwrap();
    assert!(matches!(enqueued[0], Enqueued::New(_)));
}

/// State, and why.
async fn job(world: &World, key: &str) -> (String, String) {
    sqlx::query_as("SELECT state, coalesce(reason, '') FROM bursar.job WHERE kind = 'send_letter' AND key = $1")
        .bind(key)
        .fetch_one(&world.db.pool)
        .await
        .unwrap()
}

/// How long until the job is tried again.
async fn wait(world: &World, key: &str) -> Duration {
    let at: DateTime<Utc> = sqlx::query_scalar("SELECT run_at FROM bursar.job WHERE kind = 'send_letter' AND key = $1")
        .bind(key)
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    (at - bursar_jobs::base::clock::now()).to_std().unwrap_or_default()
}

async fn step(world: &World) {
    assert!(world.step_of("send_letter", None).await);
}

#[tokio::test]
async fn a_letter_goes_out_once_and_is_forgotten_but_for_its_name() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    ask(&world, &refund(), "refund_made:re_1").await;
    step(&world).await;
    let taken = sink.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(
        (taken[0].from.as_str(), taken[0].to.as_slice()),
        ("billing@acme.example", &["alice@example.com".into()][..])
    );
    assert_eq!(taken[0].header("Subject"), "Your refund of 9.99 USD");
    assert_eq!(taken[0].header("From"), "Acme <billing@acme.example>");
    assert_eq!(taken[0].header("To"), "alice@example.com");
    assert_eq!(taken[0].header("Auto-Submitted"), "auto-generated");
    assert!(taken[0].data.contains("text/plain") && taken[0].data.contains("text/html"));
    assert_eq!(job(&world, "refund_made:re_1").await.0, "done");
    let kept: (String, String, bool) = sqlx::query_as(
        "SELECT message_id, state, bytes IS NULL AND recipient IS NULL AND sender IS NULL FROM bursar.letter WHERE key = 'refund_made:re_1'",
    )
    .fetch_one(&world.db.pool)
    .await
    .unwrap();
    assert_eq!(kept, (taken[0].header("Message-ID"), "sent".into(), true));
    let calls: Vec<(String, String)> =
        sqlx::query_as("SELECT what, answer FROM bursar.call WHERE subject = 'letter:refund_made:re_1'")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(calls, [("send".into(), "250 2.0.0 taken".into())]);
}

#[tokio::test]
async fn a_key_stands_for_one_letter_also_when_its_job_was_forgotten() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    for _ in 0..2 {
        ask(&world, &refund(), "k").await;
        step(&world).await;
        let state = job(&world, "k").await;
        assert!(state.0 == "done" || state.1.contains("sent before"), "{state:?}");
        sqlx::query("DELETE FROM apalis.jobs").execute(&world.db.pool).await.unwrap();
    }
    assert_eq!(sink.taken().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_the_end_with_the_servers_words() {
    for (at, says) in [
        ("MAIL", "553 5.7.1 not from you"),
        ("RCPT", "550 5.1.1 <alice@example.com>: no such user"),
        ("DATA", "554 5.5.1 no"),
        (".", "554 5.7.1 spam"),
    ] {
        let sink = Sink::start().await;
        let world = world(&sink).await;
        sink.goes_wrong(at, Wrong::Says(says));
        ask(&world, &refund(), "k").await;
        step(&world).await;
        let (state, why) = job(&world, "k").await;
        assert_eq!(state, "dead", "{at}: {why}");
        assert!(why.contains(&says[..9]) && why.contains("then retry"), "{at}: {why}");
        assert!(!why.contains("alice@example.com"), "{at}: {why}");
        assert!(!world.step_of("send_letter", None).await, "{at}: no loop");
        assert!(sink.taken().is_empty());
    }
}

#[tokio::test]
async fn after_a_refusal_an_operator_mends_the_address_and_it_goes_there() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    sink.goes_wrong("RCPT", Wrong::Says("550 5.1.1 no such user"));
    ask(&world, &refund(), "k").await;
    step(&world).await;
    customer(&world, "cus_1", "alice", Some("new@example.com"), None).await;
    retry(&world).await;
    step(&world).await;
    assert_eq!(sink.taken()[0].to, ["new@example.com"]);
    assert_eq!(job(&world, "k").await.0, "done");
}

async fn retry(world: &World) {
    let id: String = sqlx::query_scalar("SELECT id FROM bursar.job WHERE kind = 'send_letter' AND state = 'dead'")
        .fetch_one(&world.db.pool)
        .await
        .unwrap();
    let out = world.bursar(&["jobs", "retry", &id]);
    assert!(out.status.success(), "{out:?}");
}

#[tokio::test]
async fn what_is_put_off_is_tried_again_later_with_the_same_bytes() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    sink.goes_wrong("RCPT", Wrong::Says("450 4.2.0 greylisted, come back later"));
    sink.goes_wrong(".", Wrong::Says("451 4.3.0 not now"));
    ask(&world, &refund(), "k").await;
    for pause in [60, 120] {
        step(&world).await;
        let (state, why) = job(&world, "k").await;
        assert_eq!(state, "scheduled", "{why}");
        let wait = wait(&world, "k").await.as_secs();
        assert!((pause - 10..=pause + 1).contains(&wait), "{wait} s: {why}");
        assert!(sink.taken().is_empty());
    }
    step(&world).await;
    assert_eq!(job(&world, "k").await.0, "done");
    assert_eq!(sink.taken().len(), 1);
}

#[tokio::test]
async fn a_server_that_never_takes_it_ends_in_a_dead_job() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    sink.state.lock().unwrap().always = Some(("RCPT", Wrong::Says("450 4.2.0 not now")));
    ask(&world, &refund(), "k").await;
    let (mut attempts, most) = (0, bursar_jobs::engine::kind::SEND_LETTER.max_attempts);
    while world.step_of("send_letter", None).await {
        attempts += 1;
        assert!(attempts <= most, "a loop");
    }
    assert_eq!(attempts, most);
    let (state, why) = job(&world, "k").await;
    assert_eq!(state, "dead");
    assert!(why.contains("450"), "{why}");
}

#[tokio::test]
async fn an_answer_that_is_lost_brings_the_same_letter_again() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    sink.goes_wrong(".", Wrong::TakesItAndHangsUp);
    ask(&world, &refund(), "k").await;
    step(&world).await;
    let (state, why) = job(&world, "k").await;
    assert!(state == "scheduled" && why.contains("lost"), "{state}: {why}");
    // What is known changes meanwhile, and it is put off once: the copy that may have arrived stays the same all the same.
    customer(&world, "cus_1", "alice", Some("new@example.com"), Some("de")).await;
    sink.goes_wrong("RCPT", Wrong::Says("450 4.2.0 not now"));
    step(&world).await;
    step(&world).await;
    let taken = sink.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0], taken[1], "the same bytes, to the same address, under the same Message-ID");
    assert_eq!(job(&world, "k").await.0, "done");
}

#[tokio::test]
async fn while_it_was_surely_not_taken_a_mended_address_counts() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    sink.goes_wrong("RCPT", Wrong::Says("450 4.2.0 not now"));
    sink.goes_wrong("CONNECT", Wrong::Says("421 4.3.2 busy"));
    ask(&world, &refund(), "k").await;
    step(&world).await;
    step(&world).await;
    assert!(job(&world, "k").await.1.contains("450"));
    customer(&world, "cus_1", "alice", Some("new@example.com"), None).await;
    step(&world).await;
    assert_eq!(sink.taken()[0].to, ["new@example.com"]);
}

#[tokio::test]
async fn a_wrong_password_is_tried_slowly_and_says_what_to_mend() {
    let sink = Sink::start().await;
    sink.state.lock().unwrap().password = Some("bursar:right");
    for url in [format!("smtp://bursar:wrong@127.0.0.1:{}", sink.port), sink.url()] {
        let world = World::new().await.with_letters(postbox(&url, None));
        customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
        ask(&world, &refund(), "k").await;
        step(&world).await;
        let (state, why) = job(&world, "k").await;
        assert!(state == "scheduled" && why.contains("53") && why.contains("Mend SMTP_URL"), "{state}: {why}");
        assert!(!why.contains("wrong@") && !why.contains("right"), "{why}");
        assert!(wait(&world, "k").await > Duration::from_mins(14));
    }
    let right = postbox(&format!("smtp://bursar:right@127.0.0.1:{}", sink.port), None);
    let world = World::new().await.with_letters(right);
    customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
    sink.goes_wrong("AUTH", Wrong::Says("454 4.7.0 cannot tell just now"));
    ask(&world, &refund(), "k").await;
    step(&world).await;
    assert!(wait(&world, "k").await < Duration::from_secs(62), "that is the server's own trouble");
    step(&world).await;
    assert_eq!(sink.taken()[0].user.as_deref(), Some("bursar"));
}

#[tokio::test]
async fn with_tls_nothing_is_said_in_the_clear_or_to_a_stranger() {
    for (tls, scheme, parameter) in [(Tls::Upgraded, "smtp", "?tls=required"), (Tls::FromTheStart, "smtps", "")] {
        let sink = Sink::with(tls).await;
        sink.state.lock().unwrap().password = Some("bursar:secret");
        let url = format!("{scheme}://bursar:secret@localhost:{}{parameter}", sink.port);
        // A certificate that nobody vouches for.
        let world = World::new().await.with_letters(postbox(&url, None));
        customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
        ask(&world, &refund(), "k").await;
        step(&world).await;
        let (state, why) = job(&world, "k").await;
        assert!(state == "scheduled" && why.contains("certificate"), "{state}: {why}");
        assert!(!sink.state.lock().unwrap().commands.iter().any(|verb| verb == "AUTH" || verb == "MAIL"));

        let world = world.with_letters(postbox(&url, Some(CA)));
        step(&world).await;
        assert_eq!(job(&world, "k").await, ("done".into(), String::new()));
        let taken = sink.taken();
        assert!(taken[0].encrypted && taken[0].user.as_deref() == Some("bursar"));
    }
    // A server that offers no TLS, or one whose offer was taken out on the way.
    let sink = Sink::start().await;
    let url = format!("smtp://bursar:secret@localhost:{}?tls=required", sink.port);
    let world = World::new().await.with_letters(postbox(&url, Some(CA)));
    customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
    ask(&world, &refund(), "k").await;
    step(&world).await;
    let (state, why) = job(&world, "k").await;
    assert!(state == "scheduled" && why.contains("STARTTLS"), "{state}: {why}");
    let said = sink.state.lock().unwrap().commands.clone();
    assert!(said.iter().all(|verb| verb == "EHLO" || verb == "QUIT"), "nothing else was said in the clear: {said:?}");
}

#[tokio::test]
async fn a_connection_is_used_again_after_success_and_never_after_trouble() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    for key in ["one", "two", "three"] {
        ask(&world, &refund(), key).await;
    }
    step(&world).await;
    step(&world).await;
    assert_eq!(sink.state.lock().unwrap().connections, 1);
    sink.goes_wrong(".", Wrong::Says("554 5.7.1 spam"));
    step(&world).await;
    ask(&world, &refund(), "four").await;
    step(&world).await;
    assert_eq!(sink.state.lock().unwrap().connections, 2);
    // One that the server closed meanwhile is noticed before a letter is given to it.
    sink.goes_wrong("NOOP", Wrong::HangsUp);
    ask(&world, &refund(), "five").await;
    step(&world).await;
    assert_eq!(job(&world, "five").await.0, "done");
    assert_eq!(sink.state.lock().unwrap().connections, 3);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for() {
    let world = World::new().await.with_letters(postbox("smtp://127.0.0.1:1", None));
    customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
    ask(&world, &refund(), "k").await;
    step(&world).await;
    let (state, why) = job(&world, "k").await;
    assert!(state == "scheduled" && why.contains("127.0.0.1:1"), "{state}: {why}");
}
