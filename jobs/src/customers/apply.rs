//! Links between Stripe's customers and our users, customers' addresses, and users' accounts.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::{
    customers::change::{Address, Change, Link},
    engine::{
        change::{RACED, changes},
        domain::ApplyContext,
        enqueue,
        job::Effects,
    },
    ledger::Account,
};

/// Makes the changes of a batch that concern customers.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    link_customers(context).await?;
    keep_addresses(context).await?;
    open_accounts(context).await
}

fn links(batch: &[Effects]) -> Vec<(usize, &Link)> {
    changes(batch, |change| match change {
        Change::LinkCustomer(link) => Some(link),
        Change::KeepAddress(_) | Change::OpenAccount { .. } => None,
    })
}

/// Those links of a batch whose customer is another user's, by their owner. Reads only.
pub(crate) async fn conflicts(db: &mut PgConnection, batch: &[Effects]) -> Result<Vec<(usize, String)>, sqlx::Error> {
    let wanted = links(batch);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = wanted.iter().map(|(_, link)| link.id.clone()).collect();
    let known = sqlx::query!("SELECT id, user_id FROM bursar.customer WHERE id = ANY($1)", &ids).fetch_all(db).await?;
    let known: HashMap<&str, &str> = known.iter().map(|row| (row.id.as_str(), row.user_id.as_str())).collect();
    let differs = |link: &Link| {
        let user = known.get(link.id.as_str()).filter(|user| **user != link.user_id)?;
        Some(conflict(link, user))
    };
    Ok(wanted.iter().filter_map(|(owner, link)| Some((*owner, differs(link)?))).collect())
}

fn conflict(link: &Link, user: &str) -> String {
    format!("customer {} is linked to user {user}, not to {}", link.id, link.user_id)
}

/// Makes the links of a batch.
async fn link_customers(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch, verdicts) = (&mut *context.db, context.batch, &mut context.verdicts);
    let wanted = links(batch);
    if wanted.is_empty() {
        return Ok(());
    }
    let links: Vec<&Link> = wanted.iter().map(|(_, link)| *link).collect();
    let mut facts: Vec<String> = links
        .iter()
        .flat_map(|link| [format!("customer:{}", link.id), format!("customer_of:{}", link.user_id)])
        .collect();
    facts.sort_unstable();
    // See bursar.is_known: whoever is about to wait for one of these either sees it, or is woken below.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended(fact, 0::bigint)) FROM pg_catalog.unnest($1::text[]) AS fact",
        &facts
    )
    .execute(&mut *db)
    .await?;
    // The outer statement does not see rows made by the inner one, hence the union.
    let known = sqlx::query!(
        r#"WITH wanted AS MATERIALIZED (
               SELECT DISTINCT ON (id) * FROM jsonb_to_recordset($1) AS w (id text, user_id text, event_id text) ORDER BY id
           ), made AS (
               INSERT INTO bursar.customer (id, user_id, event_id) SELECT id, user_id, event_id FROM wanted
               ON CONFLICT (id) DO NOTHING RETURNING id, user_id
           )
           SELECT id AS "id!", user_id AS "user_id!", true AS "new!" FROM made
           UNION ALL
           SELECT c.id, c.user_id, false FROM bursar.customer c JOIN wanted w ON w.id = c.id"#,
        sqlx::types::Json(links) as _,
    )
    .fetch_all(&mut *db)
    .await?;
    enqueue::wake(db, &facts).await?;
    for (owner, link) in wanted {
        match known.iter().find(|row| row.id == link.id) {
            Some(row) if row.user_id != link.user_id => {
                verdicts[owner].conflict = Some(conflict(link, &row.user_id));
            }
            Some(row) if row.new => verdicts[owner].new = true,
            Some(_) => verdicts[owner].already = Some(format!("customer {} is linked to {}", link.id, link.user_id)),
            // Made by a transaction that committed while this statement ran: not in its snapshot. The next try sees it.
            None => return Err(sqlx::Error::Protocol(RACED.into())),
        }
    }
    Ok(())
}

async fn keep_addresses(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let addresses: Vec<(usize, &Address)> = changes(context.batch, |change| match change {
        Change::KeepAddress(address) => Some(address),
        Change::LinkCustomer(_) | Change::OpenAccount { .. } => None,
    });
    for (_, address) in addresses {
        sqlx::query!(
            "UPDATE bursar.customer SET email = $2, email_asked_at = $3, locales = $4
                     WHERE id = $1 AND (email_asked_at IS NULL OR email_asked_at < $3)",
            address.customer,
            address.email.as_ref().map(|email| email.replace('\0', "\u{fffd}")),
            address.asked_at,
            address.locales,
        )
        .execute(&mut *context.db)
        .await?;
    }
    Ok(())
}

async fn open_accounts(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let users = changes(context.batch, |change| match change {
        Change::OpenAccount { user_id } => Some(user_id),
        Change::LinkCustomer(_) | Change::KeepAddress(_) => None,
    });
    let mut names: Vec<String> = users.into_iter().map(|(_, user)| Account::User(user.clone()).to_string()).collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    sqlx::query!(
        "INSERT INTO bursar.account (name, unit, derived) SELECT name, 'credits', false FROM pg_catalog.unnest($1::text[]) AS name
         ON CONFLICT DO NOTHING",
        &names,
    )
    .execute(&mut *context.db)
    .await?;
    Ok(())
}
