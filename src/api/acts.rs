//! What an operator begins for a user with a token of their own, written down in the transaction of the act itself. What the application
//! does is not an operator's act.

use bursar_jobs::{base::audit::Via, desk::Operator};
use serde_json::json;
use sqlx::PgConnection;

use super::routes::Who;

/// What is begun, by the id of its request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Begins<'a> {
    /// A checkout.
    Checkout(&'a str),
    /// A checkout that nobody pays: its session.
    Unpaid(&'a str),
    /// A page of the portal.
    Portal(&'a str),
    /// A link to the onboarding.
    Connect(&'a str),
}

/// Writes it down, unless a repetition found what was begun before. Whether it was begun now.
pub(super) async fn note(
    db: &mut PgConnection,
    who: &Who,
    user: &str,
    begins: Begins<'_>,
) -> Result<bool, sqlx::Error> {
    let (what, id) = match begins {
        Begins::Checkout(id) | Begins::Unpaid(id) => ("checkout.begin", id),
        Begins::Portal(id) => ("portal.begin", id),
        Begins::Connect(id) => ("connect.begin", id),
    };
    let is_new = match begins {
        Begins::Checkout(_) => {
            sqlx::query_scalar!(
                r#"SELECT xmin = pg_current_xact_id()::xid AS "new!" FROM bursar.checkout WHERE id = $1"#,
                id
            )
            .fetch_one(&mut *db)
            .await?
        }
        Begins::Unpaid(_) => sqlx::query_scalar!(
            r#"SELECT xmin = pg_current_xact_id()::xid AS "new!" FROM bursar.posting WHERE key = 'purchase:' || $1"#,
            id
        )
        .fetch_one(&mut *db)
        .await?,
        Begins::Portal(_) => {
            sqlx::query_scalar!(
                r#"SELECT xmin = pg_current_xact_id()::xid AS "new!" FROM bursar.portal WHERE id = $1"#,
                id
            )
            .fetch_one(&mut *db)
            .await?
        }
        Begins::Connect(_) => {
            sqlx::query_scalar!(
                r#"SELECT xmin = pg_current_xact_id()::xid AS "new!" FROM bursar.onboarding WHERE id = $1"#,
                id
            )
            .fetch_one(&mut *db)
            .await?
        }
    };
    if let (true, Some(who)) = (is_new, &who.0) {
        let by = Operator { who: who.clone(), via: Via::Api };
        by.note(db, what, user, (None, Some(json!({ "id": id }))), None).await?;
    }
    Ok(is_new)
}
