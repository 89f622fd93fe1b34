//! Who is flagged, and by what; the disputes of a user; and an operator's word that one was looked at.

use serde_json::json;
use sqlx::PgConnection;

use super::{Operator, standing::Dispute};

/// Users that are flagged, in the order of their names; at most so many.
pub async fn flagged(db: &mut PgConnection, most: i64) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT DISTINCT user_id AS "user_id!" FROM bursar.user_flag ORDER BY 1 LIMIT $1"#, most)
        .fetch_all(db)
        .await
}

/// The disputes of a user's purchases, those that are open first; at most so many.
pub async fn disputes(db: &mut PgConnection, user: &str, most: i64) -> Result<Vec<Dispute>, sqlx::Error> {
    sqlx::query_as!(
        Dispute,
        r#"SELECT id, amount, currency, status, reason, due_by, user_id, cleared_at IS NOT NULL AS "cleared!"
           FROM bursar.dispute WHERE user_id = $1
           ORDER BY (status IN ('needs_response', 'under_review', 'warning_needs_response', 'warning_under_review')) DESC,
                    due_by NULLS LAST, id LIMIT $2"#,
        user,
        most
    )
    .fetch_all(db)
    .await
}

/// What came of wanting a flag gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unflag {
    /// It is; the dispute was in that state.
    Done(String),
    /// A dispute in that state flags nobody, or does not any more.
    Not(String),
    /// The user has no such dispute.
    NoSuch,
}

/// Takes the flag of a dispute from a user, written down; in the caller's transaction. Credits stay as they are.
pub async fn unflag(
    db: &mut PgConnection,
    by: &Operator,
    user: &str,
    dispute: &str,
    why: &str,
) -> Result<Unflag, sqlx::Error> {
    let found = sqlx::query!(
        "SELECT status, cleared_at FROM bursar.dispute WHERE id = $1 AND user_id = $2 FOR UPDATE",
        dispute,
        user
    )
    .fetch_optional(&mut *db)
    .await?;
    let Some(found) = found else { return Ok(Unflag::NoSuch) };
    if found.cleared_at.is_some() || !Dispute::is_flagging(&found.status) {
        return Ok(Unflag::Not(found.status));
    }
    sqlx::query!("UPDATE bursar.dispute SET cleared_at = bursar.now() WHERE id = $1", dispute)
        .execute(&mut *db)
        .await?;
    let before = json!({ "flag": "dispute", "source": dispute, "status": found.status });
    by.note(db, "credits.unflag", user, (Some(before), None), Some(why)).await?;
    Ok(Unflag::Done(found.status))
}
