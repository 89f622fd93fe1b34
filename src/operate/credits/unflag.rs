//! `bursar credits unflag`: an operator has looked at a dispute, and takes its flag from the user.

use bursar_jobs::audit::{self, Act, Via};
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::operate::{Failure, Screen, values::operator};

#[derive(Serialize)]
struct Unflagged<'a> {
    user_id: &'a str,
    source: &'a str,
}

pub(super) async fn run(
    db: &mut PgConnection,
    screen: &Screen,
    user: &str,
    dispute: &str,
    why: &str,
) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let row = sqlx::query!(
        "SELECT status, cleared_at FROM bursar.dispute WHERE id = $1 AND user_id = $2 FOR UPDATE",
        dispute,
        user
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| {
        let hint = format!(
            "bursar credits balance {user} shows what flags there are; a second subscription is ended at Stripe"
        );
        Failure::not_found(format!("{user} has no dispute {dispute}"), hint)
    })?;
    if row.cleared_at.is_some() || !matches!(row.status.as_str(), "needs_response" | "under_review" | "lost") {
        return Err(Failure::refused(
            format!("{dispute} is {} and flags nobody", row.status),
            format!("bursar credits balance {user} shows what flags there are"),
        ));
    }
    sqlx::query!("UPDATE bursar.dispute SET cleared_at = bursar.now() WHERE id = $1", dispute)
        .execute(&mut *tx)
        .await?;
    let act = Act {
        who: &operator(),
        via: Via::Cli,
        what: "credits.unflag",
        subject: user,
        before: Some(json!({ "flag": "dispute", "source": dispute, "status": row.status })),
        after: None,
        why: Some(why),
    };
    audit::note(&mut *tx, act).await?;
    tx.commit().await?;
    let sentence = format!(
        "{user} is not flagged for {dispute} any more; credits stay as they are, and what becomes of it next flags again"
    );
    screen.done(&Unflagged { user_id: user, source: dispute }, &sentence)?;
    Ok(())
}
