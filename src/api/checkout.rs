//! `/api/stripe/checkout`: begin one, and see where one stands.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bursar_jobs::{
    base::{clock, credits::Credits, db},
    engine::{enqueue, job::NewJob},
    selling::{
        active_subscription,
        check_checkout::CheckCheckout,
        order::{self, Ordered},
        packages::Packages,
    },
};
use hyper::{Request, StatusCode, body::Incoming};
use serde_json::json;
use uuid::Uuid;

use super::{
    Api, Seller,
    acts::{self, Begins},
    input,
    offer::Asked,
    routes::{Who, failed},
    wait,
};
use crate::http::reply::{Problem, Reply, json};

/// Requests without a key that find a session which is over begin another: once, unless it too is over by then.
const ROUNDS: usize = 3;
/// Sessions that nobody here made and that Stripe is asked for in this time, by one process.
const STRANGERS: usize = 10;
const STRANGERS_WINDOW: Duration = Duration::from_mins(1);

/// `POST /api/stripe/checkout`.
pub(super) async fn create(api: &Api, request: Request<Incoming>) -> Result<Reply, Problem> {
    let who = Who::of(&request);
    let (asked, key) = input::read::<Asked>(api, request).await?;
    let settings = &api.settings;
    let mut db = api.pool.acquire().await.map_err(|error| failed(&error))?;
    let packages = Packages::load(&mut db, Some(&settings.terms)).await.map_err(|error| failed(&error))?;
    drop(db);
    let order = asked.order(key, &packages, &settings.terms, &settings.checkout)?;
    match settings.seller {
        Seller::Stripe => {}
        Seller::Dummy => return dummy(api, &who, &asked, &order).await,
        Seller::Off => return Err(off("`[stripe] provider` is off")),
    }
    if passes(api).await.map_err(|error| failed(&error))? {
        return Err(off("the worker has no STRIPE_SECRET_KEY"));
    }
    for _ in 0..ROUNDS {
        let mut tx = db::begin(&api.pool).await.map_err(|error| failed(&error))?;
        let limit = i64::from(settings.checkout.per_minute);
        let ordered = order::order(&mut tx, &order, limit, &settings.terms).await.map_err(|error| failed(&error))?;
        let mut is_new = false;
        if let Ordered::Begun(id) = &ordered {
            let noted = acts::note(&mut tx, &who, &order.user_id, Begins::Checkout(id)).await;
            is_new = noted.map_err(|error| failed(&error))?;
        }
        tx.commit().await.map_err(|error| failed(&error))?;
        match ordered {
            Ordered::Begun(id) => return Ok(input::repeated(begun(api, &id).await?, !is_new)),
            Ordered::Perhaps { id, session } => {
                // Its event may be late: Stripe knows whether it is still open.
                let occasion = Uuid::new_v4().to_string();
                if !is_settled(api, CheckCheckout::of(&session, &occasion), api.settings.patience).await? {
                    return Err(unanswered());
                }
                let open =
                    sqlx::query_scalar!(r#"SELECT state = 'open' AS "open!" FROM bursar.checkout WHERE id = $1"#, id)
                        .fetch_one(&api.pool)
                        .await
                        .map_err(|error| failed(&error))?;
                if open {
                    return Ok(input::repeated(begun(api, &id).await?, true));
                }
            }
            other => return Err(refused(&other)),
        }
    }
    Err(unanswered())
}

/// Why nothing was begun.
pub(super) fn refused(ordered: &Ordered) -> Problem {
    match ordered {
        Ordered::Conflict => input::key_conflict(),
        Ordered::Subscribed(subscription) => {
            let tier = subscription.tier.as_deref().unwrap_or("some tier");
            let detail = format!(
                "This user subscribes to {tier} already ({}). To change or end it, send the user to the portal: POST /api/stripe/portal.",
                subscription.subscription_id
            );
            Problem::new(StatusCode::CONFLICT, detail).with("subscription_id", subscription.subscription_id.clone())
        }
        Ordered::Limited { after } => {
            let detail = "This user has begun too many checkouts within a minute (`[checkout] per_minute`).";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).after(*after)
        }
        Ordered::Begun(_) | Ordered::Perhaps { .. } => unanswered(),
    }
}

fn unanswered() -> Problem {
    Problem::unavailable(
        "Stripe has not answered yet. Send it again with the same Idempotency-Key: that picks up what was begun, and makes no other.",
    )
}

pub(super) fn off(why: &str) -> Problem {
    let detail = format!("Stripe is off here ({why}), and nothing is sold. Credit checks pass.");
    Problem::new(StatusCode::CONFLICT, detail)
}

/// Whether credit checks pass, for Stripe is off: the worker, which has the key or has not, says so when it starts.
pub(super) async fn passes(api: &Api) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bursar.setting WHERE name = 'credit_checks' AND value = 'pass') AS "passes!""#
    )
    .fetch_one(&api.pool)
    .await
}

/// Waits for the session of a checkout.
async fn begun(api: &Api, id: &str) -> Result<Reply, Problem> {
    let look = || async {
        let row = sqlx::query!(
            r#"SELECT c.user_id, c.state, c.session_id, c.url, c.reason, c.state = 'asked' AND EXISTS (
                   SELECT FROM bursar.job j WHERE j.kind = 'create_checkout' AND j.key = c.id AND j.state IN ('dead', 'cancelled')) AS "given_up!"
               FROM bursar.checkout c WHERE c.id = $1"#,
            id
        )
        .fetch_one(&api.pool)
        .await?;
        Ok((row.state != "asked" || row.given_up).then_some(row))
    };
    let row = wait::until(api.settings.patience, look).await.map_err(|error| failed(&error))?.ok_or_else(unanswered)?;
    if row.given_up {
        return Err(given_up());
    }
    if row.state == "refused" {
        let why = row.reason.unwrap_or_default();
        return Err(Problem::new(
            StatusCode::BAD_GATEWAY,
            format!("{why}. An operator sees why: bursar jobs list --state dead."),
        ));
    }
    if row.state == "failed" && row.session_id.is_none() {
        return Err(unbegun(api, &row.user_id, row.reason.unwrap_or_default()).await);
    }
    Ok(json(StatusCode::OK, json!({ "url": row.url, "session": row.session_id }).to_string()))
}

/// Why a checkout got no page: its user subscribes by now, or may have paid elsewhere.
async fn unbegun(api: &Api, user: &str, why: String) -> Problem {
    let active = async { active_subscription::active_subscription(&mut *api.pool.acquire().await?, user).await };
    match active.await {
        Ok(Some(active)) => refused(&Ordered::Subscribed(active)),
        Ok(None) => Problem::new(StatusCode::CONFLICT, format!("{why}.")),
        Err(error) => failed(&error),
    }
}

/// Nothing came of it, and nothing will under this key until an operator sees to it.
pub(super) fn given_up() -> Problem {
    let detail = "What was asked for under this key did not come about. An operator sees why: bursar jobs list --state dead. \
                  Another key begins anew.";
    Problem::new(StatusCode::BAD_GATEWAY, detail)
}

/// A checkout where the provider is a dummy: nobody pays.
async fn dummy(api: &Api, who: &Who, asked: &Asked, order: &order::Order) -> Result<Reply, Problem> {
    let mut tx = db::begin(&api.pool).await.map_err(|error| failed(&error))?;
    let granted = order::grant_unpaid(&mut tx, order, &api.settings.terms).await.map_err(|error| failed(&error))?;
    let Some(session) = granted else { return Err(refused(&Ordered::Conflict)) };
    let noted = acts::note(&mut tx, who, &order.user_id, Begins::Unpaid(&session)).await;
    let is_new = noted.map_err(|error| failed(&error))?;
    tx.commit().await.map_err(|error| failed(&error))?;
    let url = asked.success_url.as_ref().unwrap_or(&api.settings.checkout.success_url);
    let url = url.replace("{CHECKOUT_SESSION_ID}", &session);
    let reply = json(StatusCode::OK, json!({ "url": url, "session": session }).to_string());
    Ok(input::repeated(reply, !is_new))
}

/// Enqueues a question and waits until it is settled; false: not in time.
pub(super) async fn is_settled(api: &Api, job: NewJob, patience: Duration) -> Result<bool, Problem> {
    enqueue::enqueue(&api.pool, std::slice::from_ref(&job)).await.map_err(|error| failed(&error))?;
    let look = || async {
        sqlx::query_scalar!(
            r#"SELECT true AS "settled!" FROM bursar.job WHERE kind = $1 AND key = $2 AND state NOT IN ('ready', 'scheduled', 'running')"#,
            job.kind,
            job.key
        )
        .fetch_optional(&api.pool)
        .await
    };
    Ok(wait::until(patience, look).await.map_err(|error| failed(&error))?.is_some())
}

/// `GET /api/stripe/checkout/{session}`: where a purchase stands, for the page that a buyer comes back to.
pub(super) async fn status(api: &Api, session: &str) -> Result<Reply, Problem> {
    if !input::is_word(session) {
        return Err(unknown(session));
    }
    let mut standing = Standing::read(api, session).await.map_err(|error| failed(&error))?;
    let is_stripes = session.starts_with("cs_");
    let is_open = matches!(standing.state(), Some("open" | "paid_waiting"));
    // Whoever invents ids makes no request of Stripe with each. One may be a payment link's, whose event is late.
    let may_be_bought = || standing.state().is_none() && api.strangers.let_in(session);
    if is_stripes && (is_open || may_be_bought()) {
        // Its event may be late. Once a minute Stripe is asked, however often this page is loaded.
        let now = clock::business(&api.pool).await.map_err(|error| failed(&error))?;
        let occasion = now.format("%Y-%m-%dT%H:%M").to_string();
        is_settled(api, CheckCheckout::of(session, &occasion), api.settings.patience).await?;
        standing = Standing::read(api, session).await.map_err(|error| failed(&error))?;
    }
    let state = standing.state().ok_or_else(|| unknown(session))?;
    let body = json!({
        "session": session,
        "state": state,
        "user_id": standing.user,
        "item": standing.item,
        "credits": standing.credits.map(|credits| credits.to_string()),
        "posting": standing.posting,
        "subscription_id": standing.subscription,
        "reason": standing.reason.filter(|_| state == "failed"),
    });
    Ok(json(StatusCode::OK, body.to_string()))
}

fn unknown(session: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("No checkout has the session {session:?}."))
}

/// The sessions that nobody here made and that Stripe was lately asked for: a small budget, for anybody can invent one.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<HashMap<String, Instant>>);

impl Strangers {
    /// Whether Stripe may be asked for a session; one that it was asked for a moment ago is the same question.
    fn let_in(&self, session: &str) -> bool {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.retain(|_, asked| asked.elapsed() < STRANGERS_WINDOW);
        if lately.contains_key(session) {
            return true;
        }
        let is_room = lately.len() < STRANGERS;
        if is_room {
            lately.insert(session.to_owned(), clock::monotonic());
        }
        is_room
    }
}

/// What is known of a session.
#[derive(Debug)]
struct Standing {
    user: Option<String>,
    item: Option<String>,
    checkout: Option<String>,
    payment: Option<String>,
    reason: Option<String>,
    subscription: Option<String>,
    over: bool,
    posting: Option<i64>,
    credits: Option<Credits>,
}

impl Standing {
    async fn read(api: &Api, session: &str) -> Result<Self, sqlx::Error> {
        // A subscription's credits come by its invoice: the first refill is what this checkout bought.
        let row = sqlx::query!(
            r#"SELECT coalesce(c.user_id, substr(a.name, 6)) AS user_id, c.item AS "item?", c.state AS "state?", c.payment_status, c.reason,
                      c.subscription_id, coalesce(c.expires_at <= (SELECT bursar.now()), false) AS "over!", p.id AS "posting?", p.amount AS "amount?"
               FROM (SELECT $1::text AS session) s
               LEFT JOIN bursar.checkout c ON c.session_id = s.session
               LEFT JOIN LATERAL (
                   SELECT g.id, g.amount, g.credit FROM bursar.posting g
                   WHERE g.key = coalesce((SELECT m.refill_key FROM bursar.service_month m WHERE m.subscription_id = c.subscription_id
                                           ORDER BY m.start_at LIMIT 1), 'purchase:' || s.session)) p ON true
               LEFT JOIN bursar.account a ON a.id = p.credit"#,
            session
        )
        .fetch_one(&api.pool)
        .await?;
        Ok(Self {
            user: row.user_id,
            item: row.item,
            checkout: row.state,
            payment: row.payment_status,
            reason: row.reason,
            subscription: row.subscription_id,
            over: row.over,
            posting: row.posting,
            credits: row.amount.map(Credits::from_micros),
        })
    }

    /// `open`, `paid_waiting`, `granted`, `failed`, `expired`; none of a session that nobody knows.
    fn state(&self) -> Option<&'static str> {
        let is_subscription = self.item.as_deref().is_some_and(|item| item.starts_with("tier:"));
        match (self.posting, self.checkout.as_deref()) {
            (Some(_), _) => Some("granted"),
            // A trial: there is access, and there are no credits yet.
            (None, Some("complete")) if is_subscription && self.payment.as_deref() == Some("no_payment_required") => {
                Some("granted")
            }
            (None, Some("complete")) => Some("paid_waiting"),
            (None, Some("failed")) => Some("failed"),
            (None, Some("expired")) => Some("expired"),
            (None, Some("open")) => Some(if self.over { "expired" } else { "open" }),
            (None, _) => None,
        }
    }
}
