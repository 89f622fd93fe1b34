//! What one domain does because of another: it reacts to what has really changed, never to what was only wanted. In each test the same
//! change is wanted twice, once where it changes no row, and once where it does.

use bursar_jobs::{
    base::credits::Credits,
    dunning,
    engine::{
        apply,
        change::{AnyChange, Applied},
        job::Effects,
    },
    ledger::Posting,
    payouts::{self, change::PayoutMove},
    receivers::{self, change::Standing},
    registry::DOMAINS,
    subscriptions::{
        self,
        change::{Month, PaidChange, SubscriptionRow},
    },
};
use chrono::{DateTime, Duration, Utc};
use sqlx::PgPool;

use crate::support::{Database, database};

/// A moment; the number is in hours.
fn hour(n: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::hours(n)
}

/// What there is nothing of.
fn nothing<T: Default>() -> T {
    T::default()
}

/// Makes effects true in a transaction of their own.
async fn make(pool: &PgPool, effects: Effects) -> Applied {
    let mut tx = pool.begin().await.unwrap();
    let applied = apply::apply(DOMAINS, &mut tx, &[effects]).await.unwrap().remove(0);
    tx.commit().await.unwrap();
    applied
}

async fn change(pool: &PgPool, change: impl Into<AnyChange>) -> Applied {
    make(pool, Effects { changes: vec![change.into()], ..Effects::done() }).await
}

async fn run(db: &Database, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&db.pool).await.unwrap();
}

async fn text(db: &Database, sql: &'static str) -> String {
    sqlx::query_scalar(sql).fetch_one(&db.pool).await.unwrap()
}

/// The keys of the jobs of a kind.
async fn jobs(db: &Database, kind: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT key FROM bursar.job WHERE kind = $1 ORDER BY key")
        .bind(kind)
        .fetch_all(&db.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_stale_answer_about_an_account_releases_nothing_and_a_newer_one_does() {
    let db = database().await;
    let standing = |asked_at| {
        receivers::change::Change::SetReceiver(Standing {
            user_id: "rita".into(),
            account_id: "acct_1".into(),
            active: true,
            state: "active".into(),
            payouts_enabled: true,
            requirements: nothing(),
            asked_at,
        })
    };
    run(
        &db,
        "INSERT INTO bursar.receiver (user_id, account_id, active, state, asked_at)
         VALUES ('rita', 'acct_1', false, 'restricted', timestamptz 'epoch' + interval '20000 days 2 hours');
         INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state)
         VALUES ('held', 'rita', 'paint', 1000000, 50, 'usd', 'held')",
    )
    .await;

    change(&db.pool, standing(hour(1))).await;
    assert_eq!(jobs(&db, "pay_receiver").await, [""; 0], "the answer is older than what is known");

    change(&db.pool, standing(hour(3))).await;
    assert_eq!(jobs(&db, "pay_receiver").await, ["held:1"]);
}

#[tokio::test]
async fn a_finding_is_closed_by_a_payout_that_is_paid_and_not_by_one_that_is_reversed() {
    let db = database().await;
    let paid = || {
        payouts::change::Change::MovePayout(PayoutMove {
            job_id: "job".into(),
            state: "paid",
            reason: None,
            transfer_id: Some("tr_1".into()),
        })
    };
    run(
        &db,
        "INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state, transfer_id)
         VALUES ('job', 'rita', 'paint', 1000000, 50, 'usd', 'reversed', 'tr_1');
         INSERT INTO bursar.reconciliation (id, month, asked_by) VALUES ('run', '2026-11-01', 'a test');
         INSERT INTO bursar.finding (run, type, object, evidence, automatic, remedy)
         VALUES ('run', 'payout_stuck', 'job', '{}', false, ''), ('run', 'unknown_transfer', 'tr_1', '{}', false, ''),
                ('run', 'unknown_transfer', 'tr_2', '{}', false, '')",
    )
    .await;
    let open = "SELECT string_agg(object, ' ' ORDER BY object) FROM bursar.finding WHERE state = 'open'";

    change(&db.pool, paid()).await;
    assert_eq!(text(&db, open).await, "job tr_1 tr_2", "no arrow leads out of reversed");

    run(&db, "UPDATE bursar.payout SET state = 'sending', transfer_id = NULL").await;
    change(&db.pool, paid()).await;
    assert_eq!(text(&db, open).await, "tr_2");
}

#[tokio::test]
async fn a_repeated_invoice_stays_a_skip_and_closes_its_case() {
    let db = database().await;
    let grant = || Effects {
        postings: vec![Posting::grant("refill", "refill:in_1".into(), "alice", Credits::from_micros(1))],
        changes: vec![subscriptions::change::Change::InvoicePaid { invoice: "in_1".into() }.into()],
        ..Effects::done()
    };
    assert_eq!(make(&db.pool, grant()).await, Applied::New);
    run(
        &db,
        "INSERT INTO bursar.dunning_case (invoice_id, subscription_id, user_id, failed_at, amount, currency, schedule)
         VALUES ('in_1', 'sub_1', 'alice', bursar.now(), 999, 'usd', '{\"final\": \"cancel\"}'),
                ('in_2', 'sub_1', 'alice', bursar.now(), 999, 'usd', '{\"final\": \"cancel\"}')",
    )
    .await;

    let again = make(&db.pool, grant()).await;

    assert!(matches!(again, Applied::Already(_)), "{again:?}");
    let states = "SELECT string_agg(state, ' ' ORDER BY invoice_id) FROM bursar.dunning_case";
    assert_eq!(text(&db, states).await, "paid open");
}

fn subscription(status: &str, asked_at: DateTime<Utc>) -> subscriptions::change::Change {
    subscriptions::change::Change::SetSubscription(Box::new(SubscriptionRow {
        id: "sub_1".into(),
        user_id: "alice".into(),
        customer_id: None,
        status: status.into(),
        price: None,
        tier: None,
        quantity: 1,
        interval: None,
        plan_value: 0,
        period: None,
        anchor: None,
        trial_end: None,
        cancel_at: None,
        cancel_at_period_end: false,
        ended_at: None,
        paused: None,
        schedule_id: None,
        access_until: None,
        lapses_at: None,
        asked_at,
    }))
}

#[tokio::test]
async fn a_stale_answer_that_a_subscription_is_over_ends_no_case_and_a_newer_one_does() {
    let db = database().await;
    change(&db.pool, subscription("active", hour(2))).await;
    run(
        &db,
        "INSERT INTO bursar.dunning_case (invoice_id, subscription_id, user_id, failed_at, amount, currency, schedule)
         VALUES ('in_1', 'sub_1', 'alice', bursar.now(), 999, 'usd', '{\"final\": \"cancel\"}')",
    )
    .await;
    let state = "SELECT state FROM bursar.dunning_case";

    change(&db.pool, subscription("canceled", hour(1))).await;
    assert_eq!(text(&db, state).await, "open");

    change(&db.pool, subscription("canceled", hour(3))).await;
    assert_eq!(text(&db, state).await, "ended");
}

#[tokio::test]
async fn a_stale_answer_that_a_payment_is_overdue_extends_no_access_and_a_newer_one_does() {
    let db = database().await;
    change(&db.pool, subscription("past_due", hour(2))).await;
    run(
        &db,
        "INSERT INTO bursar.dunning_case (invoice_id, subscription_id, user_id, failed_at, amount, currency, schedule, promised_until)
         VALUES ('in_1', 'sub_1', 'alice', bursar.now(), 999, 'usd', '{\"final\": \"cancel\"}', timestamptz 'epoch' + interval '20001 days')",
    )
    .await;
    let until = "SELECT coalesce(access_until = timestamptz 'epoch' + interval '20001 days', false)::text FROM bursar.subscription";

    change(&db.pool, subscription("past_due", hour(1))).await;
    assert_eq!(text(&db, until).await, "false");

    change(&db.pool, subscription("past_due", hour(3))).await;
    assert_eq!(text(&db, until).await, "true");
    let promise = dunning::change::Change::Promise { invoice: "in_1".into(), until: hour(48) };
    change(&db.pool, promise).await;
    let later = "SELECT (access_until = timestamptz 'epoch' + interval '20002 days')::text FROM bursar.subscription";
    assert_eq!(text(&db, later).await, "true", "a promise is kept at once");
}

#[tokio::test]
async fn a_stale_answer_about_a_subscription_fails_no_checkout_and_wakes_nobody_and_a_newer_one_does() {
    let db = database().await;
    change(&db.pool, subscription("incomplete", hour(2))).await;
    run(
        &db,
        "INSERT INTO bursar.checkout (id, user_id, key, asked, mode, item, credits, fields, state, session_id, subscription_id, payment_status)
         VALUES ('begun', 'alice', 'k1', '{}', 'subscription', 'pro', 1, '{}', 'complete', 'cs_1', 'sub_1', 'unpaid');
         INSERT INTO bursar.checkout (id, user_id, key, asked, mode, item, credits, fields, state, session_id, expires_at)
         VALUES ('open', 'alice', 'k2', '{}', 'subscription', 'pro', 1, '{}', 'open', 'cs_2', bursar.now() + interval '1 day'),
                ('newest', 'alice', 'k3', '{}', 'subscription', 'pro', 1, '{}', 'open', 'cs_3', bursar.now() + interval '1 day');
         UPDATE bursar.checkout SET requested_at = bursar.now() - interval '1 hour' WHERE id = 'open'",
    )
    .await;
    let begun = "SELECT state FROM bursar.checkout WHERE id = 'begun'";

    change(&db.pool, subscription("incomplete_expired", hour(1))).await;
    assert_eq!(text(&db, begun).await, "complete");
    assert_eq!(jobs(&db, "expire_checkout").await, [""; 0]);

    change(&db.pool, subscription("incomplete_expired", hour(3))).await;
    assert_eq!(text(&db, begun).await, "failed");
    assert_eq!(jobs(&db, "expire_checkout").await.len(), 1, "all but the newest end");
}

#[tokio::test]
async fn a_charge_is_looked_at_again_for_what_is_new_of_plan_changes_alone() {
    let db = database().await;
    run(
        &db,
        "INSERT INTO bursar.charge (id, amount, currency, asked_at) VALUES ('ch_1', 999, 'usd', bursar.now());
         INSERT INTO bursar.charge_ref (ref, charge, total) VALUES ('in_1', 'ch_1', 999)",
    )
    .await;
    let paid = || {
        subscriptions::change::Change::PayChange(PaidChange {
            subscription_id: "sub_1".into(),
            at: hour(1),
            invoice: "in_1".into(),
            amount: 999,
            value: 1,
        })
    };
    let month = |extra, changes| Month {
        subscription_id: "sub_1".into(),
        start_at: hour(0),
        end_at: hour(700),
        user_id: "alice".into(),
        value: 10,
        plan_value: 10,
        paid: None,
        left_over: 10,
        extra,
        changes,
        refill_key: "refill".into(),
        replaces: false,
    };
    let extra = |changes| subscriptions::change::Change::SetExtra(month(5, changes));

    assert_eq!(change(&db.pool, paid()).await, Applied::New);
    assert_eq!(jobs(&db, "claw_back").await.len(), 1, "it is known now what the charge paid for");
    run(&db, "DELETE FROM apalis.jobs").await;
    change(&db.pool, paid()).await;
    assert_eq!(jobs(&db, "claw_back").await, [""; 0], "that was known");

    change(&db.pool, extra(1)).await;
    assert_eq!(jobs(&db, "claw_back").await, [""; 0], "there is no such month");
    change(&db.pool, subscriptions::change::Change::RefillMonth(month(0, 0))).await;
    change(&db.pool, extra(1)).await;
    assert_eq!(jobs(&db, "claw_back").await.len(), 1);
}
