//! The first transaction of a call: decides under locks, as the [machine] says, and commits the intent.

use bursar_stripe::Request;
use sqlx::PgConnection;

use super::{
    Call, Plan,
    driver::{End, Next, Run, Under, wait},
    machine::{self, Begin, Beginning},
};
use crate::{
    base::db::{self, LockWait},
    engine::{
        apply,
        call::intent::{self, Begun},
        delivery,
        job::{Effects, JobError},
    },
};

/// What came of deciding.
pub(super) enum Decided {
    /// A request leaves, or a look is made, under an intent.
    Under(Next),
    /// A question is asked.
    Ask(Request, Begun),
    /// Several are.
    AskAll(Begun),
}

impl<J: Call> Run<'_, J> {
    /// The first transaction: decides under locks, and commits the intent.
    pub(super) async fn decide(&self) -> Result<Decided, sqlx::Error> {
        let end = |end| Decided::Under(Next::End(end));
        // Nothing has left yet: what is locked for long is come back to, and keeps no other job from its turn.
        let mut tx = db::begin_waiting(&self.context.pool, LockWait::Short).await?;
        if !delivery::is_ours(&mut tx, self.batch, self.claimed).await? {
            tx.rollback().await?;
            return Ok(end(End::Stale));
        }
        let mut facts = self.job.gather(&mut tx).await?;
        self.job.weigh(&mut facts, &mut tx, &self.context.terms).await?;
        let (subject, request, since, marks) = match self.job.intent(&facts, &self.context.terms) {
            Err(error) => return self.finish(tx, Err(error)).await.map(end),
            Ok(Plan::Nothing(effects)) => return self.finish(tx, Ok(effects)).await.map(end),
            Ok(Plan::Ask(request)) => {
                let call = self.begin_asking(&mut tx).await?;
                tx.commit().await?;
                return Ok(Decided::Ask(request, call));
            }
            Ok(Plan::AskAll) => {
                let call = self.begin_asking(&mut tx).await?;
                tx.commit().await?;
                return Ok(Decided::AskAll(call));
            }
            Ok(Plan::Send { subject, request, since, marks }) => (subject, request, since, marks),
        };
        let newest = intent::newest(&mut tx, &subject).await?;
        let seen = Beginning {
            young: intent::is_young(&mut tx, since).await?,
            same: newest.as_ref().is_some_and(|intent| intent.fingerprint == request.fingerprint()),
            lost: newest.as_ref().is_some_and(|intent| intent.lost),
            rested: newest.as_ref().is_some_and(|intent| intent.rested),
        };
        let (next, begin) = machine::begin(newest.as_ref().map(|intent| intent.matter), seen);
        // Where the bytes are refused nothing leaves, and nothing is true that was not.
        if begin != Begin::Changed {
            let marks = Effects { changes: marks, ..Effects::done() };
            apply::apply(self.context.domains, &mut tx, std::slice::from_ref(&marks)).await?;
        }
        let (what, look) = match begin {
            Begin::Send => ("send", false),
            Begin::Look => ("look", true),
            Begin::Wait => return self.finish(tx, Ok(Effects::snooze(wait(RESTING)))).await.map(end),
            Begin::Had => {
                let why = format!("{subject} had its effect before, and its job does not know: look at both");
                return self.finish(tx, Err(JobError::Dead(why))).await.map(end);
            }
            Begin::Changed => {
                let key = newest.map(|intent| intent.key).unwrap_or_default();
                let why = format!(
                    "the parameters of {subject} changed under the used key {key}: nothing was sent. See the calls of this payout"
                );
                return self.finish(tx, Err(JobError::Dead(why))).await.map(end);
            }
        };
        let intent = match (newest, next) {
            (Some(intent), Some(next)) if next.generation == intent.matter.generation => {
                intent::write(&mut tx, &intent, next).await?
            }
            (_, Some(next)) => intent::make(&mut tx, &subject, next, &request, since).await?,
            (_, None) => return Err(sqlx::Error::Protocol("an attempt begins under no intent".into())),
        };
        let call = intent::begin_call(&mut tx, &subject, Some(&intent), self.claimed, what).await?;
        tx.commit().await?;
        let under = Under { intent, subject, call };
        Ok(Decided::Under(if look { Next::Look(under) } else { Next::Send(under) }))
    }

    async fn begin_asking(&self, db: &mut PgConnection) -> Result<Begun, sqlx::Error> {
        intent::begin_call(db, &format!("job:{}", self.claimed.id), None, self.claimed, "ask").await
    }
}

/// What a job says whose refused request may still be under way elsewhere.
const RESTING: &str = "it was refused, and Stripe may not keep that for the next time: waiting for an hour, until no request of it is under way";
