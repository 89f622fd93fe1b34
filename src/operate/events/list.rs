//! `bursar events list`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::{Sender, kinds};
use crate::operate::{
    Failure, Screen,
    values::{Limit, word_of},
};

/// An event, under the names that programs rely on.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    pub id: String,
    pub r#type: String,
    pub source: String,
    pub created: Option<DateTime<Utc>>,
    pub livemode: Option<bool>,
    pub api_version: Option<String>,
    pub account: Option<String>,
    pub object_id: Option<String>,
    pub received_at: DateTime<Utc>,
    /// The state of the job it became; none once that job is pruned.
    pub job_state: Option<String>,
}

pub(super) async fn list(
    db: &mut PgConnection,
    screen: &Screen,
    kind: Option<&str>,
    source: Option<Sender>,
    since: Option<Duration>,
    limit: Limit,
) -> Result<(), Failure> {
    let mut events = sqlx::query_as!(
        Event,
        r#"SELECT e.id, e.type AS "type", e.source, e.created, e.livemode, e.api_version, e.account, e.object_id, e.received_at,
                  (SELECT v.state FROM bursar.job v WHERE v.kind = ANY ($5) AND v.key = e.id AND v.cause = e.id
                   ORDER BY v.id DESC LIMIT 1) AS job_state
           FROM bursar.event e
           WHERE ($1::text IS NULL OR e.type = $1) AND ($2::text IS NULL OR e.source = $2)
             AND ($3::float8 IS NULL OR e.received_at >= (SELECT bursar.now()) - $3 * interval '1 second')
           ORDER BY e.received_at DESC, e.id DESC LIMIT $4"#,
        kind,
        source.as_ref().map(word_of),
        since.map(|d| d.as_secs_f64()),
        limit.probe(),
        &kinds(),
    )
    .fetch_all(db)
    .await?;
    let more = limit.cut(&mut events);
    screen.rows(&events, &["id", "type", "source", "received", "job", "object"], |event| {
        vec![
            event.id.clone(),
            event.r#type.clone(),
            event.source.clone(),
            screen.away(event.received_at),
            event.job_state.clone().unwrap_or_else(|| "pruned".to_owned()),
            event.object_id.clone().unwrap_or_default(),
        ]
    })?;
    if events.is_empty() {
        screen.note("no such events");
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    Ok(())
}
