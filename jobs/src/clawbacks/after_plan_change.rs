//! Which invoice paid for which plan change. Whoever notes one holds the subscription ([`service_month::hold`]), and so does
//! whoever grants for a change, or takes back: each sees what those before it did.

use sqlx::PgConnection;

use crate::{
    clawbacks::claw_back::ClawBack,
    engine::{change::changes, domain::ApplyContext, job::NewJob},
    subscriptions::{
        change::{Change, PaidChange},
        service_month,
    },
};

/// Notes what was paid, and says which charges must be looked at again: one that came back before it was known what it paid for, and
/// those whose grants have just become more or less.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch, verdicts) = (&mut *context.db, context.batch, &mut context.verdicts);
    let mut again = Vec::new();
    let all: Vec<(usize, &Change)> = changes(batch, Some);
    for (owner, change) in all {
        if let Change::PayChange(paid) = change {
            if note(db, paid).await? {
                verdicts[owner].new = true;
                let occasion = format!("{}:{}", paid.invoice, service_month::seconds(paid.at));
                again.extend(of_subscription(db, &paid.subscription_id, Some(&paid.invoice), &occasion).await?);
            }
        } else if let Change::SetExtra(month) = change {
            let occasion =
                format!("{}:{}:{}", month.subscription_id, service_month::seconds(month.start_at), month.changes);
            again.extend(of_subscription(db, &month.subscription_id, None, &occasion).await?);
        }
    }
    context.follow_ups.extend(again);
    Ok(())
}

async fn note(db: &mut PgConnection, paid: &PaidChange) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "INSERT INTO bursar.plan_change_paid (subscription_id, at, invoice, amount, value) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
        paid.subscription_id,
        paid.at,
        paid.invoice,
        paid.amount,
        paid.value
    )
    .execute(db)
    .await?;
    Ok(noted.rows_affected() > 0)
}

/// The charges of which something came back and that paid for changes of a subscription, by any invoice or by one.
async fn of_subscription(
    db: &mut PgConnection,
    subscription: &str,
    invoice: Option<&str>,
    occasion: &str,
) -> Result<Vec<NewJob>, sqlx::Error> {
    let mut invoices = sqlx::query_scalar!(
        "SELECT DISTINCT invoice FROM bursar.plan_change_paid WHERE subscription_id = $1 ORDER BY 1",
        subscription
    )
    .fetch_all(&mut *db)
    .await?;
    invoices.retain(|one| invoice.is_none_or(|invoice| invoice == one));
    if invoices.is_empty() {
        return Ok(Vec::new());
    }
    // A clawback holds its invoices alone: either it sees what was noted here, or its charge is seen here.
    let charges = sqlx::query_scalar!(r#"SELECT DISTINCT charge AS "charge!" FROM bursar.charges_back($1)"#, &invoices)
        .fetch_all(db)
        .await?;
    Ok(charges.iter().map(|charge| ClawBack::after_change(charge, occasion)).collect())
}
