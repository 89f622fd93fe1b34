//! Who is written to about what: refunds, disputes, trials, prices; and where the address comes from.

use bursar_jobs::notifications::send_email::SendLetter;
use serde_json::{Value, json};

use super::{Sink, ask, customer, job, refund, step, world};
use crate::{clawbacks::world::World, subscriptions::world as subscriptions};

/// Keys and arguments of the letters that were asked for.
async fn letters(world: &World) -> Vec<(String, Value)> {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT key, args FROM bursar.job WHERE kind = 'send_letter' ORDER BY id")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    rows.into_iter().map(|(key, args)| (key, serde_json::from_slice(&args).unwrap())).collect()
}

async fn bought(sink: &Sink) -> World {
    let world = world(sink).await;
    world.purchase();
    world.granted().await;
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "200");
    world
}

#[tokio::test]
async fn a_refund_is_told_to_its_user_once_it_succeeded_and_once() {
    let sink = Sink::start().await;
    let world = bought(&sink).await;
    world.refund("re_1", 1500, "pending");
    world.changed("refund.created").await;
    world.settle_down().await;
    assert_eq!(letters(&world).await, [], "not yet");
    world.refund("re_1", 1500, "succeeded");
    world.refund("re_2", 1000, "failed");
    for kind in ["refund.updated", "charge.refunded", "refund.updated"] {
        world.changed(kind).await;
        world.settle_down().await;
    }
    // Also when its job is long forgotten.
    sqlx::query("DELETE FROM apalis.jobs").execute(&world.db.pool).await.unwrap();
    world.changed("charge.refunded").await;
    world.settle_down().await;
    let taken = sink.taken();
    assert_eq!(taken.len(), 1, "{:?}", letters(&world).await);
    assert_eq!(taken[0].header("Subject"), "Your refund of 15.00 USD");
    assert!(taken[0].text().contains("The 100.033344 credits"), "{}", taken[0].text());
    // Another one is another matter.
    world.refund("re_3", 1499, "succeeded");
    world.changed("charge.refunded").await;
    world.settle_down().await;
    assert_eq!(sink.taken().len(), 2);
    assert_eq!(sink.taken()[1].header("Subject"), "Your refund of 14.99 USD");
    assert_eq!(world.dead().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_refund_from_before_there_were_letters_is_not_told() {
    let sink = Sink::start().await;
    let world = bought(&sink).await;
    world.refund("re_1", 1500, "succeeded");
    // As the migration leaves it.
    let known = "INSERT INTO bursar.charge (id, amount, currency, asked_at) VALUES ('ch_1', 2999, 'usd', bursar.now() - interval '1 day')";
    sqlx::query(known).execute(&world.db.pool).await.unwrap();
    let known = "INSERT INTO bursar.refund (id, charge, amount, status, created_at, letter_at)
                 VALUES ('re_1', 'ch_1', 1500, 'succeeded', to_timestamp(0), bursar.now())";
    sqlx::query(known).execute(&world.db.pool).await.unwrap();
    world.changed("charge.refunded").await;
    world.settle_down().await;
    assert!(sink.taken().is_empty());
    assert_eq!(world.moved().await.len(), 1, "its credits are taken all the same");
}

#[tokio::test]
async fn a_dispute_that_is_opened_is_told_to_the_team_once_with_its_deadline() {
    let sink = Sink::start().await;
    let world = bought(&sink).await;
    world.dispute("du_1", "warning_needs_response");
    world.changed("charge.dispute.created").await;
    world.settle_down().await;
    assert!(sink.taken().is_empty(), "an inquiry is none yet");
    for status in ["needs_response", "under_review", "won", "needs_response"] {
        world.dispute("du_1", status);
        world.changed("charge.dispute.updated").await;
        world.settle_down().await;
    }
    let taken = sink.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].to, ["ops@acme.example"]);
    assert_eq!(taken[0].header("Subject"), "Dispute of 29.99 USD by alice");
    let text = taken[0].text();
    for part in ["fraudulent", "2027-01-15 08:00 UTC", "du_1", "ch_1", "cs_1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn a_team_without_an_address_and_letters_that_make_no_sense() {
    use bursar_jobs::letters::{Config, Postbox, Smtp, Way};
    let sink = Sink::start().await;
    let way = Way::Smtp(Smtp::new(&sink.url(), None).unwrap());
    let config =
        Config { from: "billing@acme.example", team: None, locale: "de", templates: None, portal_url: None, way };
    let world = World::new().await.with_letters(Postbox::new(config).unwrap());
    customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
    let team = SendLetter::to_team("dispute_opened", "du_1").with("amount", "1 USD");
    ask(&world, &team, "team").await;
    ask(&world, &SendLetter::to_user("no_such_letter", "alice", "x"), "none").await;
    ask(&world, &SendLetter::to_user("dispute_opened", "alice", "x"), "crossed").await;
    ask(&world, &SendLetter::to_team("refund_made", "x"), "uncrossed").await;
    ask(&world, &refund(), "german").await;
    world.settle_down().await;
    let (state, why) = job(&world, "team").await;
    assert!(state == "done" && why.contains("[letters] team is not set"), "{state}: {why}");
    for (key, part) in [("none", "no_such_letter"), ("crossed", "to the team"), ("uncrossed", "to a user")] {
        let (state, why) = job(&world, key).await;
        assert!(state == "dead" && why.contains(part), "{key}: {state}: {why}");
    }
    assert!(sink.taken()[0].header("Subject").contains("Ihre"), "[letters] locale");
    assert!(sink.taken()[0].text().contains("acme.example"), "without a name it is from the domain");
}

#[tokio::test]
async fn a_user_without_an_address_is_an_operators_matter() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    customer(&world, "cus_1", "alice", Some("  "), None).await;
    customer(&world, "cus_2", "bob", Some("not an address"), None).await;
    ask(&world, &refund(), "alice").await;
    ask(&world, &SendLetter::to_user("refund_made", "bob", "re_2").with("amount", "1 USD"), "bob").await;
    ask(&world, &SendLetter::to_user("refund_made", "carol", "re_3").with("amount", "1 USD"), "carol").await;
    world.settle_down().await;
    for (key, part) in
        [("alice", "add one to cus_1"), ("bob", "is no mail address"), ("carol", "no customer at Stripe")]
    {
        let (state, why) = job(&world, key).await;
        assert!(state == "dead" && why.contains(part) && why.contains("then retry"), "{key}: {state}: {why}");
    }
    // Of several customers the one that can be written to, and of those the one that Stripe spoke of last.
    customer(&world, "cus_3", "alice", Some("old@example.com"), None).await;
    customer(&world, "cus_4", "alice", Some("new@example.com"), None).await;
    ask(&world, &refund(), "again").await;
    step(&world).await;
    assert_eq!(sink.taken()[0].to, ["new@example.com"]);
}

#[tokio::test]
async fn an_address_that_is_not_known_yet_is_asked_for() {
    let sink = Sink::start().await;
    let world = subscriptions::World::new(subscriptions::terms()).await.with_letters(sink.postbox());
    world.now("2027-04-02").await;
    let found = json!({"id": "cus_1", "object": "customer", "email": "alice@example.com", "metadata": {"user_id": "alice"},
                       "preferred_locales": ["de-DE", "en; DROP"]});
    world.stripe.put("/v1/customers/cus_1", found);
    let none = json!({"id": "cus_2", "object": "customer", "email": null, "metadata": {"user_id": "bob"}});
    world.stripe.put("/v1/customers/cus_2", none);
    for (customer, user) in [("cus_1", "alice"), ("cus_2", "bob")] {
        sqlx::query("INSERT INTO bursar.customer (id, user_id) VALUES ($1, $2)")
            .bind(customer)
            .bind(user)
            .execute(&world.db.pool)
            .await
            .unwrap();
        let letter = SendLetter::to_user("refund_made", user, "re_1").with("amount", "1 USD");
        bursar_jobs::engine::enqueue::enqueue(&world.db.pool, &[letter.job(user.into(), None)]).await.unwrap();
    }
    world.drain().await;
    world.now("2027-04-03").await;
    world.drain().await;
    assert_eq!(sink.taken()[0].to, ["alice@example.com"]);
    assert!(sink.taken()[0].header("Subject").contains("Ihre"), "in the language that Stripe knows");
    let jobs = world.jobs("send_letter").await;
    assert!(jobs.iter().any(|(state, why)| state == "dead" && why.contains("add one to cus_2")), "{jobs:?}");
    assert_eq!(sink.taken().len(), 1);
}
