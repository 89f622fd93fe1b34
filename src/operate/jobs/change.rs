//! `bursar jobs retry` and `cancel` by id.

use bursar_jobs::desk::{
    State,
    bulk::Verb,
    change::{self, Change},
};
use sqlx::{Connection, PgConnection};

use super::not_found;
use crate::operate::{Failure, Screen, report, values::at_keyboard};

/// Changes each of them; one that cannot be changed does not keep the others from it.
pub(super) async fn each(
    db: &mut PgConnection,
    screen: &Screen,
    verb: Verb,
    ids: &[String],
    why: Option<&str>,
) -> Result<(), Failure> {
    let mut so_far = Ok(());
    for id in ids {
        let ended = one(db, screen, verb, id, why).await;
        so_far = both(so_far, ended);
    }
    so_far
}

async fn one(db: &mut PgConnection, screen: &Screen, verb: Verb, id: &str, why: Option<&str>) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let came = match verb {
        Verb::Retry => change::retry(&mut tx, &at_keyboard(), id, why).await?,
        Verb::Cancel => change::cancel(&mut tx, &at_keyboard(), id, why).await?,
        Verb::Replay => change::replay(&mut tx, &at_keyboard(), id, why).await?,
    };
    let state = match came {
        Change::Unknown => return Err(not_found(id)),
        Change::Not(state) => state,
        Change::Done(job) => {
            tx.commit().await?;
            let how = if job.state == State::Ready { "ready again" } else { "cancelled" };
            screen.done(&job, &format!("{} {id} was {} and is {how}", job.kind, job.was.word()))?;
            if job.was == State::Running {
                screen.note("it was running: what it did in the database rolls back, a request already sent does not");
            }
            return Ok(());
        }
    };
    let word = state.word();
    Err(match (verb, state) {
        (Verb::Retry, State::Done) => Failure::refused(
            format!("job {id} is {word}: only a dead or cancelled job is retried"),
            "what came from an event runs again with: bursar events replay EVENT",
        ),
        (Verb::Retry, _) => Failure::refused(
            format!("job {id} is {word}: only a dead or cancelled job is retried"),
            format!("see when and why it runs: bursar jobs show {id}"),
        ),
        (Verb::Cancel, State::Cancelled) => Failure::refused(
            format!("job {id} is {word}: there is nothing to cancel"),
            format!("it runs again with: bursar jobs retry {id}"),
        ),
        (Verb::Replay, _) => Failure::refused(
            format!("job {id} is {word}: what runs again is a done job of an event"),
            "run its event again with: bursar events replay EVENT",
        ),
        (Verb::Cancel, _) => Failure::refused(
            format!("job {id} is {word}: there is nothing to cancel"),
            format!("its effects are not undone by cancelling; see what they were: bursar jobs show {id}"),
        ),
    })
}

/// The first failure is what the command ends with, and the earlier ones of several are said on the way.
fn both(before: Result<(), Failure>, now: Result<(), Failure>) -> Result<(), Failure> {
    match (before, now) {
        (Ok(()), now) => now,
        (before, Ok(())) => before,
        (Err(first), Err(next)) => {
            report(&next, Some(next.hint()));
            Err(first)
        }
    }
}
