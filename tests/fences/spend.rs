//! `bursar.spend`: nobody spends what they have not, twice, or of another.

use bursar_jobs::ledger::post;

use super::*;
use crate::support::{Database, database};

/// A database in which alice and bob have five credits each.
async fn with_credits() -> Database {
    let db = database().await;
    let grants = ["alice", "bob"].map(|user| Posting::grant("purchase", user.into(), user, Credits::whole(5).unwrap()));
    post(&db.pool, &grants).await.unwrap();
    db
}

type Spent = (String, Option<i64>, Option<String>);

async fn spend(db: impl sqlx::PgExecutor<'_>, user: &str, amount: &str, key: &str, reference: Option<&str>) -> Spent {
    sqlx::query_as("SELECT status, posting_id, balance::text FROM bursar.spend($1, $2::text::numeric, $3, $4)")
        .bind(user)
        .bind(amount)
        .bind(key)
        .bind(reference)
        .fetch_one(db)
        .await
        .unwrap()
}

fn status(spent: &Spent) -> (&str, Option<&str>) {
    (&spent.0, spent.2.as_deref())
}

/// What each user has.
async fn left(pool: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT name, trim_scale(balance * 0.000001)::text FROM bursar.account WHERE unit = 'credits' AND NOT derived ORDER BY name",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

const SPENDS: &str = "SELECT count(*) FROM bursar.posting WHERE kind = 'spend'";

#[tokio::test]
async fn what_is_malformed_is_invalid_and_takes_nothing() {
    let db = with_credits().await;
    for (what, call) in [
        ("no user", "SELECT status FROM bursar.spend(NULL, 1, 'k')"),
        ("an empty user", "SELECT status FROM bursar.spend('', 1, 'k')"),
        ("a user of 256 letters", "SELECT status FROM bursar.spend(repeat('u', 256), 1, 'k')"),
        ("no key", "SELECT status FROM bursar.spend('alice', 1, NULL)"),
        ("an empty key", "SELECT status FROM bursar.spend('alice', 1, '')"),
        ("a key of 256 letters", "SELECT status FROM bursar.spend('alice', 1, repeat('k', 256))"),
        ("no amount", "SELECT status FROM bursar.spend('alice', NULL, 'k')"),
        ("nothing", "SELECT status FROM bursar.spend('alice', 0, 'k')"),
        ("less than nothing", "SELECT status FROM bursar.spend('alice', -1, 'k')"),
        ("less than a millionth", "SELECT status FROM bursar.spend('alice', 0.0000001, 'k')"),
        ("a part of a millionth", "SELECT status FROM bursar.spend('alice', 1.0000001, 'k')"),
        ("more than there can be", "SELECT status FROM bursar.spend('alice', 9000000000001, 'k')"),
        ("no number", "SELECT status FROM bursar.spend('alice', 'NaN', 'k')"),
    ] {
        let status: String = sqlx::query_scalar(call).fetch_one(&db.pool).await.unwrap();
        assert_eq!(status, "invalid", "{what}");
    }
    for (what, call) in [
        ("the longest user", "SELECT status FROM bursar.spend(repeat('u', 255), 1, 'k')"),
        ("the longest key", "SELECT status FROM bursar.spend('alice', 6, repeat('k', 255))"),
        ("as much as there can be", "SELECT status FROM bursar.spend('alice', 9000000000000, 'k')"),
    ] {
        let status: String = sqlx::query_scalar(call).fetch_one(&db.pool).await.unwrap();
        assert_eq!(status, "short", "{what}");
    }
    assert_eq!(count(&db.pool, SPENDS).await, 0);
}

#[tokio::test]
async fn a_spend_goes_from_its_user_to_usage_in_credits() {
    let db = with_credits().await;
    // Accounts of the same names in another unit, before and behind them.
    sql(
        &db.pool,
        "INSERT INTO bursar.account (name, unit, derived, balance)
         VALUES ('usage', 'aud', true, 0), ('user:alice', 'aud', false, 900000000), ('usage', 'usd', true, 0), ('user:alice', 'usd', false, 900000000);
         UPDATE bursar.account SET opened_at = opened_at WHERE unit = 'credits' AND name IN ('usage', 'user:alice')",
    )
    .await;
    assert_eq!(status(&spend(&db.pool, "alice", "6", "much", None).await), ("short", Some("5")));
    assert_eq!(status(&spend(&db.pool, "alice", "1.5", "k", None).await), ("done", Some("3.5")));
    let expected = [("user:alice".to_owned(), "3.5".to_owned()), ("user:bob".to_owned(), "5".to_owned())];
    assert_eq!(left(&db.pool).await, expected);
    let moved: (String, String, String, String, i64) = sqlx::query_as(
        "SELECT d.name, d.unit, c.name, c.unit, p.amount FROM bursar.posting p
         JOIN bursar.account d ON d.id = p.debit JOIN bursar.account c ON c.id = p.credit WHERE p.kind = 'spend'",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(moved, ("user:alice".into(), "credits".into(), "usage".into(), "credits".into(), 1_500_000));
}

#[tokio::test]
async fn a_key_takes_once_and_stands_for_one_amount_of_one_thing() {
    let db = with_credits().await;
    let first = spend(&db.pool, "alice", "2", "k", Some("run 1")).await;
    assert_eq!(status(&first), ("done", Some("3")));
    assert_eq!(spend(&db.pool, "alice", "2", "k", Some("run 1")).await, first, "once");
    for (amount, reference) in [("1", Some("run 1")), ("2", Some("run 2")), ("2", None)] {
        let other = spend(&db.pool, "alice", amount, "k", reference).await;
        assert_eq!((other.0.as_str(), other.1), ("conflict", first.1), "{amount} for {reference:?}");
    }
    assert_eq!(
        status(&spend(&db.pool, "bob", "2", "k", Some("run 1")).await),
        ("done", Some("3")),
        "a key is its user's"
    );
    assert_eq!(status(&spend(&db.pool, "alice", "2", "another", Some("run 1")).await), ("done", Some("1")));
    assert_eq!(count(&db.pool, SPENDS).await, 3);
}

#[tokio::test]
async fn a_key_that_another_account_paid_under_is_a_conflict() {
    let db = with_credits().await;
    let mut posting = Posting::grant("spend", "spend:alice:k".into(), "carol", Credits::whole(1).unwrap());
    posting.debit = bursar_jobs::ledger::Account::User("bob".into());
    post(&db.pool, &[posting]).await.unwrap();
    assert_eq!(spend(&db.pool, "alice", "1", "k", None).await.0, "conflict");
}

#[tokio::test]
async fn nobody_spends_more_than_there_is_unless_credit_checks_pass() {
    let db = with_credits().await;
    assert_eq!(status(&spend(&db.pool, "nobody", "1", "k", None).await), ("short", Some("0")));
    assert_eq!(status(&spend(&db.pool, "alice", "5.000001", "k", None).await), ("short", Some("5")));
    sql(&db.pool, "INSERT INTO bursar.setting (name, value) VALUES ('credit_checks', 'enforce'), ('another', 'pass')")
        .await;
    assert_eq!(status(&spend(&db.pool, "alice", "6", "k", None).await), ("short", Some("5")));
    sql(&db.pool, "UPDATE bursar.setting SET value = 'pass' WHERE name = 'credit_checks'").await;
    for user in ["alice", "nobody"] {
        let passed = spend(&db.pool, user, "6", "k", None).await;
        assert_eq!((passed.0.as_str(), passed.1), ("done", None), "{user}");
    }
    assert_eq!(count(&db.pool, SPENDS).await, 0);
    assert_eq!(status(&spend(&db.pool, "alice", "5", "k", None).await), ("done", Some("0")), "all of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spend_waits_for_another_of_its_user_and_sees_what_that_left() {
    let db = with_credits().await;
    let mut first = db.pool.begin().await.unwrap();
    assert_eq!(status(&spend(&mut *first, "alice", "3", "one", None).await), ("done", Some("2")));
    assert_eq!(status(&spend(&db.pool, "bob", "3", "one", None).await), ("done", Some("2")), "another user's does not");
    let pool = db.pool.clone();
    let second = tokio::spawn(async move { spend(&pool, "alice", "3", "two", None).await });
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(&db.pool, waiting, 1).await;
    first.commit().await.unwrap();
    assert_eq!(status(&second.await.unwrap()), ("short", Some("2")));
    assert_eq!(left(&db.pool).await[0].1, "2");
}
