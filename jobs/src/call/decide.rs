//! The first transaction of a call: decides under locks, by the table at the head of this room, and commits the intent.

use bursar_stripe::Request;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    Call, Plan,
    engine::{End, Run},
};
use crate::{
    db, effects,
    intent::{self, Begun, Intent},
    job::{Effects, JobError},
};

/// What one execution has decided to do.
pub(super) enum Step {
    Send(Intent),
    Look(Intent),
    Ask(Request),
    AskAll,
}

/// What came of deciding.
pub(super) enum Decided {
    Step { step: Step, subject: String, call: Begun },
    End(End),
}

impl<J: Call> Run<'_, J> {
    /// The first transaction: decides under locks, and commits the intent.
    pub(super) async fn decide(&self) -> Result<Decided, sqlx::Error> {
        let mut tx = db::begin(&self.context.pool).await?;
        if !self.is_ours(&mut tx).await? {
            tx.rollback().await?;
            return Ok(Decided::End(End::Stale));
        }
        let mut facts = self.job.gather(&mut tx).await?;
        self.job.weigh(&mut facts, &mut tx, &self.context.terms).await?;
        let (subject, step) = match self.job.intent(&facts, &self.context.terms) {
            Err(error) => return self.finish(tx, Err(error)).await.map(Decided::End),
            Ok(Plan::Nothing(effects)) => return self.finish(tx, Ok(effects)).await.map(Decided::End),
            Ok(Plan::Ask(request)) => (format!("job:{}", self.claimed.id), Ok(Step::Ask(request))),
            Ok(Plan::AskAll) => (format!("job:{}", self.claimed.id), Ok(Step::AskAll)),
            Ok(Plan::Send { subject, request, since, marks }) => {
                let marks = Effects { changes: marks, ..Effects::done() };
                effects::apply(&mut tx, std::slice::from_ref(&marks)).await?;
                let newest = intent::newest(&mut tx, &subject).await?;
                let step = self.step(&mut tx, &subject, &request, since, newest).await?;
                (subject, step)
            }
        };
        let step = match step {
            Ok(step) => step,
            Err(why) => return self.finish(tx, Err(JobError::Dead(why))).await.map(Decided::End),
        };
        let (what, intent) = match &step {
            Step::Ask(_) | Step::AskAll => ("ask", None),
            Step::Look(intent) => ("look", Some(intent)),
            Step::Send(intent) => ("send", Some(intent)),
        };
        let call = intent::begin_call(&mut tx, &subject, intent, self.claimed, what).await?;
        tx.commit().await?;
        Ok(Decided::Step { step, subject, call })
    }

    /// The table at the head of this file. An `Err` is for an operator.
    async fn step(
        &self,
        db: &mut PgConnection,
        subject: &str,
        request: &Request,
        since: DateTime<Utc>,
        newest: Option<Intent>,
    ) -> Result<Result<Step, String>, sqlx::Error> {
        let first = |intent: Intent| Ok(Ok(if intent.young { Step::Send(intent) } else { Step::Look(intent) }));
        let Some(intent) = newest else {
            return first(intent::make(db, subject, 1, request, since).await?);
        };
        if intent.state == "succeeded" {
            return Ok(Err(format!("{subject} had its effect before, and its job does not know: look at both")));
        }
        if intent.state == "rejected" {
            return first(intent::make(db, subject, intent.generation + 1, request, since).await?);
        }
        if intent.fingerprint != request.fingerprint() {
            return Ok(Err(format!(
                "the parameters of {subject} changed under the used key {}: nothing was sent. See the calls of this payout",
                intent.key
            )));
        }
        let look = intent.saved_failure || !intent.young;
        Ok(Ok(if look { Step::Look(intent) } else { Step::Send(intent) }))
    }

    /// Whether the job is still this attempt's, and stays so until the intent is committed: one that was cancelled, or swept up and given to
    /// another, lets nothing out.
    async fn is_ours(&self, db: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let held = sqlx::query_scalar!(
            "SELECT 1 FROM apalis.jobs WHERE id = $1 AND lease = $2 AND attempts = $3 AND status = 'Running' FOR SHARE",
            self.claimed.id,
            self.batch.lease,
            self.claimed.attempt
        )
        .fetch_optional(db)
        .await?;
        Ok(held.is_some())
    }
}
