//! `bursar.post`: between which accounts, once, and in which order accounts and keys are taken.

use bursar_jobs::ledger::{Account, Posted, post};

use super::*;
use crate::support::database;

fn user(name: &str) -> Account {
    Account::User(name.into())
}

/// One credit's millionth out of issuance.
fn grant(key: &str, name: &str) -> Posting {
    Posting::grant("admin_grant", key.into(), name, Credits::from_micros(1))
}

/// A debt to a receiver.
fn owed(key: &str, receiver: &str, unit: &str, amount: i64) -> Posting {
    Posting::new("payout", key.into(), Account::Payable, Account::Receiver(receiver.into()), unit, amount)
}

/// Each account's kept balance; those that keep none have none.
async fn balances(pool: &PgPool) -> Vec<(String, String, i64)> {
    sqlx::query_as("SELECT name, unit, balance FROM bursar.account WHERE NOT derived ORDER BY name, unit")
        .fetch_all(pool)
        .await
        .unwrap()
}

fn balance(name: &str, unit: &str, amount: i64) -> (String, String, i64) {
    (name.into(), unit.into(), amount)
}

#[tokio::test]
async fn a_posting_moves_what_it_says_between_the_accounts_it_names_in_their_unit() {
    let db = database().await;
    post(&db.pool, &[owed("eur", "r", "eur", 5), owed("other", "s", "usd", 1)]).await.unwrap();
    // Its account in one currency is not its account in another, and no one else's.
    for (key, unit, amount) in [("usd 1", "usd", 7), ("eur 2", "eur", 11), ("usd 2", "usd", 13)] {
        let posted = post(&db.pool, &[owed(key, "r", unit, amount)]).await.unwrap();
        assert!(matches!(posted[..], [Posted::New(_)]), "{key}: {posted:?}");
    }
    // Netting is in the same unit, from another side.
    let back = Posting::new("netting", "back".into(), Account::Receiver("r".into()), Account::Netting, "usd", 3);
    assert!(matches!(post(&db.pool, &[back]).await.unwrap()[..], [Posted::New(_)]));
    let expected =
        [balance("receiver:r", "eur", 16), balance("receiver:r", "usd", 17), balance("receiver:s", "usd", 1)];
    assert_eq!(balances(&db.pool).await, expected);
    let moved: Vec<(String, String, String, String, String)> = sqlx::query_as(
        "SELECT p.key, d.name, d.unit, c.name, c.unit FROM bursar.posting p
         JOIN bursar.account d ON d.id = p.debit JOIN bursar.account c ON c.id = p.credit ORDER BY p.key",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let row = |key: &str, debit: &str, credit: &str, unit: &str| {
        (key.to_owned(), debit.to_owned(), unit.to_owned(), credit.to_owned(), unit.to_owned())
    };
    let expected = [
        row("back", "receiver:r", "netting", "usd"),
        row("eur", "payable", "receiver:r", "eur"),
        row("eur 2", "payable", "receiver:r", "eur"),
        row("other", "payable", "receiver:s", "usd"),
        row("usd 1", "payable", "receiver:r", "usd"),
        row("usd 2", "payable", "receiver:r", "usd"),
    ];
    assert_eq!(moved, expected);
}

#[tokio::test]
async fn each_posting_of_a_batch_is_answered_for_in_its_place() {
    let db = database().await;
    let keys = ["m", "c", "x", "a", "q", "b", "z", "d", "k", "e"];
    let first: Vec<Posting> = keys.iter().step_by(2).map(|key| grant(key, &format!("user {key}"))).collect();
    post(&db.pool, &first).await.unwrap();
    let batch: Vec<Posting> = keys.iter().map(|key| grant(key, &format!("user {key}"))).collect();
    let answers: Vec<(i64, String)> = sqlx::query_as("SELECT ord, result FROM bursar.post($1)")
        .bind(sqlx::types::Json(&batch))
        .fetch_all(&db.pool)
        .await
        .unwrap();
    let expected: Vec<(i64, String)> =
        (1..=10).map(|ord| (ord, if ord % 2 == 1 { "already" } else { "posted" }.to_owned())).collect();
    assert_eq!(answers, expected);
    assert!(balances(&db.pool).await.iter().all(|(.., amount)| *amount == 1), "each of them has one");
}

#[tokio::test]
async fn a_key_counts_once_within_a_batch_and_after_it() {
    let db = database().await;
    let twice = [grant("k", "alice"), grant("k", "alice")];
    let [Posted::New(id), Posted::Already(same)] = post(&db.pool, &twice).await.unwrap()[..] else { panic!() };
    assert_eq!(id, same);
    assert_eq!(post(&db.pool, &twice).await.unwrap(), [Posted::Already(id), Posted::Already(id)]);
    assert_eq!(balances(&db.pool).await, [balance("user:alice", "credits", 1)]);
}

#[tokio::test]
async fn a_key_with_other_content_is_a_conflict_whichever_part_differs() {
    let db = database().await;
    let first = grant("k", "alice");
    let [Posted::New(id)] = post(&db.pool, std::slice::from_ref(&first)).await.unwrap()[..] else { panic!() };
    let mut reversal = grant("back", "bob");
    reversal.reverses = Some(id);
    let [Posted::New(back)] = post(&db.pool, std::slice::from_ref(&reversal)).await.unwrap()[..] else { panic!() };
    for (what, other) in [
        ("kind", Posting { kind: "refill", ..first.clone() }),
        ("debit", Posting { debit: Account::Breakage, ..first.clone() }),
        ("credit", Posting { credit: user("bob"), ..first.clone() }),
        ("unit", Posting { unit: "usd".into(), ..first.clone() }),
        ("amount", Posting { amount: 2, ..first.clone() }),
        ("reverses", Posting { reverses: Some(back), ..first.clone() }),
    ] {
        assert_eq!(post(&db.pool, &[other]).await.unwrap(), [Posted::Conflict(id)], "{what}");
    }
    assert_eq!(post(&db.pool, std::slice::from_ref(&reversal)).await.unwrap(), [Posted::Already(back)]);
    for reverses in [None, Some(back)] {
        let other = Posting { reverses, ..reversal.clone() };
        assert_eq!(post(&db.pool, &[other]).await.unwrap(), [Posted::Conflict(back)], "{reverses:?}");
    }
    let what_it_was_for = Posting { reference: Some("other".into()), why: Some("other".into()), ..first };
    assert_eq!(post(&db.pool, &[what_it_was_for]).await.unwrap(), [Posted::Already(id)], "words are no content");
}

const WAITING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// Posts in a task of its own, which is seen to wait for a lock.
async fn waiting(pool: &PgPool, postings: Vec<Posting>) -> tokio::task::JoinHandle<Vec<Posted>> {
    let other = pool.clone();
    let task = tokio::spawn(async move { post(&other, &postings).await.unwrap() });
    until(pool, WAITING, 1).await;
    task
}

/// Whether a statement has to wait for somebody.
async fn waits(pool: &PgPool, statement: &str) -> bool {
    let mut tx = pool.begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL lock_timeout = '100ms'").execute(&mut *tx).await.unwrap();
    let ended = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut *tx).await;
    match ended {
        Ok(_) => false,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => true,
        Err(error) => panic!("{statement}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_another_transaction_is_opening_is_waited_for() {
    let db = database().await;
    let mut opening = db.pool.begin().await.unwrap();
    post(&mut *opening, &[grant("one", "alice")]).await.unwrap();
    let second = waiting(&db.pool, vec![grant("two", "alice")]).await;
    opening.commit().await.unwrap();
    assert!(matches!(second.await.unwrap()[..], [Posted::New(_)]));
    assert_eq!(balances(&db.pool).await, [balance("user:alice", "credits", 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_opened_in_one_order() {
    let db = database().await;
    let mut opening = db.pool.begin().await.unwrap();
    sqlx::raw_sql("INSERT INTO bursar.account (name, unit, derived) VALUES ('user:m', 'credits', false)")
        .execute(&mut *opening)
        .await
        .unwrap();
    let names = ["z", "b", "m", "y", "a", "x", "d", "w", "c"];
    let second = waiting(&db.pool, names.iter().map(|name| grant(name, name)).collect()).await;
    for name in names.into_iter().filter(|name| *name != "m") {
        let open = format!("INSERT INTO bursar.account (name, unit, derived) VALUES ('user:{name}', 'credits', false)");
        assert_eq!(waits(&db.pool, &open).await, name < "m", "{name}");
    }
    opening.commit().await.unwrap();
    assert_eq!(second.await.unwrap().len(), names.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_locked_by_id_before_any_key_is_taken() {
    let db = database().await;
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        post(&db.pool, &[grant(name, name)]).await.unwrap();
    }
    // The table has them in another order than their ids.
    for name in ["b", "d", "a"] {
        let touch = format!("UPDATE bursar.account SET balance = balance WHERE name = 'user:{name}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(touch)).execute(&db.pool).await.unwrap();
    }
    let mut holding = db.pool.begin().await.unwrap();
    sqlx::raw_sql("SELECT FROM bursar.account WHERE name = 'user:c' FOR NO KEY UPDATE")
        .execute(&mut *holding)
        .await
        .unwrap();
    let second = waiting(&db.pool, names.iter().rev().map(|name| grant(&format!("{name} 2"), name)).collect()).await;
    for name in names.into_iter().filter(|name| *name != "c") {
        let lock = format!("SELECT FROM bursar.account WHERE name = 'user:{name}' FOR NO KEY UPDATE");
        assert_eq!(waits(&db.pool, &lock).await, name < "c", "{name}");
    }
    for name in names {
        let take =
            format!("INSERT INTO bursar.posting (key, kind, debit, credit, amount) VALUES ('{name} 2', 'x', 1, 2, 1)");
        assert!(!waits(&db.pool, &take).await, "the key {name} 2 is not taken yet");
    }
    holding.commit().await.unwrap();
    assert_eq!(second.await.unwrap().len(), names.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_taken_in_one_order() {
    let db = database().await;
    let keys = ["z", "b", "m", "y", "a", "x", "d", "w", "c"];
    let mut taking = db.pool.begin().await.unwrap();
    sqlx::raw_sql("INSERT INTO bursar.posting (key, kind, debit, credit, amount) VALUES ('m', 'x', 1, 2, 1)")
        .execute(&mut *taking)
        .await
        .unwrap();
    let second = waiting(&db.pool, keys.iter().map(|key| grant(key, &format!("user {key}"))).collect()).await;
    for key in keys.into_iter().filter(|key| *key != "m") {
        let take =
            format!("INSERT INTO bursar.posting (key, kind, debit, credit, amount) VALUES ('{key}', 'x', 1, 2, 1)");
        assert_eq!(waits(&db.pool, &take).await, key < "m", "{key}");
    }
    taking.rollback().await.unwrap();
    assert_eq!(second.await.unwrap().len(), keys.len());
}

#[tokio::test]
async fn only_the_accounts_of_a_posting_are_locked_and_none_that_keeps_no_balance() {
    let db = database().await;
    let first = [grant("a", "alice"), grant("b", "bob"), owed("e", "r", "eur", 1), owed("u", "r", "usd", 1)];
    post(&db.pool, &first).await.unwrap();
    let mut holding = db.pool.begin().await.unwrap();
    post(&mut *holding, &[grant("a 2", "alice"), owed("e 2", "r", "eur", 1)]).await.unwrap();
    let mut other = db.pool.begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL lock_timeout = '2s'").execute(&mut *other).await.unwrap();
    let posted = post(&mut *other, &[grant("b 2", "bob"), owed("u 2", "r", "usd", 1)]).await.unwrap();
    assert!(matches!(posted[..], [Posted::New(_), Posted::New(_)]), "{posted:?}");
    assert!(waits(&db.pool, "SELECT FROM bursar.account WHERE name = 'user:alice' FOR NO KEY UPDATE").await);
}
