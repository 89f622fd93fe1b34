//! The engine of every call: decides, lets the request out, and settles what came back.

use std::{error::Error, fmt, time::Duration};

use bursar_stripe::{Client, Method, Reply, Request, Seen, embedded};

use crate::{
    base::db,
    engine::{
        apply, backoff,
        batch::{Disturbed, Report, is_code, is_disturbance},
        call::{
            Answer, Call, Looked,
            begin::Decided,
            conclude::Came,
            intent::{self, Begun, Intent},
        },
        change::Applied,
        context::Context,
        job::{Batch, Claimed, Effects, JobError, Outcome, Snooze},
        kind,
        settle::{Settlement, settle, times_locked},
        trace_context,
    },
};

/// Performs the one job of a claim.
pub(crate) async fn perform<J: Call>(context: &Context, batch: &Batch) -> Result<Report, Disturbed> {
    let mut report = Report::default();
    for claimed in &batch.jobs {
        let alone = batch.only(claimed);
        match serde_json::from_slice::<J>(&claimed.args) {
            Ok(job) => {
                let run = Run { context, batch: &alone, claimed, job: &job };
                let end = match trace_context::under(&[claimed.id.as_str()], run.perform()).await {
                    Ok(end) => end,
                    // Somebody holds a lock for long: that costs no attempt, and what may have left is found again.
                    Err(error) if is_code(&error, &["55P03"]) => run.settle_locked().await?,
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

/// A request that is to leave, or a look that is to be made, under a committed intent.
pub(super) struct Under {
    pub(super) intent: Intent,
    pub(super) subject: String,
    pub(super) call: Begun,
}

/// What an attempt does next.
pub(super) enum Next {
    Send(Under),
    Look(Under),
    End(End),
}

impl<J: Call> Run<'_, J> {
    async fn perform(&self) -> Result<End, sqlx::Error> {
        self.context.reach("before_intent").await;
        let Some(stripe) = &self.context.stripe else {
            // It waits: what has left must be brought to its end once Stripe is on again.
            return self.settle_plainly(Ok(Effects::snooze(wait("Stripe is off")))).await;
        };
        let stripe = &stripe.in_lane(kind::lane_of(self.batch.kind));
        let decided = self.decide().await?;
        if !matches!(decided, Decided::Under(Next::End(_))) {
            self.context.reach("after_intent").await;
        }
        let mut next = match decided {
            Decided::Ask(request, call) => {
                let Some(seen) = self.leave(stripe, &request, None).await else { return Ok(End::Stale) };
                let seen = embedded::whole(stripe, seen).await;
                return self.answered(call, &seen).await;
            }
            Decided::AskAll(call) => return self.ask_all(stripe, call).await,
            Decided::Under(next) => next,
        };
        // A look leads to one send at most, and a send to nothing more.
        loop {
            next = match next {
                Next::End(end) => return Ok(end),
                Next::Look(under) => {
                    let facts = self.facts().await?;
                    let looked = self.job.look(&facts, stripe).await;
                    if let Err(seen) = &looked
                        && let Some(after) = seen.kept_back()
                    {
                        return self.wait_for_turn(under.call, seen, after).await;
                    }
                    self.context.reach("after_request").await;
                    self.conclude(under, Came::Looked(looked)).await?
                }
                Next::Send(under) => {
                    let Some(seen) = self.send(stripe, &under.intent).await else { return Ok(End::Stale) };
                    if let Some(after) = seen.kept_back() {
                        return self.wait_for_turn(under.call, &seen, after).await;
                    }
                    self.context.reach("after_request").await;
                    self.context.reach("before_settlement").await;
                    self.conclude(under, Came::Answered(seen)).await?
                }
            }
        }
    }

    /// Sends what an intent says. None: the lease ran out.
    async fn send(&self, stripe: &Client, intent: &Intent) -> Option<Seen> {
        let seen = self.leave(stripe, &intent.request, Some(&intent.key)).await?;
        match seen.reply {
            // A refusal that Stripe saved is told from one that it did not by asking again: the saved one is replayed.
            Reply::Rejected { replayed: false, .. } => {
                // Kept back, the second question waits for its turn with the whole attempt: unasked, it would pass for a refusal that was
                // not saved, and a payout that waits for the platform's balance for one that an operator must see.
                self.leave(stripe, &intent.request, Some(&intent.key)).await
            }
            _ => Some(seen),
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
        // Stripe takes a key with a POST only. What a DELETE ended is gone for a second one, and a look tells.
        Some(stripe.send_in(turn, request, key.filter(|_| request.method == Method::Post)).await)
    }

    /// The facts as they are now, for a look.
    async fn facts(&self) -> Result<J::Facts, sqlx::Error> {
        let mut tx = db::begin(&self.context.pool).await?;
        let facts = self.job.gather(&mut tx).await?;
        tx.rollback().await?;
        Ok(facts)
    }

    /// Asks several questions; the answers together are the fact.
    async fn ask_all(&self, stripe: &Client, call: Begun) -> Result<End, sqlx::Error> {
        if !self.context.may_send(self.batch) {
            return Ok(End::Stale);
        }
        let answered = |value| Seen {
            request_id: None,
            status: None,
            replayed: false,
            reply: Reply::Success(value),
            raw: String::new(),
        };
        let seen = match self.job.look(&self.facts().await?, stripe).await {
            Ok(Looked::Found(value)) => answered(value),
            Ok(Looked::Nothing) => answered(serde_json::Value::Null),
            Ok(Looked::Different(how)) => return self.settle_plainly(Err(JobError::Dead(how))).await,
            Err(seen) => *seen,
        };
        self.context.reach("after_request").await;
        self.answered(call, &seen).await
    }

    /// Settles the answer to a question.
    async fn answered(&self, call: Begun, seen: &Seen) -> Result<End, sqlx::Error> {
        if let Some(after) = seen.kept_back() {
            return self.wait_for_turn(call, seen, after).await;
        }
        self.context.reach("before_settlement").await;
        let mut tx = db::begin(&self.context.pool).await?;
        let facts = self.job.gather(&mut tx).await?;
        intent::end_call(&mut tx, call.id, seen).await?;
        let terms = &self.context.terms;
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
            | Reply::Unknown { .. } => Err(retry(self.claimed, seen.reply.after(), Told::of(&seen.reply))),
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
                let applied = apply::apply(self.context.domains, &mut tx, std::slice::from_ref(&effects)).await?;
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
            apply::apply(self.context.domains, &mut tx, std::slice::from_ref(&seen)).await?;
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

    /// Waits for a lock that another transaction holds.
    async fn settle_locked(&self) -> Result<End, sqlx::Error> {
        let mut tx = db::begin(&self.context.pool).await?;
        let times = times_locked(&mut *tx, std::slice::from_ref(&self.claimed.id)).await?;
        let times = times.get(&self.claimed.id).copied().unwrap_or_default();
        let settlement = Settlement::of_lock(self.claimed, times, None);
        let settled = settle(&mut *tx, self.batch, std::slice::from_ref(&settlement)).await?;
        tx.commit().await?;
        Ok(End::of(settlement, &settled))
    }

    pub(super) async fn settle_plainly(&self, ended: Result<Effects, JobError>) -> Result<End, sqlx::Error> {
        self.finish(db::begin(&self.context.pool).await?, ended).await
    }
}

/// A wait whose end is in our hands, and which therefore has none in time: ten years.
pub(super) fn wait(reason: &str) -> Snooze {
    Snooze { reason: reason.into(), fact: None, limit: Duration::from_hours(10 * 365 * 24) }
}

/// Why it is tried again: in a few words, which stand in lists, over all that is known, which stands with the attempt.
#[derive(Debug)]
pub(super) struct Told {
    said: String,
    whole: Option<Whole>,
}

/// All that is known.
#[derive(Debug)]
struct Whole(String);

impl Told {
    pub(super) fn of(reply: &Reply) -> Self {
        Self::new(reply.said(), reply.to_string())
    }

    pub(super) fn new(said: String, whole: String) -> Self {
        let whole = (whole != said).then_some(Whole(whole));
        Self { said, whole }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Told {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.whole.as_ref().map(|whole| whole as _)
    }
}

impl Error for Whole {}

/// The same again later: after what the other side said, else soon the first time, else by the back-off.
pub(super) fn retry(claimed: &Claimed, after: Option<Duration>, why: Told) -> JobError {
    let after = after.or_else(|| (claimed.attempt == 1).then_some(backoff::FLOOR));
    JobError::Retry { after, source: why.into() }
}
