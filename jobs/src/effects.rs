//! Making the effects of a batch true: a statement for each sort of effect, however many jobs want it.

use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    enqueue,
    job::Effects,
    ledger::{self, Posted, Posting},
};

/// A change other than a posting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This Stripe customer is this user.
    LinkCustomer(Link),
    /// A receiver is owed for a verified job.
    RecordPayout(Payout),
    /// A user has an account, even before the first credit.
    OpenAccount {
        /// The user.
        user_id: String,
    },
}

/// Which user a Stripe customer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// `cus_…`
    pub id: String,
    /// Ours.
    pub user_id: String,
    /// The event that says so.
    pub event_id: String,
}

/// What is owed for one verified job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payout {
    /// The marketplace's job: one payout each, for ever.
    pub job_id: String,
    /// Who earns.
    pub receiver_id: String,
    /// Who buys.
    pub sender_id: Option<String>,
    /// What was done.
    pub skill: String,
    /// What it cost, in millionths of a credit.
    pub credits: i64,
    /// What is owed, in minor units.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// `held` or `skipped`.
    pub state: &'static str,
    /// Why it is in that state.
    pub reason: String,
    /// The event that says so.
    pub event_id: String,
}

/// What one job's effects came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Something is new, or there was nothing to make.
    New,
    /// All of it stood already.
    Already(String),
    /// Something stands with other content; the transaction must not be committed.
    Conflict(String),
}

/// Makes the effects of a batch true inside the caller's transaction; one answer a job, in order.
pub async fn apply(db: &mut PgConnection, batch: &[Effects]) -> Result<Vec<Applied>, sqlx::Error> {
    let mut verdicts: Vec<Verdict> = batch.iter().map(|_| Verdict::default()).collect();
    link_customers(db, batch, &mut verdicts).await?;
    record_payouts(db, batch, &mut verdicts).await?;
    open_accounts(db, batch).await?;
    post(db, batch, &mut verdicts).await?;
    let follow_ups: Vec<_> = batch.iter().flat_map(|e| e.follow_ups.iter().cloned()).collect();
    enqueue::enqueue(&mut *db, &follow_ups).await?;
    Ok(verdicts.into_iter().map(Verdict::into_applied).collect())
}

#[derive(Default)]
struct Verdict {
    new: bool,
    already: Option<String>,
    conflict: Option<String>,
}

impl Verdict {
    fn into_applied(self) -> Applied {
        match (self.conflict, self.new, self.already) {
            (Some(what), _, _) => Applied::Conflict(what),
            (None, false, Some(what)) => Applied::Already(what),
            (None, _, _) => Applied::New,
        }
    }
}

async fn post(db: &mut PgConnection, batch: &[Effects], verdicts: &mut [Verdict]) -> Result<(), sqlx::Error> {
    let (owners, postings): (Vec<usize>, Vec<Posting>) =
        batch.iter().enumerate().flat_map(|(i, e)| e.postings.iter().map(move |p| (i, p.clone()))).unzip();
    if postings.is_empty() {
        return Ok(());
    }
    for ((owner, posting), posted) in owners.into_iter().zip(&postings).zip(ledger::post(db, &postings).await?) {
        match posted {
            Posted::New(_) => verdicts[owner].new = true,
            Posted::Already(id) => {
                verdicts[owner].already = Some(format!("posting {id} has this key: {}", posting.key));
            }
            // What was said of it before, of the payout itself, is more telling.
            Posted::Conflict(id) => {
                verdicts[owner].conflict.get_or_insert_with(|| {
                    format!(
                        "posting {id} has the key {} with other content; look at both before you do anything",
                        posting.key
                    )
                });
            }
        }
    }
    Ok(())
}

async fn link_customers(db: &mut PgConnection, batch: &[Effects], verdicts: &mut [Verdict]) -> Result<(), sqlx::Error> {
    let wanted: Vec<(usize, &Link)> = changes(batch, |change| match change {
        Change::LinkCustomer(link) => Some(link),
        Change::RecordPayout(_) | Change::OpenAccount { .. } => None,
    });
    if wanted.is_empty() {
        return Ok(());
    }
    let links: Vec<&Link> = wanted.iter().map(|(_, link)| *link).collect();
    let mut facts: Vec<String> = links.iter().map(|link| format!("customer:{}", link.id)).collect();
    facts.sort_unstable();
    // See bursar.is_known: whoever is about to wait for one of these either sees it, or is woken below.
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended(fact, 0)) FROM unnest($1::text[]) AS fact", &facts)
        .execute(&mut *db)
        .await?;
    // The outer statement does not see rows made by the inner one, hence the union.
    let known = sqlx::query!(
        r#"WITH wanted AS MATERIALIZED (
               SELECT DISTINCT ON (id) * FROM jsonb_to_recordset($1) AS w (id text, user_id text, event_id text) ORDER BY id
           ), made AS (
               INSERT INTO bursar.customer (id, user_id, event_id) SELECT id, user_id, event_id FROM wanted
               ON CONFLICT (id) DO NOTHING RETURNING id, user_id
           ), woken AS (
               UPDATE apalis.jobs SET run_at = clock_timestamp()
               WHERE status = 'Pending' AND waits_for IN (SELECT 'customer:' || id FROM wanted)
           )
           SELECT id AS "id!", user_id AS "user_id!", true AS "new!" FROM made
           UNION ALL
           SELECT c.id, c.user_id, false FROM bursar.customer c JOIN wanted w ON w.id = c.id"#,
        sqlx::types::Json(links) as _,
    )
    .fetch_all(db)
    .await?;
    for (owner, link) in wanted {
        match known.iter().find(|row| row.id == link.id) {
            Some(row) if row.user_id != link.user_id => {
                verdicts[owner].conflict =
                    Some(format!("customer {} is linked to user {}, not to {}", link.id, row.user_id, link.user_id));
            }
            Some(row) if row.new => verdicts[owner].new = true,
            Some(_) => verdicts[owner].already = Some(format!("customer {} is linked to {}", link.id, link.user_id)),
            // Made by a transaction that committed while this statement ran: not in its snapshot. The next try sees it.
            None => return Err(sqlx::Error::Protocol(RACED.into())),
        }
    }
    Ok(())
}

async fn record_payouts(db: &mut PgConnection, batch: &[Effects], verdicts: &mut [Verdict]) -> Result<(), sqlx::Error> {
    let wanted: Vec<(usize, &Payout)> = changes(batch, |change| match change {
        Change::RecordPayout(payout) => Some(payout),
        Change::LinkCustomer(_) | Change::OpenAccount { .. } => None,
    });
    if wanted.is_empty() {
        return Ok(());
    }
    let payouts: Vec<&Payout> = wanted.iter().map(|(_, payout)| *payout).collect();
    let known = sqlx::query!(
        r#"WITH wanted AS MATERIALIZED (
               SELECT DISTINCT ON (job_id) * FROM jsonb_to_recordset($1) AS w (job_id text, receiver_id text, sender_id text,
                   skill text, credits bigint, amount bigint, currency text, state text, reason text, event_id text) ORDER BY job_id
           ), made AS (
               INSERT INTO bursar.payout (job_id, receiver_id, sender_id, skill, credits, amount, currency, state, reason, event_id)
               SELECT job_id, receiver_id, sender_id, skill, credits, amount, currency, state, reason, event_id FROM wanted
               ON CONFLICT (job_id) DO NOTHING RETURNING job_id, receiver_id, amount, currency
           )
           SELECT job_id AS "job_id!", receiver_id AS "receiver_id!", amount AS "amount!", currency AS "currency!", true AS "new!" FROM made
           UNION ALL
           SELECT p.job_id, p.receiver_id, p.amount, p.currency, false FROM bursar.payout p JOIN wanted w ON w.job_id = p.job_id"#,
        sqlx::types::Json(payouts) as _,
    )
    .fetch_all(db)
    .await?;
    for (owner, payout) in wanted {
        match known.iter().find(|row| row.job_id == payout.job_id) {
            Some(row)
                if (&row.receiver_id, row.amount, &row.currency)
                    != (&payout.receiver_id, payout.amount, &payout.currency) =>
            {
                verdicts[owner].conflict = Some(format!(
                    "job {} has a payout of {} {} to {}; this verification says {} {} to {}",
                    payout.job_id,
                    row.amount,
                    row.currency,
                    row.receiver_id,
                    payout.amount,
                    payout.currency,
                    payout.receiver_id
                ));
            }
            Some(row) if row.new => verdicts[owner].new = true,
            Some(_) => verdicts[owner].already = Some(format!("job {} has its payout", payout.job_id)),
            None => return Err(sqlx::Error::Protocol(RACED.into())),
        }
    }
    Ok(())
}

async fn open_accounts(db: &mut PgConnection, batch: &[Effects]) -> Result<(), sqlx::Error> {
    let mut names: Vec<String> = changes(batch, |change| match change {
        Change::OpenAccount { user_id } => Some(user_id),
        Change::LinkCustomer(_) | Change::RecordPayout(_) => None,
    })
    .into_iter()
    .map(|(_, user)| ledger::Account::User(user.clone()).to_string())
    .collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    sqlx::query!(
        "INSERT INTO bursar.account (name, unit, derived) SELECT name, 'credits', false FROM unnest($1::text[]) AS name
         ON CONFLICT DO NOTHING",
        &names,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says that two transactions met over one key in one statement; repeating the transaction shows the winner's row.
pub(crate) const RACED: &str = "another transaction made the same row meanwhile";

fn changes<'a, T>(batch: &'a [Effects], pick: impl Fn(&'a Change) -> Option<&'a T>) -> Vec<(usize, &'a T)> {
    batch.iter().enumerate().flat_map(|(i, e)| e.changes.iter().filter_map(&pick).map(move |t| (i, t))).collect()
}
