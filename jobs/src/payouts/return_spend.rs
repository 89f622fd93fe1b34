//! Return a spend: what a sender spent on a job that was rejected goes back, once, by a reversal of each spend.
//!
//! A spend belongs to a job by its `ref`: `bursar.spend(user, credits, key, ref)`. A job that was verified too is an operator's matter.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        job::{Effects, Job, JobError, Pure},
        kind::{Kind, RETURN_SPEND},
    },
    inbox::event::{self, Event, OfEvent, check_user},
    ledger::{Account, CREDITS, Posting},
    payouts::verification,
    terms::Terms,
};

/// Returns what was spent on the job of one `job.rejected`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReturnSpend(OfEvent);

impl Job for ReturnSpend {
    const KIND: Kind = RETURN_SPEND;
}

/// The event, what was spent on its job, and whether that job is owed for.
#[derive(Debug)]
pub struct Facts {
    event: Event,
    spends: Vec<Spend>,
    payout: Option<String>,
}

#[derive(Debug)]
struct Spend {
    id: i64,
    user: String,
    amount: i64,
}

#[derive(Deserialize)]
struct Body {
    data: Rejected,
}

#[derive(Deserialize)]
struct Rejected {
    job_id: String,
    sender_id: Option<String>,
}

impl Pure for ReturnSpend {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let events = event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await?;
        let ids: Vec<String> =
            events.iter().map(|e| e.read::<Body>().map(|body| body.data.job_id).unwrap_or_default()).collect();
        verification::hold(db, &ids).await?;
        let mut all = Vec::with_capacity(events.len());
        for event in events {
            let job_id = event.read::<Body>().ok().map(|body| body.data.job_id);
            let spends = sqlx::query!(
                r#"SELECT p.id, a.name AS "name!", p.amount FROM bursar.posting p JOIN bursar.account a ON a.id = p.debit
                   WHERE p.ref = $1 AND p.kind = 'spend' AND a.name LIKE 'user:%' ORDER BY p.id"#,
                job_id
            )
            .fetch_all(&mut *db)
            .await?;
            let payout = sqlx::query_scalar!("SELECT state FROM bursar.payout WHERE job_id = $1", job_id)
                .fetch_optional(&mut *db)
                .await?;
            let spends = spends
                .into_iter()
                .filter_map(|row| {
                    Some(Spend { id: row.id, user: row.name.strip_prefix("user:")?.to_owned(), amount: row.amount })
                })
                .collect();
            all.push(Facts { event, spends, payout });
        }
        Ok(all)
    }

    fn run(&self, facts: &Facts, _: &Terms) -> Result<Effects, JobError> {
        let rejected = facts.event.read::<Body>()?.data;
        check_user(&rejected.job_id)?;
        if let Some(state) = &facts.payout {
            return Err(JobError::Dead(format!(
                "job {} was verified before it was rejected, and its payout is {state}: which of the two holds?",
                rejected.job_id
            )));
        }
        let by_sender = |spend: &&Spend| rejected.sender_id.as_ref().is_none_or(|sender| *sender == spend.user);
        let mut effects = Effects::done();
        for spend in facts.spends.iter().filter(by_sender) {
            let user = Account::User(spend.user.clone());
            let mut posting =
                Posting::new("reversal", format!("return:{}", spend.id), Account::Usage, user, CREDITS, spend.amount);
            posting.reverses = Some(spend.id);
            posting.event_id = Some(facts.event.id.clone());
            posting.reference = Some(rejected.job_id.clone());
            effects.postings.push(posting);
        }
        if effects.postings.is_empty() {
            return Ok(Effects::skip(format!("nothing was spent with ref {}", rejected.job_id)));
        }
        Ok(effects)
    }
}
