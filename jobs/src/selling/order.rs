//! The door to selling: a request to buy or to see the portal is written down and its job enqueued, once for the caller's key.
//!
//! Rules
//! - One request for a user and an `Idempotency-Key`; the same key with another body is a conflict.
//! - Without a key a repeated request finds the session that is still open, and nothing else: a second purchase on one day is possible.
//! - A second subscription for a user who has one is refused. One whose first payment never came is none: it makes way
//!   (`expire_subscription`).
//! - A user may begin so many a minute, checkouts and pages of the portal alike. A repetition begins nothing.
//! - Whoever buys for the first time and was never seen before gets the initial credits.
//!
//! All of a user's requests come through one after the other.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    base::{credits::Credits, text::escaped},
    customers::{
        create_customer::{self, CreateCustomer},
        initial_credits,
    },
    engine::enqueue,
    ledger,
    selling::{
        active_subscription::{self, Active},
        create_checkout::CreateCheckout,
        create_portal::CreatePortal,
    },
    terms::Terms,
};

/// A request to buy.
#[derive(Debug, Clone)]
pub struct Order {
    /// Who buys.
    pub user_id: String,
    /// The caller's key, where there is one.
    pub key: Option<String>,
    /// What the caller asked for: what makes it the same request.
    pub asked: Value,
    /// `payment` or `subscription`.
    pub mode: &'static str,
    /// `package:small`, `tier:pro`, `amount`.
    pub item: String,
    /// What is granted once it is paid; of a tier, a month's.
    pub credits: Credits,
    /// What it costs before discounts and tax, where no price of Stripe's says so.
    pub price: Option<(i64, String)>,
    /// The session's parameters, but the customer's and the checkout's own id.
    pub fields: Vec<(String, String)>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ordered {
    /// It is written down, now or before, under this id.
    Begun(String),
    /// One without a key, and there is this session for the same, which was open when it was last heard of.
    Perhaps {
        /// The checkout.
        id: String,
        /// `cs_…`
        session: String,
    },
    /// The key stands for another request.
    Conflict,
    /// The user subscribes already.
    Subscribed(Active),
    /// Too many in a minute.
    Limited {
        /// Seconds until another may begin.
        after: i64,
    },
}

/// Writes a request to buy down and enqueues what makes it true, in the caller's transaction.
pub async fn order(db: &mut PgConnection, order: &Order, limit: i64, terms: &Terms) -> Result<Ordered, sqlx::Error> {
    hold(db, &order.user_id).await?;
    if let Some(key) = &order.key {
        let known = sqlx::query!(
            r#"SELECT id, asked AS "asked: Json<Value>" FROM bursar.checkout WHERE user_id = $1 AND key = $2"#,
            order.user_id,
            key
        )
        .fetch_optional(&mut *db)
        .await?;
        if let Some(known) = known {
            return Ok(if known.asked.0 == order.asked { Ordered::Begun(known.id) } else { Ordered::Conflict });
        }
    } else {
        let open = sqlx::query!(
            "SELECT id, session_id FROM bursar.checkout
             WHERE user_id = $1 AND asked = $2 AND (state = 'asked' AND requested_at > (SELECT bursar.now()) - interval '1 day'
                    -- One whose job was cancelled, or is dead, will never be open.
                    AND EXISTS (SELECT FROM apalis.jobs j WHERE j.job_type = 'create_checkout' AND j.idempotency_key = checkout.id
                                AND j.status IN ('Pending', 'Running', 'Done'))
                OR state = 'open' AND expires_at > (SELECT bursar.now()) + interval '1 minute')
             ORDER BY requested_at DESC LIMIT 1",
            order.user_id,
            order.asked,
        )
        .fetch_optional(&mut *db)
        .await?;
        if let Some(open) = open {
            return Ok(match open.session_id {
                Some(session) => Ordered::Perhaps { id: open.id, session },
                None => Ordered::Begun(open.id),
            });
        }
    }
    if order.mode == "subscription"
        && let Some(active) = active_subscription::active_subscription(&mut *db, &order.user_id).await?
    {
        return Ok(Ordered::Subscribed(active));
    }
    if let Some(after) = limited(db, &order.user_id, limit).await? {
        return Ok(Ordered::Limited { after });
    }
    Ok(Ordered::Begun(begin(db, order, terms).await?))
}

async fn begin(db: &mut PgConnection, order: &Order, terms: &Terms) -> Result<String, sqlx::Error> {
    let made = Uuid::new_v4().to_string();
    let key = order.key.as_deref().unwrap_or(&made);
    let (amount, currency) = order.price.clone().unzip();
    // From the user and the key, so that a database restored to before it asks Stripe for the same again.
    let row = sqlx::query!(
        r#"WITH made AS (SELECT left(encode(sha256(convert_to(length($1)::text || ':' || $1 || ':' || $2, 'UTF8'::name)), 'hex'), 40) AS id)
           INSERT INTO bursar.checkout (id, user_id, key, asked, mode, item, credits, amount, currency, fields)
           SELECT made.id, $1, $2, $3, $4, $5, $6, $7, $8, $9 || pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_array('metadata[checkout]', made.id)) FROM made
           RETURNING id, requested_at"#,
        order.user_id,
        key,
        order.asked,
        order.mode,
        order.item,
        order.credits.micros(),
        amount,
        currency,
        Json(&order.fields) as _,
    )
    .fetch_one(&mut *db)
    .await?;
    let email = order.asked.get("email").and_then(Value::as_str);
    enqueue_call(db, &order.user_id, email, row.requested_at, CreateCheckout::of(&row.id)).await?;
    see(db, &order.user_id, terms).await?;
    Ok(row.id)
}

/// Writes a request for a page of the portal down.
pub async fn open_portal(
    db: &mut PgConnection,
    user: &str,
    key: Option<&str>,
    return_url: Option<&str>,
    limit: i64,
) -> Result<Ordered, sqlx::Error> {
    hold(db, user).await?;
    if let Some(key) = key {
        let known = sqlx::query!("SELECT id, return_url FROM bursar.portal WHERE user_id = $1 AND key = $2", user, key)
            .fetch_optional(&mut *db)
            .await?;
        if let Some(known) = known {
            let same = known.return_url.as_deref() == return_url;
            return Ok(if same { Ordered::Begun(known.id) } else { Ordered::Conflict });
        }
    }
    if let Some(after) = limited(db, user, limit).await? {
        return Ok(Ordered::Limited { after });
    }
    forget_pages(db).await?;
    let made = Uuid::new_v4().to_string();
    let row = sqlx::query!(
        "INSERT INTO bursar.portal (user_id, key, return_url) VALUES ($1, $2, $3) RETURNING id, requested_at",
        user,
        key.unwrap_or(&made),
        return_url,
    )
    .fetch_one(&mut *db)
    .await?;
    enqueue_call(db, user, None, row.requested_at, CreatePortal::of(&row.id)).await?;
    Ok(Ordered::Begun(row.id))
}

/// A page of the portal lives for minutes: each new one forgets a few that are a month old, so that they do not add up.
async fn forget_pages(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM bursar.portal WHERE id IN (
             SELECT p.id FROM bursar.portal p WHERE p.requested_at < (SELECT bursar.now()) - interval '30 days' AND p.state <> 'asked'
             ORDER BY p.requested_at LIMIT 10 FOR UPDATE SKIP LOCKED)"
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A purchase without a payment, where the provider is a dummy: granted at once, once for the caller's key. None: the key stands for
/// another one.
pub async fn grant_unpaid(db: &mut PgConnection, order: &Order, terms: &Terms) -> Result<Option<String>, sqlx::Error> {
    let key = order.key.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
    let session = format!("dummy:{}:{}", escaped(&order.user_id), escaped(&key));
    let mut posting = ledger::Posting::grant("purchase", format!("purchase:{session}"), &order.user_id, order.credits);
    posting.reference = Some(session.clone());
    posting.why = Some(format!("{}, without a payment: the provider is a dummy", order.item));
    see(db, &order.user_id, terms).await?;
    let posted = ledger::post(&mut *db, &[posting]).await?;
    Ok((!matches!(posted.first(), Some(ledger::Posted::Conflict(_)))).then_some(session))
}

/// One request of a user at a time, until the transaction ends.
pub(crate) async fn hold(db: &mut PgConnection, user: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('checkout:' || $1, 0::bigint))", user)
        .execute(db)
        .await?;
    Ok(())
}

/// Seconds to wait, where the user has begun as many in the last minute as may be.
async fn limited(db: &mut PgConnection, user: &str, limit: i64) -> Result<Option<i64>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "count!", ceil(extract(epoch FROM min(r.requested_at) + interval '1 minute' - bursar.now()))::bigint AS after
           FROM (SELECT requested_at FROM bursar.checkout WHERE user_id = $1 AND requested_at > (SELECT bursar.now()) - interval '1 minute'
                 UNION ALL
                 SELECT requested_at FROM bursar.portal WHERE user_id = $1 AND requested_at > (SELECT bursar.now()) - interval '1 minute') r"#,
        user
    )
    .fetch_one(db)
    .await?;
    Ok((row.count >= limit).then(|| row.after.unwrap_or(60).clamp(1, 60)))
}

/// Enqueues a call that needs the user's customer, and what makes the customer where there is none.
async fn enqueue_call(
    db: &mut PgConnection,
    user: &str,
    email: Option<&str>,
    asked_at: DateTime<Utc>,
    call: crate::engine::job::NewJob,
) -> Result<(), sqlx::Error> {
    let standing = create_customer::standing(&mut *db, user).await?;
    let mut jobs = Vec::new();
    if standing.customer.is_none() {
        jobs.push(CreateCustomer::of(user, email, standing.gone, asked_at, call.cause.as_deref().unwrap_or_default()));
    }
    jobs.push(call);
    enqueue::enqueue(db, &jobs).await?;
    Ok(())
}

/// The first sight of a user.
async fn see(db: &mut PgConnection, user: &str, terms: &Terms) -> Result<(), sqlx::Error> {
    let welcome = initial_credits::welcome(user, terms, None).into_iter();
    if terms.initial_credits.is_positive()
        && initial_credits::new_among(&mut *db, &[user.to_owned()]).await?.contains(user)
    {
        ledger::post(db, &welcome.collect::<Vec<_>>()).await?;
    }
    Ok(())
}
