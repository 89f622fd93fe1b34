//! What people read, as it stands on a terminal of 80 and of 120 columns: looked at whenever it changes. The time is one that is set, and
//! so are all ids, so that nothing needs to be taken out of what is shown.

use std::{
    fs::File,
    io::{Read, Write},
    process::Stdio,
};

use nix::pty::{Winsize, openpty};

use crate::support::{Database, begin_at, bursar, database};

const SANDBOX: &str = "INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox')";
const SHOP: &str = r#"
    INSERT INTO bursar.event (source, id, type, created, livemode, api_version, object_id, received_at, body) VALUES
      ('stripe', 'evt_1Nv2paid', 'checkout.session.completed', '2030-01-28T10:20:30Z', false, '2026-09-30.endive', 'cs_test_a1b2c3', '2030-01-28T10:20:31Z',
       '{"id":"evt_1Nv2paid","object":"event","type":"checkout.session.completed","data":{"object":{"id":"cs_test_a1b2c3"}}}'),
      ('verification', 'msg_2xVerified', 'job.verified', '2030-01-29T08:00:00Z', NULL, NULL, 'job-17', '2030-01-29T08:00:01Z', '{"type":"job.verified"}');
    INSERT INTO apalis.jobs (job, id, job_type, status, attempts, max_attempts, allowance, run_at, done_at, idempotency_key, cause, reason, enqueued_at) VALUES
      ('{"source":"stripe","event":"evt_1Nv2paid"}', '019c0000-0000-7000-8000-000000000001', 'grant_purchase', 'Failed', 2, 10, 10,
       '2030-01-28T10:21:00Z', '2030-01-28T10:21:02Z', 'evt_1Nv2paid', 'evt_1Nv2paid',
       'cs_test_a1b2c3 paid 9.99 USD for 200 credits, and no package of ours costs that: look at the session, then grant by hand', '2030-01-28T10:20:31Z'),
      ('{"source":"verification","event":"msg_2xVerified"}', '019c0000-0000-7000-8000-000000000002', 'record_payout', 'Done', 1, 10, 10,
       '2030-01-29T08:00:01Z', '2030-01-29T08:00:02Z', 'msg_2xVerified', 'msg_2xVerified', NULL, '2030-01-29T08:00:01Z'),
      ('{"job_id":"job-17"}', '019c0000-0000-7000-8000-000000000003', 'pay_receiver', 'Pending', 0, 25, 25,
       '2030-02-04T12:00:00Z', NULL, 'job-17:1', '019c0000-0000-7000-8000-000000000002', NULL, '2030-01-29T08:00:02Z');
    INSERT INTO bursar.attempt (job_id, attempt, worker, started_at, ended_at, outcome, reason, errors) VALUES
      ('019c0000-0000-7000-8000-000000000001', 1, 'worker-1', '2030-01-28T10:20:31Z', '2030-01-28T10:20:32Z', 'retry', NULL, '["the database was in the way"]'),
      ('019c0000-0000-7000-8000-000000000001', 2, 'worker-1', '2030-01-28T10:21:00Z', '2030-01-28T10:21:02.5Z', 'dead', 'quarantined',
       '["the credits do not agree", "9.99 USD buys 50 of them"]');
    INSERT INTO bursar.account (name, unit, derived, balance) VALUES ('user:alice', 'credits', false, 138000000);
    INSERT INTO bursar.posting (key, kind, debit, credit, amount, event_id, ref, actor, why, posted_at)
    SELECT x.key, x.kind, d.id, c.id, x.amount, x.event, x.ref, x.actor, x.why, x.at::timestamptz
    FROM (VALUES ('refill:sub_1', 'refill', 'issuance', 'user:alice', 150000000, 'evt_1Nv2refill', 'in_1Nv2january', NULL, NULL, '2030-01-27T09:00:00Z'),
                 ('spend:alice:job-16', 'spend', 'user:alice', 'usage', 37000000, NULL, 'job-16', NULL, NULL, '2030-01-28T09:00:00Z'),
                 ('admin:ticket-4711', 'admin_grant', 'issuance', 'user:alice', 25000000, NULL, NULL, 'ada', 'outage on Monday, as promised by mail', '2030-01-29T09:00:00Z'))
         AS x (key, kind, debit, credit, amount, event, ref, actor, why, at)
    JOIN bursar.account d ON d.name = x.debit JOIN bursar.account c ON c.name = x.credit AND c.unit = 'credits' WHERE d.unit = 'credits' ORDER BY x.at;
    INSERT INTO bursar.payout (job_id, receiver_id, sender_id, skill, credits, amount, currency, state, reason, transfer_id, transfer_amount, event_id, recorded_at, changed_at) VALUES
      ('job-17', 'rita', 'alice', 'research', 2000000, 100, 'usd', 'held', 'rita has no account at Stripe yet: she is asked by POST /api/stripe/connect', NULL, NULL, 'msg_2xVerified', '2030-01-29T08:00:02Z', '2030-01-29T08:00:02Z'),
      ('job-16', 'rolf', 'alice', 'research', 37000000, 1850, 'usd', 'paid', NULL, 'tr_1Nv2rolf', 1850, 'msg_1xVerified', '2030-01-28T09:00:02Z', '2030-01-28T09:00:05Z');
    INSERT INTO bursar.subscription (id, user_id, customer_id, status, price, tier, quantity, interval, interval_count, plan_value, period_start, period_end,
        anchor, cancel_at_period_end, ended_at, access_until, lapses_at, asked_at, changed_at) VALUES
      ('sub_1Nv2alice', 'alice', 'cus_alice', 'active', 'price_pro', 'pro', 1, 'month', 1, 150000000, '2030-01-27T09:00:00Z', '2030-02-27T09:00:00Z',
       '2030-01-27T09:00:00Z', false, NULL, '2030-02-27T09:00:00Z', '2030-03-06T09:00:00Z', '2030-01-27T09:00:05Z', '2030-01-27T09:00:05Z'),
      ('sub_1Nv2bob', 'bob', 'cus_bob', 'canceled', 'price_starter', 'starter', 1, 'month', 1, 50000000, '2029-12-20T09:00:00Z', '2030-01-20T09:00:00Z',
       '2029-12-20T09:00:00Z', true, '2030-01-20T09:00:00Z', NULL, NULL, '2030-01-20T09:00:05Z', '2030-01-20T09:00:05Z');
    INSERT INTO bursar.schedule (name, cron, kind, args, catch_up, source, next_at, last_at) VALUES
      ('reconcile', '0 5 2 * *', 'reconcile', '{}', 'all', 'built in', '2030-02-03T12:30:00Z', '2030-01-02T05:00:00Z'),
      ('nightly', '0 3 * * *', 'sweep_held', '{}', 'once', 'settings', NULL, NULL);
    INSERT INTO bursar.subscription_worth (subscription_id, user_id, at, yearly, currency, asked_at) VALUES
      ('sub_1Nv2alice', 'alice', '2030-01-27T09:00:00Z', 58800, 'usd', '2030-01-27T09:00:05Z'),
      ('sub_1Nv2carol', 'carol', '2029-11-02T09:00:00Z', 22800, 'usd', '2029-11-02T09:00:05Z'),
      ('sub_1Nv2carol', 'carol', '2030-01-15T09:00:00Z', 58800, 'usd', '2030-01-15T09:00:05Z'),
      ('sub_1Nv2bob', 'bob', '2029-12-20T09:00:00Z', 22800, 'usd', '2029-12-20T09:00:05Z'),
      ('sub_1Nv2bob', 'bob', '2030-01-20T09:00:00Z', 0, 'usd', '2030-01-20T09:00:05Z'),
      ('sub_1Nv2jo', 'jo', '2029-12-01T09:00:00Z', 240000, 'jpy', '2029-12-01T09:00:05Z');
    INSERT INTO bursar.charge (id, amount, currency, asked_at) VALUES ('ch_1', 1900, 'usd', '2030-01-25T09:00:00Z');
    INSERT INTO bursar.dispute (id, charge, amount, currency, status, due_by, created_at, user_id) VALUES
      ('du_1Nv2carol', 'ch_1', 1900, 'usd', 'needs_response', '2030-02-08T23:59:59Z', '2030-01-25T09:00:00Z', 'carol'),
      ('du_1Nv2jo', 'ch_1', 20000, 'jpy', 'warning_needs_response', '2030-02-11T23:59:59Z', '2030-01-26T09:00:00Z', 'jo');
"#;

async fn shop() -> Database {
    let db = database().await;
    sqlx::raw_sql(SANDBOX).execute(&db.pool).await.unwrap();
    begin_at(&db.pool, "2030-02-01T12:00:00Z").await;
    sqlx::raw_sql(SHOP).execute(&db.pool).await.unwrap();
    db
}

/// Runs a command on a terminal of so many columns; what is seen there, words and data as they come.
fn seen(db: &Database, columns: u16, args: &[&str], more: &[(&str, &str)]) -> String {
    let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).unwrap();
    let mut child = {
        let mut command = bursar(args);
        command.env("DATABASE_URL", &db.url).env("TERM", "xterm-256color").envs(more.iter().copied());
        command.stdout(Stdio::from(terminal.slave.try_clone().unwrap())).stderr(Stdio::from(terminal.slave));
        command.spawn().unwrap()
    };
    let (mut text, mut bytes) = (Vec::new(), [0; 4096]);
    let mut screen = File::from(terminal.master);
    // A terminal that its last program has left answers with an error.
    while let Ok(read @ 1..) = screen.read(&mut bytes) {
        text.write_all(&bytes[..read]).unwrap();
    }
    child.wait().unwrap();
    String::from_utf8(text).unwrap().replace("\r\n", "\n")
}

const COMMANDS: &[(&str, &[&str])] = &[
    ("jobs_list", &["jobs", "list"]),
    ("jobs_show", &["jobs", "show", "019c0000-0000-7000-8000-000000000001"]),
    ("payouts_list", &["payouts", "list"]),
    ("payouts_show", &["payouts", "show", "job-16"]),
    ("credits_history", &["credits", "history", "alice"]),
    ("events_list", &["events", "list"]),
    ("events_show", &["events", "show", "evt_1Nv2paid"]),
    ("subscriptions_list", &["subscriptions", "list"]),
    ("schedule_list", &["schedule", "list"]),
    ("ledger_verify", &["ledger", "verify"]),
    ("report", &["report", "--from", "2030-01-01", "--to", "2030-01-31"]),
    ("error_not_found", &["jobs", "show", "019c0000-0000-7000-8000-00000000dead"]),
    ("error_refused", &["credits", "spend", "alice", "500", "--key", "k"]),
];

#[tokio::test]
async fn what_people_read_fits_their_terminal() {
    let db = shop().await;
    for columns in [80, 120] {
        for (name, args) in COMMANDS {
            let shown = seen(&db, columns, args, &[("NO_COLOR", "1")]);
            assert!(!shown.contains('\u{1b}'), "{name}: NO_COLOR is set: {shown:?}");
            let text = format!("$ bursar {}\n{shown}", args.join(" "));
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(format!("{name}_{columns}"), text);
            });
            // Facts and sentences are left to the terminal; tables and the report are laid out for it.
            if name.ends_with("_list") || *name == "report" {
                let wide = shown.lines().find(|line| line.chars().count() > columns.into());
                assert_eq!(wide, None, "{name} at {columns}");
            }
        }
    }
}

#[tokio::test]
async fn colour_is_for_terminals_that_want_it() {
    let db = shop().await;
    let wrong = ["jobs", "show", "019c0000-0000-7000-8000-00000000dead"];
    assert!(seen(&db, 80, &wrong, &[]).contains("\u{1b}["), "a terminal gets colour");
    assert!(!seen(&db, 80, &wrong, &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!seen(&db, 80, &wrong, &[("TERM", "dumb")]).contains('\u{1b}'));
    let piped = bursar(&wrong).env("DATABASE_URL", &db.url).env("TERM", "xterm-256color").output().unwrap();
    assert!(!piped.stderr.contains(&0x1b), "{piped:?}");
}
