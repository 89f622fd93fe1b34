//! Users: found by the beginning of their id, and read whole: credits, flags, subscriptions, and what they earn and buy.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::subscriptions::{Subscription, SubscriptionFilter};

/// A user in a list.
#[derive(Debug, Clone)]
pub struct UserRow {
    /// The user.
    pub user_id: String,
    /// Their credits, in millionths; none: no posting ever moved any.
    pub balance: Option<i64>,
    /// The tiers and states of their subscriptions that are not over.
    pub subscriptions: Option<String>,
    /// How their account as a receiver stands.
    pub receiver: Option<String>,
    /// How many things flag them.
    pub flags: i64,
}

/// Users whose id begins so, in the order of their ids' bytes, after that one. A user is whoever has credits, a customer at Stripe, or is a
/// receiver.
pub async fn page(
    db: &mut PgConnection,
    beginning: &str,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<UserRow>, sqlx::Error> {
    // U+10FFFF is the last of all characters: what begins so comes before it.
    sqlx::query_as!(
        UserRow,
        r#"WITH named (user_id) AS (
               (SELECT substr(a.name, 6) FROM bursar.account a
                WHERE a.unit = 'credits' AND a.name LIKE 'user:%' AND substr(a.name, 6) ~>=~ $1 AND substr(a.name, 6) ~<~ ($1 || chr(1114111))
                  AND substr(a.name, 6) ~>~ $2 ORDER BY substr(a.name, 6) USING ~<~ LIMIT $3)
               UNION
               (SELECT DISTINCT c.user_id FROM bursar.customer c
                WHERE c.user_id ~>=~ $1 AND c.user_id ~<~ ($1 || chr(1114111)) AND c.user_id ~>~ $2 ORDER BY c.user_id USING ~<~ LIMIT $3)
               UNION
               (SELECT r.user_id FROM bursar.receiver r
                WHERE r.user_id ~>=~ $1 AND r.user_id ~<~ ($1 || chr(1114111)) AND r.user_id ~>~ $2 ORDER BY r.user_id USING ~<~ LIMIT $3)
           )
           SELECT n.user_id AS "user_id!",
                  (SELECT a.balance FROM bursar.account a WHERE a.name = 'user:' || n.user_id AND a.unit = 'credits') AS balance,
                  (SELECT string_agg(coalesce(s.tier || ' ', '') || s.status, ', ' ORDER BY s.changed_at DESC) FROM bursar.subscription s
                   WHERE s.user_id = n.user_id AND s.status NOT IN ('canceled', 'incomplete_expired')) AS subscriptions,
                  (SELECT r.state FROM bursar.receiver r WHERE r.user_id = n.user_id) AS receiver,
                  (SELECT count(*) FROM bursar.user_flag f WHERE f.user_id = n.user_id) AS "flags!"
           FROM named n ORDER BY n.user_id USING ~<~ LIMIT $3"#,
        beginning,
        after.unwrap_or_default(),
        limit,
    )
    .fetch_all(db)
    .await
}

/// Why an operator should look at a user, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Flag {
    /// `dispute`, or `second_subscription`.
    pub flag: String,
    /// What raised it: the id of a dispute, of a subscription.
    pub source: String,
    /// Since when.
    #[serde(skip)]
    pub since: Option<DateTime<Utc>>,
    /// Of a dispute: its state, its reason, and until when evidence counts.
    #[serde(skip)]
    pub more: Option<String>,
}

/// What flags a user, oldest first.
pub async fn flags(db: &mut PgConnection, user: &str) -> Result<Vec<Flag>, sqlx::Error> {
    sqlx::query_as!(
        Flag,
        r#"SELECT f.flag AS "flag!", f.source AS "source!", f.since,
                  (SELECT concat_ws(', ', d.status, d.reason, 'evidence counts until ' || to_char(d.due_by AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'))
                   FROM bursar.dispute d WHERE d.id = f.source) AS more
           FROM bursar.user_flag f WHERE f.user_id = $1 ORDER BY f.since, f.source"#,
        user
    )
    .fetch_all(db)
    .await
}

/// A customer at Stripe that is this user.
#[derive(Debug, Clone)]
pub struct Customer {
    /// `cus_…`
    pub id: String,
    /// Their address, as it was last heard.
    pub email: Option<String>,
    /// Since when we know.
    pub linked_at: DateTime<Utc>,
    /// When Stripe said that it is gone.
    pub gone_at: Option<DateTime<Utc>>,
}

/// How a user stands as a receiver.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// The connected account.
    pub account_id: Option<String>,
    /// How it stands.
    pub state: String,
    /// Whether Stripe pays out to the owner's bank.
    pub payouts_enabled: bool,
    /// What Stripe wants of the owner.
    pub requirements: Option<Value>,
    /// Why nothing is sent to them; none where it is.
    pub why_held: Option<String>,
    /// When Stripe was asked.
    pub asked_at: Option<DateTime<Utc>>,
}

/// What payouts of one state come to.
#[derive(Debug, Clone)]
pub struct Sum {
    /// Whether the user receives; else they bought.
    pub receives: bool,
    /// The state.
    pub state: String,
    /// How many.
    pub count: i64,
    /// Their sum, in minor units.
    pub amount: i64,
    /// What of it did not come back and is not settled by later payouts yet.
    pub carried: i64,
    /// Lower-case ISO code.
    pub currency: String,
}

/// A payout.
#[derive(Debug, Clone)]
pub struct Payout {
    /// The verified job that it is owed for.
    pub job_id: String,
    /// Who earns.
    pub receiver_id: String,
    /// Who bought.
    pub sender_id: Option<String>,
    /// How much, in minor units.
    pub amount: i64,
    /// Of which currency.
    pub currency: String,
    /// Its state.
    pub state: String,
    /// Its Transfer.
    pub transfer_id: Option<String>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// A user, but for the history of their credits.
#[derive(Debug, Clone)]
pub struct User {
    /// Their credits, in millionths; none: no posting ever moved any.
    pub balance: Option<i64>,
    /// Why somebody should look.
    pub flags: Vec<Flag>,
    /// Their subscriptions, last changed first.
    pub subscriptions: Vec<Subscription>,
    /// What they are at Stripe.
    pub customers: Vec<Customer>,
    /// How they stand as a receiver.
    pub receiver: Option<Receiver>,
    /// What their payouts come to.
    pub sums: Vec<Sum>,
    /// The newest payouts to them.
    pub received: Vec<Payout>,
    /// The newest payouts for what they bought.
    pub bought: Vec<Payout>,
}

/// What stands in a user's account of credits, in millionths; none: nothing was ever posted there, or the user's name was mistyped.
pub async fn credits(db: &mut PgConnection, user: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!("SELECT balance FROM bursar.account WHERE name = 'user:' || $1 AND unit = 'credits'", user)
        .fetch_optional(db)
        .await
}

/// Reads a user; none where nothing is known of them. Of each list the newest `most`.
pub async fn one(db: &mut PgConnection, user: &str, most: i64) -> Result<Option<User>, sqlx::Error> {
    let balance = credits(&mut *db, user).await?;
    let mine = SubscriptionFilter { user: Some(user.to_owned()), ..SubscriptionFilter::default() };
    let subscriptions = mine.page(&mut *db, None, most).await?;
    let customers = sqlx::query_as!(
        Customer,
        "SELECT id, email, linked_at, gone_at FROM bursar.customer WHERE user_id = $1 ORDER BY linked_at DESC, id LIMIT $2",
        user,
        most
    )
    .fetch_all(&mut *db)
    .await?;
    let standing = sqlx::query_as!(
        Receiver,
        "SELECT account_id, state, payouts_enabled, requirements, bursar.why_held(user_id) AS why_held, asked_at
         FROM bursar.receiver WHERE user_id = $1",
        user
    )
    .fetch_optional(&mut *db)
    .await?;
    let sums = sqlx::query_as!(
        Sum,
        r#"SELECT p.receives AS "receives!", p.state AS "state!", p.currency AS "currency!", count(*) AS "count!",
                  sum(p.amount)::bigint AS "amount!", sum(p.carried)::bigint AS "carried!"
           FROM (SELECT true AS receives, state, currency, amount, greatest(carried - recovered, 0) AS carried
                 FROM bursar.payout WHERE receiver_id = $1
                 UNION ALL SELECT false, state, currency, amount, 0 FROM bursar.payout WHERE sender_id = $1) p
           GROUP BY p.receives, p.state, p.currency ORDER BY p.receives DESC, p.state, p.currency"#,
        user
    )
    .fetch_all(&mut *db)
    .await?;
    let received = sqlx::query_as!(
        Payout,
        "SELECT job_id, receiver_id, sender_id, amount, currency, state, transfer_id, recorded_at
         FROM bursar.payout WHERE receiver_id = $1 ORDER BY recorded_at DESC, job_id DESC LIMIT $2",
        user,
        most
    )
    .fetch_all(&mut *db)
    .await?;
    let bought = sqlx::query_as!(
        Payout,
        "SELECT job_id, receiver_id, sender_id, amount, currency, state, transfer_id, recorded_at
         FROM bursar.payout WHERE sender_id = $1 ORDER BY recorded_at DESC, job_id DESC LIMIT $2",
        user,
        most
    )
    .fetch_all(&mut *db)
    .await?;
    let flags = flags(db, user).await?;
    let known = balance.is_some()
        || standing.is_some()
        || !(subscriptions.is_empty() && customers.is_empty() && sums.is_empty() && flags.is_empty());
    Ok(known.then_some(User { balance, flags, subscriptions, customers, receiver: standing, sums, received, bought }))
}
