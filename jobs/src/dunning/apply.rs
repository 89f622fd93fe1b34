//! Cases of dunning, and their steps. A step's row is what makes it one for ever: its job goes when it is old.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, types::Json};

use crate::{
    dunning::{
        Step,
        change::{Change, NewCase},
        dunning_step::DunningStep,
    },
    engine::{change::changes, domain::ApplyContext, enqueue},
    subscriptions::{
        self,
        change::{InvoicePaid, SubscriptionChanged},
    },
};

/// Makes the changes of a batch that concern dunning.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch, verdicts) = (&mut *context.db, context.batch, &mut context.verdicts);
    let all: Vec<(usize, &Change)> = changes(batch, Some);
    for (owner, change) in all {
        match change {
            Change::Open(case) => {
                if open(db, case).await? {
                    verdicts[owner].new = true;
                } else {
                    verdicts[owner].already = Some(format!("{} has its case", case.invoice_id));
                }
            }
            change => make(db, change).await?,
        }
    }
    Ok(())
}

/// Ends what is chased for subscriptions that are over, keeps what was promised for those that are overdue, and ends what is chased for invoices that are paid.
pub(crate) async fn react(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    for changed in context.facts::<SubscriptionChanged>() {
        if changed.is_over() {
            ended(&mut *context.db, &changed.id).await?;
        } else if changed.status == "past_due" {
            keep_promise(&mut *context.db, &changed.id).await?;
        }
    }
    for InvoicePaid { invoice } in context.facts() {
        close(&mut *context.db, &invoice, "paid", "the invoice is paid").await?;
    }
    Ok(())
}

async fn make(db: &mut PgConnection, change: &Change) -> Result<(), sqlx::Error> {
    match change {
        Change::Open(_) => Ok(()),
        Change::Heard { invoice, failed_at } => heard(db, invoice, *failed_at).await,
        Change::Step { invoice, step, state, outcome, due_at } => {
            sqlx::query!(
                "UPDATE bursar.dunning_step SET state = $3, outcome = $4, due_at = coalesce($5, due_at), changed_at = bursar.now()
                 WHERE invoice_id = $1 AND step = $2",
                invoice,
                step.to_string(),
                state,
                outcome.replace('\0', "\u{fffd}"),
                *due_at,
            )
            .execute(&mut *db)
            .await?;
            // What waits to know that a try is over.
            enqueue::wake(db, &[format!("dunning:{invoice}")]).await
        }
        Change::Stuck { invoice, step, why } => {
            sqlx::query!(
                "UPDATE bursar.dunning_step SET outcome = 'stopped: ' || $3, changed_at = bursar.now()
                 WHERE invoice_id = $1 AND state IN ('running', 'sending', 'unknown')
                   AND (step = $2 OR $2 IS NULL AND step LIKE 'final:%')",
                invoice,
                step.map(|step| step.to_string()),
                why.replace('\0', "\u{fffd}"),
            )
            .execute(db)
            .await?;
            Ok(())
        }
        Change::Close { invoice, state, reason } => close(db, invoice, state, reason).await,
        Change::Promise { invoice, until } => {
            let of = sqlx::query_scalar!(
                "UPDATE bursar.dunning_case SET promised_until = greatest(promised_until, $2), changed_at = bursar.now()
                 WHERE invoice_id = $1 RETURNING subscription_id",
                invoice,
                until
            )
            .fetch_optional(&mut *db)
            .await?;
            match of {
                Some(subscription) => keep_promise(db, &subscription).await,
                None => Ok(()),
            }
        }
        Change::CardAsked { invoice } => {
            sqlx::query!(
                "UPDATE bursar.dunning_case SET card_asked_at = coalesce(card_asked_at, bursar.now()), changed_at = bursar.now()
                 WHERE invoice_id = $1",
                invoice
            )
            .execute(db)
            .await?;
            Ok(())
        }
        Change::Resume { invoice, occasion, delay } => resume(db, invoice, occasion, *delay).await,
    }
}

/// What a letter named as the last day of access is kept: while its case is open, the subscription gives access as long.
async fn keep_promise(db: &mut PgConnection, subscription: &str) -> Result<(), sqlx::Error> {
    let until = sqlx::query_scalar!(
        "SELECT max(promised_until) FROM bursar.dunning_case WHERE subscription_id = $1 AND state = 'open'",
        subscription
    )
    .fetch_one(&mut *db)
    .await?;
    match until {
        Some(until) => subscriptions::apply::extend_access(db, subscription, until).await,
        None => Ok(()),
    }
}

/// Opens a case; false: there is one.
async fn open(db: &mut PgConnection, case: &NewCase) -> Result<bool, sqlx::Error> {
    let made = sqlx::query!(
        "INSERT INTO bursar.dunning_case (invoice_id, subscription_id, customer_id, user_id, failed_at, amount, currency, schedule, event_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        case.invoice_id,
        case.subscription_id,
        case.customer_id,
        case.user_id,
        case.failed_at,
        case.amount,
        case.currency,
        Json(&case.schedule) as _,
        case.event_id,
    )
    .execute(&mut *db)
    .await?;
    if made.rows_affected() == 0 {
        heard(db, &case.invoice_id, case.failed_at).await?;
        return Ok(false);
    }
    let mut jobs = Vec::new();
    for step in case.schedule.steps() {
        let due = step.due(case.failed_at);
        sqlx::query!(
            "INSERT INTO bursar.dunning_step (invoice_id, step, day, due_at) VALUES ($1, $2, $3, $4)",
            case.invoice_id,
            step.to_string(),
            i32::try_from(step.day()).unwrap_or(i32::MAX),
            due,
        )
        .execute(&mut *db)
        .await?;
        jobs.push(DunningStep::of(&case.invoice_id, step, due - case.now));
    }
    enqueue::enqueue(db, &jobs).await?;
    Ok(true)
}

/// A failure before the first that was known: what is still planned counts from it.
async fn heard(db: &mut PgConnection, invoice: &str, failed_at: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let earlier = sqlx::query!(
        "UPDATE bursar.dunning_case SET failed_at = $2, changed_at = bursar.now()
         WHERE invoice_id = $1 AND state = 'open' AND failed_at > $2",
        invoice,
        failed_at
    )
    .execute(&mut *db)
    .await?;
    if earlier.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!(
        "WITH moved AS (
             UPDATE bursar.dunning_step SET due_at = $2::timestamptz + day::float8 * interval '1 day'
             WHERE invoice_id = $1 AND state = 'planned' RETURNING invoice_id || ':' || step AS key, due_at)
         UPDATE apalis.jobs j SET run_at = moved.due_at FROM moved
         WHERE j.job_type = 'dunning_step' AND j.idempotency_key = moved.key AND j.status = 'Pending'",
        invoice,
        failed_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a case, where what it is allows it, and stands the rest of it down.
async fn close(db: &mut PgConnection, invoice: &str, state: &str, reason: &str) -> Result<(), sqlx::Error> {
    let from: &[&str] = match state {
        // Money that comes late ends whatever there was.
        "paid" => &["open", "paused", "cancelled", "exhausted", "void", "uncollectible", "ended", "stopped"],
        "void" => &["open", "paused", "exhausted", "uncollectible"],
        "uncollectible" | "ended" => &["open", "paused", "exhausted"],
        // The event that it is over may come before the answer of whoever ended it.
        "cancelled" => &["open", "ended"],
        _ => &["open"],
    };
    let from: Vec<String> = from.iter().map(|&state| state.to_owned()).collect();
    let reason = reason.replace('\0', "\u{fffd}");
    let closed = sqlx::query!(
        r#"UPDATE bursar.dunning_case SET state = $2, reason = $3, changed_at = bursar.now() WHERE invoice_id = $1 AND state = ANY ($4)
           RETURNING schedule ->> 'final'::text = 'pause' AS "pauses!""#,
        invoice,
        state,
        reason,
        &from,
    )
    .fetch_optional(&mut *db)
    .await?;
    let Some(closed) = closed else { return Ok(()) };
    sqlx::query!(
        "UPDATE bursar.dunning_step SET state = 'skipped', outcome = 'stood down: ' || $2, changed_at = bursar.now()
         WHERE invoice_id = $1 AND state IN ('planned', 'running')",
        invoice,
        reason
    )
    .execute(&mut *db)
    .await?;
    if state != "paid" || !closed.pauses {
        return Ok(());
    }
    let acted = sqlx::query_scalar!(
        "SELECT state FROM bursar.dunning_step WHERE invoice_id = $1 AND step LIKE 'final:%' AND state IN ('done', 'sending', 'unknown')",
        invoice
    )
    .fetch_optional(&mut *db)
    .await?;
    match acted.as_deref() {
        Some("done") => resume(db, invoice, "paid", TimeDelta::zero()).await,
        // What may be under way has surely arrived by then.
        Some(_) => resume(db, invoice, "paid", TimeDelta::minutes(5)).await,
        None => Ok(()),
    }
}

/// The subscription is over, and with it what is chased for it.
async fn ended(db: &mut PgConnection, subscription: &str) -> Result<(), sqlx::Error> {
    let cases = sqlx::query_scalar!(
        "SELECT invoice_id FROM bursar.dunning_case WHERE subscription_id = $1 AND state IN ('open', 'paused', 'exhausted')
         ORDER BY invoice_id",
        subscription
    )
    .fetch_all(&mut *db)
    .await?;
    for invoice in cases {
        close(db, &invoice, "ended", "its subscription is over").await?;
    }
    Ok(())
}

async fn resume(db: &mut PgConnection, invoice: &str, occasion: &str, delay: TimeDelta) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO bursar.dunning_step AS s (invoice_id, step, day, due_at)
         VALUES ($1, $2, 0, bursar.now() + $3::bigint::float8 * interval '1 millisecond')
         ON CONFLICT (invoice_id, step) DO UPDATE SET state = 'planned', outcome = NULL, due_at = excluded.due_at
             WHERE s.state = 'skipped'",
        invoice,
        Step::Resume.to_string(),
        delay.num_milliseconds(),
    )
    .execute(&mut *db)
    .await?;
    enqueue::enqueue(db, &[DunningStep::again(invoice, Step::Resume, occasion, delay)]).await?;
    Ok(())
}
