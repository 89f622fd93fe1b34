//! Fire a schedule: one tick has come.
//!
//! Rules
//! - The job of a tick is unique by schedule and tick, and so is the job that it fires: `{schedule}:{tick}`.
//! - `all`: each tick fires, the missed ones one after the other. `once`: the last tick that has come fires, those before it do not.
//!   `none`: a tick that has come more than a minute ago was missed, and fires nothing.
//! - A tick of a schedule that is gone, or whose time was changed, fires nothing and has no successor. A paused one has.
//! - What is fired gets the tick as `tick` among its arguments.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    engine::{
        job::{Effects, Job, JobError, NewJob, Outcome, Pure},
        kind::{self, FIRE_SCHEDULE, Kind},
    },
    schedules::{CatchUp, Cron, change::Change},
    terms::Terms,
};

/// A tick that comes later than this was missed. A busy worker is late by seconds; a deploy may be.
const LATE: TimeDelta = TimeDelta::minutes(1);

/// One tick of one schedule.
#[derive(Debug, Serialize, Deserialize)]
pub struct FireSchedule {
    schedule: String,
    chain: i32,
    tick: DateTime<Utc>,
}

impl FireSchedule {
    /// The job that waits for a tick.
    pub fn of(schedule: &str, chain: i32, tick: DateTime<Utc>, now: DateTime<Utc>) -> NewJob {
        NewJob {
            kind: FIRE_SCHEDULE.name,
            key: format!("{schedule}:{chain}:{}", rfc3339(tick)),
            args: json!({ "schedule": schedule, "chain": chain, "tick": tick }),
            max_attempts: FIRE_SCHEDULE.max_attempts,
            // Rounded up: it must not come before its tick.
            delay_ms: (tick - now + TimeDelta::microseconds(999)).num_milliseconds().max(0),
            cause: None,
        }
    }
}

/// A tick, as keys have it.
fn rfc3339(tick: DateTime<Utc>) -> String {
    tick.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl Job for FireSchedule {
    const KIND: Kind = FIRE_SCHEDULE;
}

/// A schedule as it stands, and what time it is.
#[derive(Debug, Clone)]
pub struct Facts {
    schedule: Option<Row>,
    now: DateTime<Utc>,
}

#[derive(Debug, Clone)]
struct Row {
    name: String,
    cron: String,
    kind: String,
    args: Value,
    catch_up: String,
    paused: bool,
    chain: i32,
    next_at: Option<DateTime<Utc>>,
}

impl Pure for FireSchedule {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let names: Vec<String> = jobs.iter().map(|job| job.schedule.clone()).collect();
        let rows = sqlx::query_as!(
            Row,
            "SELECT name, cron, kind, args, catch_up, paused, chain, next_at FROM bursar.schedule
             WHERE name = ANY ($1) ORDER BY name FOR UPDATE",
            &names
        )
        .fetch_all(&mut *db)
        .await?;
        let now = crate::base::clock::business(db).await?;
        let rows: BTreeMap<String, Row> = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        Ok(names.iter().map(|name| Facts { schedule: rows.get(name).cloned(), now }).collect())
    }

    fn run(&self, facts: &Facts, _: &Terms) -> Result<Effects, JobError> {
        let Some(row) = &facts.schedule else {
            return Ok(Effects::skip(format!("the schedule {} is gone", self.schedule)));
        };
        if row.chain != self.chain || row.next_at != Some(self.tick) {
            return Ok(Effects::skip(format!("the schedule {} has another time by now", self.schedule)));
        }
        let cron: Cron =
            row.cron.parse().map_err(|error| JobError::Dead(format!("the schedule {}: {error}", row.name)))?;
        let catch_up = CatchUp::of(&row.catch_up)
            .ok_or_else(|| JobError::Dead(format!("the schedule {} catches up {:?}", row.name, row.catch_up)))?;
        // What the clock of another machine says is not asked: a job that came before its tick was told so by the database.
        let now = facts.now.max(self.tick);
        let (fires, next) = due(&cron, catch_up, self.tick, now);
        let fires = fires.filter(|_| !row.paused);
        let mut follow_ups = Vec::new();
        if let Some(tick) = fires {
            follow_ups.push(fired(&row.kind, &row.args, &format!("{}:{}", row.name, rfc3339(tick)), tick)?);
        }
        follow_ups.extend(next.map(|next| Self::of(&row.name, row.chain, next, now)));
        let outcome = match (fires, row.paused) {
            (Some(_), _) => Outcome::Done,
            (None, true) => Outcome::Skip("the schedule is paused".into()),
            (None, false) => Outcome::Skip(format!("missed {}, and it does not catch up", rfc3339(self.tick))),
        };
        let changes = vec![Change::TickSchedule { name: row.name.clone(), next_at: next, fired: fires }.into()];
        Ok(Effects { outcome, changes, follow_ups, ..Effects::done() })
    }
}

/// Which tick fires, and which is waited for next.
fn due(
    cron: &Cron,
    catch_up: CatchUp,
    tick: DateTime<Utc>,
    now: DateTime<Utc>,
) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    match catch_up {
        CatchUp::All => (Some(tick), cron.after(tick)),
        CatchUp::Once => (Some(cron.last_until(tick, now)), cron.after(now)),
        CatchUp::None => {
            let last = cron.last_until(tick, now);
            ((now - last <= LATE).then_some(last), cron.after(now))
        }
    }
}

/// The job that a schedule fires.
pub(crate) fn fired(kind: &str, args: &Value, key: &str, tick: DateTime<Utc>) -> Result<NewJob, JobError> {
    let kind = kind::ALL
        .iter()
        .find(|known| known.name == kind)
        .ok_or_else(|| JobError::Dead(format!("this version has no jobs of the kind {kind}")))?;
    let mut args = args.as_object().cloned().unwrap_or_default();
    args.insert("tick".into(), json!(tick));
    Ok(NewJob {
        kind: kind.name,
        key: key.to_owned(),
        args: args.into(),
        max_attempts: kind.max_attempts,
        delay_ms: 0,
        cause: None,
    })
}
