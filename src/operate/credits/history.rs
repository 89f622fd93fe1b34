//! `bursar credits history`: every posting on a user's account, with where it came from.

use bursar_jobs::credits::Credits;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::operate::{Failure, Screen, screen::stamp, values::Limit};

/// A posting as its user sees it, under the names that programs rely on.
#[derive(Serialize)]
struct Line<'a> {
    user_id: &'a str,
    posting: i64,
    posted_at: DateTime<Utc>,
    kind: String,
    /// Signed: what the account gained.
    amount: Credits,
    /// What the account held after it.
    balance: Credits,
    key: String,
    event_id: Option<String>,
    job_id: Option<String>,
    /// The object at Stripe, or the verified job, that the event was about.
    object_id: Option<String>,
    r#ref: Option<String>,
    reverses: Option<i64>,
    actor: Option<String>,
    why: Option<String>,
}

pub(super) async fn history(db: &mut PgConnection, screen: &Screen, user: &str, limit: Limit) -> Result<(), Failure> {
    // Ids grow in the order of the balance, because the account's row is locked before a posting takes its id.
    let rows = sqlx::query!(
        r#"SELECT m.id AS "id!", m.posted_at AS "posted_at!", m.kind AS "kind!", m.delta AS "delta!",
                  m.balance AS "balance!", m.key AS "key!", m.event_id, m.job_id, m.ref, m.reverses, m.actor, m.why,
                  (SELECT e.object_id FROM bursar.event e WHERE e.id = m.event_id ORDER BY e.source LIMIT 1) AS object_id
           FROM (
               SELECT p.*, (sum(p.delta) OVER (ORDER BY p.id))::bigint AS balance
               FROM (
                   SELECT c.*, c.amount AS delta FROM bursar.posting c JOIN bursar.account a ON a.id = c.credit
                   WHERE a.name = 'user:' || $1 AND a.unit = 'credits'
                   UNION ALL
                   SELECT d.*, -d.amount AS delta FROM bursar.posting d JOIN bursar.account a ON a.id = d.debit
                   WHERE a.name = 'user:' || $1 AND a.unit = 'credits'
               ) p
               ORDER BY p.id DESC LIMIT $2
           ) m ORDER BY m.id DESC"#,
        user,
        limit.probe(),
    )
    .fetch_all(db)
    .await?;
    let mut lines: Vec<Line<'_>> = rows
        .into_iter()
        .map(|row| Line {
            user_id: user,
            posting: row.id,
            posted_at: row.posted_at,
            kind: row.kind,
            amount: Credits::from_micros(row.delta),
            balance: Credits::from_micros(row.balance),
            key: row.key,
            event_id: row.event_id,
            job_id: row.job_id,
            object_id: row.object_id,
            r#ref: row.r#ref,
            reverses: row.reverses,
            actor: row.actor,
            why: row.why,
        })
        .collect();
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
fn provenance(line: &Line<'_>) -> String {
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
