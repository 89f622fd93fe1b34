//! `bursar credits`.

use serde_json::{Value, json};

use super::{ask, names, plant};
use crate::support::database;

#[tokio::test]
async fn a_grant_a_spend_and_a_revocation_happen_once_for_their_key() {
    let db = database().await;
    let never = ask(&db, &["credits", "balance", "u1", "--json"]).ended(0).object();
    assert_eq!(never, json!({"user_id": "u1", "balance": "0"}));

    let grant = ["credits", "grant", "u1", "150", "--key", "k1", "--why", "outage", "--by", "ann", "--json"];
    let first = ask(&db, &grant).ended(0).object();
    assert_eq!(
        (&first["result"], &first["amount"], &first["balance"], &first["key"]),
        (&json!("posted"), &json!("150"), &json!("150"), &json!("k1"))
    );
    let again = ask(&db, &grant).ended(0).object();
    assert_eq!((&again["result"], &again["posting"]), (&json!("already"), &first["posting"]));
    ask(&db, &["credits", "grant", "u1", "151", "--key", "k1", "--why", "outage"]).ended(1);
    ask(&db, &["credits", "grant", "u2", "150", "--key", "k1", "--why", "outage"]).ended(1);
    ask(&db, &["credits", "revoke", "u1", "150", "--key", "k1", "--why", "outage"]).ended(1);

    let spend = ["credits", "spend", "u1", "2.5", "--key", "s1", "--ref", "job_9", "--json"];
    assert_eq!(ask(&db, &spend).ended(0).object()["balance"], "147.5");
    assert_eq!(ask(&db, &spend).ended(0).object()["balance"], "147.5");
    ask(&db, &["credits", "spend", "u1", "3", "--key", "s1", "--ref", "job_9"]).ended(1);

    let revoked = ask(&db, &["credits", "revoke", "u1", "200", "--key", "k2", "--why", "not paid"]).ended(0);
    assert!(revoked.out.contains("the balance is -52.5 credits"), "{}", revoked.out);
    assert_eq!(ask(&db, &["credits", "balance", "u1", "--json"]).ended(0).object()["balance"], "-52.5");
    assert_eq!(ask(&db, &["ledger", "verify", "--json"]).ended(0).object()["violations"], json!([]));
}

#[tokio::test]
async fn a_mistyped_user_is_said_and_owes_nothing() {
    let db = database().await;
    ask(&db, &["credits", "grant", "alice", "50", "--key", "k1", "--why", "outage"]).ended(0);
    let revoke = ["credits", "revoke", "alcie", "50", "--key", "k2", "--why", "by mistake"];
    let refused = ask(&db, &revoke).ended(3);
    assert!(refused.err.contains("there is no account alcie: nothing was revoked"), "{}", refused.err);
    let accounts = "SELECT name FROM bursar.account WHERE name LIKE 'user:%'";
    let accounts: Vec<String> = sqlx::query_scalar(accounts).fetch_all(&db.pool).await.unwrap();
    assert_eq!(accounts, ["user:alice"], "nothing was changed");
    // What was there before is not said again; a grant may open an account, and says that it did.
    for (user, new) in [("alice", false), ("alcie", true), ("alcie", false)] {
        let granted = ask(&db, &["credits", "grant", user, "5", "--why", "outage"]).ended(0);
        assert_eq!(granted.err.contains(&format!("{user} had no account until now")), new, "{user}: {}", granted.err);
    }
    assert!(ask(&db, &["credits", "balance", "bob"]).ended(0).err.contains("there is no account bob"));
    assert!(!ask(&db, &["credits", "balance", "alice"]).ended(0).err.contains("no account"));
}

#[tokio::test]
async fn a_key_that_was_not_given_is_made_and_shown() {
    let db = database().await;
    let first = ask(&db, &["credits", "grant", "u1", "1", "--why", "a test", "--json"]).ended(0).object();
    let key = first["key"].as_str().unwrap();
    assert_eq!(key.len(), 36);
    let again = ask(&db, &["credits", "grant", "u1", "1", "--why", "a test", "--key", key]).ended(0);
    assert!(
        again.out.contains("were granted before") && again.out.contains("the balance is 1 credits"),
        "{}",
        again.out
    );
}

#[tokio::test]
async fn a_spend_that_is_not_covered_takes_nothing() {
    let db = database().await;
    ask(&db, &["credits", "grant", "u1", "3", "--key", "k", "--why", "w"]).ended(0);
    let short = ask(&db, &["credits", "spend", "u1", "5", "--key", "s", "--json"]).ended(1);
    let said = short.object();
    assert_eq!((&said["result"], &said["balance"], &said["posting"]), (&json!("short"), &json!("3"), &Value::Null));
    assert!(short.err.contains("u1 has 3 credits, and 5 credits are needed"), "{}", short.err);
    assert_eq!(ask(&db, &["credits", "balance", "u1"]).ended(0).out, "u1 has 3 credits\n");
    ask(&db, &["credits", "spend", "never-seen", "1", "--key", "s"]).ended(1);
}

#[tokio::test]
async fn amounts_and_users_that_make_no_sense_are_wrong_use() {
    let db = database().await;
    let too_long = "u".repeat(256);
    for amount in ["NaN", "-5", "-0.1", "0", "1e9", "inf", "5,5", "0.0000001", "99999999999999999999", " 5", ""] {
        for verb in ["grant", "revoke", "spend"] {
            let mut args = vec!["credits", verb, "u1", amount, "--key", "k"];
            if verb != "spend" {
                args.extend(["--why", "w"]);
            }
            ask(&db, &args).ended(2);
        }
    }
    for user in ["", "a\u{7}b", &too_long] {
        ask(&db, &["credits", "grant", user, "5", "--key", "k", "--why", "w"]).ended(2);
    }
    ask(&db, &["credits", "grant", "u1", "5", "--key", "k"]).ended(2);
    ask(&db, &["credits", "spend", "u1", "9100000000000", "--key", "k"]).ended(2);
    let postings: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.posting").fetch_one(&db.pool).await.unwrap();
    assert_eq!(postings, 0);

    // Two amounts that an account holds singly and not together.
    ask(&db, &["credits", "grant", "u1", "9000000000000", "--key", "a", "--why", "w"]).ended(0);
    let full = ask(&db, &["credits", "grant", "u1", "9000000000000", "--key", "b", "--why", "w"]).ended(1);
    assert!(full.err.contains("more than an account can hold"), "{}", full.err);
}

#[tokio::test]
async fn history_says_where_each_credit_came_from() {
    let db = database().await;
    plant(&db, "INSERT INTO bursar.event (source, id, type, object_id) VALUES ('stripe', 'evt_1', 'checkout.session.completed', 'cs_1')").await;
    plant(
        &db,
        r#"SELECT bursar.post('[{"key": "purchase:cs_1", "kind": "purchase", "debit": "issuance", "credit": "user:u1",
                  "unit": "credits", "amount": 50000000, "event_id": "evt_1", "job_id": "job_1"}]')"#,
    )
    .await;
    ask(&db, &["credits", "spend", "u1", "2.5", "--key", "s1", "--ref", "job_9"]).ended(0);
    ask(&db, &["credits", "grant", "u1", "1", "--key", "k", "--why", "sorry", "--by", "ann"]).ended(0);

    let lines = ask(&db, &["credits", "history", "u1", "--json"]).ended(0).objects();
    let amounts: Vec<_> =
        lines.iter().map(|l| (l["amount"].as_str().unwrap(), l["balance"].as_str().unwrap())).collect();
    assert_eq!(amounts, [("1", "48.5"), ("-2.5", "47.5"), ("50", "50")]);
    assert_eq!(
        names(&lines[2]),
        [
            "actor",
            "amount",
            "balance",
            "event_id",
            "job_id",
            "key",
            "kind",
            "object_id",
            "posted_at",
            "posting",
            "ref",
            "reverses",
            "user_id",
            "why"
        ]
    );
    assert_eq!(
        (&lines[2]["object_id"], &lines[2]["event_id"], &lines[2]["job_id"], &lines[2]["kind"]),
        (&json!("cs_1"), &json!("evt_1"), &json!("job_1"), &json!("purchase"))
    );
    assert_eq!(
        (&lines[0]["actor"], &lines[0]["why"], &lines[0]["key"]),
        (&json!("ann"), &json!("sorry"), &json!("admin:k"))
    );
    assert_eq!(lines[1]["ref"], "job_9");

    let newest = ask(&db, &["credits", "history", "u1", "--limit", "1", "--json"]).ended(0).object();
    assert_eq!(newest["balance"], "48.5", "the running balance counts what is not shown");
    let read = ask(&db, &["credits", "history", "u1"]).ended(0).out;
    for said in ["+50 credits", "-2.5 credits", "cs_1, evt_1", "by ann, sorry"] {
        assert!(read.contains(said), "{said:?} is missing in {read}");
    }
    assert!(ask(&db, &["credits", "history", "u2", "--json"]).ended(0).out.is_empty());
}
