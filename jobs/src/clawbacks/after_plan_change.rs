//! Which charges paid for changes of a plan. Whoever notes such a payment holds the subscription ([`service_month::hold`]), and so does
//! whoever grants for a change, or takes back: each sees what those before it did.

use sqlx::PgConnection;

use crate::{
    clawbacks::claw_back::ClawBack,
    engine::{domain::ApplyContext, job::NewJob},
    subscriptions::{
        change::{ChangePaid, ExtraSet},
        service_month,
    },
};

/// Looks again at charges that came back: one that came back before it was known what it paid for, and those whose grants have just become
/// more or less.
pub(crate) async fn react(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    for paid in context.facts::<ChangePaid>() {
        let occasion = format!("{}:{}", paid.invoice, service_month::seconds(paid.at));
        let again = of_subscription(&mut *context.db, &paid.subscription_id, Some(&paid.invoice), &occasion).await?;
        context.follow_ups.extend(again);
    }
    for extra in context.facts::<ExtraSet>() {
        let occasion =
            format!("{}:{}:{}", extra.subscription_id, service_month::seconds(extra.start_at), extra.changes);
        let again = of_subscription(&mut *context.db, &extra.subscription_id, None, &occasion).await?;
        context.follow_ups.extend(again);
    }
    Ok(())
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
