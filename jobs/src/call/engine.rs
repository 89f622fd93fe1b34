//! The engine of every call: decides, lets the request out, and settles what came back.

use std::time::Duration;

use bursar_stripe::{Client, Reply, Request, Seen};
use sqlx::PgConnection;

use super::{
    Answer, Call, Looked,
    decide::{Decided, Step},
};
use crate::{
    backoff, db,
    effects::{self, Applied},
    intent::{self, Begun, Intent, News},
    job::{Batch, Claimed, Effects, JobError, Outcome, Snooze},
    kinds,
    perform::{Context, Disturbed, Report, is_code, is_disturbance},
    settle::{Settlement, settle},
};

/// Looks after a saved 5xx before an operator must decide, spaced by a minute, two, four and eight.
const MOST_LOOKS: i32 = 4;

/// Performs the one job of a claim.
pub(crate) async fn perform<J: Call>(context: &Context, batch: &Batch) -> Result<Report, Disturbed> {
    let mut report = Report::default();
    for claimed in &batch.jobs {
        let alone = batch.only(claimed);
        match serde_json::from_slice::<J>(&claimed.args) {
            Ok(job) => {
                let run = Run { context, batch: &alone, claimed, job: &job };
                let end = match run.perform().await {
                    Ok(end) => end,
                    // Somebody holds a lock for long: that costs no attempt, and what may have left is found again.
                    Err(error) if is_code(&error, &["55P03"]) => {
                        run.settle_plainly(Ok(Effects::snooze(wait("another transaction holds a lock that it needs"))))
                            .await?
                    }
                    Err(error) if is_disturbance(&error) => return Err(Disturbed(error)),
                    Err(error) => {
                        run.settle_plainly(Err(JobError::Retry { after: None, source: error.into() })).await?
                    }
                };
                end.into_report(claimed, &mut report);
            }
            Err(error) => {
                let dead = JobError::Dead(format!("its arguments cannot be read: {error}"));
                let settlement = Settlement::of_error(claimed, &dead);
                let mut tx = db::begin(&context.pool).await?;
                let settled = settle(&mut *tx, &alone, std::slice::from_ref(&settlement)).await?;
                tx.commit().await?;
                End::of(settlement, &settled).into_report(claimed, &mut report);
            }
        }
    }
    Ok(report)
}

/// How one call ended.
pub(super) enum End {
    Settled(Settlement),
    Stale,
}

impl End {
    pub(super) fn of(settlement: Settlement, settled: &[String]) -> Self {
        if settled.is_empty() { Self::Stale } else { Self::Settled(settlement) }
    }

    fn into_report(self, claimed: &Claimed, report: &mut Report) {
        match self {
            Self::Settled(settlement) => report.settled.push(settlement),
            Self::Stale => report.stale.push(claimed.id.clone()),
        }
    }
}

pub(super) struct Run<'a, J> {
    pub(super) context: &'a Context,
    pub(super) batch: &'a Batch,
    pub(super) claimed: &'a Claimed,
    pub(super) job: &'a J,
}

impl<J: Call> Run<'_, J> {
    async fn perform(&self) -> Result<End, sqlx::Error> {
        self.context.reach("before_intent").await;
        let Some(stripe) = &self.context.stripe else {
            // It waits: what has left must be brought to its end once Stripe is on again.
            return self.settle_plainly(Ok(Effects::snooze(wait("Stripe is off")))).await;
        };
        let stripe = &stripe.in_lane(kinds::lane_of(self.batch.kind));
        let (step, subject, call) = match self.decide().await? {
            Decided::Step { step, subject, call } => (step, subject, call),
            Decided::End(end) => return Ok(end),
        };
        self.context.reach("after_intent").await;
        match step {
            Step::Ask(request) => {
                let Some(seen) = self.leave(stripe, &request, None).await else { return Ok(End::Stale) };
                self.conclude(call, &seen, None).await
            }
            Step::AskAll => self.ask_all(stripe, call).await,
            Step::Look(intent) => self.look(stripe, call, intent, &subject).await,
            Step::Send(intent) => {
                let Some(mut seen) = self.leave(stripe, &intent.request, Some(&intent.key)).await else {
                    return Ok(End::Stale);
                };
                if matches!(seen.reply, Reply::Rejected { replayed: false, .. }) {
                    // A refusal that Stripe saved is told from one that it did not by asking again: the saved one is replayed.
                    let Some(again) = self.leave(stripe, &intent.request, Some(&intent.key)).await else {
                        return Ok(End::Stale);
                    };
                    seen = again;
                }
                self.context.reach("after_request").await;
                self.conclude(call, &seen, Some(&intent)).await
            }
        }
    }

    /// Lets a request out when its turn has come, if the lease still covers it then.
    async fn leave(&self, stripe: &Client, request: &Request, key: Option<&str>) -> Option<Seen> {
        let turn = match stripe.turn().await {
            Ok(turn) => turn,
            Err(kept_back) => return Some(*kept_back),
        };
        if !self.context.may_send(self.batch) {
            tracing::warn!(job = self.claimed.id, "the lease ran out before the request left: it stays here");
            return None;
        }
        Some(stripe.send_in(turn, request, key).await)
    }

    /// Asks several questions; the answers together are the fact.
    async fn ask_all(&self, stripe: &Client, call: Begun) -> Result<End, sqlx::Error> {
        if !self.context.may_send(self.batch) {
            return Ok(End::Stale);
        }
        let mut tx = db::begin(&self.context.pool).await?;
        let facts = self.job.gather(&mut tx).await?;
        tx.rollback().await?;
        let answered = |value| Seen {
            request_id: None,
            status: None,
            replayed: false,
            reply: Reply::Success(value),
            raw: String::new(),
        };
        let seen = match self.job.look(&facts, stripe).await {
            Ok(Looked::Found(value)) => answered(value),
            Ok(Looked::Nothing) => answered(serde_json::Value::Null),
            Ok(Looked::Different(how)) => return self.settle_plainly(Err(JobError::Dead(how))).await,
            Err(seen) => *seen,
        };
        self.context.reach("after_request").await;
        self.conclude(call, &seen, None).await
    }

    async fn look(&self, stripe: &Client, call: Begun, intent: Intent, subject: &str) -> Result<End, sqlx::Error> {
        let mut tx = db::begin(&self.context.pool).await?;
        let facts = self.job.gather(&mut tx).await?;
        tx.rollback().await?;
        let looked = self.job.look(&facts, stripe).await;
        if let Err(seen) = &looked
            && let Some(after) = seen.kept_back()
        {
            return self.wait_for_turn(call, seen, after).await;
        }
        self.context.reach("after_request").await;
        let mut tx = db::begin(&self.context.pool).await?;
        let facts = self.job.gather(&mut tx).await?;
        let terms = &self.context.terms;
        if !intent::is_current(&mut tx, &intent).await? {
            return self.finish(tx, Ok(Effects::skip(OVERTAKEN))).await;
        }
        let ended = match looked {
            Err(seen) => {
                intent::end_call(&mut tx, call.id, &seen).await?;
                Err(retry(self.claimed, &seen))
            }
            Ok(Looked::Different(how)) => {
                intent::note_call(&mut tx, call.id, &format!("found something else: {how}")).await?;
                intent::record(&mut tx, &intent, News::Unknown).await?;
                self.for_an_operator(&facts, format!("{subject}: {how}"))
            }
            Ok(Looked::Found(object)) => {
                intent::note_call(&mut tx, call.id, "found").await?;
                intent::record(&mut tx, &intent, News::Succeeded).await?;
                self.job.resolve(&facts, Answer::Made(&object), terms)
            }
            Ok(Looked::Nothing) if !intent.saved_failure => {
                intent::note_call(&mut tx, call.id, "nothing there").await?;
                intent::record(&mut tx, &intent, News::NothingCame).await?;
                Ok(Effects::snooze(wait("looked, and nothing had come of it: sending it now")))
            }
            Ok(Looked::Nothing) if intent.raise_after_look => {
                intent::note_call(&mut tx, call.id, "nothing there").await?;
                intent::record(&mut tx, &intent, News::Rejected).await?;
                Ok(Effects::snooze(wait(
                    "looked once more, and nothing is there: using a new key, as an operator said",
                )))
            }
            Ok(Looked::Nothing) => {
                intent::note_call(&mut tx, call.id, "nothing there").await?;
                intent::record(&mut tx, &intent, News::NothingYet).await?;
                if intent.looks + 1 >= MOST_LOOKS {
                    let why = format!(
                        "Stripe saved a failure under {} and nothing is there after {MOST_LOOKS} looks: decide, then \
                         `bursar payouts release`",
                        intent.key
                    );
                    self.for_an_operator(&facts, why)
                } else {
                    let after = Duration::from_mins(1) * (1 << intent.looks.clamp(0, 10));
                    Err(JobError::Retry { after: Some(after), source: "nothing there yet: looking again".into() })
                }
            }
        };
        self.finish(tx, ended).await
    }

    /// The second transaction: settles what came back.
    async fn conclude(&self, call: Begun, seen: &Seen, intent: Option<&Intent>) -> Result<End, sqlx::Error> {
        if let Some(after) = seen.kept_back() {
            return self.wait_for_turn(call, seen, after).await;
        }
        self.context.reach("before_settlement").await;
        let mut tx = db::begin(&self.context.pool).await?;
        let facts = self.job.gather(&mut tx).await?;
        intent::end_call(&mut tx, call.id, seen).await?;
        let terms = &self.context.terms;
        let Some(intent) = intent else {
            let ended = match &seen.reply {
                Reply::Success(value) => self.job.resolve(&facts, Answer::Fact(value, call.at), terms),
                Reply::Rejected { error, .. } if seen.status == Some(404) => {
                    self.job.resolve(&facts, Answer::Gone(error), terms)
                }
                Reply::Rejected { error, .. } => Err(JobError::Dead(format!("Stripe refused the question: {error}"))),
                Reply::NotSent { why } => Err(JobError::Dead((*why).to_owned())),
                Reply::Limited { .. }
                | Reply::Busy { .. }
                | Reply::KeyMisuse { .. }
                | Reply::Unauthorized { .. }
                | Reply::Unknown { .. } => Err(retry(self.claimed, seen)),
            };
            return self.finish(tx, ended).await;
        };
        if !intent::is_current(&mut tx, intent).await? {
            return self.finish(tx, Ok(Effects::skip(OVERTAKEN))).await;
        }
        let ended = match &seen.reply {
            Reply::Success(value) => {
                match self.job.resolve(&facts, Answer::Made(value), terms) {
                    // What was made is not what was asked for.
                    Err(JobError::Dead(how)) => {
                        intent::record(&mut tx, intent, News::Unknown).await?;
                        self.for_an_operator(&facts, how)
                    }
                    // It was done, says the status, but what was done cannot be read: look.
                    Err(JobError::Retry { after, source }) => {
                        intent::record(&mut tx, intent, News::LookFirst).await?;
                        self.mark_unknown(&mut tx, &facts, &source.to_string()).await?;
                        Err(JobError::Retry { after, source })
                    }
                    Ok(effects) => {
                        intent::record(&mut tx, intent, News::Succeeded).await?;
                        Ok(effects)
                    }
                }
            }
            // This one was refused before it was executed; an earlier one may have been executed all the same.
            Reply::Rejected { replayed: false, .. } if intent.state == "unknown" => {
                intent::record(&mut tx, intent, News::LookFirst).await?;
                Err(retry(self.claimed, seen))
            }
            Reply::Rejected { error, replayed } => {
                intent::record(&mut tx, intent, if *replayed { News::Rejected } else { News::Refused }).await?;
                self.job.resolve(&facts, Answer::Refused { error, saved: *replayed }, terms)
            }
            Reply::Unknown { why, look_up, .. } => {
                let news = match (look_up, seen.status) {
                    (false, _) => News::Unknown,
                    (true, Some(500..)) => News::SavedFailure,
                    (true, _) => News::LookFirst,
                };
                intent::record(&mut tx, intent, news).await?;
                self.mark_unknown(&mut tx, &facts, &format!("not known: {why}")).await?;
                Err(retry(self.claimed, seen))
            }
            Reply::KeyMisuse { error } => {
                intent::record(&mut tx, intent, News::Unknown).await?;
                let key = &intent.key;
                self.for_an_operator(
                    &facts,
                    format!("Stripe says that {key} was used with other parameters ({error}): look at both"),
                )
            }
            Reply::Limited { .. } | Reply::Busy { .. } | Reply::Unauthorized { .. } => Err(retry(self.claimed, seen)),
            Reply::NotSent { why } => Err(JobError::Dead((*why).to_owned())),
        };
        self.finish(tx, ended).await
    }

    /// Applies the effects and settles in `tx`, and commits.
    pub(super) async fn finish(
        &self,
        mut tx: sqlx::Transaction<'static, sqlx::Postgres>,
        ended: Result<Effects, JobError>,
    ) -> Result<End, sqlx::Error> {
        let settlement = match ended {
            Ok(mut effects) => {
                for posting in &mut effects.postings {
                    posting.job_id = Some(self.claimed.id.clone());
                }
                let applied = effects::apply(&mut tx, std::slice::from_ref(&effects)).await?;
                match (applied.into_iter().next(), &effects.outcome) {
                    (Some(Applied::Conflict(what)), _) => {
                        tx.rollback().await?;
                        return Box::pin(self.settle_plainly(Err(JobError::Dead(what)))).await;
                    }
                    (Some(Applied::Already(what)), Outcome::Done) => {
                        Settlement::of_outcome(self.claimed, &Outcome::Skip(what))
                    }
                    (_, outcome) => Settlement::of_outcome(self.claimed, outcome),
                }
                .about(&effects)
            }
            Err(error) => Settlement::of_error(self.claimed, &error),
        };
        let last = settlement.outcome == "retry" && self.claimed.attempt >= self.claimed.max_attempts;
        if settlement.outcome == "dead" || last {
            let why = settlement.reason.clone().unwrap_or_default();
            let seen = Effects { changes: self.job.gave_up(&why), ..Effects::done() };
            effects::apply(&mut tx, std::slice::from_ref(&seen)).await?;
        }
        let settled = settle(&mut *tx, self.batch, std::slice::from_ref(&settlement)).await?;
        if settled.is_empty() {
            // The job is another worker's, and so is what it found out: that one will find out again, under the same key.
            tx.rollback().await?;
        } else {
            tx.commit().await?;
        }
        Ok(End::of(settlement, &settled))
    }

    /// Says to operators that it is not known for now.
    async fn mark_unknown(&self, db: &mut PgConnection, facts: &J::Facts, why: &str) -> Result<(), sqlx::Error> {
        match self.job.resolve(facts, Answer::Unknown(why), &self.context.terms) {
            Ok(effects) => effects::apply(db, std::slice::from_ref(&effects)).await.map(drop),
            Err(error) => {
                tracing::error!(job = self.claimed.id, %error, "a call does not say what unknown means for it");
                Ok(())
            }
        }
    }

    /// What is not known, and will not become known by itself.
    fn for_an_operator(&self, facts: &J::Facts, why: String) -> Result<Effects, JobError> {
        let effects = self.job.resolve(facts, Answer::Unknown(&why), &self.context.terms)?;
        Ok(Effects { outcome: Outcome::Dead(why), ..effects })
    }

    async fn settle_plainly(&self, ended: Result<Effects, JobError>) -> Result<End, sqlx::Error> {
        self.finish(db::begin(&self.context.pool).await?, ended).await
    }
}

/// What a job says whose answer came after another had brought the matter to its end.
const OVERTAKEN: &str = "another job has brought it to its end meanwhile";

/// A wait whose end is in our hands, and which therefore has none in time: ten years.
fn wait(reason: &str) -> Snooze {
    Snooze { reason: reason.into(), fact: None, limit: Duration::from_hours(10 * 365 * 24) }
}

fn retry(claimed: &Claimed, seen: &Seen) -> JobError {
    let after = match &seen.reply {
        Reply::Limited { after } | Reply::Busy { after } | Reply::Unknown { after, .. } => *after,
        Reply::Success(_)
        | Reply::Rejected { .. }
        | Reply::KeyMisuse { .. }
        | Reply::Unauthorized { .. }
        | Reply::NotSent { .. } => None,
    };
    let after = after.or_else(|| (claimed.attempt == 1).then_some(backoff::FLOOR));
    JobError::Retry { after, source: seen.reply.to_string().into() }
}
