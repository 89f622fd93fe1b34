//! What a locked account and bad events leave of the rate at which all others are done. All rates are of one run, over one database, and the
//! clean rate falls as its tables grow; so each disturbed round is compared with the clean ones before and after it. On a machine of its own
//! it is measured longer, by
//! `BURSAR_MEASURE=1 cargo test --release --test main -- --nocapture jobs::rates`.

use bursar_jobs::base::clock;
use sqlx::PgPool;

use super::*;

/// Grants in each round, and the least share of the clean rate that is asserted: little, for the machine is shared and a round is short.
fn extent() -> (usize, f64) {
    if std::env::var_os("BURSAR_MEASURE").is_some() { (6000, 0.8) } else { (800, 0.4) }
}

/// One round of purchases.
struct Round<'a> {
    db: &'a Database,
    name: &'static str,
    size: usize,
}

impl Round<'_> {
    /// Receives a purchase of 200 credits, by this user and for this session.
    async fn buy(pool: &PgPool, id: &str, user: &str, session: &str) {
        let patches = [
            ("/data/object/id", json!(session)),
            ("/data/object/client_reference_id", json!(user)),
            ("/data/object/metadata", json!({"user_id": user, "credits": "200"})),
        ];
        let body = serde_json::to_vec(&event(CHECKOUT, id, &patches)).unwrap();
        let received = inbox::receive(pool, &Envelope::stripe(&body).unwrap(), &body).await.unwrap();
        assert_eq!(received, Received::New);
    }

    /// Plays it: how many a second are done of those that nothing is in the way of.
    async fn play(&self, of: impl Fn(usize) -> (String, String), is_held: impl Fn(usize) -> bool) -> f64 {
        let name = self.name;
        for nth in 0..self.size {
            let (user, session) = of(nth);
            Self::buy(&self.db.pool, &format!("evt_{name}_{nth}"), &user, &session).await;
        }
        let free = (0..self.size).filter(|nth| !is_held(*nth)).count();
        let (stopper, stop) = stop::channel();
        let begun = clock::monotonic();
        let worker = tokio::spawn(queue::run(self.db.pool.clone(), queue::Options::default(), Arc::new(terms()), stop));
        eventually(Duration::from_mins(2), || async {
            let done: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM apalis.jobs WHERE status IN ('Done', 'Failed') AND starts_with(idempotency_key, $1)",
            )
            .bind(format!("evt_{name}_"))
            .fetch_one(&self.db.pool)
            .await
            .unwrap();
            if usize::try_from(done).unwrap() >= free { Ok(()) } else { Err(format!("{done} of {free} are done")) }
        })
        .await;
        let took = begun.elapsed();
        stopper.stop();
        worker.await.unwrap().unwrap();
        let rate = f64::from(u32::try_from(free).unwrap()) / took.as_secs_f64();
        println!("{name}: {rate:.0} jobs a second");
        rate
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_account_and_bad_events_leave_all_others_most_of_their_rate() {
    let (size, least) = extent();
    let db = database().await;
    let round = |name| Round { db: &db, name, size };
    let own = |name: &str, nth: usize| (format!("{name}_{nth}"), format!("cs_{name}_{nth}"));
    round("warm").play(|nth| own("warm", nth), |_| false).await;
    let before = round("clean").play(|nth| own("clean", nth), |_| false).await;

    // One in ten is of a user whose account an application holds.
    Round::buy(&db.pool, "evt_first", "alice", "cs_first").await;
    drain(&db, terms()).await;
    let mut open = db.pool.begin().await.unwrap();
    let spent = ledger::spend(&mut *open, "alice", credits(1), "thinking", None, None).await.unwrap();
    assert!(matches!(spent, ledger::Spent::Done { .. }));
    let hers = |nth: usize| nth % 10 == 3;
    let of = |nth| if hers(nth) { ("alice".to_owned(), format!("cs_hers_{nth}")) } else { own("locked", nth) };
    let locked = round("locked").play(of, hers).await;
    let waiting: Vec<(String, i32, String)> = sqlx::query_as(
        "SELECT state, attempt, coalesce(reason, '') FROM bursar.job WHERE key LIKE 'evt_locked%' AND state <> 'done'",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(waiting.len(), size / 10);
    for (state, attempt, reason) in &waiting {
        assert!(["scheduled", "ready"].contains(&state.as_str()), "{state}: {reason}");
        assert!(*attempt == 0 && reason.contains("a lock on the account user:alice"), "{attempt}: {reason}");
    }
    open.commit().await.unwrap();
    sqlx::query("UPDATE apalis.jobs SET run_at = clock_timestamp() WHERE status = 'Pending'")
        .execute(&db.pool)
        .await
        .unwrap();
    drain(&db, terms()).await;
    assert_eq!(balance(&db, "alice").await, (199 + 200 * (size / 10)).to_string());

    let between = round("between").play(|nth| own("between", nth), |_| false).await;

    // The key of one in fifty stands for another user.
    let bad = |nth: usize| nth % 50 == 7;
    let of = |nth| if bad(nth) { ("mallory".to_owned(), format!("cs_clean_{nth}")) } else { own("bad", nth) };
    let poisoned = round("bad").play(of, |_| false).await;
    assert_eq!(balance(&db, "mallory").await, "0");
    let dead: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM bursar.job WHERE key LIKE 'evt_bad%' AND state = 'dead' AND reason LIKE '%with other content%'",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(usize::try_from(dead).unwrap(), size / 50);

    let after = round("again").play(|nth| own("again", nth), |_| false).await;
    let wasted: Vec<(String, i64)> = sqlx::query_as(
        "SELECT outcome, count(*) FROM bursar.attempt WHERE outcome NOT IN ('done', 'dead', 'snooze') GROUP BY 1",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert!(wasted.is_empty(), "nobody's attempt is spent: {wasted:?}");
    let beside_locked = f64::midpoint(before, between);
    let beside_bad = f64::midpoint(between, after);
    println!("locked / clean: {:.2}; bad / clean: {:.2}", locked / beside_locked, poisoned / beside_bad);
    assert!(locked >= least * beside_locked, "{locked:.0} of {beside_locked:.0} jobs a second with one in ten locked");
    assert!(poisoned >= least * beside_bad, "{poisoned:.0} of {beside_bad:.0} jobs a second with one in fifty bad");
}
