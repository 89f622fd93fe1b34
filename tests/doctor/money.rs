//! What would let money be lost unseen: a watch that stands still, a month that nobody compared, payouts that wait for somebody.

use super::bench::Bench;

const PAYOUT: &str =
    "INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state, changed_at) VALUES";

/// What is planted, which check says so, as what, what it saw, and a command of its remedy.
const PLANTED: &[[&str; 5]] = &[
    ["DELETE FROM bursar.event_watch", "events.watch", "warn", "not begun", "bursar worker"],
    [
        "UPDATE bursar.event_watch SET compared_until = bursar.now() - interval '4 hours'",
        "events.watch",
        "warn",
        "4 hours ago",
        "bursar events gaps",
    ],
    [
        "UPDATE bursar.event_watch SET compared_until = bursar.now() - interval '61 hours'",
        "events.watch",
        "fail",
        "3 days",
        "bursar events gaps",
    ],
    [
        "INSERT INTO bursar.missed_event (event_id, type, found_at, walk, overdue)
         VALUES ('evt_1', 'invoice.paid', bursar.now() - interval '1 hour', bursar.now(), true)",
        "events.watch",
        "warn",
        "1 event was found",
        "bursar events gaps",
    ],
    [
        "UPDATE bursar.event_watch SET began_at = bursar.now() - interval '70 days'",
        "reconcile.month",
        "warn",
        "was never compared",
        "bursar reconcile --month 2",
    ],
    [
        "INSERT INTO bursar.reconciliation (id, month, asked_by, state, reason, begun_at)
         SELECT 'm.1', date_trunc('month', bursar.now() - interval '2 days') - interval '1 month', 'schedule', 'stopped', 'the key may not', bursar.now()",
        "reconcile.month",
        "warn",
        "the key may not",
        "bursar reconcile --month 2",
    ],
    [
        "INSERT INTO bursar.reconciliation (id, month, asked_by, begun_at)
         SELECT 'm.1', date_trunc('month', bursar.now() - interval '2 days') - interval '1 month', 'schedule', bursar.now() - interval '26 hours'",
        "reconcile.month",
        "warn",
        "m.1 is under way since",
        "bursar jobs list",
    ],
    [
        "INSERT INTO bursar.reconciliation (id, month, asked_by, state) VALUES ('2026-01.1', '2026-01-01', 'schedule', 'done');
         INSERT INTO bursar.finding (run, type, object, evidence, automatic, remedy) VALUES ('2026-01.1', 'missing_grant', 'in_1', '{}', true, 'x')",
        "reconcile.findings",
        "warn",
        "1 missing_grant",
        "bursar reconcile show RUN",
    ],
];

#[tokio::test]
async fn what_would_lose_money_unseen_is_found() {
    let well = Bench::new().await.examine(&[]).await;
    for [statement, name, verdict, seen, remedy] in PLANTED {
        let bench = Bench::new().await;
        bench.plant(statement).await;
        let report = bench.examine(&[]).await;
        report.differs_only_by(&well, &[(name, verdict)]);
        assert!(report.seen(name).contains(seen), "{statement}: {}", report.seen(name));
        assert!(report.remedy(name).contains(remedy), "{statement}: {}", report.remedy(name));
    }
}

#[tokio::test]
async fn payouts_that_wait_for_somebody_are_told_with_their_sums() {
    let bench = Bench::new().await;
    let well = bench.examine(&[]).await;
    let plant = async |rows: &str| {
        let statement = format!("TRUNCATE bursar.payout CASCADE; {PAYOUT} {rows}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&bench.db.pool).await.unwrap();
        bench.examine(&[]).await
    };
    let report = plant("('j1', 'bob', 's', 1, 700, 'usd', 'unknown', bursar.now()), ('j2', 'bob', 's', 1, 500, 'jpy', 'unknown', bursar.now())").await;
    report.differs_only_by(&well, &[("payouts.unknown", "warn")]);
    assert!(report.seen("payouts.unknown").contains("1 payout (500 JPY), 1 payout (7.00 USD)"), "{report:?}");
    assert!(report.remedy("payouts.unknown").contains("bursar payouts list --state unknown"));
    // Nobody looks for it any more.
    let report = plant("('j1', 'bob', 's', 1, 700, 'usd', 'unknown', bursar.now() - interval '2 hours')").await;
    report.differs_only_by(&well, &[("payouts.unknown", "fail")]);
    assert_eq!(report.code, Some(1));
    let report = plant("('j1', 'bob', 's', 1, 700, 'usd', 'rejected', bursar.now()), ('j2', 'eve', 's', 1, 300, 'usd', 'rejected', bursar.now())").await;
    report.differs_only_by(&well, &[("payouts.rejected", "warn")]);
    assert!(report.seen("payouts.rejected").ends_with("2 payouts (10.00 USD)"), "{report:?}");
    // These go their way.
    let report = plant("('j1', 'bob', 's', 1, 700, 'usd', 'held', bursar.now()), ('j2', 'eve', 's', 1, 300, 'usd', 'paid', bursar.now())").await;
    report.differs_only_by(&well, &[]);
}

#[tokio::test]
async fn a_month_that_was_compared_is_said() {
    let bench = Bench::new().await;
    bench
        .plant(
            "INSERT INTO bursar.reconciliation (id, month, asked_by, state, ended_at)
             SELECT 'm.1', date_trunc('month', bursar.now() - interval '2 days') - interval '1 month', 'schedule', 'done', bursar.now()",
        )
        .await;
    assert_eq!(bench.examine(&[]).await.result("reconcile.month"), "ok");
}
