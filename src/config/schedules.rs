//! What runs by the calendar, and which skills are metered, judged.

use bursar_jobs::{
    engine::kind,
    event_gaps::watch_events,
    report,
    schedules::{CatchUp, Cron, Declared},
    usage::meters::{Meter, MeterValue},
};

use super::{SettingsError, raw::Raw};

/// The name of the built-in schedule that sums what metered skills were used for.
const USAGE: &str = "usage";
/// Five minutes after the hour: most transactions of the hour have ended by then, and the rest go into the next report.
const AFTER_THE_HOUR: &str = "5 * * * *";
/// The name of the built-in schedule that compares the month before with Stripe.
const RECONCILE: &str = "reconcile";
/// A day and some hours into the month: what was paid at its very end has been told of by then.
const ON_THE_SECOND: &str = "0 5 2 * *";
/// Stripe: meters, `event_name`.
const LONGEST_EVENT_NAME: usize = 100;

/// What runs by the calendar.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// The schedules, built in and of the settings.
    pub schedules: Vec<Declared>,
    /// The metered skills.
    pub meters: Vec<Meter>,
}

pub(super) fn read(raw: &Raw) -> Result<Calendar, SettingsError> {
    let meters: Vec<Meter> = raw.meters.keys().map(|skill| meter(raw, skill)).collect::<Result<_, _>>()?;
    let mut schedules: Vec<Declared> =
        raw.schedules.keys().map(|name| schedule(raw, name)).collect::<Result<_, _>>()?;
    if !meters.is_empty() && !raw.schedules.contains_key(USAGE) {
        schedules.push(Declared {
            name: USAGE.into(),
            cron: AFTER_THE_HOUR.parse().map_err(|error| {
                SettingsError::about("the built-in schedule", format!("{error}"), "This is a bug; please report it.")
            })?,
            kind: kind::SUM_USAGE.name.into(),
            args: serde_json::Map::new(),
            // One sum takes in all that was missed.
            catch_up: CatchUp::Once,
            built_in: true,
        });
    }
    if !raw.schedules.contains_key(watch_events::SCHEDULE) {
        schedules.push(Declared {
            name: watch_events::SCHEDULE.into(),
            cron: watch_events::EVERY_QUARTER.parse().map_err(|error| {
                SettingsError::about("the built-in schedule", format!("{error}"), "This is a bug; please report it.")
            })?,
            kind: kind::WATCH_EVENTS.name.into(),
            args: serde_json::Map::new(),
            // One walk goes back over all that was missed.
            catch_up: CatchUp::Once,
            built_in: true,
        });
    }
    if !raw.schedules.contains_key(RECONCILE) {
        schedules.push(Declared {
            name: RECONCILE.into(),
            cron: ON_THE_SECOND.parse().map_err(|error| {
                SettingsError::about("the built-in schedule", format!("{error}"), "This is a bug; please report it.")
            })?,
            kind: kind::RECONCILE.name.into(),
            args: serde_json::Map::new(),
            // A month that was missed is compared all the same.
            catch_up: CatchUp::All,
            built_in: true,
        });
    }
    if raw.letters.team.is_some() && !raw.schedules.contains_key(report::SCHEDULE) {
        schedules.push(Declared {
            name: report::SCHEDULE.into(),
            cron: report::ON_MONDAYS.parse().map_err(|error| {
                SettingsError::about("the built-in schedule", format!("{error}"), "This is a bug; please report it.")
            })?,
            kind: kind::SEND_REPORT.name.into(),
            args: serde_json::Map::new(),
            // A report of weeks ago is no news; `bursar report --week` has it.
            catch_up: CatchUp::Once,
            built_in: true,
        });
    }
    Ok(Calendar { schedules, meters })
}

fn schedule(raw: &Raw, name: &str) -> Result<Declared, SettingsError> {
    let schedule = &raw.schedules[name];
    let at = |field: &str| format!("schedules.{name}.{field}");
    let sane = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if !(1..=100).contains(&name.len()) || !name.bytes().all(sane) {
        let remedy = "Name a schedule by lower-case letters, digits, _ and -, at most 100.";
        return Err(SettingsError::about(format!("`schedules.{name}`"), "is no name of a schedule", remedy));
    }
    let cron: Cron = schedule.cron.0.parse().map_err(|error| {
        let remedy = "Write like `0 3 * * *` (minute, hour, day of the month, month, day of the week, in UTC).";
        SettingsError::new(&at("cron"), format!("is {:?}, which {error}", schedule.cron.0), remedy)
    })?;
    let kind = &schedule.kind.0;
    if *kind == kind::FIRE_SCHEDULE.name || !kind::ALL.iter().any(|known| known.name == kind) {
        let known: Vec<&str> = kind::ALL.iter().map(|kind| kind.name).collect();
        let remedy = format!("Write a kind of job: {}.", known.join(", "));
        return Err(SettingsError::new(&at("kind"), format!("is {kind:?}"), remedy));
    }
    let catch_up = match &schedule.catch_up {
        None => CatchUp::Once,
        Some(word) => CatchUp::of(&word.0).ok_or_else(|| {
            SettingsError::new(&at("catch_up"), format!("is {:?}", word.0), "Write `once`, `all` or `none`.")
        })?,
    };
    let args = schedule.args.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(Declared { name: name.to_owned(), cron, kind: kind.clone(), args, catch_up, built_in: false })
}

fn meter(raw: &Raw, skill: &str) -> Result<Meter, SettingsError> {
    let meter = &raw.meters[skill];
    let at = |field: &str| format!("meters.{skill}.{field}");
    if !raw.skills.contains_key(skill) {
        let known: Vec<&str> = raw.skills.keys().map(String::as_str).collect();
        let remedy = format!("Meter a skill of [skills]: {}.", known.join(", "));
        return Err(SettingsError::about(format!("`meters.{skill}`"), "names no skill", remedy));
    }
    let event = &meter.event.0;
    if event.is_empty() || event.len() > LONGEST_EVENT_NAME || event.chars().any(char::is_control) {
        let remedy = "Copy the meter's event name from Stripe's dashboard, at most 100 characters.";
        return Err(SettingsError::new(&at("event"), format!("is {event:?}"), remedy));
    }
    let value = match meter.value.as_ref().map(|value| value.0.as_str()) {
        None | Some("count") => MeterValue::Count,
        Some("credits") => MeterValue::Credits,
        Some(other) => {
            return Err(SettingsError::new(&at("value"), format!("is {other:?}"), "Write `count` or `credits`."));
        }
    };
    Ok(Meter { skill: skill.to_owned(), event_name: event.clone(), value })
}
