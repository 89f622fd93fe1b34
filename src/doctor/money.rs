//! What keeps money from being lost unseen: the gap watch, the comparison with Stripe, and payouts that wait for somebody.

use bursar_jobs::{
    base::money,
    desk::{
        runs,
        standing::{self, Watch},
    },
    reconciliation,
};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use crate::config::Settings;

use super::check::Check;

const WATCH: &str = "events.watch";
const MONTH: &str = "reconcile.month";
const FINDINGS: &str = "reconcile.findings";
const UNKNOWN: &str = "payouts.unknown";
const REJECTED: &str = "payouts.rejected";
/// All of them.
pub(super) const NAMES: [&str; 5] = [WATCH, MONTH, FINDINGS, UNKNOWN, REJECTED];

/// Half a day before Stripe gives a webhook up.
const BEHIND_FAIL: i64 = 60 * 3_600;
/// A month is compared on the second of the next; a day more, and something is in its way.
const COMPARED_BY: TimeDelta = TimeDelta::days(2);
/// A payout whose outcome is unknown is looked for over minutes; after this long nobody looks any more.
const UNKNOWN_FAIL: f64 = 3_600.0;

pub(super) async fn look(pool: &PgPool, settings: &Settings) -> Vec<Check> {
    match checks(pool, settings).await {
        Ok(checks) => checks,
        Err(error) => {
            let error = error.to_string();
            let remedy = "Let this role read the schemas bursar and apalis.";
            NAMES.map(|name| Check::fail(name, &error, remedy)).into()
        }
    }
}

async fn checks(pool: &PgPool, settings: &Settings) -> Result<Vec<Check>, sqlx::Error> {
    let mut db = pool.acquire().await?;
    let on = settings.stripe().is_ok_and(|stripe| stripe.is_on());
    Ok(vec![
        watch(standing::watch(&mut db).await?.as_ref(), on),
        month(&mut db).await?,
        findings(&mut db).await?,
        unknown(&mut db).await?,
        rejected(&mut db).await?,
    ])
}

fn watch(watch: Option<&Watch>, on: bool) -> Check {
    let Some(watch) = watch else {
        let seen = "it has not begun: an event that never arrives is not looked for";
        return if on {
            Check::warn(WATCH, seen, "Start `bursar worker`, which begins it when it starts with Stripe on.")
        } else {
            Check::skip(WATCH, seen)
        };
    };
    let until = format!("Stripe's events are compared up to {}", watch.compared_until.format("%Y-%m-%d %H:%M UTC"));
    let see = "See `bursar events gaps`, and `bursar jobs list --kind read_events` for what is in its way.";
    if watch.behind > BEHIND_FAIL {
        Check::fail(WATCH, format!("{until}: Stripe gives webhooks up after 3 days, and forgets events after 30"), see)
    } else if watch.is_behind() {
        Check::warn(WATCH, format!("{until}, {} hours ago", watch.behind / 3_600), see)
    } else if watch.missed > 0 {
        let were = if watch.missed == 1 { "was" } else { "were" };
        let missed = counted(watch.missed, "event");
        let seen = format!("{until}; in the last day {missed} {were} found that had never arrived");
        let remedy =
            "They were taken in. See `bursar events gaps`, and why webhooks do not arrive: stripe.webhook, web.url.";
        Check::warn(WATCH, seen, remedy)
    } else {
        Check::ok(WATCH, until)
    }
}

/// The last month whose comparison should be over.
async fn month(db: &mut PgConnection) -> Result<Check, sqlx::Error> {
    let stands = sqlx::query!(
        r#"SELECT bursar.now() AS "now!", w.began_at AS "began_at?" FROM (VALUES (1)) one LEFT JOIN bursar.event_watch w ON true"#
    )
    .fetch_one(&mut *db)
    .await?;
    let month = reconciliation::last_month(stands.now - COMPARED_BY);
    let run = sqlx::query!(
        "SELECT id, state, reason, begun_at, ended_at FROM bursar.reconciliation WHERE month = $1
         ORDER BY state = 'done' DESC, begun_at DESC, id DESC LIMIT 1",
        month
    )
    .fetch_optional(db)
    .await?;
    let (said, again) = (month.format("%Y-%m"), format!("bursar reconcile --month {}", month.format("%Y-%m")));
    Ok(match run {
        None if !is_before_the_end(stands.began_at, month) => {
            Check::skip(MONTH, format!("bursar had not begun with Stripe in {said}: there is nothing to compare"))
        }
        None => {
            let remedy = format!("Compare it with `{again}`: it finds money that arrived without an event.");
            Check::warn(MONTH, format!("{said} was never compared with Stripe"), remedy)
        }
        Some(run) if run.state == "done" => {
            let on = run.ended_at.unwrap_or(run.begun_at).format("%Y-%m-%d");
            Check::ok(MONTH, format!("{said} was compared with Stripe on {on}"))
        }
        Some(run) if run.state == "stopped" => {
            let why = run.reason.unwrap_or_else(|| "it does not say why".to_owned());
            Check::warn(
                MONTH,
                format!("{} stopped: {why}", run.id),
                format!("Mend that, and compare again: `{again}`."),
            )
        }
        Some(run) if stands.now - run.begun_at > TimeDelta::days(1) => {
            let seen = format!("{} is under way since {}", run.id, run.begun_at.format("%Y-%m-%d %H:%M UTC"));
            Check::warn(MONTH, seen, "See what is in its way: `bursar jobs list --text reconcile`.")
        }
        Some(run) => Check::ok(MONTH, format!("{} is under way", run.id)),
    })
}

fn is_before_the_end(began_at: Option<DateTime<Utc>>, month: NaiveDate) -> bool {
    began_at.is_some_and(|at| reconciliation::last_month(at) < month)
}

async fn findings(db: &mut PgConnection) -> Result<Check, sqlx::Error> {
    let open: Vec<_> = runs::by_type(db, None).await?.into_iter().filter(|kind| kind.open > 0).collect();
    if open.is_empty() {
        return Ok(Check::ok(FINDINGS, "none is open"));
    }
    let types: Vec<String> = open.iter().map(|kind| format!("{} {}", kind.open, kind.r#type)).collect();
    Ok(Check::warn(
        FINDINGS,
        format!("Stripe and the books differ: {}", types.join(", ")),
        "Read them with `bursar reconcile list` and `bursar reconcile show RUN`: each says what closes it.",
    ))
}

async fn unknown(db: &mut PgConnection) -> Result<Check, sqlx::Error> {
    let sums = in_state(db, "unknown").await?;
    let Some(oldest) = sums.iter().map(|sum| sum.oldest).reduce(f64::max) else {
        return Ok(Check::ok(UNKNOWN, "no payout's outcome is unknown"));
    };
    let seen = format!("whether these were sent is unknown: {}, the oldest for {:.0} min", said(&sums), oldest / 60.0);
    let remedy = "See `bursar payouts list --state unknown` and `bursar payouts show JOB`; `bursar payouts release JOB` looks for \
                  it again, and never sends under another key.";
    Ok(if oldest > UNKNOWN_FAIL { Check::fail(UNKNOWN, seen, remedy) } else { Check::warn(UNKNOWN, seen, remedy) })
}

async fn rejected(db: &mut PgConnection) -> Result<Check, sqlx::Error> {
    let sums = in_state(db, "rejected").await?;
    if sums.is_empty() {
        return Ok(Check::ok(REJECTED, "Stripe refused no payout that is owed"));
    }
    let remedy =
        "See why with `bursar payouts list --state rejected`; when that is mended, `bursar payouts release JOB`.";
    Ok(Check::warn(REJECTED, format!("owed, and refused by Stripe: {}", said(&sums)), remedy))
}

/// Payouts of one currency.
struct Sum {
    currency: String,
    count: i64,
    amount: i64,
    /// Seconds since the oldest came there.
    oldest: f64,
}

async fn in_state(db: &mut PgConnection, state: &str) -> Result<Vec<Sum>, sqlx::Error> {
    sqlx::query_as!(
        Sum,
        r#"SELECT currency, count(*) AS "count!", sum(amount)::bigint AS "amount!",
                  extract(epoch FROM bursar.now() - min(changed_at))::float8 AS "oldest!"
           FROM bursar.payout WHERE state = $1 GROUP BY currency ORDER BY currency"#,
        state
    )
    .fetch_all(db)
    .await
}

fn said(sums: &[Sum]) -> String {
    let each = |sum: &Sum| format!("{} ({})", counted(sum.count, "payout"), money::format(sum.amount, &sum.currency));
    sums.iter().map(each).collect::<Vec<_>>().join(", ")
}

fn counted(count: i64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
