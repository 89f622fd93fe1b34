//! Events: found by what an index knows, and read with all that they caused.
//!
//! A user's events are those that caused a posting or a payout of theirs, or that are about an object which is known to be theirs: a
//! customer, a subscription, a checkout, a connected account, a dispute, an invoice or a verified job that the books name. An event that
//! only mentions a user somewhere in its body is not found by the user: bodies are not searched, and are pruned.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    base::credits::Credits,
    engine::kind,
    inbox::envelope::Source,
    ledger::{CREDITS, adjustment::amount_said},
};

/// Which events. Everything that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// With this id.
    pub id: Option<String>,
    /// Of this type.
    pub kind: Option<String>,
    /// About this object.
    pub object: Option<String>,
    /// Of this user.
    pub user: Option<String>,
    /// From here.
    pub source: Option<Source>,
    /// Received since.
    pub since: Option<DateTime<Utc>>,
    /// Received before.
    pub before: Option<DateTime<Utc>>,
}

/// An event, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct EventRow {
    /// Its id.
    pub id: String,
    /// Its type.
    pub r#type: String,
    /// Who sent it.
    pub source: String,
    /// When it happened, by its sender's word.
    pub created: Option<DateTime<Utc>>,
    /// Whether it is about real money.
    pub livemode: Option<bool>,
    /// The version of Stripe's API that it is written in.
    pub api_version: Option<String>,
    /// The connected account that it happened on.
    pub account: Option<String>,
    /// What it is about.
    pub object_id: Option<String>,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// The state of the job it became; none once that job is pruned.
    pub job_state: Option<String>,
    /// Why that job is in that state; of a done one: why it did nothing.
    #[serde(skip)]
    pub job_reason: Option<String>,
}

/// A place in the list: what comes after it is older.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    received_at: DateTime<Utc>,
    source: Source,
    id: String,
}

impl Place {
    /// The place of an event.
    pub fn of(event: &EventRow) -> Option<Self> {
        Some(Self { received_at: event.received_at, source: Source::of(&event.source)?, id: event.id.clone() })
    }

    /// Reads what its `Display` wrote.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let received_at = DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?;
        Some(Self { received_at, source: Source::of(parts.next()?)?, id: parts.next()?.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.received_at.timestamp_micros(), self.source.as_str(), self.id)
    }
}

impl EventFilter {
    /// The events that match, newest first, after that place where one is said.
    pub async fn page(
        &self,
        db: &mut PgConnection,
        after: Option<&Place>,
        limit: i64,
    ) -> Result<Vec<EventRow>, sqlx::Error> {
        let ids = match &self.user {
            Some(user) => Some(of_user(&mut *db, user).await?),
            None => None,
        };
        sqlx::query_as!(
            EventRow,
            r#"SELECT e.id, e.type AS "type", e.source, e.created, e.livemode, e.api_version, e.account, e.object_id, e.received_at,
                      job.state AS "job_state?", job.reason AS "job_reason?"
               FROM bursar.event e
               LEFT JOIN LATERAL (SELECT v.state, v.reason FROM bursar.job v WHERE v.kind = ANY ($1) AND v.key = e.id AND v.cause = e.id
                                  ORDER BY v.id DESC LIMIT 1) job ON true
               WHERE ($2::text IS NULL OR e.id = $2) AND ($3::text[] IS NULL OR e.id = ANY ($3))
                 AND ($4::text IS NULL OR e.type = $4) AND ($5::text IS NULL OR e.object_id = $5) AND ($6::text IS NULL OR e.source = $6)
                 AND ($7::timestamptz IS NULL OR e.received_at >= $7) AND ($8::timestamptz IS NULL OR e.received_at < $8)
                 AND ($9::timestamptz IS NULL OR (e.received_at, e.id, e.source) < ($9, $10, $11))
               ORDER BY e.received_at DESC, e.id DESC, e.source DESC LIMIT $12"#,
            &every_kind(),
            self.id,
            ids.as_deref(),
            self.kind,
            self.object,
            self.source.map(Source::as_str),
            self.since,
            self.before,
            after.map(|place| place.received_at),
            after.map(|place| place.id.as_str()),
            after.map(|place| place.source.as_str()),
            limit,
        )
        .fetch_all(db)
        .await
    }
}

/// The ids of a user's events, by indexes alone.
async fn of_user(db: &mut PgConnection, user: &str) -> Result<Vec<String>, sqlx::Error> {
    let traces = sqlx::query_file!("src/desk/user_traces.sql", user).fetch_all(&mut *db).await?;
    let (events, objects): (Vec<_>, Vec<_>) = traces.into_iter().partition(|trace| trace.is_event);
    let mut ids: Vec<String> = events.into_iter().map(|trace| trace.id).collect();
    let objects: Vec<String> = objects.into_iter().map(|trace| trace.id).collect();
    // A statement of its own, for the planner: joined, it guesses at many objects and reads every event.
    ids.extend(
        sqlx::query_scalar!("SELECT id FROM bursar.event WHERE object_id = ANY ($1)", &objects).fetch_all(db).await?,
    );
    Ok(ids)
}

/// The kinds that an event may have become.
fn every_kind() -> Vec<String> {
    kind::ALL.iter().map(|kind| kind.name.to_owned()).collect()
}

/// How often a type came.
#[derive(Debug, Clone, Serialize)]
pub struct Count {
    /// The type.
    pub r#type: String,
    /// Who sent them.
    pub source: String,
    /// How many are in the inbox.
    pub events: i64,
    /// When the last one came.
    pub last_received_at: DateTime<Utc>,
}

/// How often each type came, the most frequent first.
pub async fn counts(db: &mut PgConnection) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as!(
        Count,
        r#"SELECT type AS "type!", source AS "source!", events AS "events!", last_received_at AS "last_received_at!"
           FROM bursar.event_counts ORDER BY events DESC, type, source"#
    )
    .fetch_all(db)
    .await
}

/// An event and its body; the body is none once pruned. Two sources may, in theory, have used one id.
pub async fn read(db: &mut PgConnection, id: &str) -> Result<Vec<(EventRow, Option<Vec<u8>>)>, sqlx::Error> {
    let bodies = sqlx::query!("SELECT source, body FROM bursar.event WHERE id = $1", id).fetch_all(&mut *db).await?;
    let filter = EventFilter { id: Some(id.to_owned()), ..EventFilter::default() };
    let events = filter.page(db, None, 10).await?;
    let body = |source: &str| bodies.iter().find(|row| row.source == source).and_then(|row| row.body.clone());
    Ok(events.into_iter().map(|event| (event.clone(), body(&event.source))).collect())
}

/// A job that an event caused, itself or through another job.
#[derive(Debug, Clone, Serialize)]
pub struct Caused {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: Option<String>,
    /// Its state's word.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
}

/// The event's own jobs, theirs, and so on; at most so many, the first of them.
pub async fn jobs(db: &mut PgConnection, id: &str, most: i64) -> Result<Vec<Caused>, sqlx::Error> {
    sqlx::query_as!(
        Caused,
        r#"WITH RECURSIVE caused (id) AS (
               SELECT j.id FROM apalis.jobs j WHERE j.cause = $1
               UNION SELECT j.id FROM apalis.jobs j JOIN caused c ON j.cause = c.id
           )
           SELECT v.id AS "id!", v.kind AS "kind!", v.key, v.state AS "state!", v.reason
           FROM bursar.job v JOIN caused c ON c.id = v.id ORDER BY v.id LIMIT $2"#,
        id,
        most,
    )
    .fetch_all(db)
    .await
}

/// A posting that an event caused.
#[derive(Debug, Clone, Serialize)]
pub struct Posted {
    /// Its id.
    pub id: i64,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// The account it took from; none: that account is missing, and `bursar ledger verify` says what is wrong.
    pub debit: Option<String>,
    /// The account it gave to.
    pub credit: Option<String>,
    /// A decimal in credits, an integer in a currency's minor unit.
    pub amount: serde_json::Value,
    /// `credits`, or a currency.
    pub unit: Option<String>,
    /// The amount with its unit, for people.
    #[serde(skip)]
    pub said: String,
}

/// The postings that name an event as their cause; at most so many, the first of them. Those of jobs that it caused through others name
/// it too.
pub async fn postings(db: &mut PgConnection, id: &str, most: i64) -> Result<Vec<Posted>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT p.id, p.kind, p.key, p.amount, d.name AS "debit?", c.name AS "credit?", d.unit AS "unit?"
           FROM bursar.posting p
           LEFT JOIN bursar.account d ON d.id = p.debit LEFT JOIN bursar.account c ON c.id = p.credit
           WHERE p.event_id = $1 ORDER BY p.id LIMIT $2"#,
        id,
        most,
    )
    .fetch_all(db)
    .await?;
    let read = rows.into_iter().map(|row| {
        let unit = row.unit.as_deref().unwrap_or("unknown unit");
        Posted {
            amount: if unit == CREDITS {
                Credits::from_micros(row.amount).to_string().into()
            } else {
                row.amount.into()
            },
            said: amount_said(row.amount, unit),
            id: row.id,
            kind: row.kind,
            key: row.key,
            debit: row.debit,
            credit: row.credit,
            unit: row.unit,
        }
    });
    Ok(read.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_anything_else_is_none() {
        let place = Place {
            received_at: DateTime::from_timestamp_micros(1_790_000_000_123_456).unwrap(),
            source: Source::Verification,
            id: "msg.with.dots".into(),
        };
        assert_eq!(Place::read(&place.to_string()), Some(place));
        for odd in ["", "1", "1.stripe", "x.stripe.evt", "1.paypal.evt", "99999999999999999999.stripe.evt"] {
            assert_eq!(Place::read(odd), None, "{odd}");
        }
    }
}
