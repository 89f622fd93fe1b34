//! How the money stands: what is held, unknown, chased, disputed; what the last comparison left; what is late.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    dunning::{self, Funnel},
    runs::{self, Comparison, Kind},
};

/// How it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// What is held by a cap, by currency.
    pub capped: Vec<Capped>,
    /// What became of the failed payments of the last thirty days.
    pub funnel: Funnel,
    /// The newest comparison.
    pub last_run: Option<Comparison>,
    /// The newest finding of each object that is open, by type.
    pub findings: Vec<Kind>,
    /// Where the gap watch stands; none: it has not begun.
    pub watch: Option<Watch>,
    /// Schedules whose tick is over and did not fire.
    pub late: Vec<Late>,
    /// Letters whose jobs are dead.
    pub letters_dead: i64,
    /// Disputes that are open, the next deadline first.
    pub disputes: Vec<Dispute>,
}

/// What a cap holds.
#[derive(Debug, Clone, Serialize)]
pub struct Capped {
    /// Lower-case ISO code.
    pub currency: String,
    /// How many.
    pub count: i64,
    /// In minor units.
    pub amount: i64,
}

/// How far Stripe's list of events was compared with the inbox.
#[derive(Debug, Clone, Serialize)]
pub struct Watch {
    /// What was created before is in the inbox.
    pub compared_until: DateTime<Utc>,
    /// Seconds since then.
    pub behind: i64,
    /// Events that had never arrived, though their webhooks had had time to, found in the last day.
    pub missed: i64,
}

impl Watch {
    /// Whether it is further behind than three of its walks, each a quarter of an hour, and Stripe's two hours of room.
    pub fn is_behind(&self) -> bool {
        self.behind > 3 * 3_600
    }
}

/// A schedule that is late.
#[derive(Debug, Clone, Serialize)]
pub struct Late {
    /// Its name.
    pub name: String,
    /// When it was to fire.
    pub due_at: DateTime<Utc>,
}

/// A dispute that is open.
#[derive(Debug, Clone, Serialize)]
pub struct Dispute {
    /// `du_…`, `dp_…`
    pub id: String,
    /// In minor units.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// As Stripe says it.
    pub status: String,
    /// Why the buyer disputes it.
    pub reason: Option<String>,
    /// Until when evidence counts.
    pub due_by: Option<DateTime<Utc>>,
    /// Whose purchase it is.
    pub user_id: Option<String>,
}

/// Disputes shown.
const DISPUTES: i64 = 50;

/// Reads it.
pub async fn read(db: &mut PgConnection) -> Result<Standing, sqlx::Error> {
    let capped = sqlx::query_as!(
        Capped,
        r#"SELECT currency, count(*) AS "count!", sum(amount)::bigint AS "amount!" FROM bursar.payout
           WHERE state = 'held' AND held_by = 'cap' GROUP BY currency ORDER BY currency"#
    )
    .fetch_all(&mut *db)
    .await?;
    let watch = watch(&mut *db).await?;
    // A tick waits for a worker like any job: five minutes are no sign of trouble.
    let late = sqlx::query_as!(
        Late,
        r#"SELECT name, next_at AS "due_at!" FROM bursar.schedule
           WHERE NOT paused AND next_at < (SELECT bursar.now()) - interval '5 minutes' ORDER BY next_at, name"#
    )
    .fetch_all(&mut *db)
    .await?;
    let letters_dead = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM apalis.jobs WHERE job_type = 'send_letter' AND status = 'Failed'"#
    )
    .fetch_one(&mut *db)
    .await?;
    let disputes = sqlx::query_as!(
        Dispute,
        "SELECT id, amount, currency, status, reason, due_by, user_id FROM bursar.dispute
         WHERE status IN ('needs_response', 'under_review', 'warning_needs_response', 'warning_under_review')
         ORDER BY due_by NULLS LAST, id LIMIT $1",
        DISPUTES
    )
    .fetch_all(&mut *db)
    .await?;
    Ok(Standing {
        capped,
        funnel: dunning::funnel(&mut *db).await?,
        last_run: runs::list(&mut *db, None, 1).await?.pop(),
        findings: runs::by_type(&mut *db, None).await?,
        watch,
        late,
        letters_dead,
        disputes,
    })
}

/// Where the gap watch stands; none: it has not begun.
pub async fn watch(db: &mut PgConnection) -> Result<Option<Watch>, sqlx::Error> {
    sqlx::query_as!(
        Watch,
        r#"SELECT compared_until, extract(epoch FROM bursar.now() - compared_until)::bigint AS "behind!",
                  (SELECT count(*) FROM bursar.missed_event WHERE overdue AND found_at > (SELECT bursar.now()) - interval '1 day') AS "missed!"
           FROM bursar.event_watch"#
    )
    .fetch_optional(db)
    .await
}
