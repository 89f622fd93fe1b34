//! The first sight of a user: whoever is new starts with the initial credits, once.
//!
//! Rules
//! - A user is seen first by `user.created`, at a checkout, by a purchase, or when a customer turns out to be theirs, in whatever order
//!   these come: Stripe delivers for up to three days. Who has had an account for longer is not new.
//! - The key is the user: `initial:{user_id}`, whatever saw them first, and whatever the setting says by then.

use std::collections::HashSet;

use sqlx::PgConnection;

use crate::{inbox::event::check_user, ledger::Posting, terms::Terms};

/// Those of these users who are new, and have not got their initial credits.
pub async fn new_among(db: &mut PgConnection, users: &[String]) -> Result<HashSet<String>, sqlx::Error> {
    let sane: Vec<String> = users.iter().filter(|user| check_user(user).is_ok()).cloned().collect();
    if sane.is_empty() {
        return Ok(HashSet::new());
    }
    let new = sqlx::query_scalar!(
        r#"SELECT u AS "user!" FROM pg_catalog.unnest($1::text[]) AS u
           WHERE NOT EXISTS (SELECT FROM bursar.posting p WHERE p.key = 'initial:' || u)
             AND NOT EXISTS (SELECT FROM bursar.account a WHERE a.name = 'user:' || u AND a.unit = 'credits'
                               AND a.opened_at < (SELECT bursar.now()) - interval '3 days')"#,
        &sane
    )
    .fetch_all(db)
    .await?;
    Ok(new.into_iter().collect())
}

/// Of these users, who has got their initial credits.
pub async fn welcomed_among(db: &mut PgConnection, users: &[String]) -> Result<HashSet<String>, sqlx::Error> {
    let keys: Vec<String> = users.iter().filter(|user| check_user(user).is_ok()).map(|user| key(user)).collect();
    let had = sqlx::query_scalar!("SELECT key FROM bursar.posting WHERE key = ANY ($1)", &keys).fetch_all(db).await?;
    Ok(had.into_iter().filter_map(|key| Some(key.strip_prefix("initial:")?.to_owned())).collect())
}

/// What a new user starts with, where that is anything.
pub fn welcome(user: &str, terms: &Terms, event: Option<&str>) -> Option<Posting> {
    terms.initial_credits.is_positive().then(|| {
        let mut posting = Posting::grant("initial", key(user), user, terms.initial_credits);
        posting.event_id = event.map(str::to_owned);
        posting
    })
}

fn key(user: &str) -> String {
    format!("initial:{user}")
}
