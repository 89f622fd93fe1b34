//! `bursar jobs retry` and `cancel` by a filter: what it would mean is shown first, and then done, to all that match.

use bursar_jobs::{
    base::money,
    desk::{
        JobFilter,
        bulk::{self, Progress, Refused, Verb},
        risk::{self, DryRun},
    },
};
use sqlx::PgConnection;

use crate::operate::{Failure, Screen, values::at_keyboard};

/// What is asked for.
pub(in crate::operate) struct Asked<'a> {
    pub verb: Verb,
    pub filter: JobFilter,
    /// Show, and do nothing.
    pub dry_run: bool,
    /// Do it without being asked.
    pub yes: bool,
    pub why: Option<&'a str>,
}

pub(in crate::operate) async fn run(db: &mut PgConnection, screen: &Screen, asked: Asked<'_>) -> Result<(), Failure> {
    let dry = risk::dry_run(&mut *db, &asked.filter).await?;
    if asked.dry_run || !screen.is_json() {
        say(screen, asked.verb, &dry)?;
    }
    if asked.dry_run {
        return Ok(());
    }
    if dry.matching == 0 {
        screen.note("no such jobs: nothing was changed");
        return Ok(());
    }
    let (verb, command) = match asked.verb {
        Verb::Retry => ("retry", "jobs retry"),
        Verb::Cancel => ("cancel", "jobs cancel"),
        Verb::Replay => ("replay", "events replay"),
    };
    if !asked.yes && !screen.confirm(&format!("{verb} all {}?", dry.matching))? {
        return Err(Failure::refused("nothing was changed", "say --yes to do it without being asked"));
    }
    // Whoever was asked has seen it; a queue that moves must not keep a script from what it was told to do.
    let seal = (!asked.yes).then_some(dry.seal.as_str());
    let wanted = bulk::Asked { seal, why: asked.why, ..bulk::Asked::new(asked.verb, &asked.filter) };
    let began = bulk::begin(&mut *db, &at_keyboard(), wanted).await;
    let mut so_far = began.map_err(|refused| match refused {
        Refused::Database(error) => error.into(),
        Refused::JobsChanged(_) => {
            Failure::refused(format!("{refused}; nothing was changed"), "ask again: it is shown anew")
        }
        other => Failure::WrongUse { why: other.to_string(), hint: format!("see: bursar {command} --help") },
    })?;
    let mut bar = screen.progress();
    while so_far.ended_at.is_none() {
        so_far = bulk::step(&mut *db, &so_far.id).await?.unwrap_or(so_far);
        bar.show(&drawn(so_far.changed + so_far.skipped, so_far.matching), None);
    }
    drop(bar);
    finished(screen, asked.verb, &so_far)
}

/// What it would mean for these.
pub(super) async fn judge(db: &mut PgConnection, screen: &Screen, verb: Verb, ids: &[String]) -> Result<(), Failure> {
    let dry = DryRun::of(risk::judge(db, ids).await?);
    say(screen, verb, &dry)
}

fn finished(screen: &Screen, verb: Verb, so_far: &Progress) -> Result<(), Failure> {
    let done = match verb {
        Verb::Retry => "ready again",
        Verb::Cancel => "cancelled",
        Verb::Replay => "to run again",
    };
    let others = match so_far.skipped {
        0 => String::new(),
        n => format!("; {n} were in another state by then"),
    };
    Ok(screen.done(so_far, &format!("{} are {done}{others}", jobs(so_far.changed)))?)
}

/// A bar of what is done.
fn drawn(done: i64, of: i64) -> String {
    let filled = usize::try_from(done.clamp(0, of) * 30 / of.max(1)).unwrap_or_default();
    format!("{}{} {done} of {of}", "#".repeat(filled), ".".repeat(30 - filled))
}

fn jobs(count: i64) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") }
}

fn say(screen: &Screen, verb: Verb, dry: &DryRun) -> Result<(), Failure> {
    if screen.is_json() {
        return Ok(screen.object(dry)?);
    }
    let amounts: Vec<String> = dry.amounts.iter().map(|(currency, sum)| money::format(*sum, currency)).collect();
    let kinds: Vec<String> = dry.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let of = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
    screen.fact("matching", &format!("{}{of}", jobs(dry.matching)))?;
    let [safe, done, unknown] = verb.means();
    screen.fact("safe", &format!("{}: {safe}", dry.safe))?;
    screen.fact("already done", &format!("{}: {done}", dry.done))?;
    screen.fact("unknown", &format!("{}: {unknown}", dry.unknown))?;
    let priced = if amounts.is_empty() { "none that is known".to_owned() } else { amounts.join(", ") };
    let more = if dry.unpriced == 0 { String::new() } else { format!(", and {} of no known amount", dry.unpriced) };
    screen.fact("at stake", &format!("{priced}{more}"))?;
    for one in &dry.examples {
        screen.fact("look at", &format!("{} {}: {}", one.id, one.kind, one.why))?;
    }
    Ok(())
}
