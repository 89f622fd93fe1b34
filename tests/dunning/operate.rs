//! What operators see of it.

use serde_json::{Value, json};

use super::{GENERIC, world::*};

#[tokio::test]
async fn cases_are_listed_and_shown_for_people_and_for_programs() {
    let world = World::new().await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    world.to_day(2).await;

    let listed = world.bursar(&["dunning", "list", "--json", "--state", "open", "--user", "alice"]);
    let one: Value = serde_json::from_slice(&listed.stdout).unwrap();
    for (name, value) in [
        ("invoice_id", json!(invoice)),
        ("subscription_id", json!(world.subscription)),
        ("user_id", json!("alice")),
        ("state", json!("open")),
        ("amount", json!(1900)),
        ("currency", json!("usd")),
        ("next_step", json!("letter:3")),
    ] {
        assert_eq!(one[name], value, "{one}");
    }
    assert!(world.bursar(&["dunning", "list", "--json", "--state", "paid"]).stdout.is_empty());
    let table = String::from_utf8(world.bursar(&["dunning", "list"]).stdout).unwrap();
    assert!(table.contains(&invoice) && table.contains("19.00 USD") && table.contains("letter:3 in"), "{table}");

    let page: Value = serde_json::from_slice(&world.bursar(&["dunning", "show", &invoice, "--json"]).stdout).unwrap();
    assert_eq!(
        page["schedule"],
        json!({"retry_days": [1, 3, 5, 7], "letter_days": [0, 3, 5], "final_day": 7, "final": "pause"})
    );
    assert_eq!(page["steps"].as_array().unwrap().len(), 8);
    let words = String::from_utf8(world.bursar(&["dunning", "show", &invoice]).stdout).unwrap();
    for part in [
        "done: payment_failed_first was written",
        "done: declined: generic_decline",
        "final:7",
        "planned",
        &format!("bursar dunning stop {invoice} --why …"),
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }

    for what in [vec!["dunning", "show", "in_none"], vec!["dunning", "stop", "in_none", "--why", "x"]] {
        let unknown = world.bursar(&what);
        assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
        assert!(String::from_utf8_lossy(&unknown.stderr).contains("bursar dunning list"));
    }
    assert_eq!(world.bursar(&["dunning", "stop", &invoice]).status.code(), Some(2), "why is asked for");
}

#[tokio::test]
async fn a_step_says_what_became_of_its_letter() {
    let world = World::new().await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    world.to_day(2).await;
    let steps = || {
        let page = world.bursar(&["dunning", "show", &invoice, "--json"]);
        let page: Value = serde_json::from_slice(&page.stdout).unwrap();
        page["steps"].as_array().unwrap().clone()
    };
    let first = steps().into_iter().find(|step| step["step"] == "letter:0").unwrap();
    assert_eq!(
        (&first["state"], &first["letter"]),
        (&json!("done"), &json!("skipped")),
        "this worker sends none: {first}"
    );
    for (change, letter, words) in [
        (
            "UPDATE apalis.jobs SET status = 'Failed', reason = 'no mail address is known of alice' WHERE job_type = 'send_letter'",
            "dead",
            "the letter was NOT sent, and its job is dead: no mail address is known of alice",
        ),
        (
            "INSERT INTO bursar.letter (key, job_id, letter, message_id, state)
             SELECT idempotency_key, id, 'payment_failed_first', '<1@x>', 'sent' FROM apalis.jobs WHERE job_type = 'send_letter'",
            "sent",
            "the letter was sent",
        ),
    ] {
        sqlx::query(change).execute(&world.db.pool).await.unwrap();
        let all = steps();
        let of = |name: &str| all.iter().find(|step| step["step"] == name).unwrap()["letter"].clone();
        assert_eq!((of("letter:0"), of("letter:3"), of("retry:1")), (json!(letter), Value::Null, Value::Null));
        let page = String::from_utf8(world.bursar(&["dunning", "show", &invoice]).stdout).unwrap();
        assert!(page.contains(words), "{page}");
    }
}
