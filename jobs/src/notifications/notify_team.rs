//! Notify the team: one signed webhook to the operators' own address, by the Standard Webhooks scheme (standardwebhooks.com).
//!
//! Rules
//! - `webhook-id` is the job's key, the same for every attempt: a receiver that knows it already need do nothing. Delivery is at least
//!   once, as with all webhooks: a crash between the request and its answer sends it again.
//! - 2xx: received. 410: dead, for nobody wants it any more. Anything else, a redirect too, is tried again, `Retry-After` honoured,
//!   until the job gives up. Without an address (`[notify] url`) there is nobody to tell, and the job says so.
//! - The request leaves holding no transaction and no lock, after a last look at the lease; each attempt is on record before it leaves.
//! - The timestamp is real time at sending: receivers judge by it whether a request is a replay.

use std::time::Duration;

use bursar_stripe::{Answer, Lost};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    base::{clock, db},
    engine::{
        call::intent,
        context::Context,
        delivery::{self, Outside},
        job::{Batch, Claimed, Job, JobError, NewJob, Outcome},
        kind::{Kind, NOTIFY_TEAM},
        settle::Settlement,
    },
};

/// Tells the team one thing.
#[derive(Debug, Serialize, Deserialize)]
pub struct NotifyTeam {
    r#type: String,
    data: Value,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: String,
    data: &'a Value,
}

impl NotifyTeam {
    /// The job that tells it, once for each key.
    pub fn of(what: &str, key: &str, data: &Value, cause: Option<&str>) -> NewJob {
        NewJob {
            kind: NOTIFY_TEAM.name,
            key: key.to_owned(),
            args: json!({ "type": what, "data": data }),
            max_attempts: NOTIFY_TEAM.max_attempts,
            delay_ms: 0,
            cause: cause.map(str::to_owned),
        }
    }

    /// The same bytes in every attempt: the time is the job's own.
    fn body(&self, job: &Claimed) -> String {
        let timestamp = job.enqueued_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let body = Body { r#type: &self.r#type, timestamp, data: &self.data };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

impl Job for NotifyTeam {
    const KIND: Kind = NOTIFY_TEAM;
}

impl Outside for NotifyTeam {
    async fn attempt(context: &Context, batch: &Batch, claimed: &Claimed) -> Result<Option<Settlement>, sqlx::Error> {
        tell(context, batch, claimed).await
    }
}

/// One attempt. None: the job is another worker's.
async fn tell(context: &Context, batch: &Batch, claimed: &Claimed) -> Result<Option<Settlement>, sqlx::Error> {
    context.reach("before_intent").await;
    let told = match (serde_json::from_slice::<NotifyTeam>(&claimed.args), &context.notify) {
        (Err(error), _) => Err(JobError::Dead(format!("its arguments cannot be read: {error}"))),
        (Ok(_), None) => Ok(Outcome::Skip("nobody to tell: [notify] url is not set".into())),
        (Ok(job), Some(team)) => {
            let mut tx = db::begin(&context.pool).await?;
            let call = intent::begin_call(&mut tx, &format!("job:{}", claimed.id), None, claimed, "send").await?;
            tx.commit().await?;
            context.reach("after_intent").await;
            if !context.may_send(batch) {
                return Ok(None);
            }
            let id = claimed.key.as_deref().unwrap_or(&claimed.id);
            let came = team.send(id, clock::now().timestamp(), &job.body(claimed)).await;
            context.reach("after_request").await;
            let mut tx = db::begin(&context.pool).await?;
            note(&mut tx, call.id, &came).await?;
            tx.commit().await?;
            judge(came)
        }
    };
    delivery::end(context, batch, claimed, told).await
}

async fn note(db: &mut PgConnection, call: i64, came: &Result<Answer, Lost>) -> Result<(), sqlx::Error> {
    let (status, said) = match came {
        Ok(answer) => (Some(i32::from(answer.status)), format!("HTTP {}", answer.status)),
        Err(lost) => (None, lost.to_string()),
    };
    sqlx::query!(
        "UPDATE bursar.call SET answered_at = bursar.now(), status = $2, answer = $3 WHERE id = $1",
        call,
        status,
        said.replace('\0', "\u{fffd}")
    )
    .execute(db)
    .await?;
    Ok(())
}

fn judge(came: Result<Answer, Lost>) -> Result<Outcome, JobError> {
    let again = |after: Option<Duration>, why: String| Err(JobError::Retry { after, source: why.into() });
    match came {
        Ok(Answer { status: 200..=299, .. }) => Ok(Outcome::Done),
        Ok(Answer { status: 410, .. }) => Err(JobError::Dead(
            "the team's address answers 410: nobody is there any more. Mend [notify] url, then retry".into(),
        )),
        Ok(Answer { status: status @ 300..=399, .. }) => again(
            None,
            format!(
                "the team's address answers {status}: a redirect is not followed. Set [notify] url to where it leads"
            ),
        ),
        Ok(answer) => again(answer.retry_after, format!("the team's address answers {}", answer.status)),
        Err(lost) => again(None, format!("the team's address: {lost}")),
    }
}
