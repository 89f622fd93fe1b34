//! `bursar payouts release` by a filter: what it would mean is said first; those that were shown are let go, and no others.

use bursar_jobs::{
    base::audit::Via,
    desk::{
        Operator, PayoutFilter,
        bulk::{self, Refused, Releasing},
        release,
    },
    payouts::state::State,
};
use serde_json::json;

use super::{ask, plant};
use crate::support::database;

const HELD: &str = "
    INSERT INTO bursar.receiver (user_id, account_id, active) VALUES ('bob', 'acct_bob', true);
    INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state, held_by)
        SELECT 'job_' || n, CASE WHEN n % 2 = 0 THEN 'bob' ELSE 'carol' END, 'research', 1, 100, 'usd', 'held', 'cap' FROM generate_series(1, 250) n;
    INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state) VALUES
        ('unknown_1', 'bob', 'research', 1, 900, 'usd', 'unknown'), ('paid_1', 'bob', 'research', 1, 900, 'usd', 'paid')";

#[tokio::test]
async fn a_dry_run_tells_counts_and_sums_and_what_is_let_go_is_written_down() {
    let db = database().await;
    plant(&db, HELD).await;
    let dry = ["payouts", "release", "--state", "held", "--receiver", "bob", "--dry-run"];
    let told = ask(&db, &[&dry[..], &["--json"]].concat()).ended(0).object();
    assert_eq!(
        (&told["matching"], &told["safe"], &told["done"], &told["unknown"], &told["held_again"]),
        (&json!(125), &json!(125), &json!(0), &json!(0), &json!(0)),
        "{told}"
    );
    assert_eq!((&told["amounts"], &told["sums"]["safe"]), (&json!({"usd": 12500}), &json!({"usd": 12500})));
    let said = ask(&db, &dry).ended(0).out;
    assert!(said.contains("125 payouts") && said.contains("125.00 USD: nothing was sent for them"), "{said}");
    let carol = ask(&db, &["payouts", "release", "--receiver", "carol", "--dry-run", "--json"]).ended(0).object();
    assert_eq!(carol["held_again"], json!(125), "carol has no account");
    assert_eq!(
        (&carol["amounts"], &carol["sums"]["safe"]),
        (&json!({}), &json!({"usd": 12500})),
        "nothing of hers leaves"
    );
    let all = ask(&db, &["payouts", "release", "--currency", "USD", "--dry-run", "--json"]).ended(0).object();
    assert_eq!((&all["safe"], &all["done"], &all["unknown"]), (&json!(250), &json!(1), &json!(1)));
    assert_eq!(all["sums"]["unknown"], json!({"usd": 900}));
    let one = ask(&db, &["payouts", "release", "unknown_1", "--dry-run"]).ended(0).out;
    assert!(one.contains("it is looked for first"), "{one}");
    ask(&db, &["payouts", "release", "nothing", "--dry-run"]).ended(3);
    for wrong in [
        &["payouts", "release"][..],
        &["payouts", "release", "--dry-run"],
        &["payouts", "release", "job_1", "--state", "held"],
        &["payouts", "release", "--receiver", "bob", "--yes"],
        &["payouts", "release", "--state", "paid", "--after-saved-failure"],
        &["payouts", "release", "--held-by", "hand"],
    ] {
        assert_eq!(ask(&db, wrong).code, Some(2), "{wrong:?}");
    }
    let unasked = ask(&db, &["payouts", "release", "--state", "held"]).ended(1);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    let untouched = "SELECT count(*) FROM bursar.payout WHERE releases > 0 OR held_by IS NULL AND state = 'held'";
    assert_eq!(sqlx::query_scalar::<_, i64>(untouched).fetch_one(&db.pool).await.unwrap(), 0, "nothing was changed");

    let args = [
        "payouts",
        "release",
        "--state",
        "held",
        "--held-by",
        "cap",
        "--text",
        "BOB",
        "--yes",
        "--why",
        "seen",
        "--json",
    ];
    let done = ask(&db, &args).ended(0).object();
    assert_eq!((&done["matching"], &done["changed"], &done["skipped"]), (&json!(125), &json!(125), &json!(0)));
    let (released, written, jobs): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM bursar.payout WHERE releases = 1 AND receiver_id = 'bob' AND cap_lifted AND held_by IS NULL),
                (SELECT count(*) FROM bursar.audit WHERE what = 'payouts.release' AND via = 'cli' AND why = 'seen' AND before ->> 'held_by' = 'cap'),
                (SELECT count(*) FROM bursar.job WHERE kind = 'pay_receiver' AND state = 'ready')",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!((released, written, jobs), (125, 125, 125));
    // They go on by themselves now.
    let again = ask(&db, &dry).ended(0).out;
    assert!(again.contains("125, 125.00 USD: a job goes on with them by itself"), "{again}");
    let meaning = ask(&db, &["payouts", "reverse", "job_1", "--why", "x", "--dry-run"]).ended(0).out;
    assert!(
        meaning.contains("Nothing is asked of Stripe") && meaning.contains("1.00 USD is owed no more"),
        "{meaning}"
    );
    let told = ask(&db, &[&dry[..], &["--json"]].concat()).ended(0).object();
    assert_eq!((&told["under_way"], &told["done"], &told["amounts"]), (&json!(125), &json!(0), &json!({})), "{told}");
    assert_eq!(ask(&db, &["payouts", "show", "job_1", "--json"]).ended(0).object()["state"], json!("held"));
}

#[tokio::test]
async fn only_what_was_shown_is_let_go_and_only_as_it_stood() {
    let db = database().await;
    plant(&db, HELD).await;
    let by = Operator { who: "paul".into(), via: Via::Console };
    let filter = PayoutFilter { state: Some(State::Held), ..PayoutFilter::default() };
    let mut connection = db.pool.acquire().await.unwrap();
    let dry = release::dry_run(&mut connection, &filter).await.unwrap();
    let asked = |seal, wish| Releasing { filter: &filter, seal, wish, why: None };
    // Another payout is held since: what was shown is not what would be done.
    plant(
        &db,
        "INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state) VALUES ('late_1', 'bob', 'research', 1, 5, 'usd', 'held')",
    )
    .await;
    let refused = bulk::begin_release(&mut connection, &by, asked(&dry.seal, None)).await.unwrap_err();
    assert!(matches!(refused, Refused::Changed(shown) if shown.matching == 251));
    let dry = release::dry_run(&mut connection, &filter).await.unwrap();
    let wish = "8f14e45f-ceea-467f-a8f5-0123456789ab";
    let began = bulk::begin_release(&mut connection, &by, asked(&dry.seal, Some(wish))).await.unwrap();
    let twice = bulk::begin_release(&mut connection, &by, asked(&dry.seal, Some(wish))).await.unwrap();
    assert_eq!((began.id.as_str(), twice.id.as_str(), began.matching), (wish, wish, 251));
    let rival = bulk::begin_release(&mut connection, &by, asked(&dry.seal, None)).await.unwrap();

    let first = bulk::step(&mut connection, wish).await.unwrap().unwrap();
    assert_eq!((first.changed, first.ended_at), (100, None));
    // Whoever did it is gone. Meanwhile one of the rest is let go by hand, one is paid, and another comes.
    ask(&db, &["payouts", "release", "job_98"]).ended(0);
    plant(
        &db,
        "UPDATE bursar.payout SET state = 'paid', transfer_id = 'tr_9' WHERE job_id = 'job_99';
         INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state) VALUES ('late_2', 'bob', 'research', 1, 5, 'usd', 'held')",
    )
    .await;
    // Two go on at once, and so does the rival that was begun over the same: a payout is nobody's twice.
    let (mut second, mut third) = (db.pool.acquire().await.unwrap(), db.pool.acquire().await.unwrap());
    for _ in 0..20 {
        let (a, b, c) = tokio::join!(
            bulk::step(&mut connection, wish),
            bulk::step(&mut second, wish),
            bulk::step(&mut third, &rival.id)
        );
        a.unwrap();
        b.unwrap();
        c.unwrap();
        if bulk::unfinished(&mut connection).await.unwrap().is_empty() {
            break;
        }
    }
    let end = bulk::progress(&mut connection, wish).await.unwrap().unwrap();
    let other = bulk::progress(&mut connection, &rival.id).await.unwrap().unwrap();
    assert!(end.ended_at.is_some() && other.ended_at.is_some(), "{end:?} {other:?}");
    assert_eq!(end.changed + other.changed, 249, "all but the two that stood otherwise, each once: {end:?} {other:?}");
    assert_eq!((end.changed + end.skipped, other.changed + other.skipped), (251, 251));
    let odd: Vec<(String, i32)> = sqlx::query_as(
        "SELECT job_id, releases FROM bursar.payout WHERE releases <> 1 AND job_id NOT IN ('unknown_1', 'paid_1') ORDER BY job_id",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(odd, [("job_99".to_owned(), 0), ("late_2".to_owned(), 0)], "what came afterwards is left alone");
    let paid: Option<String> = sqlx::query_scalar("SELECT state FROM bursar.payout WHERE job_id = 'job_99'")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(paid.as_deref(), Some("paid"));
}
