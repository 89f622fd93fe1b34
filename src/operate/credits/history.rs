//! `bursar credits history`: every posting on a user's account, with where it came from.

use bursar_jobs::ledger::history::{self, Line};
use sqlx::PgConnection;

use crate::operate::{Failure, Screen, screen::stamp, values::Limit};

pub(super) async fn history(db: &mut PgConnection, screen: &Screen, user: &str, limit: Limit) -> Result<(), Failure> {
    let mut lines = history::of(db, user, None, limit.probe()).await?;
    let more = limit.cut(&mut lines);
    screen.rows(&lines, &["posting", "when", "amount", "balance", "kind", "from"], |line| {
        let sign = if line.amount.is_positive() { "+" } else { "" };
        vec![
            line.posting.to_string(),
            stamp(line.posted_at),
            format!("{sign}{} credits", line.amount),
            format!("{} credits", line.balance),
            line.kind.clone(),
            provenance(line),
        ]
    })?;
    if lines.is_empty() {
        screen.note(&format!("{user} has no postings"));
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    Ok(())
}

/// Where a posting came from, in a few words: the object and the event, or the person and why.
fn provenance(line: &Line) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(line.object_id.clone());
    if line.r#ref != line.object_id {
        parts.extend(line.r#ref.clone());
    }
    parts.extend(line.event_id.clone());
    parts.extend(line.reverses.map(|posting| format!("reverses {posting}")));
    parts.extend(line.actor.as_ref().map(|actor| format!("by {actor}")));
    parts.extend(line.why.clone());
    if parts.is_empty() {
        parts.push(line.key.clone());
    }
    parts.join(", ")
}
