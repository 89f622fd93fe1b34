//! `bursar events gaps`.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::operate::{Failure, Screen, screen::stamp, values::Limit};

/// Where the watch stands, under the names that programs rely on.
#[derive(Debug, Serialize)]
struct Watch {
    /// Nothing created before is looked for; none: no worker has started with Stripe on.
    began_at: Option<DateTime<Utc>>,
    /// What was created before is in the inbox.
    compared_until: Option<DateTime<Utc>>,
    /// When a walk last came to its end.
    compared_at: Option<DateTime<Utc>>,
    /// Since `compared_until`.
    behind_seconds: Option<i64>,
    /// Whether a walk is under way.
    walking: bool,
    /// In all.
    found: i64,
    /// The newest of them.
    missed: Vec<Missed>,
}

/// An event that had never arrived.
#[derive(Debug, Serialize)]
struct Missed {
    id: String,
    r#type: String,
    created: Option<DateTime<Utc>>,
    found_at: DateTime<Utc>,
    /// Its webhook had had time to come.
    overdue: bool,
}

pub(super) async fn gaps(db: &mut PgConnection, screen: &Screen, limit: Limit) -> Result<(), Failure> {
    let stands = sqlx::query!(
        r#"SELECT w.began_at AS "began_at?", w.compared_until AS "compared_until?", w.compared_at,
                  extract(epoch FROM bursar.now() - w.compared_until)::bigint AS behind_seconds,
                  EXISTS (SELECT FROM bursar.job j WHERE j.kind = 'read_events' AND j.state IN ('ready', 'scheduled', 'running')) AS "walking!",
                  (SELECT count(*) FROM bursar.missed_event) AS "found!"
           FROM (VALUES (1)) AS one LEFT JOIN bursar.event_watch w ON true"#
    )
    .fetch_one(&mut *db)
    .await?;
    let mut missed = sqlx::query_as!(
        Missed,
        r#"SELECT event_id AS id, type AS "type", created, found_at, overdue FROM bursar.missed_event
           ORDER BY found_at DESC, event_id DESC LIMIT $1"#,
        limit.probe()
    )
    .fetch_all(db)
    .await?;
    let more = limit.cut(&mut missed);
    let watch = Watch {
        began_at: stands.began_at,
        compared_until: stands.compared_until,
        compared_at: stands.compared_at,
        behind_seconds: stands.behind_seconds,
        walking: stands.walking,
        found: stands.found,
        missed,
    };
    if screen.is_json() {
        screen.object(&watch)?;
    } else {
        show(screen, &watch)?;
    }
    if watch.began_at.is_none() {
        screen.note("nothing is compared yet: the watch begins when a worker first starts with Stripe on");
    }
    if more {
        screen.note("there are more: --limit N shows them");
    }
    Ok(())
}

fn show(screen: &Screen, watch: &Watch) -> Result<(), Failure> {
    let facts = [
        ("began", watch.began_at.map(stamp)),
        ("compared to", watch.compared_until.map(|at| screen.moment(at))),
        ("last walk", watch.compared_at.map(|at| screen.moment(at))),
        ("under way", watch.walking.then(|| "a walk through Stripe's events".to_owned())),
        ("found", Some(format!("{} that had never arrived", watch.found))),
    ];
    for (label, text) in facts {
        if let Some(text) = text {
            screen.fact(label, &text)?;
        }
    }
    screen.rows(&watch.missed, &["id", "type", "created", "found", "webhook"], |event| {
        vec![
            event.id.clone(),
            event.r#type.clone(),
            event.created.map(stamp).unwrap_or_default(),
            screen.away(event.found_at),
            if event.overdue { "never came" } else { "had little time" }.to_owned(),
        ]
    })?;
    Ok(())
}
