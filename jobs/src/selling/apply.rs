//! Checkouts, portal pages and customers that are gone: what a request to sell came to.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::engine::apply::{Change, changes};
use crate::{engine::job::Effects, selling::expire_checkout};

/// What changes about something that is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selling {
    /// A checkout has its session.
    Opened {
        /// The checkout.
        id: String,
        /// `cs_…`
        session: String,
        /// Where the buyer goes.
        url: Option<String>,
        /// When it is over if nobody pays.
        expires_at: Option<DateTime<Utc>>,
    },
    /// A checkout gets no session, unless an operator sees to it.
    Refused {
        /// The checkout.
        id: String,
        /// For whoever asked.
        why: String,
    },
    /// A session was gone through to its end.
    Complete {
        /// `cs_…`
        session: String,
        /// The checkout that it names.
        checkout: Option<String>,
        /// Stripe's word for whether it is paid.
        payment_status: Option<String>,
        /// What it began, in mode `subscription`.
        subscription: Option<String>,
    },
    /// A session was gone through, and its payment, which was to come later, did not come.
    Failed {
        /// `cs_…`
        session: String,
        /// The checkout that it names.
        checkout: Option<String>,
        /// What it began, in mode `subscription`.
        subscription: Option<String>,
        /// For whoever asks.
        why: String,
    },
    /// A checkout gets no session, and none is wanted any more.
    Unbegun {
        /// The checkout.
        id: String,
        /// For whoever asked.
        why: String,
    },
    /// Nobody paid a session in time.
    Expired {
        /// `cs_…`
        session: String,
    },
    /// A page of the portal is there.
    PortalOpened {
        /// The request.
        id: String,
        /// Where the user goes.
        url: String,
    },
    /// No page of the portal is there.
    PortalRefused {
        /// The request.
        id: String,
        /// For whoever asked.
        why: String,
    },
    /// Stripe says that a customer is not there any more.
    CustomerGone {
        /// `cus_…`
        customer: String,
    },
}

/// Makes them true. What is over stays over, in whatever order the news come.
pub(crate) async fn apply(db: &mut PgConnection, batch: &[Effects]) -> Result<(), sqlx::Error> {
    let wanted = changes(batch, |change| match change {
        Change::Selling(selling) => Some(selling),
        _ => None,
    });
    for (_, selling) in wanted {
        one(&mut *db, selling).await?;
    }
    Ok(())
}

async fn one(db: &mut PgConnection, selling: &Selling) -> Result<(), sqlx::Error> {
    match selling {
        Selling::Opened { id, session, url, expires_at } => {
            let of = sqlx::query!(
                "UPDATE bursar.checkout SET session_id = $2, url = $3, expires_at = $4, reason = NULL, changed_at = bursar.now(),
                        state = CASE WHEN state IN ('asked', 'refused') THEN 'open' ELSE state END
                 WHERE id = $1 RETURNING user_id, mode",
                id,
                session,
                url.as_deref(),
                *expires_at,
            )
            .fetch_optional(&mut *db)
            .await?;
            if let Some(of) = of.filter(|of| of.mode == "subscription") {
                expire_checkout::expire_others(db, &of.user_id).await?;
            }
        }
        Selling::Refused { id, why } => {
            sqlx::query!(
                "UPDATE bursar.checkout SET state = 'refused', reason = $2, changed_at = bursar.now() WHERE id = $1 AND state = 'asked'",
                id,
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Selling::Complete { session, checkout, payment_status, subscription } => {
            let of = sqlx::query!(
                "UPDATE bursar.checkout
                 SET state = CASE WHEN state = 'failed' AND $3 IS DISTINCT FROM 'paid' THEN state ELSE 'complete' END,
                     reason = CASE WHEN $3 = 'paid' THEN NULL ELSE reason END, session_id = $1, changed_at = bursar.now(), subscription_id = coalesce($4, subscription_id),
                     payment_status = CASE WHEN payment_status IN ('paid', 'no_payment_required') THEN payment_status ELSE $3 END
                 WHERE session_id = $1 OR id = $2 AND session_id IS NULL RETURNING user_id, mode",
                session,
                checkout.as_deref(),
                payment_status.as_deref(),
                subscription.as_deref(),
            )
            .fetch_optional(&mut *db)
            .await?;
            if let Some(of) = of.filter(|of| of.mode == "subscription") {
                expire_checkout::expire_others(db, &of.user_id).await?;
            }
        }
        Selling::Failed { session, checkout, subscription, why } => {
            sqlx::query!(
                "UPDATE bursar.checkout
                 SET state = 'failed', reason = $4, session_id = $1, subscription_id = coalesce($3, subscription_id),
                     payment_status = 'unpaid', changed_at = bursar.now()
                 WHERE (session_id = $1 OR id = $2 AND session_id IS NULL)
                   AND payment_status IS DISTINCT FROM 'paid' AND payment_status IS DISTINCT FROM 'no_payment_required'",
                session,
                checkout.as_deref(),
                subscription.as_deref(),
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Selling::Unbegun { id, why } => {
            sqlx::query!(
                "UPDATE bursar.checkout SET state = 'failed', reason = $2, changed_at = bursar.now() WHERE id = $1 AND state = 'asked'",
                id,
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Selling::Expired { session } => {
            sqlx::query!(
                "UPDATE bursar.checkout SET state = 'expired', changed_at = bursar.now() WHERE session_id = $1 AND state = 'open'",
                session,
            )
            .execute(db)
            .await?;
        }
        Selling::PortalOpened { id, url } => {
            sqlx::query!(
                "UPDATE bursar.portal SET state = 'open', url = $2, reason = NULL, changed_at = bursar.now() WHERE id = $1",
                id,
                url,
            )
            .execute(db)
            .await?;
        }
        Selling::PortalRefused { id, why } => {
            sqlx::query!(
                "UPDATE bursar.portal SET state = 'refused', reason = $2, changed_at = bursar.now() WHERE id = $1 AND state = 'asked'",
                id,
                storable(why),
            )
            .execute(db)
            .await?;
        }
        Selling::CustomerGone { customer } => {
            sqlx::query!(
                "UPDATE bursar.customer SET gone_at = coalesce(gone_at, bursar.now()) WHERE id = $1",
                customer
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
