//! What a checkout session that was gone through is worth, whoever tells of it: its event, or Stripe when asked.
//!
//! Rules
//! - The session is the key, `purchase:{session}`: one purchase, one grant, however many tell of it.
//! - A session that bursar made grants what was agreed on then, if what was paid is what was asked for. Any other one grants the
//!   package whose price id was paid, or whose price equals `amount_subtotal` (before discounts and tax), or what the amount buys where
//!   its metadata says `priced_by: amount`.
//! - Metadata is input, not truth: `metadata.credits` must be those credits. Otherwise the job is dead with the reason; nothing is guessed.
//! - What is dead so can be granted by hand, under the purchase's own key: the job, retried, finds that, and grants nothing more.
//! - Unpaid is not money (Stripe: checkout, delayed payment methods).

use std::collections::{HashMap, HashSet};

use bursar_stripe::checkout::{Lines, Session};
use sqlx::PgConnection;

use crate::{
    base::{credits::Credits, money},
    customers::initial_credits,
    engine::job::{Effects, JobError},
    inbox::event::user_of,
    ledger::{Posting, adjustment::quoted},
    selling::{change::Change, packages::Packages},
    terms::Terms,
};

/// A checkout that bursar began.
#[derive(Debug, Clone)]
struct Begun {
    user_id: String,
    credits: i64,
    amount: Option<i64>,
    currency: Option<String>,
}

/// What is known beside the sessions of a batch.
#[derive(Debug, Default)]
pub struct Shop {
    packages: Packages,
    begun: HashMap<String, Begun>,
    new: HashSet<String>,
    /// What an operator granted for a session: the posting.
    by_hand: HashMap<String, i64>,
}

impl Shop {
    /// What is known beside a session that is yet to be asked for.
    pub(crate) async fn of_id(db: &mut PgConnection, session: &str) -> Result<Self, sqlx::Error> {
        let object = Session { id: session.to_owned(), ..Session::default() };
        Self::of(db, &[&object]).await
    }

    /// Reads it.
    pub(crate) async fn of(db: &mut PgConnection, sessions: &[&Session]) -> Result<Self, sqlx::Error> {
        let packages = Packages::load(&mut *db, None).await?;
        let sane = |text: &&str| !text.contains('\0');
        let ids: Vec<String> = sessions.iter().map(|s| s.id.as_str()).filter(sane).map(str::to_owned).collect();
        let named = sessions.iter().filter_map(|s| s.metadata.get("checkout")).map(String::as_str).filter(sane);
        let named: Vec<String> = named.map(str::to_owned).collect();
        let rows = sqlx::query!(
            "SELECT id, user_id, credits, amount, currency, session_id FROM bursar.checkout
             WHERE session_id = ANY ($1) OR id = ANY ($2)",
            &ids,
            &named,
        )
        .fetch_all(&mut *db)
        .await?;
        let mut begun = HashMap::new();
        let mut users: Vec<String> = sessions.iter().filter_map(|session| named_user(session)).collect();
        for row in rows {
            let of_session = |s: &&&Session| match &row.session_id {
                Some(session) => *session == s.id,
                // Told of before its own answer was settled.
                None => s.metadata.get("checkout") == Some(&row.id),
            };
            users.push(row.user_id.clone());
            for session in sessions.iter().filter(of_session) {
                let one = Begun {
                    user_id: row.user_id.clone(),
                    credits: row.credits,
                    amount: row.amount,
                    currency: row.currency.clone(),
                };
                begun.insert(session.id.clone(), one);
            }
        }
        let new = initial_credits::new_among(&mut *db, &users).await?;
        // Under the key of the purchase, or under that of a finding about it.
        let by_hand = sqlx::query!(
            r#"SELECT s.id AS "session!", p.id FROM pg_catalog.unnest($1::text[]) AS s (id)
               JOIN bursar.posting p ON p.key IN ('purchase:' || s.id, 'admin:reconcile:' || s.id)
               WHERE p.actor IS NOT NULL ORDER BY p.id"#,
            &ids
        )
        .fetch_all(db)
        .await?;
        let by_hand = by_hand.into_iter().map(|row| (row.session, row.id)).collect();
        Ok(Self { packages, begun, new, by_hand })
    }

    /// The effects of a one-time session that is complete.
    pub(crate) fn grant(&self, session: &Session, terms: &Terms, event: Option<&str>) -> Result<Effects, JobError> {
        let complete = Change::Complete {
            session: session.id.clone(),
            checkout: session.metadata.get("checkout").cloned(),
            payment_status: session.payment_status.clone(),
            subscription: None,
        };
        match session.payment_status.as_deref() {
            Some("paid" | "no_payment_required") => {}
            Some("unpaid") => {
                let why = "not paid yet: checkout.session.async_payment_succeeded will tell";
                return Ok(Effects { changes: vec![complete.into()], ..Effects::skip(why) });
            }
            other => return Err(JobError::Dead(format!("payment_status is {other:?}: neither paid nor unpaid"))),
        }
        if let Some(posting) = self.by_hand.get(&session.id) {
            let why = format!("posting {posting} granted it by an operator's hand");
            let new = named_user(session).filter(|user| self.new.contains(user));
            let postings = new.and_then(|user| initial_credits::welcome(&user, terms, event)).into_iter().collect();
            return Ok(Effects { postings, changes: vec![complete.into()], ..Effects::skip(why) });
        }
        let Some(user) = user_of(Some(&session.metadata), session.client_reference_id.as_deref())? else {
            return Ok(Effects::skip("not ours: the session names no user (metadata.user_id or client_reference_id)"));
        };
        let paid_for = match self.begun.get(&session.id) {
            Some(begun) => begun.paid_for(session, &user),
            None => self.paid_for(session, terms),
        };
        let paid_for = paid_for.map_err(|error| or_by_hand(error, session, &user, None))?;
        let asked = asked(session).map_err(|error| or_by_hand(error, session, &user, Some(paid_for)))?;
        if asked != paid_for {
            let why = format!("metadata.credits says {asked}, but what was paid for grants {paid_for}");
            return Err(or_by_hand(JobError::Dead(why), session, &user, Some(paid_for)));
        }
        let mut posting = Posting::grant("purchase", key_of(&session.id), &user, paid_for);
        posting.event_id = event.map(str::to_owned);
        posting.reference = Some(session.id.clone());
        let mut postings = vec![posting];
        if self.new.contains(&user) {
            postings.extend(initial_credits::welcome(&user, terms, event));
        }
        Ok(Effects { postings, changes: vec![complete.into()], ..Effects::done() })
    }

    /// The credits of the packages of ours that a session sold, by their prices alone, whoever bought them.
    pub(crate) fn sells(&self, session: &Session, terms: &Terms) -> Option<Credits> {
        by_price(session.line_items.as_ref()?, &self.packages.or(terms))
    }

    /// The credits of what was paid: by price id where the lines are there, else by the amount before discounts and tax.
    fn paid_for(&self, session: &Session, terms: &Terms) -> Result<Credits, JobError> {
        let packages = self.packages.or(terms);
        if let Some(credits) = session.line_items.as_ref().and_then(|lines| by_price(lines, &packages)) {
            return Ok(credits);
        }
        let (amount, currency) = session.amount_subtotal.zip(session.currency.as_deref()).ok_or_else(|| {
            JobError::Dead("the session says neither its lines' prices nor its amount_subtotal".into())
        })?;
        let said = money::format(amount, currency);
        if session.metadata.get("priced_by").is_some_and(|by| by == "amount") {
            return terms.selling.credits_for(amount, currency).ok_or_else(|| {
                JobError::Dead(format!("{said} buys no credits: see `[checkout] currencies` and `credits_per_unit`"))
            });
        }
        packages.of_amount(amount, currency).map(|package| package.credits).ok_or_else(|| {
            JobError::Dead(format!(
                "no package costs {said} before discounts and tax: if credits were bought, add the package to bursar.credit_packages; if something else \
                 was, cancel this job"
            ))
        })
    }
}

/// The permanent key of what a session bought, whoever grants it: a job, or an operator by `credits grant --key`.
pub(crate) fn key_of(session: &str) -> String {
    format!("purchase:{session}")
}

/// The session whose purchase a key stands for.
pub(crate) fn session_of(key: &str) -> Option<&str> {
    key.strip_prefix("purchase:").filter(|session| session.starts_with("cs_"))
}

/// The command that grants by hand what a session bought.
pub(crate) fn command(session: &str, user: &str, credits: Option<Credits>) -> String {
    let credits = credits.map_or_else(|| "CREDITS".to_owned(), |credits| credits.to_string());
    format!("bursar credits grant {} {credits} --key {} --why '…'", quoted(user), quoted(&key_of(session)))
}

/// A reason with the way out of it.
fn or_by_hand(error: JobError, session: &Session, user: &str, credits: Option<Credits>) -> JobError {
    match error {
        JobError::Dead(why) => JobError::Dead(format!(
            "{why}. Mend that, or decide what is right: {}; then retry this job, which grants nothing beside that",
            command(&session.id, user, credits)
        )),
        retry @ JobError::Retry { .. } => retry,
    }
}

impl Begun {
    fn paid_for(&self, session: &Session, user: &str) -> Result<Credits, JobError> {
        if self.user_id != user {
            return Err(JobError::Dead(format!(
                "whose is it? The checkout was begun for {}, and the session names {user}",
                self.user_id
            )));
        }
        let paid = (session.amount_subtotal, session.currency.clone());
        // Sold by a price of Stripe's, the price says what it costs.
        if self.amount.is_some() && paid != (self.amount, self.currency.clone()) {
            let said = |amount: Option<i64>, currency: &Option<String>| {
                money::format(amount.unwrap_or_default(), currency.as_deref().unwrap_or("???"))
            };
            return Err(JobError::Dead(format!(
                "{} was asked for at the checkout, and {} was paid, before discounts and tax",
                said(self.amount, &self.currency),
                said(paid.0, &paid.1)
            )));
        }
        Ok(Credits::from_micros(self.credits))
    }
}

/// The user whom a session names, if it names one that can be.
pub(crate) fn named_user(session: &Session) -> Option<String> {
    user_of(Some(&session.metadata), session.client_reference_id.as_deref()).ok().flatten()
}

/// The credits that the metadata asks for.
fn asked(session: &Session) -> Result<Credits, JobError> {
    let text = session
        .metadata
        .get("credits")
        .ok_or_else(|| JobError::Dead("metadata.credits is missing: if a package was bought, set it to the package's credits; if something else was, cancel this job".into()))?;
    match text.parse::<Credits>() {
        Ok(credits) if credits.is_positive() => Ok(credits),
        Ok(_) => Err(JobError::Dead(format!("metadata.credits is {text:?}: not more than zero"))),
        Err(error) => Err(JobError::Dead(format!("metadata.credits is {text:?}: {error}"))),
    }
}

fn by_price(lines: &Lines, packages: &Packages) -> Option<Credits> {
    if lines.has_more || lines.data.is_empty() {
        return None;
    }
    let total = lines.data.iter().try_fold(0_i64, |sum, line| {
        let package = packages.of_price(&line.price.as_ref()?.id)?;
        sum.checked_add(package.credits.times(line.quantity.unwrap_or(1))?.micros())
    })?;
    Some(Credits::from_micros(total))
}
