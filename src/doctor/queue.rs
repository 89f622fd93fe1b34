//! The queue and the schedules: whether anybody works, and what waits.

use bursar_jobs::engine::kind;
use sqlx::PgPool;

use crate::config::Settings;

use super::check::Check;

/// Seconds that something ready may wait.
const WAIT_WARN: f64 = 60.0;
const WAIT_FAIL: f64 = 15.0 * 60.0;
/// Minutes after its tick that a schedule must have fired.
const GRACE: f64 = 5.0;

pub(super) async fn look(pool: &PgPool, settings: &Settings) -> Vec<Check> {
    match checks(pool, settings).await {
        Ok(checks) => checks,
        Err(error) => {
            vec![Check::fail("queue", error.to_string(), "Let this role read the schemas bursar and apalis.")]
        }
    }
}

async fn checks(pool: &PgPool, settings: &Settings) -> Result<Vec<Check>, sqlx::Error> {
    let seen = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE status = 'Pending' AND run_at <= t.now) AS "ready!",
                  extract(epoch FROM t.now - min(run_at) FILTER (WHERE status = 'Pending' AND run_at <= t.now AND NOT EXISTS
                      (SELECT FROM bursar.paused_kind p WHERE p.kind = job_type)))::float8 AS oldest,
                  count(*) FILTER (WHERE status = 'Failed') AS "dead!",
                  count(*) FILTER (WHERE status = 'Failed' AND job_type = ANY ($1)) AS "dead_money!"
           FROM (SELECT bursar.now() AS now) t LEFT JOIN apalis.jobs ON status IN ('Pending', 'Failed') GROUP BY t.now"#,
        &kind::MONEY.iter().map(|kind| kind.name.to_owned()).collect::<Vec<_>>()
    )
    .fetch_one(pool)
    .await?;
    let workers = sqlx::query_scalar!(
        r#"SELECT coalesce(kinds, '{}') AS "kinds!" FROM apalis.workers WHERE lease_until > clock_timestamp() ORDER BY id"#
    )
    .fetch_all(pool)
    .await?;
    let paused = sqlx::query_scalar!("SELECT kind FROM bursar.paused_kind ORDER BY kind").fetch_all(pool).await?;
    let mut checks = vec![alive(&workers, seen.ready), oldest(seen.ready, seen.oldest)];
    checks.push(if seen.dead == 0 {
        Check::ok("queue.dead", "no job is dead")
    } else {
        let seen = format!("{} dead jobs, {} of them release money", seen.dead, seen.dead_money);
        Check::warn("queue.dead", seen, "Look at them with `bursar jobs list --state dead`, and retry or cancel each.")
    });
    checks.push(if paused.is_empty() {
        Check::ok("queue.paused", "no kind is paused")
    } else {
        let seen = format!("paused: {}", paused.join(", "));
        Check::warn(
            "queue.paused",
            seen,
            "Let them go on with `bursar jobs resume KIND`, when what they waited for is done.",
        )
    });
    checks.push(schedules(pool, settings, workers.is_empty()).await?);
    Ok(checks)
}

fn alive(workers: &[Vec<String>], ready: i64) -> Check {
    const NAME: &str = "queue.workers";
    let remedy = "Start `bursar worker`, of this version.";
    if workers.is_empty() && ready > 0 {
        return Check::fail(NAME, format!("no worker is alive, and {ready} jobs are ready"), remedy);
    }
    if workers.is_empty() {
        return Check::warn(NAME, "no worker is alive; nothing waits for one yet", remedy);
    }
    let known = |kind: &str| workers.iter().any(|kinds| kinds.iter().any(|known| known == kind));
    let strange: Vec<&str> = kind::ALL.iter().map(|kind| kind.name).filter(|kind| !known(kind)).collect();
    if strange.is_empty() {
        return Check::ok(NAME, format!("{} alive", workers.len()));
    }
    let seen = format!("{} alive, and none of them knows {}", workers.len(), strange.join(", "));
    Check::warn(NAME, seen, remedy)
}

fn oldest(ready: i64, oldest: Option<f64>) -> Check {
    const NAME: &str = "queue.oldest";
    let Some(seconds) = oldest else { return Check::ok(NAME, "nothing waits") };
    let seen = format!("{ready} ready, the oldest for {seconds:.0} s");
    let remedy = "Start more workers, or see with `bursar jobs list --state ready` what keeps them busy.";
    if seconds > WAIT_FAIL {
        Check::fail(NAME, seen, remedy)
    } else if seconds > WAIT_WARN {
        Check::warn(NAME, seen, remedy)
    } else {
        Check::ok(NAME, seen)
    }
}

async fn schedules(pool: &PgPool, settings: &Settings, idle: bool) -> Result<Check, sqlx::Error> {
    const NAME: &str = "schedules";
    let declared = match settings.calendar() {
        Ok(calendar) => calendar.schedules,
        Err(error) => return Ok(Check::setting(NAME, &error)),
    };
    let kept = sqlx::query!(
        r#"SELECT name, paused, coalesce(next_at < (SELECT bursar.now()) - $1::float8 * interval '1 minute', false) AS "late!" FROM bursar.schedule ORDER BY name"#,
        GRACE
    )
    .fetch_all(pool)
    .await?;
    let named = |wanted: &dyn Fn(bool, bool) -> bool| {
        kept.iter().filter(|one| wanted(one.paused, one.late)).map(|one| one.name.as_str()).collect::<Vec<_>>()
    };
    let (late, paused) = (named(&|paused, late| late && !paused), named(&|paused, _| paused));
    let missing: Vec<&str> =
        declared.iter().map(|one| one.name.as_str()).filter(|name| kept.iter().all(|one| one.name != *name)).collect();
    Ok(if !late.is_empty() {
        let seen = format!("past their tick and not fired: {}", late.join(", "));
        if idle {
            Check::warn(NAME, seen, "Start `bursar worker`, which drives them.")
        } else {
            let remedy = "See with `bursar jobs list --kind fire_schedule` why, and fire one by hand with `bursar schedule run NAME`.";
            Check::fail(NAME, seen, remedy)
        }
    } else if !missing.is_empty() {
        let seen = format!("not taken over yet: {}", missing.join(", "));
        Check::warn(NAME, seen, "Start `bursar worker` anew: it takes the settings' schedules over when it starts.")
    } else if !paused.is_empty() {
        Check::warn(
            NAME,
            format!("paused: {}", paused.join(", ")),
            "Let them go on with `bursar schedule resume NAME`.",
        )
    } else {
        Check::ok(NAME, format!("{} in time", kept.len()))
    })
}
