//! The ledger: whatever is posted, in whatever order and however often, the balances are the sums of the postings.

use bursar_jobs::{
    base::credits::Credits,
    ledger::{self, Account, CREDITS, Posted, Posting, Spent},
};
use proptest::prelude::*;
use sqlx::PgPool;

use crate::support::database;

/// One thing done to the books. Few users and few keys, so that they collide.
#[derive(Debug, Clone)]
enum Op {
    Grant { key: u8, user: u8, amount: u8 },
    Batch(Vec<(u8, u8, u8)>),
    Reverse { key: u8 },
    Spend { user: u8, key: u8, amount: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    let grant = (0u8..12, 0u8..4, 1u8..20);
    prop_oneof![
        3 => grant.clone().prop_map(|(key, user, amount)| Op::Grant { key, user, amount }),
        2 => prop::collection::vec(grant, 1..6).prop_map(Op::Batch),
        1 => (0u8..12).prop_map(|key| Op::Reverse { key }),
        3 => (0u8..4, 0u8..12, 1u8..30).prop_map(|(user, key, amount)| Op::Spend { user, key, amount }),
    ]
}

fn grant(case: u32, (key, user, amount): (u8, u8, u8)) -> Posting {
    let amount = Credits::from_micros(i64::from(amount) * 1_000_000);
    Posting::grant("admin_grant", format!("{case}:grant:{key}"), &format!("{case}-{user}"), amount)
}

async fn perform(pool: &PgPool, case: u32, op: Op) {
    match op {
        Op::Grant { key, user, amount } => {
            ledger::post(pool, &[grant(case, (key, user, amount))]).await.unwrap();
        }
        Op::Batch(grants) => {
            let postings: Vec<Posting> = grants.into_iter().map(|g| grant(case, g)).collect();
            assert_eq!(ledger::post(pool, &postings).await.unwrap().len(), postings.len());
        }
        Op::Reverse { key } => {
            let original = sqlx::query_as::<_, (i64, String, i64)>(
                "SELECT p.id, a.name, p.amount FROM bursar.posting p JOIN bursar.account a ON a.id = p.credit WHERE p.key = $1",
            )
            .bind(format!("{case}:grant:{key}"))
            .fetch_optional(pool)
            .await
            .unwrap();
            if let Some((id, account, amount)) = original {
                let user = Account::User(account.trim_start_matches("user:").to_owned());
                let mut posting = Posting::new(
                    "reversal",
                    format!("{case}:reversal:{key}"),
                    user,
                    Account::Issuance,
                    CREDITS,
                    amount,
                );
                posting.reverses = Some(id);
                ledger::post(pool, &[posting]).await.unwrap();
            }
        }
        Op::Spend { user, key, amount } => {
            let user = format!("{case}-{user}");
            let amount = Credits::from_micros(i64::from(amount) * 1_000_000);
            let spent = ledger::spend(pool, &user, amount, &key.to_string(), None, None).await.unwrap();
            assert!(!matches!(spent, Spent::Invalid), "{spent:?}");
        }
    }
}

/// Accounts whose kept balance is not the sum of their postings.
async fn drifted(pool: &PgPool) -> Vec<(String, i64, i64)> {
    sqlx::query_as(
        "SELECT a.name, a.balance, s.sum::bigint FROM bursar.account a CROSS JOIN LATERAL (
             SELECT coalesce((SELECT sum(amount) FROM bursar.posting WHERE credit = a.id), 0)
                  - coalesce((SELECT sum(amount) FROM bursar.posting WHERE debit = a.id), 0) AS sum) s
         WHERE NOT a.derived AND a.balance <> s.sum",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[test]
fn any_interleaving_keeps_every_balance_equal_to_the_sum_of_its_postings() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let db = runtime.block_on(database());
    let cases = std::sync::atomic::AtomicU32::new(0);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(lanes in prop::collection::vec(prop::collection::vec(op(), 1..15), 4))| {
        let case = cases.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        runtime.block_on(async {
            let lanes: Vec<_> = lanes
                .into_iter()
                .map(|lane| {
                    let pool = db.pool.clone();
                    tokio::spawn(async move {
                        for op in lane {
                            perform(&pool, case, op).await;
                        }
                    })
                })
                .collect();
            for lane in lanes {
                lane.await.expect("no operation is refused, and none deadlocks");
            }
        });
        let drifted = runtime.block_on(drifted(&db.pool));
        prop_assert!(drifted.is_empty(), "{drifted:?}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_spends_at_once_take_exactly_what_is_there() {
    let db = database().await;
    ledger::post(&db.pool, &[Posting::grant("purchase", "p".into(), "alice", Credits::from_micros(100_000_000))])
        .await
        .unwrap();
    let spends: Vec<_> = (0..1000)
        .map(|i| {
            let pool = db.pool.clone();
            tokio::spawn(async move {
                ledger::spend(&pool, "alice", Credits::from_micros(1_000_000), &i.to_string(), None, None)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut done = 0;
    for spend in spends {
        match spend.await.unwrap() {
            Spent::Done { balance, .. } => {
                assert!(balance >= Credits::ZERO);
                done += 1;
            }
            Spent::Short { balance } => assert_eq!(balance, Credits::ZERO),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done, 100);
    assert_eq!(ledger::balance(&db.pool, "alice").await.unwrap(), Credits::ZERO);
}

#[tokio::test]
async fn grants_to_different_users_do_not_wait_for_each_other() {
    let db = database().await;
    let one = Posting::grant("purchase", "one".into(), "alice", Credits::from_micros(1));
    let two = Posting::grant("purchase", "two".into(), "bob", Credits::from_micros(1));
    let mut open = db.pool.begin().await.unwrap();
    ledger::post(&mut *open, &[one]).await.unwrap();
    // The first grant is not committed; the second must not notice.
    let mut other = db.pool.begin().await.unwrap();
    sqlx::query("SET LOCAL lock_timeout = '1s'").execute(&mut *other).await.unwrap();
    let posted = ledger::post(&mut *other, &[two]).await.unwrap();
    assert!(matches!(posted[..], [Posted::New(_)]));
    other.commit().await.unwrap();
    open.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_over_the_same_accounts_in_opposite_orders_never_deadlock() {
    let db = database().await;
    let lanes: Vec<_> = (0..4)
        .map(|lane| {
            let pool = db.pool.clone();
            tokio::spawn(async move {
                for round in 0..40 {
                    let mut postings: Vec<Posting> = (0..8)
                        .map(|user| {
                            let key = format!("{lane}:{round}:{user}");
                            Posting::grant("purchase", key, &format!("u{user}"), Credits::from_micros(1))
                        })
                        .collect();
                    if lane % 2 == 0 {
                        postings.reverse();
                    }
                    ledger::post(&pool, &postings).await.unwrap();
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    assert_eq!(ledger::balance(&db.pool, "u0").await.unwrap(), Credits::from_micros(160));
}

#[tokio::test]
async fn the_same_key_with_other_content_is_a_conflict_and_changes_nothing() {
    let db = database().await;
    let posting = Posting::grant("purchase", "k".into(), "alice", Credits::from_micros(5));
    let [Posted::New(id)] = ledger::post(&db.pool, std::slice::from_ref(&posting)).await.unwrap()[..] else { panic!() };
    assert_eq!(ledger::post(&db.pool, std::slice::from_ref(&posting)).await.unwrap(), [Posted::Already(id)]);
    for other in [
        Posting { amount: 6, ..posting.clone() },
        Posting { credit: Account::User("bob".into()), ..posting.clone() },
        Posting { kind: "refill", ..posting.clone() },
        Posting { reverses: Some(id), ..posting.clone() },
    ] {
        assert_eq!(ledger::post(&db.pool, &[other]).await.unwrap(), [Posted::Conflict(id)]);
    }
    assert_eq!(ledger::balance(&db.pool, "alice").await.unwrap(), Credits::from_micros(5));
    assert!(drifted(&db.pool).await.is_empty());
}

#[tokio::test]
async fn a_posting_can_be_neither_changed_nor_deleted() {
    let db = database().await;
    ledger::post(&db.pool, &[Posting::grant("purchase", "k".into(), "alice", Credits::from_micros(5))]).await.unwrap();
    for damage in ["UPDATE bursar.posting SET amount = 6", "DELETE FROM bursar.posting", "TRUNCATE bursar.posting"] {
        let error = sqlx::query(damage).execute(&db.pool).await.unwrap_err();
        assert!(error.to_string().contains("undo one by a reversal"), "{error}");
    }
}

#[tokio::test]
async fn a_spend_answers_and_never_raises_so_that_the_callers_transaction_lives() {
    let db = database().await;
    ledger::post(&db.pool, &[Posting::grant("purchase", "k".into(), "alice", Credits::from_micros(5_000_000))])
        .await
        .unwrap();
    let long = Posting::grant("purchase", "l".into(), &":".repeat(255), Credits::from_micros(5_000_000));
    ledger::post(&db.pool, &[long]).await.unwrap();
    let mut tx = db.pool.begin().await.unwrap();
    for (call, status) in [
        ("SELECT status FROM bursar.spend('alice', 2.5, 'a')", "done"),
        ("SELECT status FROM bursar.spend('alice', 2.5, 'a')", "done"),
        ("SELECT status FROM bursar.spend('alice', 2, 'a')", "conflict"),
        ("SELECT status FROM bursar.spend('alice', 3, 'b')", "short"),
        ("SELECT status FROM bursar.spend('nobody', 1, 'a')", "short"),
        ("SELECT status FROM bursar.spend('alice', 0, 'c')", "invalid"),
        ("SELECT status FROM bursar.spend('alice', -1, 'c')", "invalid"),
        ("SELECT status FROM bursar.spend('alice', 'NaN', 'c')", "invalid"),
        ("SELECT status FROM bursar.spend('alice', 0.0000001, 'c')", "invalid"),
        ("SELECT status FROM bursar.spend('alice', NULL, 'c')", "invalid"),
        ("SELECT status FROM bursar.spend('', 1, 'c')", "invalid"),
        ("SELECT status FROM bursar.spend('alice', 1, NULL)", "invalid"),
        ("SELECT status FROM bursar.spend(repeat(':', 255), 1, repeat('k', 255))", "done"),
        ("SELECT status FROM bursar.spend(repeat(':', 255), 1, repeat('k', 255))", "done"),
    ] {
        let seen: String = sqlx::query_scalar(call).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(seen, status, "{call}");
    }
    let left: String = sqlx::query_scalar("SELECT bursar.balance('alice')::text").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(left, "2.5");
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn two_users_and_keys_that_join_to_the_same_text_are_two_spends() {
    let db = database().await;
    let one = Credits::from_micros(1_000_000);
    for user in ["a", "a:b"] {
        ledger::post(&db.pool, &[Posting::grant("purchase", user.into(), user, one)]).await.unwrap();
    }
    for (user, key) in [("a", "b:c"), ("a:b", "c")] {
        let spent = ledger::spend(&db.pool, user, one, key, None, None).await.unwrap();
        assert!(matches!(spent, Spent::Done { balance: Credits::ZERO, .. }), "{user} {key}: {spent:?}");
        assert_eq!(ledger::balance(&db.pool, user).await.unwrap(), Credits::ZERO, "{user}");
    }
}

#[tokio::test]
async fn a_key_that_no_index_holds_is_refused_by_name_and_the_longest_spend_is_none() {
    let db = database().await;
    let wide = |prefix: &str, count: u32| {
        let letters = (0..count).map(|n| char::from_u32(0x1_0000 + n * 7).unwrap());
        letters.fold(prefix.to_owned(), |text, letter| text + &letter.to_string())
    };
    let refused = sqlx::query(
        "SELECT * FROM bursar.post(jsonb_build_array(jsonb_build_object('key', $1::text, 'kind', 'admin_grant',
                                   'debit', 'issuance', 'credit', 'user:alice', 'unit', 'credits', 'amount', 1)))",
    )
    .bind(wide("k", 1500))
    .execute(&db.pool)
    .await
    .unwrap_err();
    assert!(refused.to_string().contains("posting_key_fits_its_index"), "{refused}");
    let user = wide("", 255);
    let grant = bursar_jobs::ledger::Posting::grant(
        "admin_grant",
        "g".into(),
        &user,
        bursar_jobs::base::credits::Credits::whole(5).unwrap(),
    );
    bursar_jobs::ledger::post(&db.pool, &[grant]).await.unwrap();
    let status: String = sqlx::query_scalar("SELECT status FROM bursar.spend($1, 1, $2)")
        .bind(&user)
        .bind(wide("", 255))
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(status, "done");
}
