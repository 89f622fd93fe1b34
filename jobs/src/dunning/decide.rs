//! What a step of a case comes to: from the case and from how the invoice stands at Stripe now. Pure, so that it can be read and tested as
//! a table.

use std::time::Duration;

use bursar_stripe::invoices::{Attempt, Standing};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    dunning::{
        Final, Step,
        cancel_subscription::CancelSubscription,
        case::{Case, Planned},
        change::Change,
        dunning_step::DunningStep,
        is_hard,
        letters::{self, Fields},
        pause_subscription::PauseSubscription,
        resume_subscription::ResumeSubscription,
        retry_invoice::RetryInvoice,
        said,
    },
    engine::{
        change::AnyChange,
        job::{Effects, JobError, NewJob, Snooze},
    },
    terms::Terms,
};

/// After Stripe's own next try: by then it is known what came of it.
const AFTER_STRIPE: TimeDelta = TimeDelta::hours(1);
/// How long a letter waits for the try of its day: a customer is not told of a failure minutes before the money comes, nor left untold while
/// a try is stuck.
const FOR_THE_TRY: TimeDelta = TimeDelta::days(1);
/// The longest wait for what is not known. Stripe's own retries go on for two months at most.
pub(crate) const WAIT: Duration = Duration::from_hours(90 * 24);

/// What can be said of a step without asking Stripe.
pub(crate) fn before(case: &Case, step: Step, now: DateTime<Utc>) -> Option<Effects> {
    let Some(planned) = case.step(step) else {
        return Some(Effects::skip(format!("{} has no step {step}", case.invoice_id)));
    };
    if planned.state != "planned" {
        let outcome = planned.outcome.as_deref().unwrap_or(&planned.state);
        return Some(Effects::skip(format!("it had its turn: {outcome}")));
    }
    match step {
        Step::Resume if case.is_open() => Some(skipped(case, step, "the case is open again".into())),
        Step::Resume => None,
        _ if !case.is_open() => Some(skipped(case, step, case.why_over())),
        Step::Letter(_) | Step::Retry(_) if let Some(later) = later_due(case, step, now) => {
            Some(skipped(case, step, format!("late: {} is due already", later.step)))
        }
        Step::Retry(_) => None,
        Step::Letter(day) => {
            let waits = now < planned.due_at + FOR_THE_TRY;
            waits.then(|| open_try(case, |of| of == day)).flatten().map(|open| until_over(case, open))
        }
        Step::Final(_) => open_try(case, |_| true).map(|open| until_over(case, open)),
    }
}

/// A try of such a day that may still take the money.
fn open_try(case: &Case, day: impl Fn(u32) -> bool) -> Option<&Planned> {
    case.steps.iter().find(|one| matches!(one.step, Step::Retry(of) if day(of)) && !one.is_over())
}

fn until_over(case: &Case, open: &Planned) -> Effects {
    let outcome = open.outcome.as_ref().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
    let reason = format!("it is not known yet that {} has failed: it is {}{outcome}", open.step, open.state);
    Effects::snooze(Snooze { reason, fact: Some(Case::fact(&case.invoice_id)), limit: WAIT })
}

/// A later step of the same sort that is due by now: this one has missed its turn.
fn later_due(case: &Case, step: Step, now: DateTime<Utc>) -> Option<&Planned> {
    case.steps.iter().find(|other| {
        let same = matches!((other.step, step), (Step::Letter(_), Step::Letter(_)) | (Step::Retry(_), Step::Retry(_)));
        same && other.step.day() > step.day() && other.due_at <= now
    })
}

/// What a step comes to by how the invoice stands.
pub(crate) fn after(
    case: &Case,
    step: Step,
    standing: &Standing,
    now: DateTime<Utc>,
    terms: &Terms,
) -> Result<Effects, JobError> {
    if step == Step::Resume {
        return Ok(resume(case, standing));
    }
    if let Some((state, why)) = over(standing)? {
        return Ok(closed(case, step, state, &why));
    }
    Ok(match step {
        Step::Letter(day) => letter(case, step, day, standing, now, terms),
        Step::Retry(day) => retry(case, step, day, standing, now, terms),
        Step::Final(_) => last(case, step, standing, now, terms),
        Step::Resume => resume(case, standing),
    })
}

/// Whether an invoice is chased no more, and why.
pub(crate) fn over(standing: &Standing) -> Result<Option<(&'static str, String)>, JobError> {
    let invoice = &standing.invoice;
    let how = match invoice.status.as_str() {
        "paid" => Some(("paid", "Stripe says that it is paid".to_owned())),
        "void" => Some(("void", "Stripe says that it is void".to_owned())),
        "uncollectible" => Some(("uncollectible", "Stripe says that it is uncollectible".to_owned())),
        "open" => None,
        other => {
            return Err(JobError::Dead(format!(
                "{} is {other:?} at Stripe, which this version does not know: look at it there, then retry this job or run \
                 `bursar dunning stop {}`",
                invoice.id, invoice.id
            )));
        }
    };
    let ended = standing.subscription.as_ref().is_none_or(|s| is_ended(&s.status));
    Ok(how.or_else(|| ended.then(|| ("ended", "its subscription is over".to_owned()))))
}

fn is_ended(status: &str) -> bool {
    matches!(status, "canceled" | "incomplete_expired")
}

fn letter(case: &Case, step: Step, day: u32, standing: &Standing, now: DateTime<Utc>, terms: &Terms) -> Effects {
    let until = letters::deadline(case, day, now);
    let fields = letters::fields(&standing.invoice, until, terms);
    let (name, mut changes): (_, Vec<AnyChange>) = match needs_card(standing) {
        Some(_) if !case.card_asked => ("card_needed", vec![card_asked(case).into()]),
        _ => (letters::name(case, day), Vec::new()),
    };
    changes.extend(until.map(|until| promise(case, until).into()));
    changes.push(stepped(case, step, "done", format!("{name} was written")).into());
    let place = if name == "card_needed" { name.to_owned() } else { step.to_string() };
    Effects { changes, follow_ups: vec![letters::job(case, name, &place, &fields)], ..Effects::done() }
}

fn retry(case: &Case, step: Step, day: u32, standing: &Standing, now: DateTime<Utc>, terms: &Terms) -> Effects {
    if let Some(at) = stripes_next(standing) {
        return skipped(case, step, format!("Stripe tries again by itself, at {}", at.to_rfc3339()));
    }
    if is_on_its_way(standing) {
        return skipped(case, step, "a payment is on its way".to_owned());
    }
    let until = letters::deadline(case, case.schedule.final_day, now);
    let fields = letters::fields(&standing.invoice, until, terms);
    if let Some(why) = needs_card(standing) {
        let mut effects = skipped(case, step, format!("not tried: {why}"));
        if !case.card_asked {
            effects.changes.push(card_asked(case).into());
            effects.follow_ups.push(letters::job(case, "card_needed", "card_needed", &fields));
        }
        return effects;
    }
    let changes: Vec<AnyChange> = vec![stepped(case, step, "running", "the invoice is to be paid".to_owned()).into()];
    Effects { changes, follow_ups: vec![RetryInvoice::of(&case.invoice_id, day, &fields)], ..Effects::done() }
}

fn last(case: &Case, step: Step, standing: &Standing, now: DateTime<Utc>, terms: &Terms) -> Effects {
    if let Some(at) = stripes_next(standing) {
        return later(case, step, at.max(now) + AFTER_STRIPE, now, "Stripe still tries again by itself");
    }
    if is_on_its_way(standing) {
        return later(case, step, now + TimeDelta::days(1), now, "a payment is on its way");
    }
    if let Some(until) = case.promised_until.filter(|until| *until > now) {
        return later(case, step, until, now, "a letter named this deadline");
    }
    let paused = standing.subscription.as_ref().is_some_and(|subscription| subscription.pause_collection.is_some());
    let fields = letters::fields(&standing.invoice, None, terms);
    let (invoice, subscription) = (&case.invoice_id, &case.subscription_id);
    let (say, act): (&str, NewJob) = match case.schedule.last {
        Final::None => return exhausted(case, step, "the schedule ends without a final step"),
        Final::Pause if paused => {
            return exhausted(case, step, "its subscription is paused already, and not by this case");
        }
        Final::Pause => ("its subscription is to be paused", PauseSubscription::of(invoice, subscription, &fields)),
        Final::Cancel => {
            ("its subscription is to be cancelled", CancelSubscription::of(invoice, subscription, &fields))
        }
    };
    let changes: Vec<AnyChange> = vec![stepped(case, step, "running", say.to_owned()).into()];
    Effects { changes, follow_ups: vec![act], ..Effects::done() }
}

fn resume(case: &Case, standing: &Standing) -> Effects {
    let step = Step::Resume;
    let Some(subscription) = standing.subscription.as_ref().filter(|s| !is_ended(&s.status)) else {
        return skipped(case, step, "its subscription is over".to_owned());
    };
    match &subscription.pause_collection {
        None => skipped(case, step, "its subscription is not paused".to_owned()),
        Some(pause)
            if pause.behavior.as_deref() == Some("void")
                && subscription.metadata.get("dunning") == Some(&case.invoice_id) =>
        {
            let changes: Vec<AnyChange> =
                vec![stepped(case, step, "running", "its subscription is to go on".to_owned()).into()];
            let act = ResumeSubscription::of(&case.invoice_id, &case.subscription_id);
            Effects { changes, follow_ups: vec![act], ..Effects::done() }
        }
        Some(_) => skipped(case, step, "somebody else has paused its subscription: it stays so".to_owned()),
    }
}

/// When Stripe tries again by itself.
fn stripes_next(standing: &Standing) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(standing.invoice.next_payment_attempt?, 0)
}

/// A debit takes days.
fn is_on_its_way(standing: &Standing) -> bool {
    standing.attempt.as_ref().is_some_and(|attempt| attempt.status == "processing")
}

/// Why only another card helps, if so.
fn needs_card(standing: &Standing) -> Option<String> {
    let Some(method) = &standing.method else { return Some("there is no card to charge".to_owned()) };
    let attempt: &Attempt = standing.attempt.as_ref()?;
    let same = attempt.method.as_ref().is_none_or(|tried| tried == method);
    (is_hard(attempt) && same)
        .then(|| format!("the card needs its owner ({}), and there is no other yet", said(attempt)))
}

fn stepped(case: &Case, step: Step, state: &'static str, outcome: String) -> Change {
    Change::Step { invoice: case.invoice_id.clone(), step, state, outcome, due_at: None }
}

fn card_asked(case: &Case) -> Change {
    Change::CardAsked { invoice: case.invoice_id.clone() }
}

fn promise(case: &Case, until: DateTime<Utc>) -> Change {
    Change::Promise { invoice: case.invoice_id.clone(), until }
}

fn skipped(case: &Case, step: Step, why: String) -> Effects {
    Effects { changes: vec![stepped(case, step, "skipped", why.clone()).into()], ..Effects::skip(why) }
}

/// The case is over, as Stripe says it.
fn closed(case: &Case, step: Step, state: &'static str, why: &str) -> Effects {
    let said = stepped(case, step, "skipped", format!("stood down: {why}"));
    let close = Change::Close { invoice: case.invoice_id.clone(), state, reason: why.to_owned() };
    Effects { changes: vec![said.into(), close.into()], ..Effects::skip(format!("stood down: {why}")) }
}

fn exhausted(case: &Case, step: Step, why: &str) -> Effects {
    let close = Change::Close { invoice: case.invoice_id.clone(), state: "exhausted", reason: why.to_owned() };
    Effects { changes: vec![stepped(case, step, "done", why.to_owned()).into(), close.into()], ..Effects::done() }
}

/// The step looks again then; one job for each such moment.
fn later(case: &Case, step: Step, at: DateTime<Utc>, now: DateTime<Utc>, why: &str) -> Effects {
    let why = format!("{why}: looking again at {}", at.to_rfc3339());
    let wait = Change::Step {
        invoice: case.invoice_id.clone(),
        step,
        state: "planned",
        outcome: why.clone(),
        due_at: Some(at),
    };
    let next = DunningStep::again(&case.invoice_id, step, &at.timestamp().to_string(), at - now);
    Effects { changes: vec![wait.into()], follow_ups: vec![next], ..Effects::skip(why) }
}

/// The letter that follows an act of the last step.
pub(crate) fn farewell(case: &Case, letter: &str, fields: &Fields) -> NewJob {
    letters::job(case, letter, letter, fields)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
