//! A month compared and repaired, and what the overview says of all of it.

use bursar_jobs::desk::access::Role;

use super::{Desk, count, has, plant};

#[tokio::test]
async fn a_month_is_compared_by_an_operator_and_repaired_by_a_payer_who_saw_what_it_means() {
    let desk = Desk::open().await;
    plant(
        &desk.db.pool,
        "INSERT INTO bursar.reconciliation (id, month, asked_by, state, phase, objects, ended_at)
         VALUES ('2026-01.1', '2026-01-01', 'schedule', 'done', 'done', 1234, bursar.now());
         INSERT INTO bursar.finding (run, type, object, user_id, amount, unit, evidence, automatic, remedy) VALUES
            ('2026-01.1', 'missing_grant', 'in_1', 'alice', 150000000, 'credits', '{\"paid\": \"<b>\"}', true, 'bursar reconcile --repair'),
            ('2026-01.1', 'missing_grant', 'in_2', 'bob', 50000000, 'credits', '{}', true, 'bursar reconcile --repair'),
            ('2026-01.1', 'payout_stuck', 'job_1', 'carol', 100, 'usd', '{}', true, 'bursar reconcile --repair'),
            ('2026-01.1', 'user_unknown', 'in_3', NULL, 1900, 'usd', '{}', false, 'bursar reconcile judge FINDING')",
    )
    .await;
    let (olga, paul) = (desk.visitor("olga", Role::Operator).await, desk.visitor("paul", Role::Payer).await);
    has(&olga.page("/reconcile").await.body, &["2026-01.1", "1234", "Compare it with Stripe"]);
    let page = olga.page("/reconcile/2026-01.1").await.body;
    has(
        &page,
        &[
            "missing_grant",
            "200 credits",
            "1.00 USD",
            "&lt;b&gt;",
            "bursar reconcile judge 4",
            "that takes a payer",
            "It may stay",
        ],
    );
    has(
        &olga.page("/").await.body,
        &[
            "4 findings of reconciliation are open",
            "2 missing_grant",
            "done, 4 open",
            "1234 objects compared, 4 findings.",
        ],
    );
    assert_eq!(olga.page("/reconcile/2026-02.1").await.status, 404);
    assert_eq!(olga.page("/reconcile?month=x").await.status, 400);

    let judged = olga.send("/reconcile/2026-01.1/judge", "finding=4&why=a+gift").await;
    assert_eq!(judged.status, 303, "{}", judged.body);
    assert_eq!(olga.send("/reconcile/2026-01.1/judge", "finding=4&why=a+gift").await.status, 409);
    assert_eq!(olga.send("/reconcile/2026-01.1/judge", "finding=99&why=x").await.status, 404);

    let dry = paul.send("/reconcile", "month=2026-01&act=repair").await.body;
    has(&dry, &["a repair closes <strong>3</strong> findings, and leaves 0", "200 credits", "1.00 USD"]);
    let never = paul.send("/reconcile", "month=2026-02&act=repair").await.body;
    has(&never, &["2026-02 was never compared", "Compare it first"]);
    assert!(!never.contains("name=\"step\""), "there is nothing to confirm");
    assert_eq!(count(&desk.db.pool, "SELECT count(*) FROM bursar.reconciliation").await, 1, "it was only asked");

    let compared = olga.send("/reconcile", "month=2026-02&act=compare").await;
    assert_eq!((compared.status, compared.header("location")), (303, Some("/reconcile/2026-02.1")));
    let act = "month=2026-01&act=repair&step=act&why=lost+events";
    let (a, b) = tokio::join!(paul.send("/reconcile", act), paul.send("/reconcile", act));
    assert_eq!(
        (a.header("location"), b.header("location")),
        (Some("/reconcile/2026-01.2"), Some("/reconcile/2026-01.2"))
    );
    let runs: Vec<(String, String, Option<String>)> =
        sqlx::query_as("SELECT id, asked_by, repair_by FROM bursar.reconciliation WHERE state = 'running' ORDER BY id")
            .fetch_all(&desk.db.pool)
            .await
            .unwrap();
    let expected = [("2026-01.2", "paul", Some("paul")), ("2026-02.1", "olga", None)];
    assert_eq!(runs, expected.map(|(run, who, repair)| (run.to_owned(), who.to_owned(), repair.map(str::to_owned))));
    let jobs = "SELECT count(*) FROM bursar.job WHERE kind = 'reconcile_read' AND state = 'ready'";
    assert_eq!(count(&desk.db.pool, jobs).await, 2, "one chain for each");
    has(&paul.page("/reconcile/2026-01.2").await.body, &["running", "for paul", "<progress"]);
}

#[tokio::test]
async fn the_overview_says_what_is_late_dead_and_disputed() {
    let desk = Desk::open().await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    has(&vera.page("/").await.body, &["The gap watch has not begun", "No month was compared yet"]);
    desk.dead("send_letter", 1).await;
    plant(
        &desk.db.pool,
        "INSERT INTO bursar.event_watch (began_at, compared_until) VALUES (bursar.now() - interval '9 days', bursar.now() - interval '5 hours');
         INSERT INTO bursar.missed_event (event_id, type, found_at, walk, overdue) VALUES ('evt_1', 'invoice.paid', bursar.now(), bursar.now(), true);
         INSERT INTO bursar.schedule (name, cron, kind, args, catch_up, source, next_at)
         VALUES ('refills', '0 * * * *', 'refill_month', '{}', 'once', 'settings', bursar.now() - interval '2 hours'),
                ('usage', '0 * * * *', 'sum_usage', '{}', 'once', 'settings', bursar.now() + interval '1 hour');
         INSERT INTO bursar.charge (id, amount, currency, asked_at) VALUES ('ch_1', 1900, 'usd', bursar.now());
         INSERT INTO bursar.dispute (id, charge, amount, currency, status, reason, due_by, created_at, user_id)
         VALUES ('du_1', 'ch_1', 1900, 'usd', 'needs_response', 'fraudulent', bursar.now() + interval '3 days', bursar.now(), 'alice'),
                ('du_2', 'ch_1', 100, 'usd', 'won', NULL, NULL, bursar.now(), 'alice')",
    )
    .await;
    let page = vera.page("/").await.body;
    has(
        &page,
        &[
            "The gap watch is 5 h behind",
            "1 event had never arrived",
            "Schedules are late: refills (due 2\u{a0}h\u{a0}ago)",
            "1 letter is dead",
            "du_1</a> of alice over 19.00 USD wants evidence: its deadline is in\u{a0}2\u{a0}d",
            "fraudulent",
        ],
    );
    assert!(!page.contains("du_2") && !page.contains("usage (due"));
    assert_eq!(count(&desk.db.pool, "SELECT count(*) FROM bursar.audit").await, 0, "a page changes nothing");
}
