//! `bursar payouts release`: an operator lets payouts go, one or all that match. Whether anything may leave is still the engine's to decide.

use bursar_jobs::{
    base::money,
    desk::{
        PayoutFilter,
        bulk::{self, Refused, Releasing},
        release::{self, Came, DryRun, Sums},
    },
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::no_such;
use crate::operate::{Failure, Screen, values::at_keyboard};

#[derive(Serialize)]
struct Released<'a> {
    job_id: &'a str,
    was: &'a str,
    state: &'a str,
}

/// Releases one.
pub(super) async fn one(
    db: &mut PgConnection,
    screen: &Screen,
    job: &str,
    after_saved_failure: bool,
    why: Option<&str>,
) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let asked = release::Asked { job_id: job, after_saved_failure, seen: None, why };
    match release::release(&mut tx, &at_keyboard(), asked).await? {
        Came::Released(was, state) => {
            tx.commit().await?;
            let answer = Released { job_id: job, was: was.name(), state: state.name() };
            let said = format!("let go the payout for {job}; see what becomes of it: bursar payouts show {job}");
            Ok(screen.done(&answer, &said)?)
        }
        Came::NoSuch => Err(no_such(job)),
        Came::Not(state) | Came::Changed(state) => Err(Failure::refused(
            format!("the payout for {job} is {state}: there is nothing to let go"),
            format!("see it with: bursar payouts show {job}"),
        )),
        Came::GoesOn(live) => Err(Failure::refused(
            format!("the payout for {job} has a job that goes on by itself"),
            format!("see it with: bursar jobs show {live}"),
        )),
        Came::NothingSaved => Err(Failure::refused(
            format!("the payout for {job} has no saved failure that was looked behind"),
            "release it without --after-saved-failure: it is looked for first",
        )),
    }
}

/// What it would mean for one.
pub(super) async fn judge(db: &mut PgConnection, screen: &Screen, job: &str) -> Result<(), Failure> {
    let judged = release::judge(db, &[job.to_owned()]).await?;
    if judged.is_empty() {
        return Err(no_such(job));
    }
    let dry = DryRun::of(&judged);
    say(screen, &dry)?;
    if !screen.is_json() && dry.examples.is_empty() {
        screen.fact("why", &judged[0].why)?;
    }
    Ok(())
}

/// What is asked of all that match.
pub(super) struct All<'a> {
    pub filter: PayoutFilter,
    /// Show, and do nothing.
    pub dry_run: bool,
    /// Do it without being asked.
    pub yes: bool,
    pub why: Option<&'a str>,
}

/// Releases all that match.
pub(super) async fn all(db: &mut PgConnection, screen: &Screen, asked: &All<'_>) -> Result<(), Failure> {
    let dry = release::dry_run(&mut *db, &asked.filter).await?;
    if asked.dry_run || !screen.is_json() {
        say(screen, &dry)?;
    }
    if asked.dry_run {
        return Ok(());
    }
    if dry.goes() == 0 {
        screen.note("there is nothing to let go: nothing was changed");
        return Ok(());
    }
    if !asked.yes && !screen.confirm(&format!("let go {}?", payouts(dry.goes())))? {
        return Err(Failure::refused("nothing was changed", "say --yes to do it without being asked"));
    }
    let wanted = Releasing { filter: &asked.filter, seal: &dry.seal, wish: None, why: asked.why };
    let mut so_far = bulk::begin_release(&mut *db, &at_keyboard(), wanted).await.map_err(|refused| match refused {
        Refused::Database(error) => error.into(),
        Refused::Changed(_) => {
            Failure::refused(format!("{refused}; nothing was changed"), "ask again: it is shown anew")
        }
        other => Failure::WrongUse { why: other.to_string(), hint: "see: bursar payouts release --help".to_owned() },
    })?;
    let mut bar = screen.progress();
    while so_far.ended_at.is_none() {
        so_far = bulk::step(&mut *db, &so_far.id).await?.unwrap_or(so_far);
        bar.show(&format!("{} of {}", so_far.changed + so_far.skipped, so_far.matching), None);
    }
    drop(bar);
    let others = match so_far.skipped {
        0 => String::new(),
        n => format!("; {n} stood otherwise by then"),
    };
    let said = format!("let go {}{others}; see what becomes of them: bursar payouts list", payouts(so_far.changed));
    Ok(screen.done(&so_far, &said)?)
}

fn payouts(count: i64) -> String {
    if count == 1 { "1 payout".to_owned() } else { format!("{count} payouts") }
}

fn said(sums: &Sums) -> String {
    let all: Vec<String> = sums.iter().map(|(currency, sum)| money::format(*sum, currency)).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

fn say(screen: &Screen, dry: &DryRun) -> Result<(), Failure> {
    if screen.is_json() {
        return Ok(screen.object(dry)?);
    }
    screen.fact("matching", &payouts(dry.matching))?;
    screen.fact("safe", &format!("{}, {}: nothing was sent for them", dry.safe, said(&dry.sums.safe)))?;
    if dry.held_again > 0 {
        screen.fact("", &format!("{} of them are held again: their receivers cannot be paid", dry.held_again))?;
    }
    let way = format!("{}, {}: a job goes on with them by itself", dry.under_way, said(&dry.sums.under_way));
    screen.fact("under way", &way)?;
    screen.fact("already done", &format!("{}, {}: paid or reversed", dry.done, said(&dry.sums.done)))?;
    let unknown = format!("{}, {}: looked for first, never sent blindly", dry.unknown, said(&dry.sums.unknown));
    screen.fact("unknown", &unknown)?;
    screen.fact("may leave", &said(&dry.amounts))?;
    for one in &dry.examples {
        screen.fact("look at", &format!("{}: {}", one.job_id, one.why))?;
    }
    Ok(())
}
