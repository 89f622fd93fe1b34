//! Watching a comparison that a worker makes, until it is over; or until it is clear that nobody makes it.

use std::time::Duration;

use bursar_jobs::{base::clock, reconciliation::Phase};
use sqlx::PgConnection;

use crate::operate::{Failure, Screen};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long no worker may be alive. One that is restarted is back by then.
const NOBODY: Duration = Duration::from_secs(15);
/// Characters of the bar.
const WIDTH: usize = 22;

/// Waits until a run is over.
pub(super) async fn until_over(db: &mut PgConnection, screen: &Screen, run: &str) -> Result<(), Failure> {
    let mut alone = clock::monotonic();
    let mut shown = String::new();
    let mut progress = screen.progress();
    loop {
        let now = sqlx::query!(
            r#"SELECT r.state, r.phase, r.objects, r.reason,
                      (SELECT count(*) FROM bursar.finding f WHERE f.run = r.id) AS "findings!",
                      EXISTS (SELECT FROM apalis.workers w WHERE w.lease_until > clock_timestamp()) AS "attended!",
                      (SELECT j.id || ': ' || coalesce(j.reason, j.last_error, j.state) FROM bursar.job j
                       WHERE j.kind IN ('reconcile_read', 'reconcile_compare', 'reconcile_repair') AND j.key LIKE r.id || ':%'
                         AND j.state IN ('dead', 'cancelled') LIMIT 1) AS dead,
                      EXISTS (SELECT FROM bursar.job j WHERE j.kind IN ('reconcile_read', 'reconcile_compare', 'reconcile_repair')
                              AND j.key LIKE r.id || ':%' AND j.state IN ('ready', 'scheduled', 'running')) AS "live!",
                      EXISTS (SELECT FROM bursar.job j WHERE j.kind IN ('reconcile_read', 'reconcile_repair') AND j.key LIKE r.id || ':%'
                              AND j.state = 'scheduled' AND j.reason = 'Stripe is off') AS "off!"
               FROM bursar.reconciliation r WHERE r.id = $1"#,
            run
        )
        .fetch_one(&mut *db)
        .await?;
        let line = format!("{:<10} {:>9} objects  {:>5} findings", now.phase, now.objects, now.findings);
        progress.show(&format!("{} {line}", bar(&now.phase)), (shown != now.phase).then_some(line.as_str()));
        shown.clone_from(&now.phase);
        let again = format!("it goes on once that is mended; see it with: bursar reconcile show {run}");
        match now.state.as_str() {
            "done" => return Ok(()),
            "stopped" => {
                let why = now.reason.unwrap_or_default();
                return Err(Failure::refused(
                    format!("{run} was stopped: {why}"),
                    "mend it, then compare the month again",
                ));
            }
            _ if now.dead.is_some() => {
                let dead = now.dead.unwrap_or_default();
                let hint = format!("see it with: bursar jobs show {}", dead.split(':').next().unwrap_or_default());
                return Err(Failure::refused(format!("{run} cannot go on: job {dead}"), hint));
            }
            // Its row and its jobs are read in one statement, so between two of its jobs there is always one.
            _ if !now.live => {
                return Err(Failure::refused(
                    format!("{run} cannot go on: no job of it is left"),
                    "compare the month again: it begins anew",
                ));
            }
            _ if now.off => {
                let why = format!("{run} waits: Stripe is off at the worker");
                return Err(Failure::refused(why, format!("set STRIPE_SECRET_KEY for `bursar worker`; {again}")));
            }
            _ => {}
        }
        if now.attended {
            alone = clock::monotonic();
        } else if alone.elapsed() >= NOBODY {
            let why = format!("{run} waits, for no worker is alive");
            return Err(Failure::refused(why, format!("start one: bursar worker; {again}")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How far a phase is.
fn bar(phase: &str) -> String {
    let all = Phase::ALL.len() + 1;
    let at = Phase::ALL.iter().position(|known| known.word() == phase).unwrap_or(if phase == "done" {
        all
    } else {
        all - 1
    });
    let full = WIDTH * at / all;
    format!("[{}{}]", "#".repeat(full), "-".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_as_phases_pass() {
        assert!(bar("invoices").starts_with("[--"));
        assert!(bar("transfers").contains("#-"));
        assert!(bar("repairs").ends_with("-]"));
        assert_eq!(bar("done"), format!("[{}]", "#".repeat(WIDTH)));
    }
}
