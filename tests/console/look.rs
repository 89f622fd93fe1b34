//! What a page shows of money that needs somebody: whose, how much, by when, who looks for it, and what is undone if nobody does.

use bursar_jobs::desk::access::Role;

use super::{Desk, get, post};

#[track_caller]
fn before(page: &str, one: &str, other: &str) {
    let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words:?} is missing in {page}"));
    assert!(at(one) < at(other), "{one:?} comes after {other:?} in {page}");
}

/// A purchase that was paid and not granted; and an event on which nothing acts.
const PURCHASE: &str = r#"
    SELECT bursar.receive('stripe', 'evt_1', 'checkout.session.completed', NULL, false, NULL, NULL, 'cs_1',
        '{"id": "evt_1", "type": "checkout.session.completed", "livemode": false, "data": {"object": {"id": "cs_1", "client_reference_id": "gina",
          "amount_total": 2999, "currency": "usd"}}}', 'grant_purchase', 3);
    UPDATE apalis.jobs SET status = 'Failed', done_at = bursar.now(), reason = 'metadata.credits says 777; seen 2026-11-20T07:00:00+00:00';
    SELECT bursar.receive('stripe', 'evt_2', 'payout.paid', NULL, false, NULL, NULL, 'po_1',
        '{"id": "evt_2", "type": "payout.paid", "livemode": false, "data": {"object": {"id": "po_1"}}}', 'note_event', 3);
    UPDATE apalis.jobs SET status = 'Done', done_at = bursar.now(), reason = 'this version does not act on payout.paid' WHERE status = 'Pending'"#;

#[tokio::test]
async fn a_job_names_its_user_and_its_money_and_is_cancelled_by_a_why_after_what_stays_undone_was_said() {
    let desk = Desk::open().await;
    desk.plant(PURCHASE).await;
    let id: String = sqlx::query_scalar("SELECT id FROM apalis.jobs WHERE status = 'Failed'")
        .fetch_one(&desk.db.pool)
        .await
        .unwrap();
    let olga = desk.visitor("olga", Role::Operator).await;
    let shown = ["<a href=\"/accounts/gina\">gina</a>", "29.99 USD"];
    let page = olga.sees(&format!("/jobs/{id}"), &shown).await;
    before(&page, "29.99 USD stays ungranted", "Cancel the job");
    assert!(page.contains("cs_1") && page.contains("<time datetime=\"2026-11-20T07:00:00.000Z\">"), "{page}");
    olga.sees("/jobs?state=dead", &shown).await;
    olga.sees("/jobs?state=done", &["<span class=\"state quiet\">skipped</span>"]).await;
    let events = olga.sees("/events", &shown).await;
    assert!(
        events.contains("<span class=\"state quiet\">skipped</span>"),
        "what did nothing does not look done: {events}"
    );
    olga.sees("/events/evt_1", &shown).await;

    let cancel = format!("/jobs/{id}/cancel");
    let refused = olga.send(&cancel, "").await;
    assert!(refused.status == 400 && refused.body.contains("Say why"), "{}", refused.body);
    let dry = olga.send("/bulk", "state=dead&verb=cancel&step=dry-run").await.body;
    before(&dry, "stays undone until somebody retries it: 29.99 USD", "Cancel all 1");
    let act = format!("state=dead&verb=cancel&step=act&{}", super::confirmation(&dry));
    assert_eq!(olga.send("/bulk", &act).await.status, 400, "nor all that match");
    assert_eq!(desk.count("dead").await, 1, "nothing changed");
    assert_eq!(olga.send(&cancel, "why=refunded+by+hand").await.status, 303);
    assert_eq!(desk.count("cancelled").await, 1);
}

#[tokio::test]
async fn the_overview_says_that_no_worker_is_alive_and_which_unknown_payouts_nobody_looks_for() {
    let desk = Desk::open().await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    vera.sees("/", &["role=\"alert\">No worker is alive: nothing runs until one is started"]).await;
    desk.plant(
        "INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state) SELECT 'u' || n, 'bob', 'research', 1, 100, 'usd', 'unknown'
         FROM generate_series(1, 3) n;
         SELECT bursar.enqueue(jsonb_agg(jsonb_build_object('kind', 'pay_receiver', 'key', 'u' || n || ':0', 'args', '{}'::jsonb, 'max_attempts', 3)))
         FROM generate_series(1, 3) n;
         UPDATE apalis.jobs SET status = 'Failed', done_at = bursar.now(), reason = 'gave up' WHERE idempotency_key <> 'u3:0'",
    )
    .await;
    let page = vera
        .sees(
            "/",
            &["3 payouts are unknown", "<strong>2 wait for you</strong>", "/jobs?state=dead&amp;kind=pay_receiver"],
        )
        .await;
    assert!(page.contains("No worker is alive, and 1 job waits"), "{page}");
    vera.sees("/jobs?state=dead&kind=pay_receiver", &["/accounts/bob", "1.00 USD"]).await;
    desk.plant("UPDATE apalis.jobs SET status = 'Pending', done_at = NULL").await;
    let page = vera.sees("/", &["3.00 USD in all: looked for, and never sent blindly"]).await;
    assert!(!page.contains("wait for you"), "{page}");
}

#[tokio::test]
async fn a_dispute_leads_to_its_user_who_is_unflagged_there_by_an_operator_with_a_why() {
    let desk = Desk::open().await;
    desk.plant(
        "INSERT INTO bursar.charge (id, amount, currency, asked_at) VALUES ('ch_1', 1900, 'usd', bursar.now());
         INSERT INTO bursar.dispute (id, charge, amount, currency, status, reason, due_by, created_at, user_id) VALUES
             ('du_1', 'ch_1', 1900, 'usd', 'needs_response', 'fraudulent', bursar.now() - interval '25 days 20 hours', bursar.now(), 'gina'),
             ('du_2', 'ch_1', 500, 'usd', 'needs_response', 'general', bursar.now() + interval '3 days 1 hour', bursar.now(), 'a b');
         INSERT INTO bursar.customer (id, user_id) VALUES ('cus_2', 'bob')",
    )
    .await;
    let (vera, olga) = (desk.visitor("vera", Role::Viewer).await, desk.visitor("olga", Role::Operator).await);
    let overview = vera
        .sees(
            "/",
            &[
                "2 users are flagged",
                "<a href=\"/accounts/gina\">gina</a>",
                "<a href=\"/accounts/gina#disputes\">du_1</a> of gina over 19.00 USD wants evidence: its deadline was 25\u{a0}d\u{a0}ago",
                "<a href=\"/accounts/a%20b#disputes\">du_2</a> of a b over 5.00 USD wants evidence: its deadline is in\u{a0}3\u{a0}d",
            ],
        )
        .await;
    assert!(overview.contains("is over: no evidence was taken"), "{overview}");
    let page = vera.sees("/accounts/gina", &["id=\"disputes\"", "19.00 USD", "fraudulent", "is over"]).await;
    assert!(!page.contains("/unflag"), "a viewer is offered nothing");
    olga.sees("/accounts/gina", &["action=\"/accounts/gina/unflag\""]).await;

    let (path, form) = ("/accounts/gina/unflag", "dispute=du_1&why=a+friend+of+ours");
    assert_eq!(vera.send(path, form).await.status, 403);
    let forged = post(desk.address, path, &olga.cookie, &format!("csrf={}&{form}", vera.csrf)).await;
    assert_eq!(forged.status, 403, "another's form");
    for (path, fields, status) in [
        (path, "dispute=du_1", 400),
        (path, "dispute=du_2&why=x", 404),
        (path, "why=x", 404),
        ("/accounts/bob/unflag", form, 404),
    ] {
        assert_eq!(olga.send(path, fields).await.status, status, "{path} {fields}");
    }
    assert_eq!(get(desk.address, path, &olga.cookie).await.status, 404, "a link does nothing");
    let flags = "SELECT count(*) FROM bursar.user_flag WHERE user_id = 'gina'";
    let flagged = async || sqlx::query_scalar::<_, i64>(flags).fetch_one(&desk.db.pool).await.unwrap();
    assert_eq!(flagged().await, 1, "nothing changed");
    let (a, b) = tokio::join!(olga.send(path, form), olga.send(path, form));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!((statuses, flagged().await), ([303, 409], 0));
    let written: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT who, via, subject, why FROM bursar.audit WHERE what = 'credits.unflag'")
            .fetch_all(&desk.db.pool)
            .await
            .unwrap();
    assert_eq!(written, [("olga".into(), "console".into(), "gina".into(), "a friend of ours".into())]);
    let page = olga.sees("/accounts/gina", &["looked at"]).await;
    assert!(!page.contains("/unflag") && !page.contains("Flagged"), "{page}");
    assert!(!olga.sees("/accounts/bob", &[]).await.contains("id=\"disputes\""));
}

#[tokio::test]
async fn what_can_be_done_with_a_payout_stands_before_its_calls_and_equal_calls_are_one() {
    let desk = Desk::open().await;
    desk.plant(
        "INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state, reason) VALUES ('u1', 'bob', 'research', 1, 100, 'usd', 'unknown', 'no answer'),
             ('h1', 'bob', 'research', 1, 100, 'usd', 'held', NULL);
         SELECT bursar.enqueue('[{\"kind\": \"pay_receiver\", \"key\": \"h1:0\", \"args\": {}, \"max_attempts\": 9},
                                 {\"kind\": \"pay_receiver\", \"key\": \"u1:0\", \"args\": {}, \"max_attempts\": 9}]');
         UPDATE apalis.jobs SET status = 'Failed', done_at = bursar.now(), reason = 'gave up' WHERE idempotency_key = 'u1:0';
         INSERT INTO bursar.intent (subject, generation, idempotency_key, request, fingerprint, state, saved_failure, looks)
             VALUES ('payout:u1', 1, 'payout:u1:1', '{}', 'f', 'unknown', true, 1);
         INSERT INTO bursar.call (subject, intent_id, job_id, attempt, what, begun_at, answered_at, status, answer)
             SELECT 'payout:u1', i.id, j.id, n, CASE WHEN n < 25 THEN 'send' ELSE 'look' END, bursar.now() + n * interval '1 minute', bursar.now(), 500, 'unknown: it broke'
             FROM generate_series(1, 25) n, bursar.intent i, apalis.jobs j WHERE j.idempotency_key = 'u1:0' ORDER BY n;
         INSERT INTO bursar.attempt (job_id, attempt, ended_at, outcome, errors)
             SELECT j.id, n, bursar.now() + n * interval '1 minute', CASE WHEN n < 25 THEN 'retry' ELSE 'dead' END, '[\"no answer\"]' FROM generate_series(1, 25) n, apalis.jobs j
             WHERE j.idempotency_key = 'u1:0' ORDER BY n",
    )
    .await;
    let paul = desk.visitor("paul", Role::Payer).await;
    let page = paul.sees("/payouts/u1", &["<strong>24 times</strong>", "/accounts/bob"]).await;
    assert_eq!(page.matches("unknown: it broke").count(), 2, "sent, and looked for: {page}");
    before(&page, "Let it go", "Calls to Stripe");
    before(&page, ">Look again</button>", "Look again, and send 1.00 USD under a new key if nothing is there");
    let goes_on = paul.sees("/payouts/h1", &["A job goes on with it by itself"]).await;
    assert!(!goes_on.contains("/release\""), "{goes_on}");
    let id: String = sqlx::query_scalar("SELECT id FROM apalis.jobs WHERE idempotency_key = 'u1:0'")
        .fetch_one(&desk.db.pool)
        .await
        .unwrap();
    let job =
        paul.sees(&format!("/jobs/{id}"), &["24 times alike, attempts 1 to 24", "<strong>24 times</strong>"]).await;
    before(&job, "Cancel the job", "<h2>Attempts");
}

#[tokio::test]
async fn what_is_not_paid_or_still_open_does_not_look_well_and_names_lead_to_what_they_name() {
    let desk = Desk::open().await;
    desk.plant(
        "INSERT INTO bursar.subscription (id, user_id, status, quantity, plan_value, cancel_at_period_end, asked_at, period_start, period_end)
         VALUES ('sub_1', 'alice', 'past_due', 1, 0, false, bursar.now(), bursar.now(), bursar.now() + interval '30 days');
         INSERT INTO bursar.dunning_case (invoice_id, subscription_id, customer_id, user_id, state, failed_at, amount, currency, schedule)
         VALUES ('in_1', 'sub_1', 'cus_1', 'alice', 'open', bursar.now(), 1900, 'usd', '{\"final\": \"cancel\"}');
         INSERT INTO bursar.dunning_step (invoice_id, step, day, due_at, state) VALUES ('in_1', 'retry:3', 3, bursar.now(), 'planned'), ('in_1', 'final:7', 7, bursar.now(), 'planned');
         INSERT INTO bursar.reconciliation (id, month, asked_by, state, phase, objects, ended_at) VALUES ('2026-01.1', '2026-01-01', 'schedule', 'done', 'done', 9, bursar.now());
         INSERT INTO bursar.finding (run, type, object, user_id, amount, unit, evidence, automatic, remedy) VALUES
             ('2026-01.1', 'missing_grant', 'in_1', 'alice', 150000000, 'credits', '{}', true, 'bursar reconcile --repair'),
             ('2026-01.1', 'unknown_transfer', 'tr_1', NULL, 200, 'usd', '{}', false, 'look'), ('2026-01.1', 'unknown_transfer', 'tr_2', NULL, -4000, 'usd', '{}', false, 'look');
         INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'test')",
    )
    .await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    let page = vera.sees("/subscriptions/sub_1", &["<strong>not paid</strong>", "waits for its payment"]).await;
    assert!(!page.contains("Paid period") && !page.contains("renews"), "{page}");
    let links = ["/accounts/alice", "/subscriptions/sub_1", "/customers/cus_1", "/invoices/in_1"];
    vera.sees("/dunning/in_1", &links).await;
    vera.sees("/dunning/in_1", &["payment tried again, day 3", "the subscription is cancelled, day 7"]).await;
    let run = vera.sees("/reconcile/2026-01.1", &["done, 3 open", "<strong>42.00 USD, 150 credits</strong>"]).await;
    before(&run, "tr_2", "tr_1");
    before(&run, "tr_1", "in_1");
    vera.sees("/reconcile", &["done, 3 open"]).await;
}

#[tokio::test]
async fn a_path_that_is_not_there_is_a_page_for_a_browser_and_a_problem_for_a_program() {
    let desk = Desk::open().await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    for path in ["/payots", "/jobs/1/2/3", "/favicon.ico"] {
        let page = vera.page(path).await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.body.contains("There is no such page") && page.body.contains("To the overview"), "{}", page.body);
    }
    let stranger = get(desk.address, "/payots", "").await;
    assert!(stranger.status == 401 && stranger.body.contains("name=\"token\""), "{}", stranger.body);
    for path in ["/api/nothing", "/admin", "/metrics"] {
        let reply = vera.page(path).await;
        assert_eq!((reply.status, reply.header("content-type")), (401, Some("application/problem+json")), "{path}");
    }
    vera.sees("/", &["Times are in UTC."]).await;
}
