//! What a reconciliation keeps: where it stands, what it read, what it found; and its repairs.

use serde_json::json;
use sqlx::PgConnection;

use crate::{
    base::audit::{self, Act, Via},
    engine::{change::changes, domain::ApplyContext, enqueue},
    inbox::{self},
    payouts::{pay_receiver::PayReceiver, superseded},
    reconciliation::{self, change::Change},
};

/// Makes the changes of a batch that concern reconciliations.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch, verdicts) = (&mut *context.db, context.batch, &mut context.verdicts);
    let all: Vec<(usize, &Change)> = changes(batch, Some);
    for (owner, change) in all {
        one(db, change).await?;
        verdicts[owner].new = true;
    }
    Ok(())
}

async fn one(db: &mut PgConnection, change: &Change) -> Result<(), sqlx::Error> {
    match change {
        Change::Begin { month } => {
            reconciliation::begin(db, *month, "schedule", None).await?;
        }
        Change::Page { run, step, phase, objects, entries, seen } => {
            sqlx::query!(
                "INSERT INTO bursar.reconcile_page (run, step, entries) VALUES ($1, $2, $3)
                 ON CONFLICT (run) DO UPDATE SET step = excluded.step, entries = excluded.entries",
                run,
                step,
                entries
            )
            .execute(&mut *db)
            .await?;
            sqlx::query!(
                "INSERT INTO bursar.reconciled (run, id) SELECT $1, id FROM pg_catalog.unnest($2::text[]) AS id ON CONFLICT DO NOTHING",
                run,
                seen
            )
            .execute(&mut *db)
            .await?;
            sqlx::query!(
                "UPDATE bursar.reconciliation SET objects = objects + $2, phase = $3, changed_at = bursar.now() WHERE id = $1",
                run,
                objects,
                phase
            )
            .execute(db)
            .await?;
        }
        Change::Found { run, findings } => {
            // What an operator has judged to be right stays judged, as long as it is the same.
            sqlx::query!(
                r#"INSERT INTO bursar.finding (run, type, object, user_id, amount, unit, evidence, automatic, remedy, state, closed_by)
                   SELECT $1, f.type, f.object, f.user_id, f.amount, f.unit, f.evidence, f.automatic, f.remedy,
                          CASE WHEN j.id IS NULL THEN 'open' ELSE 'judged' END, j.closed_by
                   FROM jsonb_to_recordset($2) AS f (type text, object text, user_id text, amount bigint, unit text, evidence jsonb,
                                                     automatic boolean, remedy text)
                   LEFT JOIN LATERAL (SELECT o.id, o.closed_by FROM bursar.finding o
                                      WHERE o.object = f.object AND o.type = f.type AND o.state = 'judged'
                                        AND (o.amount, o.user_id) IS NOT DISTINCT FROM (f.amount, f.user_id)
                                      ORDER BY o.id DESC LIMIT 1) j ON true
                   ON CONFLICT (run, type, object) DO NOTHING"#,
                run,
                json!(findings)
            )
            .execute(db)
            .await?;
        }
        Change::Phase { run, phase } => {
            sqlx::query!(
                "UPDATE bursar.reconciliation SET phase = $2, changed_at = bursar.now() WHERE id = $1",
                run,
                phase
            )
            .execute(db)
            .await?;
        }
        Change::End { run } => {
            sqlx::query!(
                "UPDATE bursar.reconciliation SET state = 'done', phase = 'done', changed_at = bursar.now(), ended_at = bursar.now()
                 WHERE id = $1 AND state = 'running'",
                run
            )
            .execute(&mut *db)
            .await?;
            sqlx::query!(
                "UPDATE bursar.finding f SET state = 'gone', closed_by = $1, changed_at = bursar.now()
                 FROM bursar.reconciliation r, bursar.reconciliation this
                 WHERE this.id = $1 AND r.id = f.run AND r.month = this.month AND r.begun_at < this.begun_at AND f.state = 'open'
                   AND NOT EXISTS (SELECT FROM bursar.finding n WHERE n.run = $1 AND (n.type, n.object) = (f.type, f.object))",
                run
            )
            .execute(&mut *db)
            .await?;
            forget(db, run).await?;
        }
        Change::Stop { run, why } => {
            sqlx::query!(
                "UPDATE bursar.reconciliation SET state = 'stopped', reason = $2, changed_at = bursar.now(), ended_at = bursar.now()
                 WHERE id = $1 AND state = 'running'",
                run,
                why
            )
            .execute(&mut *db)
            .await?;
            forget(db, run).await?;
        }
        Change::Hear { envelope, body } => {
            // One that is known is a duplicate, as of Stripe's own.
            inbox::receive(db, envelope, body).await?;
        }
        Change::Release { job_id } => release(db, job_id).await?,
        Change::Repaired { finding, subject, how, who, via, why } => {
            let closed = sqlx::query!(
                "UPDATE bursar.finding SET state = 'repaired', closed_by = $2, changed_at = bursar.now() WHERE id = $1 AND state = 'open'",
                finding,
                how
            )
            .execute(&mut *db)
            .await?;
            if closed.rows_affected() == 1 {
                let act = Act {
                    who,
                    via: *via,
                    what: "reconcile.repair",
                    subject,
                    before: Some(json!({ "finding": finding })),
                    after: Some(json!({ "closed_by": how })),
                    why: Some(why),
                };
                audit::note(db, act).await?;
            }
        }
    }
    Ok(())
}

/// What a run needed while it ran.
async fn forget(db: &mut PgConnection, run: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM bursar.reconcile_page WHERE run = $1", run).execute(&mut *db).await?;
    sqlx::query!("DELETE FROM bursar.reconciled WHERE run = $1", run).execute(db).await?;
    Ok(())
}

/// Lets a payout go, as an operator does; one that a job is at, or that could leave without a look, stays as it is: its key must be old.
async fn release(db: &mut PgConnection, job_id: &str) -> Result<(), sqlx::Error> {
    let released = sqlx::query!(
        r#"UPDATE bursar.payout p
           SET state = CASE WHEN p.state IN ('held', 'skipped', 'rejected') THEN 'held' ELSE p.state END,
               releases = p.releases + 1, reason = 'released by reconciliation', changed_at = bursar.now()
           WHERE p.job_id = $1 AND p.state IN ('held', 'skipped', 'rejected', 'sending', 'unknown')
             AND NOT bursar.is_young(coalesce(least(p.recorded_at, p.verified_at), timestamptz 'epoch'))
             AND NOT EXISTS (SELECT FROM bursar.intent i WHERE i.subject = 'payout:' || p.job_id AND i.state IN ('open', 'unknown')
                             AND coalesce(bursar.is_young(i.young_since), false))
             AND NOT EXISTS (SELECT FROM bursar.job j WHERE j.kind = 'pay_receiver' AND j.state IN ('ready', 'scheduled', 'running')
                             AND j.key = p.job_id || ':' || p.releases::text)
           RETURNING p.releases"#,
        job_id
    )
    .fetch_optional(&mut *db)
    .await?;
    if let Some(released) = released {
        enqueue::enqueue(&mut *db, &[PayReceiver::release(job_id, released.releases, "reconcile")]).await?;
        let by = superseded::By { who: "reconciliation", via: Via::Schedule, why: None };
        superseded::payout(db, job_id, released.releases, by).await?;
    }
    Ok(())
}
