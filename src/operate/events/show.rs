//! `bursar events show`: one event, and what it caused.

use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::{kinds, list::Event, not_found};
use crate::operate::{Failure, Screen, screen::stamp, values};

#[derive(Serialize)]
struct Page {
    #[serde(flatten)]
    event: Event,
    /// As JSON where it is JSON, else as a text; null once pruned.
    body: Option<Value>,
    jobs: Vec<Caused>,
    postings: Vec<Posted>,
}

/// A job that the event caused, itself or through another job.
#[derive(Serialize)]
struct Caused {
    id: String,
    kind: String,
    key: Option<String>,
    state: String,
    reason: Option<String>,
}

/// A posting that the event caused.
#[derive(Serialize)]
struct Posted {
    id: i64,
    kind: String,
    key: String,
    debit: Option<String>,
    credit: Option<String>,
    /// A decimal in credits, an integer in a currency's minor unit.
    amount: Value,
    unit: Option<String>,
    #[serde(skip)]
    said: String,
}

pub(super) async fn show(db: &mut PgConnection, screen: &Screen, id: &str) -> Result<(), Failure> {
    let rows = sqlx::query!(
        r#"SELECT e.id, e.type AS "type", e.source, e.created, e.livemode, e.api_version, e.account, e.object_id, e.received_at,
                  e.body, (SELECT v.state FROM bursar.job v WHERE v.kind = ANY ($2) AND v.key = e.id AND v.cause = e.id
                           ORDER BY v.id DESC LIMIT 1) AS job_state
           FROM bursar.event e WHERE e.id = $1 ORDER BY e.source"#,
        id,
        &kinds(),
    )
    .fetch_all(&mut *db)
    .await?;
    if rows.is_empty() {
        return Err(not_found(id));
    }
    // An id is unique for its source: two sources may, in theory, use the same.
    for row in rows {
        let event = Event {
            id: row.id,
            r#type: row.r#type,
            source: row.source,
            created: row.created,
            livemode: row.livemode,
            api_version: row.api_version,
            account: row.account,
            object_id: row.object_id,
            received_at: row.received_at,
            job_state: row.job_state,
        };
        let body = row.body.map(|bytes| readable(&bytes));
        let page = Page { event, body, jobs: jobs(db, id).await?, postings: postings(db, id).await? };
        if screen.is_json() {
            screen.object(&page)?;
        } else {
            print(screen, &page)?;
        }
    }
    Ok(())
}

/// The event's own jobs, theirs, and so on.
async fn jobs(db: &mut PgConnection, id: &str) -> Result<Vec<Caused>, sqlx::Error> {
    sqlx::query_as!(
        Caused,
        r#"WITH RECURSIVE caused (id) AS (
               SELECT j.id FROM apalis.jobs j WHERE j.cause = $1
               UNION SELECT j.id FROM apalis.jobs j JOIN caused c ON j.cause = c.id
           )
           SELECT v.id AS "id!", v.kind AS "kind!", v.key, v.state AS "state!", v.reason
           FROM bursar.job v JOIN caused c ON c.id = v.id ORDER BY v.id"#,
        id,
    )
    .fetch_all(db)
    .await
}

async fn postings(db: &mut PgConnection, id: &str) -> Result<Vec<Posted>, sqlx::Error> {
    // Outer joins: a posting whose account is missing is shown too, and `bursar ledger verify` says what is wrong.
    let rows = sqlx::query!(
        r#"SELECT p.id, p.kind, p.key, p.amount, d.name AS "debit?", c.name AS "credit?", d.unit AS "unit?"
           FROM bursar.posting p
           LEFT JOIN bursar.account d ON d.id = p.debit LEFT JOIN bursar.account c ON c.id = p.credit
           WHERE p.event_id = $1 ORDER BY p.id"#,
        id,
    )
    .fetch_all(db)
    .await?;
    let read = rows.into_iter().map(|row| {
        let unit = row.unit.as_deref().unwrap_or("unknown unit");
        Posted {
            amount: values::amount_json(row.amount, unit),
            said: values::amount_said(row.amount, unit),
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

fn print(screen: &Screen, page: &Page) -> Result<(), Failure> {
    let event = &page.event;
    screen.fact("event", &event.id)?;
    screen.fact("type", &event.r#type)?;
    screen.fact("source", &event.source)?;
    screen.fact("received", &screen.moment(event.received_at))?;
    let optional = [
        ("created", event.created.map(stamp)),
        ("mode", event.livemode.map(|live| if live { "live" } else { "test" }.to_owned())),
        ("API version", event.api_version.clone()),
        ("account", event.account.clone()),
        ("object", event.object_id.clone()),
    ];
    for (label, text) in optional {
        if let Some(text) = text {
            screen.fact(label, &text)?;
        }
    }
    for job in &page.jobs {
        let reason = job.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        screen.fact("job", &format!("{} {} {}{reason}", job.id, job.kind, job.state))?;
    }
    for posting in &page.postings {
        let name = |account: &Option<String>| account.clone().unwrap_or_else(|| "a missing account".to_owned());
        let (debit, credit) = (name(&posting.debit), name(&posting.credit));
        screen
            .fact("posting", &format!("{} {}: {} from {debit} to {credit}", posting.id, posting.kind, posting.said))?;
    }
    match &page.body {
        Some(Value::String(text)) => screen.fact("body", text)?,
        Some(body) => screen.fact("body", &format!("{body:#}"))?,
        None => screen.fact("body", "pruned")?,
    }
    screen.fact("next", &format!("bursar events replay {}", event.id))?;
    Ok(())
}

fn readable(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
