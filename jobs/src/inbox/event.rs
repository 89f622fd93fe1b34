//! A stored event, as a fact for a job.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::PgConnection;

use crate::{engine::job::JobError, terms::Terms};

/// Metadata as Stripe gives it.
pub type Metadata = BTreeMap<String, String>;

/// The arguments of every job that an event became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfEvent {
    /// `stripe` or `verification`.
    pub source: String,
    /// Its id.
    pub event: String,
}

/// An event out of the inbox.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// For example `invoice.paid`.
    pub kind: String,
    /// Whether it happened in live mode.
    pub livemode: Option<bool>,
    /// The connected account it happened on.
    pub account: Option<String>,
    /// When it was received, by business time.
    pub received_at: DateTime<Utc>,
    /// The sender's clock, in whole seconds: when a change happened, never what came first.
    pub created: Option<DateTime<Utc>>,
    /// As it was received; gone when pruned.
    pub body: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Wire<T> {
    data: Data<T>,
}

#[derive(Deserialize)]
struct Data<T> {
    object: T,
}

impl Event {
    /// Why this event is none of this deployment's, if so (Stripe: webhooks, `livemode` and `account`).
    pub fn foreign(&self, terms: &Terms) -> Option<String> {
        if let Some(account) = &self.account {
            return Some(format!("not ours: it happened on the connected account {account}"));
        }
        self.of_other_mode(terms)
    }

    /// Why its mode is not this deployment's, if so.
    pub fn of_other_mode(&self, terms: &Terms) -> Option<String> {
        let word = |live: bool| if live { "live" } else { "test" };
        match self.livemode {
            Some(mode) if mode != terms.livemode => Some(format!(
                "not ours: a {} mode event in a {} mode deployment (the mode follows STRIPE_SECRET_KEY, else stripe.livemode)",
                word(mode),
                word(terms.livemode)
            )),
            _ => None,
        }
    }

    /// Reads `data.object`.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        self.read::<Wire<T>>().map(|wire| wire.data.object)
    }

    /// Reads the whole body.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        let body = self.body.as_deref().ok_or_else(|| JobError::Dead("the event's body has been pruned".into()))?;
        serde_json::from_slice(body)
            .map_err(|error| JobError::Dead(format!("the {} event does not read: {error}", self.kind)))
    }
}

/// Reads the events of a batch, one a job, in order. An event that is not there is a mistake of ours, and says so.
pub async fn load(db: &mut PgConnection, jobs: &[&OfEvent]) -> Result<Vec<Event>, sqlx::Error> {
    let sources: Vec<String> = jobs.iter().map(|job| job.source.clone()).collect();
    let ids: Vec<String> = jobs.iter().map(|job| job.event.clone()).collect();
    let rows = sqlx::query!(
        "SELECT e.source, e.id, e.type, e.livemode, e.account, e.created, e.received_at, e.body
         FROM unnest($1::text[], $2::text[]) AS wanted (source, id)
         JOIN bursar.event e ON e.id = wanted.id AND e.source = wanted.source",
        &sources,
        &ids,
    )
    .fetch_all(db)
    .await?;
    let mut found: HashMap<(String, String), Event> = rows
        .into_iter()
        .map(|row| {
            let event = Event {
                id: row.id.clone(),
                kind: row.r#type,
                livemode: row.livemode,
                account: row.account,
                received_at: row.received_at,
                created: row.created,
                body: row.body,
            };
            ((row.source, row.id), event)
        })
        .collect();
    Ok(jobs
        .iter()
        .map(|job| {
            found.remove(&(job.source.clone(), job.event.clone())).unwrap_or_else(|| Event {
                id: job.event.clone(),
                kind: "lost".into(),
                livemode: None,
                account: None,
                received_at: DateTime::UNIX_EPOCH,
                created: None,
                body: None,
            })
        })
        .collect())
}

/// Which user a piece of metadata names; refuses what cannot be a user of ours.
pub fn user_of(metadata: Option<&Metadata>, reference: Option<&str>) -> Result<Option<String>, JobError> {
    let named = metadata.and_then(|m| m.get("user_id")).map(String::as_str).filter(|s| !s.is_empty());
    let reference = reference.filter(|s| !s.is_empty());
    if let (Some(a), Some(b)) = (named, reference)
        && a != b
    {
        return Err(JobError::Dead(format!(
            "metadata.user_id is {a:?} but client_reference_id is {b:?}: whose is it?"
        )));
    }
    named.or(reference).map(|user| check_user(user).map(|()| user.to_owned())).transpose()
}

/// A user id is 1 to 255 bytes without control characters.
pub fn check_user(user: &str) -> Result<(), JobError> {
    if user.is_empty() || user.len() > 255 || user.chars().any(char::is_control) {
        return Err(JobError::Dead(format!(
            "the user id is malformed ({} bytes; 1 to 255 without control characters are allowed)",
            user.len()
        )));
    }
    Ok(())
}
