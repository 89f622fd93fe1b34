//! Receivers' accounts that were made or are gone, and the links to their onboarding.

use crate::{
    engine::{change::changes, domain::ApplyContext},
    receivers::{
        account::{self, Set},
        change::{Change, ReceiverActivated},
        onboarding,
    },
};

/// Makes them true.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let all: Vec<(usize, &Change)> = changes(context.batch, Some);
    for (owner, change) in all {
        one(context, owner, change).await?;
    }
    Ok(())
}

async fn one(context: &mut ApplyContext<'_>, owner: usize, change: &Change) -> Result<(), sqlx::Error> {
    let (db, verdict) = (&mut *context.db, &mut context.verdicts[owner]);
    match change {
        Change::SetReceiver(standing) => match account::set(db, standing).await? {
            Set::Conflict(what) => verdict.conflict = Some(what),
            Set::Stale => verdict.new = true,
            Set::Kept => {
                verdict.new = true;
                if standing.active {
                    context.record(ReceiverActivated { user_id: standing.user_id.clone() });
                }
            }
        },
        Change::DeactivateReceiver { user_id } => {
            sqlx::query!(
                "UPDATE bursar.receiver SET active = false, state = 'inactive', changed_at = bursar.now()
                         WHERE user_id = $1 AND state <> 'deauthorised'",
                user_id
            )
            .execute(db)
            .await?;
        }
        Change::Made { user_id, account_id } => {
            verdict.conflict = account::attach(&mut *db, user_id, account_id).await?;
            verdict.new = verdict.conflict.is_none();
            // Asked for while the account was taken for gone, say.
            onboarding::enqueue_links(db, user_id).await?;
        }
        Change::NotMade { user_id, why } => {
            sqlx::query!(
                "UPDATE bursar.onboarding SET state = 'refused', reason = $2, changed_at = bursar.now()
                 WHERE user_id = $1 AND state = 'asked'",
                user_id,
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Change::Deauthorised { account_id, asked_at } => match account::deauthorise(db, account_id, *asked_at).await? {
            Some(_) => verdict.new = true,
            None => {
                verdict.already =
                    Some(format!("no receiver is paid to {account_id}, or Stripe has said otherwise since"));
            }
        },
        Change::LinkOpened { id, round, account_id, url, expires_at } => {
            sqlx::query!(
                "UPDATE bursar.onboarding SET state = 'open', account_id = $3, url = $4, expires_at = $5, reason = NULL,
                        changed_at = bursar.now()
                 WHERE id = $1 AND round = $2",
                id,
                *round,
                account_id,
                url,
                *expires_at,
            )
            .execute(db)
            .await?;
        }
        Change::LinkRefused { id, round, why } => {
            sqlx::query!(
                "UPDATE bursar.onboarding SET state = 'refused', reason = $3, changed_at = bursar.now()
                 WHERE id = $1 AND round = $2 AND state = 'asked'",
                id,
                *round,
                storable(why),
            )
            .execute(db)
            .await?;
        }
    }
    Ok(())
}

/// PostgreSQL's text holds no NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
