//! `bursar payouts`.

use serde_json::json;

use super::{ask, names, plant};
use crate::support::database;

#[tokio::test]
async fn payouts_are_listed_and_shown() {
    let db = database().await;
    plant(
        &db,
        "INSERT INTO bursar.payout (job_id, receiver_id, sender_id, skill, credits, amount, currency, state, reason, event_id, recorded_at)
         VALUES ('j1', 'r1', 's1', 'research', 2000000, 100, 'usd', 'held', NULL, 'msg_1', now() - interval '1 hour'),
                ('j2', 'r2', NULL, 'research', 2000000, 100, 'jpy', 'skipped', 'Stripe is off', NULL, now())",
    )
    .await;
    let all = ask(&db, &["payouts", "list", "--json"]).ended(0).objects();
    assert_eq!(all.iter().map(|payout| &payout["job_id"]).collect::<Vec<_>>(), ["j2", "j1"]);
    let held = ask(&db, &["payouts", "list", "--state", "held", "--receiver", "r1", "--json"]).ended(0).object();
    assert_eq!(
        names(&held),
        [
            "amount",
            "carried",
            "changed_at",
            "credits",
            "currency",
            "event_id",
            "job_id",
            "netted",
            "reason",
            "receiver_id",
            "recorded_at",
            "returned",
            "reversed",
            "sender_id",
            "skill",
            "state",
            "transfer_amount",
            "transfer_id"
        ]
    );
    assert_eq!((&held["amount"], &held["currency"], &held["credits"]), (&json!(100), &json!("usd"), &json!("2")));
    assert!(ask(&db, &["payouts", "list", "--receiver", "nobody", "--json"]).ended(0).out.is_empty());

    let list = ask(&db, &["payouts", "list"]).ended(0).out;
    assert!(list.contains("1.00 USD") && list.contains("100 JPY") && list.contains("Stripe is off"), "{list}");
    let mut shown = ask(&db, &["payouts", "show", "j1", "--json"]).ended(0).object();
    for list in ["calls", "reversals", "nettings", "jobs"] {
        assert_eq!(shown.as_object_mut().unwrap().remove(list), Some(json!([])), "{list}");
    }
    assert_eq!(shown, held);
    let page = ask(&db, &["payouts", "show", "j1"]).ended(0).out;
    assert!(page.contains("research (2 credits)") && page.contains("POST /api/stripe/connect"), "{page}");
    ask(&db, &["payouts", "show", "j3"]).ended(3);
}

#[tokio::test]
async fn a_payout_shows_its_jobs_and_only_a_next_step_that_helps() {
    let db = database().await;
    plant(
        &db,
        r#"INSERT INTO bursar.receiver (user_id, account_id, active, state, requirements) VALUES
             ('bob', 'acct_bob', true, 'active', NULL), ('rita', 'acct_rita', false, 'onboarding', '{"currently_due": ["external_account"]}'),
             ('pete', 'acct_pete', false, 'pending', NULL);
           INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state, reason, releases, held_by) VALUES
             ('way', 'bob', 'research', 1, 100, 'usd', 'unknown', 'released by ada', 1, NULL),
             ('dead', 'bob', 'research', 1, 100, 'usd', 'unknown', 'stopped: gave up', 0, NULL),
             ('saved', 'bob', 'research', 1, 100, 'usd', 'unknown', 'a failure is saved', 0, NULL),
             ('onboards', 'rita', 'research', 1, 100, 'usd', 'held', NULL, 0, NULL),
             ('capped', 'rita', 'research', 1, 100, 'usd', 'held', NULL, 0, 'cap'),
             ('looked', 'pete', 'research', 1, 100, 'usd', 'held', NULL, 0, NULL);
           INSERT INTO apalis.jobs (job, id, job_type, status, attempts, max_attempts, run_at, idempotency_key, reason) VALUES
             ('{}', 'run_0', 'pay_receiver', 'Failed', 25, 25, now(), 'way:0', 'gave up after 25 attempts: unknown: the connection broke'),
             ('{}', 'run_1', 'pay_receiver', 'Pending', 0, 25, now() + interval '1 hour', 'way:1', 'it was refused: waiting for an hour'),
             ('{}', 'run_2', 'pay_receiver', 'Failed', 25, 25, now(), 'dead:0', 'gave up');
           INSERT INTO bursar.attempt (job_id, attempt, ended_at, outcome) VALUES ('run_1', 1, now(), 'snooze');
           INSERT INTO bursar.intent (subject, generation, idempotency_key, request, fingerprint, state, saved_failure, looks)
             VALUES ('payout:saved', 1, 'payout:saved:1', '{}', 'f', 'unknown', true, 10)"#,
    )
    .await;
    let page = |job: &'static str| ask(&db, &["payouts", "show", job]).ended(0).out;
    let next = |job: &'static str| -> Vec<String> {
        page(job).lines().filter_map(|line| Some(line.strip_prefix("next          ")?.to_owned())).collect()
    };
    assert_eq!(next("way"), ["bursar jobs show run_1"]);
    let said = page("way");
    assert!(said.contains("run_0 pay_receiver dead: gave up after 25 attempts"), "{said}");
    assert!(
        said.contains("run_1 pay_receiver scheduled: it waits (it was refused: waiting for an hour); it runs "),
        "{said}"
    );
    assert_eq!(next("dead"), ["bursar payouts release dead --why '…'"]);
    let saved = next("saved");
    assert_eq!(saved.len(), 2, "{saved:?}");
    assert!(saved[1].ends_with("bursar payouts release saved --after-saved-failure --why '…'"), "{saved:?}");
    let onboards = next("onboards");
    assert!(onboards[0].contains(r#"POST /api/stripe/connect {"user_id":"rita"}"#), "{onboards:?}");
    assert_eq!(onboards[1], "once the account is active it goes by itself");
    assert!(next("capped")[1].contains("bursar payouts release capped"), "a cap holds it then, too");
    assert!(next("looked")[0].contains("wait for Stripe"), "{:?}", next("looked"));
    let told = ask(&db, &["payouts", "show", "way", "--json"]).ended(0).object();
    assert_eq!((&told["jobs"][0]["state"], &told["jobs"][1]["id"]), (&json!("dead"), &json!("run_1")));
}
