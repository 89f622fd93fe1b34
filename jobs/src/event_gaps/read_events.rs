//! Read events: one page of Stripe's own list of events is compared with the inbox, and what never arrived is received through the same
//! door as a webhook, which is a duplicate when it comes after all. A page a job; the next page's job carries the cursor, so that a crash
//! repeats one page.
//!
//! Rules
//! - From the newest to the oldest, by cursor: events of one second are never told apart by it, and what happens meanwhile shifts nothing.
//! - No upper bound: what a test clock dates ahead is compared too.
//! - What does not read as an event is refused, as web refuses it, and the team is told.
//! - The walk's types travel with it: a deploy in the middle leaves none of them out.

use bursar_stripe::{
    Client, Seen,
    events::{self, MOST_TYPES, Wanted},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob},
        kind::{Kind, READ_EVENTS, STRIPE_EVENTS},
    },
    event_gaps::change::{Change, Listed},
    inbox::envelope::Envelope,
    notifications::notify_team::NotifyTeam,
    terms::Terms,
};

/// Reads one page.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReadEvents {
    /// When the walk began.
    walk: DateTime<Utc>,
    /// How far it goes back.
    from: DateTime<Utc>,
    /// The types that are left to read, those of this list first.
    types: Vec<String>,
    /// The last event of the page before.
    after: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    events: Vec<Value>,
    has_more: bool,
}

impl ReadEvents {
    /// The job that begins a walk.
    pub(crate) fn walk(walk: DateTime<Utc>, from: DateTime<Utc>) -> NewJob {
        let types = STRIPE_EVENTS.iter().map(|(kind, _)| (*kind).to_owned()).collect();
        Self { walk, from, types, after: None }.job()
    }

    fn job(&self) -> NewJob {
        let walk = self.walk.to_rfc3339_opts(SecondsFormat::Micros, true);
        NewJob {
            kind: READ_EVENTS.name,
            key: format!("{walk}:{}:{}", self.types.len(), self.after.as_deref().unwrap_or("first")),
            args: json!(self),
            max_attempts: READ_EVENTS.max_attempts,
            delay_ms: 0,
            cause: None,
        }
    }

    /// The types of the list that is being read.
    fn list(&self) -> &[String] {
        &self.types[..self.types.len().min(MOST_TYPES)]
    }

    /// What comes after this page, if anything does.
    fn next(&self, last: Option<&str>, has_more: bool) -> Option<Self> {
        let (types, after) = if has_more {
            (self.types.clone(), last.map(str::to_owned))
        } else {
            (self.types[self.list().len()..].to_vec(), None)
        };
        (!types.is_empty()).then_some(Self { walk: self.walk, from: self.from, types, after })
    }
}

impl Job for ReadEvents {
    const KIND: Kind = READ_EVENTS;
}

impl Call for ReadEvents {
    type Facts = ();

    async fn gather(&self, _: &mut PgConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn intent(&self, (): &(), _: &Terms) -> Result<Plan, JobError> {
        Ok(Plan::AskAll)
    }

    async fn look(&self, (): &(), stripe: &Client) -> Result<Looked, Box<Seen>> {
        let wanted = Wanted { types: self.list(), from: self.from.timestamp(), after: self.after.as_deref() };
        let page = events::page(stripe, &wanted).await?;
        Ok(Looked::Found(json!({ "events": page.events, "has_more": page.has_more })))
    }

    fn resolve(&self, (): &(), answer: Answer<'_>, _: &Terms) -> Result<Effects, JobError> {
        let (found, asked_at) = match answer {
            Answer::Fact(found, asked_at) => (found, asked_at),
            Answer::Gone(error) => return Err(JobError::Dead(format!("Stripe has no list of events: {error}"))),
            Answer::Made(_) | Answer::Refused { .. } | Answer::Unknown(_) => {
                return Err(JobError::Dead("a question has no effect".into()));
            }
        };
        let page = Found::deserialize(found)
            .map_err(|error| JobError::Dead(format!("the page of events does not read: {error}")))?;
        let last = page.events.last().and_then(|event| event["id"].as_str()).map(str::to_owned);
        if page.has_more && last.is_none() {
            return Err(JobError::Dead("a page of events ends with one that has no id: report it".into()));
        }
        let (mut events, mut follow_ups) = (Vec::new(), Vec::new());
        for event in &page.events {
            let body = event.to_string().into_bytes();
            match Envelope::stripe(&body) {
                Ok(envelope) => events.push((envelope, body)),
                Err(error) => {
                    let id = event["id"].as_str().unwrap_or("without an id");
                    let data = json!({ "event": id, "error": error.to_string() });
                    follow_ups.push(NotifyTeam::of(
                        "events.unreadable",
                        &format!("events.unreadable:{id}"),
                        &data,
                        None,
                    ));
                }
            }
        }
        let mut changes: Vec<AnyChange> = vec![Change::TakeEvents(Listed { walk: self.walk, asked_at, events }).into()];
        match self.next(last.as_deref(), page.has_more) {
            Some(next) => follow_ups.push(next.job()),
            None => changes.push(Change::EndWalk { walk: self.walk }.into()),
        }
        Ok(Effects { changes, follow_ups, ..Effects::done() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_reads_every_type_once_and_ends() {
        let now = DateTime::UNIX_EPOCH;
        let types: Vec<String> = (0..45).map(|n| format!("t{n}")).collect();
        let mut job = ReadEvents { walk: now, from: now, types: types.clone(), after: None };
        let mut seen = Vec::new();
        loop {
            assert!(job.list().len() <= MOST_TYPES);
            let more = job.next(Some("evt_9"), true).unwrap();
            assert_eq!((more.list(), more.after.as_deref()), (job.list(), Some("evt_9")));
            assert_ne!(more.job().key, job.job().key);
            seen.extend(job.list().to_vec());
            match more.next(Some("evt_10"), false) {
                Some(next) => job = next,
                None => break,
            }
            assert_eq!(job.after, None);
        }
        assert_eq!(seen, types);
    }
}
