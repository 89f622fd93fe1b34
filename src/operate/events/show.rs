//! `bursar events show`: one event, and what it caused.

use bursar_jobs::desk::events::{self, Caused, EventRow, Posted};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::not_found;
use crate::operate::{Failure, Screen, screen::stamp};

#[derive(Serialize)]
struct Page {
    #[serde(flatten)]
    event: EventRow,
    /// As JSON where it is JSON, else as a text; null once pruned.
    body: Option<Value>,
    jobs: Vec<Caused>,
    postings: Vec<Posted>,
}

pub(super) async fn show(db: &mut PgConnection, screen: &Screen, id: &str) -> Result<(), Failure> {
    let found = events::read(&mut *db, id).await?;
    if found.is_empty() {
        return Err(not_found(id));
    }
    // An id is unique for its source: two sources may, in theory, use the same.
    for (event, body) in found {
        let body = body.map(|bytes| readable(&bytes));
        let jobs = events::jobs(&mut *db, id, i64::MAX).await?;
        let page = Page { event, body, jobs, postings: events::postings(&mut *db, id, i64::MAX).await? };
        if screen.is_json() {
            screen.object(&page)?;
        } else {
            print(screen, &page)?;
        }
    }
    Ok(())
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
