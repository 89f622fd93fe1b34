//! Whom and how much an event or a job is about, as far as the event itself and the books say: for people who look for a name and a sum.
//!
//! What is shown is a help for finding, and decides nothing: the jobs read their facts for themselves.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::PgConnection;

use super::filter::JobRow;
use crate::engine::kind;

/// Bodies that are read, in bytes. Longer ones are left: a list is read anew every few seconds.
const LONGEST: i32 = 65_536;

/// Whom and how much something is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The user.
    pub user: Option<String>,
    /// In minor units, and the currency.
    pub amount: Option<(i64, String)>,
    /// The object of the event.
    pub object: Option<String>,
}

/// By the ids of events.
pub async fn events(db: &mut PgConnection, ids: &[String]) -> Result<BTreeMap<String, About>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, type, object_id, CASE WHEN octet_length(body) < $2 THEN body END AS body FROM bursar.event WHERE id = ANY ($1)",
        ids,
        LONGEST
    )
    .fetch_all(&mut *db)
    .await?;
    let (mut all, mut names) = (BTreeMap::new(), Vec::new());
    for row in rows {
        let body: Option<Value> = row.body.as_deref().and_then(|body| serde_json::from_slice(body).ok());
        let object = body.as_ref().and_then(|body| body.get("data")).map(|data| data.get("object").unwrap_or(data));
        let user = object.and_then(user);
        // What the event does not say itself, the books may know of its object, subscription or customer.
        let by: Vec<String> = if user.is_some() {
            Vec::new()
        } else {
            let also = ["subscription", "customer"].map(|name| text(object?, name));
            row.object_id.iter().cloned().chain(also.into_iter().flatten()).collect()
        };
        let amount = object.and_then(|object| amount(&row.r#type, object));
        names.extend(by.iter().cloned());
        all.insert(row.id, (About { user, amount, object: row.object_id }, by));
    }
    let owners = owners(db, &names).await?;
    let known = all.into_iter().map(|(id, (about, by))| {
        let user = about.user.or_else(|| by.iter().find_map(|name| owners.get(name).cloned()));
        (id, About { user, ..about })
    });
    Ok(known.collect())
}

/// By the ids of jobs: of the events that they are of, or of the payouts that they send.
pub async fn jobs(db: &mut PgConnection, jobs: &[JobRow]) -> Result<BTreeMap<String, About>, sqlx::Error> {
    let event = |job: &JobRow| job.cause.clone().or_else(|| job.key.clone());
    let payout = |job: &JobRow| {
        let key = job.key.as_deref().filter(|_| job.kind == kind::PAY_RECEIVER.name)?;
        Some(key.rsplit_once(':')?.0.to_owned())
    };
    let events = events(&mut *db, &jobs.iter().filter_map(event).collect::<Vec<_>>()).await?;
    let owed: Vec<String> = jobs.iter().filter_map(payout).collect();
    let rows =
        sqlx::query!("SELECT job_id, receiver_id, amount, currency FROM bursar.payout WHERE job_id = ANY ($1)", &owed)
            .fetch_all(db)
            .await?;
    let owed: BTreeMap<String, About> = rows
        .into_iter()
        .map(|row| {
            let amount = Some((row.amount, row.currency));
            (row.job_id, About { user: Some(row.receiver_id), amount, object: None })
        })
        .collect();
    let about = |job: &JobRow| match payout(job) {
        Some(of) => owed.get(&of).cloned(),
        None => event(job).and_then(|of| events.get(&of).cloned()),
    };
    Ok(jobs.iter().filter_map(|job| Some((job.id.clone(), about(job)?))).collect())
}

/// Whose these objects are, as far as the books know.
async fn owners(db: &mut PgConnection, names: &[String]) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", user_id AS "user_id!" FROM bursar.customer WHERE id = ANY ($1)
           UNION ALL SELECT id, user_id FROM bursar.subscription WHERE id = ANY ($1)
           UNION ALL SELECT session_id, user_id FROM bursar.checkout WHERE session_id = ANY ($1)
           UNION ALL SELECT account_id, user_id FROM bursar.receiver WHERE account_id = ANY ($1)
           UNION ALL SELECT id, user_id FROM bursar.dispute WHERE id = ANY ($1) AND user_id IS NOT NULL"#,
        names
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.user_id)).collect())
}

fn text(object: &Value, name: &str) -> Option<String> {
    object.get(name)?.as_str().filter(|said| !said.is_empty()).map(str::to_owned)
}

/// The user that an object of Stripe's, or a verification, names.
fn user(object: &Value) -> Option<String> {
    let linked = [
        "/metadata/user_id",
        "/subscription_details/metadata/user_id",
        "/parent/subscription_details/metadata/user_id",
    ];
    let named = linked.iter().find_map(|at| object.pointer(at)?.as_str()).filter(|said| !said.is_empty());
    named.map(str::to_owned).or_else(|| {
        ["client_reference_id", "receiver_id", "sender_id", "user_id"].iter().find_map(|name| text(object, name))
    })
}

/// What an event of that type is about, in money: what was paid, is due, came back, or is sent.
fn amount(of: &str, object: &Value) -> Option<(i64, String)> {
    let fields: &[&str] = match of {
        "invoice.paid" | "invoice.payment_succeeded" => &["amount_paid"],
        "charge.refunded" => &["amount_refunded"],
        _ => &["amount_total", "amount_due", "amount"],
    };
    let amount = fields.iter().find_map(|field| object.get(field)?.as_i64())?;
    Some((amount, text(object, "currency")?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_names_its_user_by_metadata_first_and_its_money_by_what_happened() {
        let invoice = json!({"amount_paid": 1900, "amount_due": 2000, "currency": "usd",
            "parent": {"subscription_details": {"metadata": {"user_id": "anna"}}}});
        assert_eq!(user(&invoice).as_deref(), Some("anna"));
        assert_eq!(amount("invoice.paid", &invoice), Some((1900, "usd".to_owned())));
        assert_eq!(amount("invoice.payment_failed", &invoice), Some((2000, "usd".to_owned())));
        let session = json!({"client_reference_id": "bob", "metadata": {"user_id": ""}, "amount_total": 2999});
        assert_eq!(user(&session).as_deref(), Some("bob"));
        assert_eq!(amount("checkout.session.completed", &session), None, "without a currency it is no money");
        assert_eq!(user(&json!({"id": "x", "metadata": []})), None);
    }
}
