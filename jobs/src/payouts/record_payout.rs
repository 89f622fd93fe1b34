//! Record a payout: a verified job makes a debt to its receiver, once per job id.
//!
//! Rules
//! - The amount is the skill's cost in credits times the rate, exact to the minor unit, in units that Stripe
//!   pays out; a skill without a price is dead with the reason.
//! - The debt is a posting, payable to receiver. The payout is `held` until it is sent, or `skipped` where Stripe is off, and can
//!   be released later from either.
//! - The same verification again changes nothing; another receiver or amount for the same job is a conflict, for an operator.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    engine::{
        change::AnyChange,
        job::{Effects, Job, JobError, Pure},
        kind::{Kind, RECORD_PAYOUT},
    },
    inbox::event::{self, Event, OfEvent, check_user},
    ledger::{Account, Posting},
    payouts::{
        change::{Change, Payout},
        pay_receiver::PayReceiver,
        verification,
    },
    terms::Terms,
};

/// Records the payout of one `job.verified`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordPayout(OfEvent);

impl Job for RecordPayout {
    const KIND: Kind = RECORD_PAYOUT;
}

/// The verification, and whether its job was rejected before.
#[derive(Debug)]
pub struct Facts {
    event: Event,
    returned: bool,
}

#[derive(Deserialize)]
struct Body {
    timestamp: Option<DateTime<Utc>>,
    data: Verified,
}

#[derive(Deserialize)]
struct Verified {
    job_id: String,
    skill: String,
    receiver_id: String,
    sender_id: Option<String>,
    currency: Option<String>,
}

impl Pure for RecordPayout {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let events = event::load(db, &jobs.iter().map(|job| &job.0).collect::<Vec<_>>()).await?;
        let ids: Vec<String> =
            events.iter().map(|e| e.read::<Body>().map(|body| body.data.job_id).unwrap_or_default()).collect();
        verification::hold(db, &ids).await?;
        let returned = sqlx::query_scalar!(
            r#"SELECT DISTINCT ref AS "ref!" FROM bursar.posting WHERE ref = ANY ($1) AND kind = 'reversal' AND key LIKE 'return:%'"#,
            &ids
        )
        .fetch_all(db)
        .await?;
        let facts = |(event, id): (Event, String)| Facts { event, returned: returned.contains(&id) };
        Ok(events.into_iter().zip(ids).map(facts).collect())
    }

    fn run(&self, facts: &Facts, terms: &Terms) -> Result<Effects, JobError> {
        let event = &facts.event;
        let Body { timestamp, data: verified } = event.read()?;
        for id in
            [Some(&verified.job_id), Some(&verified.receiver_id), verified.sender_id.as_ref()].into_iter().flatten()
        {
            check_user(id)?;
        }
        if facts.returned {
            return Err(JobError::Dead(format!(
                "job {} was rejected before it was verified, and what was spent on it went back: which of the two holds?",
                verified.job_id
            )));
        }
        let rate = terms.payout.rate(&verified.skill);
        if let Some(currency) = verified.currency.filter(|c| !c.eq_ignore_ascii_case(&rate.currency)) {
            return Err(JobError::Dead(format!(
                "it is to be paid in {currency}, and payouts for {:?} are made in {}",
                verified.skill, rate.currency
            )));
        }
        let cost = terms.skills.get(&verified.skill).ok_or_else(|| {
            JobError::Dead(format!(
                "the skill {:?} has no price: if it is to be paid, add it to the skills of bursar.toml, then retry this job, which pays the receiver; \
                 else cancel it",
                verified.skill
            ))
        })?;
        let amount = rate.owed(*cost).map_err(JobError::Dead)?;
        let (state, reason) = if terms.stripe_on {
            ("held", "not sent yet")
        } else {
            ("skipped", "Stripe is off: release it once STRIPE_SECRET_KEY is set")
        };
        let mut posting = Posting::new(
            "payout",
            format!("payout:{}", verified.job_id),
            Account::Payable,
            Account::Receiver(verified.receiver_id.clone()),
            &rate.currency,
            amount,
        );
        posting.event_id = Some(event.id.clone());
        posting.reference = Some(verified.job_id.clone());
        let send = PayReceiver::release(&verified.job_id, 0, &event.id);
        let payout = Payout {
            job_id: verified.job_id,
            receiver_id: verified.receiver_id,
            sender_id: verified.sender_id,
            skill: verified.skill,
            credits: cost.micros(),
            amount,
            currency: rate.currency,
            state,
            reason: reason.into(),
            event_id: event.id.clone(),
            verified_at: timestamp,
        };
        let follow_ups = if terms.stripe_on { vec![send] } else { Vec::new() };
        let changes: Vec<AnyChange> = vec![Change::RecordPayout(payout).into()];
        Ok(Effects { postings: vec![posting], changes, follow_ups, ..Effects::done() })
    }
}
