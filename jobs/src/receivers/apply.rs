//! Receivers' accounts that were made or are gone, and the links to their onboarding.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::account;
use crate::engine::apply::{Change, Verdict, changes};
use crate::{engine::job::Effects, receivers::onboarding};

/// What changes about a receiver's account or a link to its onboarding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connecting {
    /// A receiver has an account. How it stands is for Stripe to say.
    Made {
        /// The receiver.
        user_id: String,
        /// `acct_…`
        account_id: String,
    },
    /// A receiver gets no account, unless an operator sees to it.
    NotMade {
        /// The receiver.
        user_id: String,
        /// For whoever asked.
        why: String,
    },
    /// The platform's access to an account is gone.
    Deauthorised {
        /// `acct_…`
        account_id: String,
        /// When Stripe was asked. An answer to an earlier question counts for nothing.
        asked_at: DateTime<Utc>,
    },
    /// A link is there.
    LinkOpened {
        /// The request.
        id: String,
        /// How often it was made anew before.
        round: i32,
        /// The account that it leads to.
        account_id: String,
        /// Where the owner goes.
        url: String,
        /// When it leads nowhere any more.
        expires_at: Option<DateTime<Utc>>,
    },
    /// No link is there.
    LinkRefused {
        /// The request.
        id: String,
        /// How often it was made anew before.
        round: i32,
        /// For whoever asked.
        why: String,
    },
}

/// Makes them true.
pub(crate) async fn apply(
    db: &mut PgConnection,
    batch: &[Effects],
    verdicts: &mut [Verdict],
) -> Result<(), sqlx::Error> {
    let wanted = changes(batch, |change| match change {
        Change::Connecting(connecting) => Some(connecting),
        _ => None,
    });
    for (owner, connecting) in wanted {
        one(&mut *db, connecting, &mut verdicts[owner]).await?;
    }
    Ok(())
}

async fn one(db: &mut PgConnection, connecting: &Connecting, verdict: &mut Verdict) -> Result<(), sqlx::Error> {
    match connecting {
        Connecting::Made { user_id, account_id } => {
            verdict.conflict = account::attach(&mut *db, user_id, account_id).await?;
            verdict.new = verdict.conflict.is_none();
            // Asked for while the account was taken for gone, say.
            onboarding::enqueue_links(db, user_id).await?;
        }
        Connecting::NotMade { user_id, why } => {
            sqlx::query!(
                "UPDATE bursar.onboarding SET state = 'refused', reason = $2, changed_at = bursar.now()
                 WHERE user_id = $1 AND state = 'asked'",
                user_id,
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Connecting::Deauthorised { account_id, asked_at } => {
            match account::deauthorise(db, account_id, *asked_at).await? {
                Some(_) => verdict.new = true,
                None => {
                    verdict.already =
                        Some(format!("no receiver is paid to {account_id}, or Stripe has said otherwise since"));
                }
            }
        }
        Connecting::LinkOpened { id, round, account_id, url, expires_at } => {
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
        Connecting::LinkRefused { id, round, why } => {
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
