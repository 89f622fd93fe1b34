//! `bursar payouts release`: an operator lets a payout go. Whether anything may leave is still the engine's to decide.

use bursar_jobs::{
    audit::{self, Act as Acted, Via},
    enqueue::enqueue,
    pay_receiver::PayReceiver,
    payout::{Act, Seen, State, turn},
};
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::no_such;
use crate::operate::{Failure, Screen, values::operator};

#[derive(Serialize)]
struct Released<'a> {
    job_id: &'a str,
    was: &'a str,
    state: &'a str,
}

/// Releases it.
pub(super) async fn run(
    db: &mut PgConnection,
    screen: &Screen,
    job: &str,
    after_saved_failure: bool,
) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let payout =
        sqlx::query!("SELECT state, releases, held_by, reason FROM bursar.payout WHERE job_id = $1 FOR UPDATE", job)
            .fetch_optional(&mut *tx)
            .await?
            .ok_or_else(|| no_such(job))?;
    let Some((state, Act::Enqueue)) = State::parse(&payout.state).map(|state| turn(state, Seen::Released)) else {
        return Err(Failure::refused(
            format!("the payout for {job} is {}: there is nothing to let go", payout.state),
            format!("see it with: bursar payouts show {job}"),
        ));
    };
    let state = state.name();
    let live = sqlx::query_scalar!(
        "SELECT id FROM bursar.job WHERE kind = 'pay_receiver' AND state IN ('ready', 'scheduled', 'running') AND key = $1 || ':' || $2::int",
        job,
        payout.releases
    )
    .fetch_optional(&mut *tx)
    .await?
    .flatten();
    if let (Some(live), true) = (live, state != "held" || after_saved_failure) {
        return Err(Failure::refused(
            format!("the payout for {job} has a job that goes on by itself"),
            format!("see it with: bursar jobs show {live}"),
        ));
    }
    if after_saved_failure {
        let raised = sqlx::query!(
            "UPDATE bursar.intent SET raise_after_look = true, changed_at = bursar.now()
             WHERE subject = $1 AND saved_failure AND looks > 0 AND state = 'unknown'
               AND generation = (SELECT max(generation) FROM bursar.intent WHERE subject = $1)",
            format!("payout:{job}"),
        )
        .execute(&mut *tx)
        .await?;
        if raised.rows_affected() == 0 {
            return Err(Failure::refused(
                format!("the payout for {job} has no saved failure that was looked behind"),
                "release it without --after-saved-failure: it is looked for first",
            ));
        }
    }
    let releases = payout.releases + 1;
    sqlx::query!(
        // What a limit held, the operator's word lets pass, this once. A cap is weighed after the minimum: what it held had reached that.
        "UPDATE bursar.payout SET state = $2, releases = $3, reason = $4, changed_at = bursar.now(), held_by = NULL,
                cap_lifted = cap_lifted OR held_by IS NOT DISTINCT FROM 'cap', minimum_met = minimum_met OR coalesce(held_by IN ('minimum', 'cap'), false)
         WHERE job_id = $1",
        job,
        state,
        releases,
        format!("released by {}", operator()),
    )
    .execute(&mut *tx)
    .await?;
    enqueue(&mut *tx, &[PayReceiver::release(job, releases, "operator")]).await?;
    let who = operator();
    let act = Acted {
        who: &who,
        via: Via::Cli,
        what: "payouts.release",
        subject: job,
        before: Some(json!({"state": payout.state, "held_by": payout.held_by, "reason": payout.reason})),
        after: Some(json!({"state": state, "after_saved_failure": after_saved_failure})),
        why: None,
    };
    audit::note(&mut *tx, act).await?;
    tx.commit().await?;
    let answer = Released { job_id: job, was: &payout.state, state };
    screen.done(&answer, &format!("let go the payout for {job}; see what becomes of it: bursar payouts show {job}"))?;
    Ok(())
}
