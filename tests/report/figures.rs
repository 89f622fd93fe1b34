//! Figures of worlds that are written down and not played: what rounds badly, changes its price's sort, or ends twice.

use bursar_jobs::report::{self, Period, Report};
use chrono::{DateTime, TimeDelta, Utc};

use crate::support::{Database, database};

fn day(n: i64) -> DateTime<Utc> {
    "2030-01-07T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(n)
}

/// Of the week that begins so many days after a Monday.
async fn week(db: &Database, begins: i64) -> Report {
    let period = Period { from: day(begins), to: day(begins + 7) };
    report::of(&mut db.pool.acquire().await.unwrap(), period).await.unwrap()
}

/// A subscription, whose, since which day, worth so much a year (none: by steps), in a currency.
type Worth = (&'static str, &'static str, i64, Option<i64>, &'static str);

async fn plant(db: &Database, worths: &[Worth]) {
    for (subscription, user, since, yearly, currency) in worths {
        sqlx::query(
            "INSERT INTO bursar.subscription_worth (subscription_id, user_id, at, yearly, currency, asked_at) VALUES ($1, $2, $3, $4, $5, $3)",
        )
        .bind(subscription)
        .bind(user)
        .bind(day(*since))
        .bind(yearly)
        .bind(currency)
        .execute(&db.pool)
        .await
        .unwrap();
    }
}

#[track_caller]
fn adds_up(report: &Report) {
    for one in &report.revenue {
        let sum = one.mrr_before + one.new + one.returned + one.expansion - one.contraction - one.churn;
        assert_eq!(sum, one.mrr, "{one:?}");
        assert!(one.involuntary_churn <= one.churn && one.churned_users <= one.users_before, "{one:?}");
    }
}

#[tokio::test]
async fn what_was_won_and_lost_makes_the_whole_to_the_minor_unit() {
    let db = database().await;
    // Yearly prices that are no whole number of months, weeks, and a currency without decimals.
    plant(
        &db,
        &[
            ("s1", "ann", -30, Some(1000), "usd"),
            ("s2", "ben", -30, Some(51_953), "usd"),
            ("s3", "cat", -30, Some(65), "usd"),
            ("s4", "dan", -30, Some(19_001), "usd"),
            ("s4", "dan", -9, Some(0), "usd"),
            ("s1", "ann", 1, Some(1005), "usd"),
            ("s2", "ben", 2, Some(51_946), "usd"),
            ("s3", "cat", 3, Some(0), "usd"),
            ("s5", "dan", 4, Some(17), "usd"),
            ("s6", "eve", 5, Some(29), "usd"),
            ("s7", "fay", -30, Some(7), "jpy"),
            ("s7", "fay", 1, Some(5), "jpy"),
            // Came and went within the week; and in two currencies.
            ("s8", "gus", 1, Some(500), "usd"),
            ("s8", "gus", 2, Some(0), "usd"),
            ("s9", "eve", 5, Some(31), "jpy"),
        ],
    )
    .await;
    for begins in [-35, -14, -7, 0, 7] {
        adds_up(&week(&db, begins).await);
    }
    let report = week(&db, 0).await;
    let [usd, jpy] = &report.revenue[..] else { panic!("{report:?}") };
    assert_eq!((usd.users_before, usd.users, usd.churned_users), (3, 4, 1));
    assert_eq!((usd.mrr_before, usd.mrr), (4418, 4416), "(1000 + 51953 + 65) / 12, (1005 + 51946 + 17 + 29) / 12");
    assert!(usd.returned > 0 && usd.new > 0 && usd.churn > 0, "{usd:?}");
    assert_eq!((jpy.currency.as_str(), jpy.users_before, jpy.users), ("jpy", 1, 2));
}

#[tokio::test]
async fn who_goes_over_to_a_price_by_steps_still_pays() {
    let db = database().await;
    plant(
        &db,
        &[
            ("s1", "ann", -30, Some(1200), "usd"),
            ("s1", "ann", 1, None, "usd"),
            ("s2", "ben", -30, None, "usd"),
            ("s2", "ben", 1, Some(2400), "usd"),
            ("s3", "cat", -30, None, "usd"),
            ("s4", "dan", -30, Some(1200), "usd"),
        ],
    )
    .await;
    let report = week(&db, 0).await;
    adds_up(&report);
    let usd = &report.revenue[0];
    assert_eq!((usd.churned_users, usd.churn, usd.new, usd.returned), (0, 0, 0, 0), "{usd:?}");
    assert_eq!((usd.mrr_before, usd.expansion, usd.contraction, usd.mrr), (200, 200, 100, 300));
    assert_eq!(report.without_amount, 2, "ann and cat");
}

#[tokio::test]
async fn a_case_is_lost_once_whatever_becomes_of_it_later() {
    let db = database().await;
    let case = |invoice: &str, state: &str, changed: i64, last: Option<i64>| {
        let last = last.map_or_else(String::new, |at| {
            format!("INSERT INTO bursar.dunning_step (invoice_id, step, day, due_at, state, changed_at) VALUES ('{invoice}', 'final:7', 7, '{0}', 'done', '{0}');", day(at))
        });
        format!(
            "INSERT INTO bursar.dunning_case (invoice_id, subscription_id, user_id, state, failed_at, amount, currency, schedule, opened_at, changed_at)
             VALUES ('{invoice}', 'sub', 'ann', '{state}', '{0}', 1900, 'usd', '{{}}', '{0}', '{1}'); {last}",
            day(-7),
            day(changed)
        )
    };
    let planted = [
        // Paused in the first week, and over in the third.
        case("in_1", "ended", 15, Some(1)),
        // Paused in the first week, and paid in the third.
        case("in_2", "paid", 15, Some(1)),
        // Given up by Stripe, without a last step of ours.
        case("in_3", "uncollectible", 2, None),
        case("in_4", "stopped", 2, None),
        case("in_5", "paid", 2, None),
    ];
    sqlx::raw_sql(sqlx::AssertSqlSafe(planted.concat())).execute(&db.pool).await.unwrap();
    let (first, third) = (week(&db, 0).await.dunning, week(&db, 14).await.dunning);
    assert_eq!((first.lost, first.recovered, third.lost, third.recovered), (3, 1, 0, 1));
}

#[tokio::test]
async fn a_payout_that_stripe_refused_is_told() {
    let db = database().await;
    sqlx::raw_sql(
        "INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state) VALUES
           ('j1', 'rita', 's', 1, 700, 'usd', 'rejected'), ('j2', 'rita', 's', 1, 300, 'usd', 'rejected'), ('j3', 'rita', 's', 1, 500, 'jpy', 'skipped')",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let report = week(&db, 0).await;
    assert_eq!((report.payouts.len(), report.payouts[0].rejected, report.payouts[0].rejected_amount), (1, 2, 1000));
    let lines: Vec<_> = report.said().into_iter().flat_map(|section| section.lines).collect();
    let line = lines.iter().find(|line| line.name == "payouts_rejected").unwrap();
    assert_eq!((line.label, line.value.as_str()), ("Refused now", "2 (10.00 USD)"));
}

#[tokio::test]
async fn an_invoice_is_paid_in_one_week_and_not_failed_after_it() {
    let db = database().await;
    // Two types of event tell of one payment, and what one of them tells may come a day later, by a retry or by the watch.
    for (id, r#type, object, received) in [
        ("evt_1", "invoice.paid", "in_1", 6),
        ("evt_2", "invoice.payment_succeeded", "in_1", 8),
        ("evt_3", "invoice.payment_failed", "in_2", 6),
        ("evt_4", "invoice.paid", "in_2", 8),
        ("evt_5", "invoice.paid", "in_3", 6),
        ("evt_6", "invoice.payment_failed", "in_3", 8),
    ] {
        sqlx::query(
            "INSERT INTO bursar.event (source, id, type, object_id, livemode, received_at) VALUES ('stripe', $1, $2, $3, false, $4)",
        )
        .bind(id)
        .bind(r#type)
        .bind(object)
        .bind(day(received))
        .execute(&db.pool)
        .await
        .unwrap();
    }
    let told = async |begins| {
        let payments = week(&db, begins).await.payments;
        (payments.paid, payments.failed, payments.failed_attempts)
    };
    assert_eq!(told(0).await, (2, 1, 1), "in_1 and in_3; in_2");
    assert_eq!(told(7).await, (1, 0, 0), "in_2: the others were paid the week before");
}
