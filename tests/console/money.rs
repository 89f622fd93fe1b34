//! The console's rooms about money: who may let it go, what is said before, and that it goes once.

mod month;

use bursar_jobs::{desk::access::Role, terms::Limits};
use sqlx::PgPool;

use super::{Desk, Visitor, enter, post};
use crate::{api::shop, payouts::world::World, reversals, support::eventually};

async fn plant(pool: &PgPool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap();
}

async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

#[track_caller]
fn has(page: &str, words: &[&str]) {
    for words in words {
        assert!(page.contains(words), "{words:?} is missing in {page}");
    }
}

/// The value of a hidden field.
fn hidden(page: &str, name: &str) -> String {
    let after =
        page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_else(|| panic!("no {name} in {page}"));
    after.split('"').next().unwrap().to_owned()
}

async fn ended(visitor: &Visitor, progress: &str) -> String {
    eventually(shop::SOON, || async {
        let page = visitor.page(progress).await.body;
        if page.contains("Done.") { Ok(page) } else { Err(page) }
    })
    .await
}

/// Payouts in all states that matter, of two receivers; nobody works here.
const PAYOUTS: &str = "
    INSERT INTO bursar.receiver (user_id, account_id, active) VALUES ('bob', 'acct_bob', true), ('carol', NULL, false);
    INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state, transfer_id, held_by, reason) VALUES
        ('h1', 'bob', 'research', 1, 100, 'usd', 'held', NULL, 'cap', 'beyond the cap'),
        ('h2', 'bob', 'research', 1, 250, 'usd', 'held', NULL, NULL, NULL), ('h3', 'carol', 'research', 1, 300, 'jpy', 'held', NULL, NULL, NULL),
        ('h4', 'bob', 'research', 1, 700, 'usd', 'held', NULL, NULL, 'stopped: it gave up'), ('u1', 'bob', 'research', 1, 900, 'usd', 'unknown', NULL, NULL, 'no answer'),
        ('p1', 'bob', 'research', 1, 500, 'usd', 'paid', 'tr_1', NULL, NULL), ('odd/<b>', 'bob', 'research', 1, 1, 'usd', 'rejected', NULL, NULL, '<i>no</i>');
    -- One has a job that is about to run; of one, something left and no answer came.
    SELECT bursar.enqueue('[{\"kind\": \"pay_receiver\", \"key\": \"h2:0\", \"args\": {\"job_id\": \"h2\"}, \"max_attempts\": 9}]');
    INSERT INTO bursar.intent (subject, generation, idempotency_key, request, fingerprint, state, young_since)
        VALUES ('payout:h4', 1, 'payout:h4:1', '{}', 'f', 'unknown', bursar.now())";

#[tokio::test]
async fn a_dry_run_says_what_is_safe_done_and_unknown_with_sums_and_changes_nothing() {
    let desk = Desk::open().await;
    plant(&desk.db.pool, PAYOUTS).await;
    let paul = desk.visitor("paul", Role::Payer).await;
    let list = paul.page("/payouts?state=held").await.body;
    has(&list, &["10.50 USD", "300 JPY", "Let all that match go", "beyond the cap", "carol has no connected account"]);
    let dry = paul.send("/payouts", "state=held&step=dry-run").await.body;
    has(
        &dry,
        &[
            "<strong>4</strong> payouts match",
            "<b class=\"good\">2</b><span>safe, 300 JPY, 1.00 USD",
            "1 of them are held again",
            "<b class=\"quiet\">1</b><span>under way, 2.50 USD",
            "<b class=\"quiet\">0</b><span>already done, nothing",
            "<b class=\"unknown\">1</b><span>unknown, 7.00 USD",
            "What may leave: <strong>8.00 USD</strong>",
            "it is held, and may have been sent: it is looked for first",
            "Let 3 go",
        ],
    );
    let of_bob = paul.send("/payouts", "state=held&receiver=bob&currency=USD&held_by=cap&step=dry-run").await.body;
    has(&of_bob, &["<strong>1</strong> payouts match", "Let 1 go"]);
    let text = paul.send("/payouts", "text=NO+ANSWER&step=dry-run").await.body;
    has(&text, &["<strong>1</strong> payouts match", "href=\"/payouts/u1\""]);
    assert_eq!(count(&desk.db.pool, "SELECT count(*) FROM bursar.payout WHERE releases > 0").await, 0);
    assert_eq!(count(&desk.db.pool, "SELECT count(*) FROM bursar.bulk").await, 0, "it was only asked");

    let page = paul.page("/payouts/odd%2F%3Cb%3E").await;
    has(
        &page.body,
        &["Payout for odd/&lt;b&gt;", "&lt;i&gt;no&lt;/i&gt;", "action=\"/payouts/odd%2F%3Cb%3E/release\""],
    );
    assert!(!page.body.contains("<i>no</i>"));
    for (odd, status) in [
        ("/payouts?state=failed", 400),
        ("/payouts?states=held", 400),
        ("/payouts?older=yesterday", 400),
        ("/payouts?currency=dollars", 400),
        ("/payouts?held_by=hand", 400),
        ("/payouts/none", 404),
        ("/payouts/h1/release", 404),
    ] {
        assert_eq!(paul.page(odd).await.status, status, "{odd}");
    }
    let overview = paul.page("/").await.body;
    has(&overview, &["1 payout is held by a cap", "1.00 USD in all: a payer lets them go", "1 payout is unknown"]);
}

#[tokio::test]
async fn only_a_payer_lets_go_takes_back_and_repairs_and_only_by_a_form_of_theirs() {
    let desk = Desk::open().await;
    plant(&desk.db.pool, PAYOUTS).await;
    let (vera, olga, paul) = (
        desk.visitor("vera", Role::Viewer).await,
        desk.visitor("olga", Role::Operator).await,
        desk.visitor("paul", Role::Payer).await,
    );
    let acts = [
        ("/payouts", "state=held&step=dry-run"),
        ("/payouts", "state=held&step=act&seal=x&wish=x"),
        ("/payouts/h1/release", "seen=held:0"),
        ("/payouts/p1/reverse", "why=x&step=act"),
        ("/reconcile", "month=2026-01&act=repair&step=act"),
    ];
    for (path, fields) in acts {
        for visitor in [&vera, &olga] {
            let refused = visitor.send(path, fields).await;
            assert_eq!(refused.status, 403, "{path} {fields}");
            has(&refused.body, &["this takes a", "nothing was changed"]);
        }
        let forged = post(desk.address, path, &paul.cookie, &format!("csrf={}&{fields}", olga.csrf)).await;
        assert_eq!(forged.status, 403, "{path} {fields}");
        assert_eq!(post(desk.address, path, "", &format!("csrf={}&{fields}", paul.csrf)).await.status, 401);
    }
    for (path, fields) in [("/dunning/in_1/stop", "why=x"), ("/reconcile", "month=2026-01&act=compare")] {
        assert_eq!(vera.send(path, fields).await.status, 403, "{path}");
        assert_eq!(post(desk.address, path, &olga.cookie, fields).await.status, 403, "{path} without its token");
    }
    for page in ["/payouts?state=held", "/payouts/h1", "/payouts/p1", "/reconcile"] {
        for visitor in [&vera, &olga] {
            let page = visitor.page(page).await.body;
            assert!(!page.contains("/release\"") && !page.contains("/reverse\"") && !page.contains("value=\"repair\""));
            assert!(!page.contains("Let all that match go"));
        }
    }
    // What a payer sends and cannot be meant.
    for (path, fields, status) in [
        ("/payouts", "step=act&seal=x&wish=8f14e45f-ceea-467f-a8f5-0123456789ab", 400),
        ("/payouts", "state=paid&step=act&seal=x&wish=8f14e45f-ceea-467f-a8f5-0123456789ab", 400),
        ("/payouts", "state=held&step=act&seal=x&wish=mine", 400),
        ("/payouts", "state=nonsense", 400),
        ("/payouts/h1/release", "", 400),
        ("/payouts/p1/release", "seen=paid:0", 409),
        ("/payouts/h1/release", "seen=held:7", 409),
        ("/payouts/u1/release", "seen=unknown:0&after_saved_failure=yes", 409),
        ("/payouts/none/release", "seen=held:0", 404),
        ("/payouts/p1/reverse", "step=act", 400),
        ("/payouts/p1/reverse", "step=act&why=x&amount=1.001", 400),
        ("/payouts/p1/reverse", "step=act&why=x&amount=-1", 400),
        ("/payouts/p1/reverse", "step=act&why=x&amount=5.01", 409),
        ("/payouts/u1/reverse", "step=act&why=x", 409),
        ("/payouts/none/reverse", "step=act&why=x", 404),
        ("/reconcile", "month=2026-01", 400),
        ("/reconcile", "month=January&act=compare", 400),
        ("/reconcile", "month=2999-01&act=compare", 400),
    ] {
        assert_eq!(paul.send(path, fields).await.status, status, "{path} {fields}");
    }
    let stale = paul.send("/payouts", "state=held&step=act&seal=x&wish=8f14e45f-ceea-467f-a8f5-0123456789ab").await;
    assert_eq!(stale.status, 200);
    has(&stale.body, &["What matches has changed since it was shown", "Let 3 go"]);
    let changed = "SELECT (SELECT count(*) FROM bursar.audit) + (SELECT count(*) FROM bursar.bulk) + (SELECT count(*) FROM bursar.reversal)
                          + (SELECT count(*) FROM bursar.reconciliation)";
    assert_eq!(count(&desk.db.pool, changed).await, 0);

    // Each of those that may leave is let go, and written down; what is done already is not.
    let dry = paul.send("/payouts", "state=held&step=dry-run").await.body;
    let act = format!("state=held&step=act&seal={}&wish={}&why=looked+at", hidden(&dry, "seal"), hidden(&dry, "wish"));
    let begun = paul.send("/payouts", &act).await;
    assert_eq!(begun.status, 303, "{}", begun.body);
    has(&ended(&paul, begun.header("location").unwrap()).await, &["<strong>3</strong> of 3 let go"]);
    let again = paul.send("/payouts", &act).await;
    assert_eq!(again.header("location"), begun.header("location"), "a form that is sent twice is one act");
    let written: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT subject, who, why FROM bursar.audit WHERE what = 'payouts.release' AND via = 'console' ORDER BY subject",
    )
    .fetch_all(&desk.db.pool)
    .await
    .unwrap();
    assert_eq!(written, ["h1", "h3", "h4"].map(|job| (job.to_owned(), "paul".to_owned(), "looked at".to_owned())));
    assert_eq!(
        count(&desk.db.pool, "SELECT count(*) FROM bursar.intent WHERE young_since IS NOT NULL").await,
        0,
        "what may have left is looked for, however young its key"
    );
}

#[tokio::test]
async fn what_two_payers_let_go_at_once_goes_once() {
    let world = World::new().await.on_terms(|terms| {
        let limits = Limits { daily_cap_per_receiver: Some(100), ..Limits::default() };
        terms.payout.limits.insert("usd".into(), limits);
    });
    world.receiver("bob").await;
    for job in ["job_1", "job_2", "job_3"] {
        world.verify(job, "bob").await;
        world.settle_down().await;
    }
    world.is_paid_once("job_1").await;
    let (address, _stopper) = shop::serve(&world.db.pool, |_| {}).await;
    let paul = enter(address, &world.db.pool, "paul", Role::Payer).await;
    let pia = enter(address, &world.db.pool, "pia", Role::Payer).await;
    let form = async |visitor: &Visitor| {
        let dry = visitor.send("/payouts", "state=held&receiver=bob&step=dry-run").await.body;
        has(&dry, &["What may leave: <strong>2.00 USD</strong>", "Let 2 go"]);
        format!("state=held&receiver=bob&step=act&seal={}&wish={}", hidden(&dry, "seal"), hidden(&dry, "wish"))
    };
    let (one, other) = (form(&paul).await, form(&pia).await);
    // Both at once, one of them twice.
    let (a, b, c) =
        tokio::join!(paul.send("/payouts", &one), pia.send("/payouts", &other), paul.send("/payouts", &one));
    for reply in [&a, &b, &c] {
        match reply.status {
            303 => drop(ended(&paul, reply.header("location").unwrap()).await),
            // The other was quicker, and it is shown anew.
            200 => has(&reply.body, &["What it means has changed since it was shown"]),
            other => panic!("{other}: {}", reply.body),
        }
    }
    let released: Vec<(String, i32)> =
        sqlx::query_as("SELECT job_id, releases FROM bursar.payout WHERE job_id <> 'job_1' ORDER BY job_id")
            .fetch_all(&world.db.pool)
            .await
            .unwrap();
    assert_eq!(released, [("job_2".to_owned(), 1), ("job_3".to_owned(), 1)]);
    let written = "SELECT count(*) FROM bursar.audit WHERE what = 'payouts.release'";
    assert_eq!(count(&world.db.pool, written).await, 2, "each once");
    world.settle_down().await;
    for job in ["job_1", "job_2", "job_3"] {
        world.is_paid_once(job).await;
    }

    // One payout's page: what was sent, under which key, where to see it; and taking it back, once.
    let page = paul.page("/payouts/job_2").await.body;
    let transfer = world.payout("job_2").await.2.unwrap();
    has(
        &page,
        &[
            "payout:job_2:1",
            &format!("https://dashboard.stripe.com/test/connect/transfers/{transfer}"),
            "https://dashboard.stripe.com/test/logs/req_",
            "pay_receiver",
            "Take it back",
        ],
    );
    let shown = paul.send("/payouts/job_2/reverse", "why=refunded&step=dry-run").await.body;
    has(
        &shown,
        &[
            "A reversal of 1.00 USD is asked for at Stripe",
            "up to 1.00 USD is then carried as a debt",
            "Take back all of it",
        ],
    );
    assert_eq!(count(&world.db.pool, "SELECT count(*) FROM bursar.reversal").await, 0, "it was only asked");
    let act = format!("why=refunded&step=act&shown={}", hidden(&shown, "shown"));
    let (a, b) = tokio::join!(paul.send("/payouts/job_2/reverse", &act), pia.send("/payouts/job_2/reverse", &act));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 409], "{} {}", a.body, b.body);
    world.settle_down().await;
    assert_eq!(world.payout("job_2").await.0, "reversed");
    assert_eq!(reversals::made(&world).await.len(), 1);
    has(&paul.page("/payouts/job_2").await.body, &["1.00 USD made", "refunded"]);
}

#[tokio::test]
async fn what_is_taken_back_is_what_was_shown_or_it_is_shown_again() {
    let desk = Desk::open().await;
    plant(&desk.db.pool, PAYOUTS).await;
    let paul = desk.visitor("paul", Role::Payer).await;
    let shown = paul.send("/payouts/h2/reverse", "why=refunded&step=dry-run").await.body;
    has(&shown, &["Nothing is asked of Stripe"]);
    // It is sent before the form comes back.
    plant(&desk.db.pool, "UPDATE bursar.payout SET state = 'paid', transfer_id = 'tr_2' WHERE job_id = 'h2'").await;
    let act = format!("why=refunded&step=act&shown={}", hidden(&shown, "shown"));
    let again = paul.send("/payouts/h2/reverse", &act).await;
    assert_eq!(again.status, 200, "{}", again.body);
    has(
        &again.body,
        &["What it means has changed since it was shown", "A reversal of 2.50 USD is asked for at Stripe"],
    );
    assert_eq!(count(&desk.db.pool, "SELECT count(*) FROM bursar.reversal").await, 0, "nothing was done");
    let act = format!("why=refunded&step=act&shown={}", hidden(&again.body, "shown"));
    assert_eq!(paul.send("/payouts/h2/reverse", &act).await.status, 303);
    assert_eq!(count(&desk.db.pool, "SELECT count(*) FROM bursar.reversal").await, 1);
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_undone_as_if_it_had_not() {
    let desk = Desk::open().await;
    plant(&desk.db.pool, PAYOUTS).await;
    plant(&desk.db.pool, "UPDATE bursar.payout SET verified_at = bursar.now() - interval '3 days' WHERE job_id = 'h2'")
        .await;
    let paul = desk.visitor("paul", Role::Payer).await;
    // Something left for it, and no answer came.
    let shown = paul.send("/payouts/h4/reverse", "why=refunded&step=dry-run").await.body;
    has(&shown, &["may have been sent", "bursar payouts release h4"]);
    assert!(!shown.contains("Nothing is asked"), "{shown}");
    assert_eq!(paul.send("/payouts/h4/reverse", "why=refunded&step=act").await.status, 409);
    assert_eq!(count(&desk.db.pool, "SELECT count(*) FROM bursar.payout WHERE state = 'reversed'").await, 0);
    // Of what is older than a key, a database that was restored may have forgotten it.
    has(
        &paul.send("/payouts/h2/reverse", "why=refunded&step=dry-run").await.body,
        &["Nothing is asked of Stripe", "restored", "payout:h2"],
    );
}

#[tokio::test]
async fn a_case_of_dunning_is_shown_step_by_step_and_stopped_once() {
    let desk = Desk::open().await;
    plant(
        &desk.db.pool,
        "INSERT INTO bursar.dunning_case (invoice_id, subscription_id, user_id, state, failed_at, amount, currency, schedule)
         VALUES ('in_1', 'sub_1', 'alice', 'open', bursar.now() - interval '4 days', 1900, 'usd', '{\"final\": \"cancel\"}'),
                ('in_2', 'sub_2', 'bob', 'paid', bursar.now() - interval '9 days', 4900, 'usd', '{\"final\": \"cancel\"}'),
                ('in_3', 'sub_3', 'carol', 'paused', bursar.now() - interval '9 days', 200, 'usd', '{\"final\": \"cancel\"}');
         INSERT INTO bursar.dunning_step (invoice_id, step, day, due_at, state, outcome)
         VALUES ('in_1', 'letter:0', 0, bursar.now() - interval '4 days', 'done', 'sent <b>it</b>'),
                ('in_1', 'retry:3', 3, bursar.now() - interval '1 day', 'done', 'the card was declined'),
                ('in_1', 'final:7', 7, bursar.now() + interval '3 days', 'planned', NULL),
                ('in_2', 'letter:0', 0, bursar.now() - interval '9 days', 'done', NULL);
         INSERT INTO bursar.letter (key, job_id, letter, user_id, message_id, state) VALUES
                ('dunning:in_2:letter:0', 'job_2', 'payment_failed_first', 'bob', '<2@x>', 'sent');
         INSERT INTO apalis.jobs (job, id, job_type, status, attempts, max_attempts, run_at, idempotency_key, reason)
         VALUES ('{}', 'job_1', 'send_letter', 'Failed', 1, 25, now(), 'dunning:in_1:letter:0', 'no mail address is known of alice')",
    )
    .await;
    let olga = desk.visitor("olga", Role::Operator).await;
    let list = olga.page("/dunning?state=open").await.body;
    has(&list, &["in_1", "19.00 USD", "last step, day 7 in\u{a0}"]);
    assert!(!list.contains("in_2"));
    has(&olga.page("/dunning?user=bob").await.body, &["in_2", "49.00 USD"]);
    let page = olga.page("/dunning/in_1").await.body;
    has(&page, &["the letter was NOT sent, and its job is dead: no mail address is known of alice", "/jobs/job_1"]);
    has(&page, &["letter:0", "sent &lt;b&gt;it&lt;/b&gt;", "the card was declined", "Stop the case"]);
    let overview = olga.page("/").await.body;
    has(&overview, &["49.00 USD of 70.00 USD recovered", "paused or cancelled"]);
    for (words, number) in
        [("opened", 3), ("sent a letter", 1), ("tried again", 1), ("recovered", 1), ("still open", 1)]
    {
        has(&overview, &[&format!("<td>{words}</td><td class=\"n\">{number}</td>")]);
    }
    for (path, status) in [("/dunning?state=lost", 400), ("/dunning?usr=bob", 400), ("/dunning/in_9", 404)] {
        assert_eq!(olga.page(path).await.status, status, "{path}");
    }
    assert_eq!(olga.send("/dunning/in_1/stop", "").await.status, 400, "without a why");
    assert_eq!(olga.send("/dunning/in_9/stop", "why=x").await.status, 404);
    let stop = "why=pays+by+transfer";
    let (a, b) = tokio::join!(olga.send("/dunning/in_1/stop", stop), olga.send("/dunning/in_1/stop", stop));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 409]);
    let page = olga.page("/dunning/in_1").await.body;
    has(&page, &["stopped by olga: pays by transfer"]);
    assert!(!page.contains("Stop the case"));
    assert_eq!(
        count(&desk.db.pool, "SELECT count(*) FROM bursar.audit WHERE what = 'dunning.stop' AND via = 'console'").await,
        1
    );
}
