//! `bursar events list`.

use bursar_jobs::desk::events::EventFilter;
use sqlx::PgConnection;

use crate::operate::{Failure, Screen, values::Limit};

pub(super) async fn list(
    db: &mut PgConnection,
    screen: &Screen,
    filter: &EventFilter,
    limit: Limit,
) -> Result<(), Failure> {
    let mut events = filter.page(db, None, limit.probe()).await?;
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
