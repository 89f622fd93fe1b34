//! The door to being paid: a request to be onboarded is written down, and the jobs that make the account and the link enqueued.
//!
//! Rules
//! - One account for a user, however many ask at a time. A link waits for it: whatever gives the receiver an account enqueues the links
//!   that were asked for meanwhile.
//! - Each request gets a link of its own, for a link is used once; the same `Idempotency-Key` gets the same link while it lives, and a new
//!   one after.
//! - Where the platform's access to the account is gone, another account is made; but not while a payout may still be on its way to the
//!   old one.
//! - A user may begin so many a minute.
//!
//! All of it happens under the receiver's row.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{
    engine::{enqueue, kind::CREATE_ACCOUNT},
    receivers::{create_account::CreateAccount, create_account_link::CreateAccountLink},
};

/// A request to be onboarded.
#[derive(Debug, Clone)]
pub struct Onboarding {
    /// Who earns.
    pub user_id: String,
    /// The caller's key, where there is one.
    pub key: Option<String>,
    /// Where the onboarding ends.
    pub return_url: String,
    /// Where a link leads that is over.
    pub refresh_url: String,
    /// The country of an account that is to be made; without one, the platform's.
    pub country: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is written down, now or before, under this id.
    Asked(String),
    /// Too many in a minute.
    Limited {
        /// Seconds until another may begin.
        after: i64,
    },
    /// An operator must see to something first.
    Stopped(String),
}

/// Writes a request down and enqueues what makes it true, in the caller's transaction.
pub async fn begin(db: &mut PgConnection, asked: &Onboarding, limit: i64) -> Result<Begun, sqlx::Error> {
    let user = &asked.user_id;
    sqlx::query!(
        "INSERT INTO bursar.receiver (user_id, first_asked_at) VALUES ($1, bursar.now()) ON CONFLICT DO NOTHING",
        user
    )
    .execute(&mut *db)
    .await?;
    let receiver = sqlx::query!(
        r#"UPDATE bursar.receiver SET first_asked_at = coalesce(first_asked_at, bursar.now()) WHERE user_id = $1
           RETURNING account_id, state, deauthorisations, first_asked_at AS "first_asked_at!""#,
        user
    )
    .fetch_one(&mut *db)
    .await?;
    let mut known = None;
    if let Some(key) = &asked.key {
        known = sqlx::query!(
            // A minute is left to whoever follows it.
            r#"SELECT id, round, state = 'open' AND expires_at <= (SELECT bursar.now()) + interval '1 minute' AS "is_over!"
               FROM bursar.onboarding WHERE user_id = $1 AND key = $2"#,
            user,
            key
        )
        .fetch_optional(&mut *db)
        .await?;
        if let Some(known) = known.as_ref().filter(|known| !known.is_over) {
            return Ok(Begun::Asked(known.id.clone()));
        }
    }
    if let Some(after) = limited(&mut *db, user, limit).await? {
        return Ok(Begun::Limited { after });
    }
    let has_account = receiver.account_id.is_some() && receiver.state != "deauthorised";
    if !has_account {
        if receiver.account_id.is_some()
            && let Some(why) = on_its_way(&mut *db, user).await?
        {
            return Ok(Begun::Stopped(format!("{user} cannot have another account yet: {why}")));
        }
        let (country, lost) = (asked.country.as_deref(), receiver.deauthorisations);
        let job = CreateAccount::of(user, country, lost, receiver.first_asked_at);
        let over = sqlx::query_scalar!(
            r#"SELECT id AS "id!" FROM bursar.job WHERE kind = $1 AND key = $2 AND state IN ('dead', 'cancelled')"#,
            CREATE_ACCOUNT.name,
            job.key,
        )
        .fetch_optional(&mut *db)
        .await?;
        if let Some(id) = over {
            return Ok(Begun::Stopped(format!(
                "the account of {user} could not be made. An operator sees why, and tries again: bursar jobs show {id}"
            )));
        }
        enqueue::enqueue(&mut *db, &[job]).await?;
    }
    let id = if let Some(known) = known {
        sqlx::query!(
                "UPDATE bursar.onboarding SET round = round + 1, state = 'asked', url = NULL, expires_at = NULL, requested_at = bursar.now(),
                        return_url = $2, refresh_url = $3, changed_at = bursar.now()
                 WHERE id = $1",
                known.id,
                asked.return_url,
                asked.refresh_url,
            )
            .execute(&mut *db)
            .await?;
        known.id
    } else {
        let made = Uuid::new_v4().to_string();
        sqlx::query_scalar!(
                "INSERT INTO bursar.onboarding (user_id, key, return_url, refresh_url) VALUES ($1, $2, $3, $4) RETURNING id",
                user,
                asked.key.as_deref().unwrap_or(&made),
                asked.return_url,
                asked.refresh_url,
            )
            .fetch_one(&mut *db)
            .await?
    };
    if has_account {
        enqueue_links(db, user).await?;
    }
    Ok(Begun::Asked(id))
}

/// Enqueues the links that a receiver was promised: there is an account that they can lead to.
pub(crate) async fn enqueue_links(db: &mut PgConnection, user: &str) -> Result<(), sqlx::Error> {
    let asked = sqlx::query!("SELECT id, round FROM bursar.onboarding WHERE user_id = $1 AND state = 'asked'", user)
        .fetch_all(&mut *db)
        .await?;
    let jobs: Vec<_> = asked.iter().map(|row| CreateAccountLink::of(&row.id, row.round)).collect();
    enqueue::enqueue(db, &jobs).await?;
    Ok(())
}

/// Why a receiver's account cannot be replaced: a payout that has left, or may have.
pub(crate) async fn on_its_way(db: &mut PgConnection, user: &str) -> Result<Option<String>, sqlx::Error> {
    let payout = sqlx::query!(
        "SELECT job_id, state FROM bursar.payout WHERE receiver_id = $1 AND state IN ('sending', 'unknown') ORDER BY job_id LIMIT 1",
        user
    )
    .fetch_optional(db)
    .await?;
    Ok(payout.map(|payout| {
        let (job, state) = (payout.job_id, payout.state);
        format!("the payout for {job} is {state}, and must come to its end first: bursar payouts show {job}")
    }))
}

/// Seconds to wait, where the user has begun as many in the last minute as may be.
async fn limited(db: &mut PgConnection, user: &str, limit: i64) -> Result<Option<i64>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "count!", ceil(extract(epoch FROM min(requested_at) + interval '1 minute' - bursar.now()))::bigint AS after
           FROM bursar.onboarding WHERE user_id = $1 AND requested_at > (SELECT bursar.now()) - interval '1 minute'"#,
        user
    )
    .fetch_one(db)
    .await?;
    Ok((row.count >= limit).then(|| row.after.unwrap_or(60).clamp(1, 60)))
}

/// How a receiver stands, as far as is known here.
#[derive(Debug, Clone)]
pub struct Standing {
    /// `acct_…`
    pub account: Option<String>,
    /// `none`, `active`, `pending`, `inactive` (not onboarded), `restricted`, `deauthorised`, `unknown`, or a new word of Stripe's.
    pub state: String,
    /// Whether Stripe pays out to the owner's bank.
    pub payouts_enabled: bool,
    /// Stripe's `currently_due`, `past_due` and `disabled_reason`.
    pub requirements: Value,
    /// Whether Stripe was last asked long enough ago to be asked again.
    pub is_old: bool,
    /// When that is, cut to stretches: what makes one question of many.
    pub stretch: DateTime<Utc>,
}

/// How a user stands as a receiver; none of a user of whom nothing is known at all.
pub async fn standing(db: impl PgExecutor<'_>, user: &str) -> Result<Option<Standing>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT r.account_id AS "account?", r.state AS "state?", coalesce(r.payouts_enabled, false) AS "payouts_enabled!", r.requirements,
                  r.user_id IS NOT NULL OR EXISTS (SELECT FROM bursar.account a WHERE a.name = 'user:' || $1)
                      OR EXISTS (SELECT FROM bursar.customer c WHERE c.user_id = $1) AS "known!",
                  -- Of one that is gone there is little news.
                  coalesce(r.asked_at < (SELECT bursar.now()) - s.stretch, true) AS "is_old!",
                  date_bin(s.stretch, bursar.now(), timestamptz '2000-01-01') AS "stretch!"
           FROM (SELECT 1) one LEFT JOIN bursar.receiver r ON r.user_id = $1
           CROSS JOIN LATERAL (SELECT CASE WHEN r.state = 'deauthorised' THEN interval '1 minute' ELSE interval '5 seconds' END AS stretch) s"#,
        user
    )
    .fetch_one(db)
    .await?;
    if !row.known {
        return Ok(None);
    }
    let state = if row.account.is_some() { row.state.unwrap_or_default() } else { "none".to_owned() };
    let requirements =
        row.requirements.unwrap_or_else(|| json!({ "currently_due": [], "past_due": [], "disabled_reason": null }));
    Ok(Some(Standing {
        account: row.account,
        state,
        payouts_enabled: row.payouts_enabled,
        requirements,
        is_old: row.is_old,
        stretch: row.stretch,
    }))
}
