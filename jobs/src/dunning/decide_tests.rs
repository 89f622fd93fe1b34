//! The table of what a step comes to, row by row.

use std::collections::BTreeMap;

use bursar_stripe::invoices::{Attempt, Invoice, Pause, Standing, Subscription};
use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::{
    dunning::{Dunning as Settings, Schedule},
    engine::job::Outcome,
    terms::{PayoutTerms, Selling},
};

fn terms() -> Terms {
    Terms {
        tiers: Vec::new(),
        packages: Vec::new(),
        skills: BTreeMap::new(),
        payout: PayoutTerms { minor_units_per_credit: 50, currency: "usd".into(), ..PayoutTerms::default() },
        initial_credits: crate::base::credits::Credits::ZERO,
        livemode: false,
        stripe_on: true,
        grace: Duration::ZERO,
        selling: Selling::default(),
        dunning: Settings::default(),
    }
}

fn day(days: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(days)
}

/// A case that failed on day 0; its retries and letters before a day have had their turn.
fn case(today: u32) -> Case {
    let schedule: Schedule = Settings::default().schedule;
    let steps = schedule.steps().into_iter().map(|step| Planned {
        step,
        due_at: step.due(day(0)),
        state: if step.day() < today { "done".into() } else { "planned".into() },
        outcome: None,
    });
    Case {
        invoice_id: "in_1".into(),
        subscription_id: "sub_1".into(),
        user_id: "alice".into(),
        state: "open".into(),
        reason: None,
        failed_at: day(0),
        steps: steps.collect(),
        schedule,
        promised_until: None,
        card_asked: false,
    }
}

/// The same, and that day's try has had its turn too.
fn after_the_try(today: u32) -> Case {
    let mut case = case(today);
    case.steps.iter_mut().filter(|s| s.step == Step::Retry(today)).for_each(|s| s.state = "done".into());
    case
}

/// Owed, declined for want of money, by the card that would be charged again.
fn owed() -> Standing {
    Standing {
        invoice: Invoice {
            id: "in_1".into(),
            status: "open".into(),
            billing_reason: Some("subscription_cycle".into()),
            collection_method: Some("charge_automatically".into()),
            customer: Some("cus_1".into()),
            subscription: Some("sub_1".into()),
            amount_remaining: 1900,
            currency: "usd".into(),
            next_payment_attempt: None,
            hosted_invoice_url: Some("https://stripe.example/in_1".into()),
            default_method: None,
            intent: None,
        },
        attempt: Some(Attempt {
            status: "requires_payment_method".into(),
            decline_code: Some("insufficient_funds".into()),
            method: Some("pm_1".into()),
            ..Attempt::default()
        }),
        subscription: Some(Subscription {
            id: "sub_1".into(),
            status: "past_due".into(),
            metadata: BTreeMap::new(),
            pause_collection: None,
            default_payment_method: None,
            default_source: None,
        }),
        method: Some("pm_1".into()),
    }
}

fn hard() -> Standing {
    let mut standing = owed();
    standing.attempt.as_mut().unwrap().decline_code = Some("stolen_card".into());
    standing
}

/// The kinds that follow, the letters among them by name; and why, where nothing does.
fn comes_to(case: &Case, step: Step, standing: &Standing, now: DateTime<Utc>) -> (Vec<String>, String) {
    let effects = before(case, step, now).unwrap_or_else(|| after(case, step, standing, now, &terms()).unwrap());
    let name = |job: &NewJob| job.args["letter"].as_str().unwrap_or(job.kind).to_owned();
    let why = match effects.outcome {
        Outcome::Skip(why) => why,
        Outcome::Snooze(snooze) => format!("snooze: {}", snooze.reason),
        Outcome::Done | Outcome::Dead(_) => String::new(),
    };
    (effects.follow_ups.iter().map(name).collect(), why)
}

#[track_caller]
fn does(case: &Case, step: Step, standing: &Standing, now: DateTime<Utc>, follow_ups: &[&str], why: &str) {
    let (jobs, said) = comes_to(case, step, standing, now);
    assert_eq!(jobs, follow_ups, "{step}: {said}");
    assert!(said.contains(why) && said.is_empty() == why.is_empty(), "{step}: {said}");
}

#[test]
fn each_step_has_its_act_on_its_day() {
    does(&case(0), Step::Letter(0), &owed(), day(0), &["payment_failed_first"], "");
    does(&case(1), Step::Retry(1), &owed(), day(1), &["retry_invoice"], "");
    does(&after_the_try(3), Step::Letter(3), &owed(), day(3), &["payment_failed_again"], "");
    does(&after_the_try(5), Step::Letter(5), &owed(), day(5), &["payment_failed_last"], "");
    does(&case(8), Step::Final(7), &owed(), day(7), &[], "it had its turn");
    let mut last = case(7);
    last.steps.iter_mut().filter(|s| s.step == Step::Retry(7)).for_each(|s| s.state = "done".into());
    does(&last, Step::Final(7), &owed(), day(7), &["pause_subscription"], "");
    last.schedule.last = Final::Cancel;
    does(&last, Step::Final(7), &owed(), day(7), &["cancel_subscription"], "");
}

#[test]
fn the_last_step_waits_until_every_try_is_known_to_have_failed() {
    for state in ["planned", "running", "sending", "unknown"] {
        let mut case = case(7);
        case.steps.iter_mut().filter(|s| s.step == Step::Retry(7)).for_each(|s| s.state = state.into());
        does(&case, Step::Final(7), &owed(), day(9), &[], "snooze: it is not known yet that retry:7 has failed");
    }
}

#[test]
fn a_letter_waits_a_day_at_most_for_the_try_of_its_day() {
    for state in ["planned", "running", "sending", "unknown"] {
        let mut case = after_the_try(3);
        case.steps.iter_mut().filter(|s| s.step == Step::Retry(3)).for_each(|s| s.state = state.into());
        does(&case, Step::Letter(3), &owed(), day(3), &[], "snooze: it is not known yet that retry:3 has failed");
        does(&case, Step::Letter(3), &owed(), day(4), &["payment_failed_again"], "");
    }
}

#[test]
fn what_missed_its_turn_is_left_out() {
    let late = case(0);
    for (step, next) in [
        (Step::Letter(0), "letter:3"),
        (Step::Letter(3), "letter:5"),
        (Step::Retry(1), "retry:3"),
        (Step::Retry(5), "retry:7"),
    ] {
        does(&late, step, &owed(), day(10), &[], &format!("late: {next} is due already"));
    }
    does(&late, Step::Letter(5), &owed(), day(10), &["payment_failed_last"], "");
    does(&late, Step::Retry(7), &owed(), day(10), &["retry_invoice"], "");
}

#[test]
fn a_deadline_that_a_letter_named_is_kept() {
    let mut late = case(8);
    assert_eq!(letters::deadline(&late, 5, day(5)), Some(day(7)));
    assert_eq!(letters::deadline(&late, 5, day(10)), Some(day(12)), "as long as there would have been");
    late.promised_until = Some(day(12));
    late.steps.iter_mut().filter(|s| matches!(s.step, Step::Final(_))).for_each(|s| s.state = "planned".into());
    does(&late, Step::Final(7), &owed(), day(10), &["dunning_step"], "a letter named this deadline");
    does(&late, Step::Final(7), &owed(), day(12), &["pause_subscription"], "");
}

#[test]
fn stripes_own_retries_are_left_to_it() {
    let mut standing = owed();
    standing.invoice.next_payment_attempt = Some(day(9).timestamp());
    does(&case(3), Step::Retry(3), &standing, day(3), &[], "Stripe tries again by itself");
    does(&after_the_try(3), Step::Letter(3), &standing, day(3), &["payment_failed_again"], "");
    let mut last = case(8);
    last.steps.iter_mut().filter(|s| matches!(s.step, Step::Final(_))).for_each(|s| s.state = "planned".into());
    does(&last, Step::Final(7), &standing, day(8), &["dunning_step"], "Stripe still tries");
}

#[test]
fn a_hard_decline_wants_another_card_and_asks_for_it_once() {
    does(&case(0), Step::Letter(0), &hard(), day(0), &["card_needed"], "");
    does(&case(1), Step::Retry(1), &hard(), day(1), &["card_needed"], "needs its owner (stolen_card)");
    let (mut asked, mut tried) = (case(3), after_the_try(3));
    (asked.card_asked, tried.card_asked) = (true, true);
    does(&tried, Step::Letter(3), &hard(), day(3), &["payment_failed_again"], "");
    does(&asked, Step::Retry(3), &hard(), day(3), &[], "needs its owner");
    let mut other = hard();
    other.method = Some("pm_2".into());
    does(&asked, Step::Retry(3), &other, day(3), &["retry_invoice"], "");
    other.method = None;
    does(&asked, Step::Retry(3), &other, day(3), &[], "no card to charge");
}

#[test]
fn whatever_ends_the_matter_stands_it_down() {
    for (status, subscription, why) in [
        ("paid", "active", "it is paid"),
        ("void", "active", "it is void"),
        ("uncollectible", "past_due", "it is uncollectible"),
        ("open", "canceled", "its subscription is over"),
    ] {
        let mut standing = owed();
        standing.invoice.status = status.into();
        standing.subscription.as_mut().unwrap().status = subscription.into();
        does(&after_the_try(3), Step::Letter(3), &standing, day(3), &[], why);
        does(&case(3), Step::Retry(3), &standing, day(3), &[], why);
    }
    let mut stopped = case(3);
    stopped.state = "stopped".into();
    does(&stopped, Step::Retry(3), &owed(), day(3), &[], "stood down: the case of in_1 is stopped");
    let mut odd = owed();
    odd.invoice.status = "teleported".into();
    let error = after(&case(3), Step::Retry(3), &odd, day(3), &terms()).unwrap_err();
    assert!(matches!(error, JobError::Dead(why) if why.contains("bursar dunning stop in_1")));
}

#[test]
fn a_debit_that_is_on_its_way_is_neither_tried_again_nor_taken_for_failed() {
    let mut standing = owed();
    standing.attempt.as_mut().unwrap().status = "processing".into();
    does(&case(3), Step::Retry(3), &standing, day(3), &[], "on its way");
    let mut last = case(8);
    last.steps.iter_mut().filter(|s| matches!(s.step, Step::Final(_))).for_each(|s| s.state = "planned".into());
    does(&last, Step::Final(7), &standing, day(7), &["dunning_step"], "on its way");
}

#[test]
fn only_a_pause_of_ours_is_lifted() {
    let mut paid = case(8);
    paid.state = "paid".into();
    paid.steps.push(Planned { step: Step::Resume, due_at: day(20), state: "planned".into(), outcome: None });
    let paused = |behavior: &str, mark: Option<&str>| {
        let mut standing = owed();
        let subscription = standing.subscription.as_mut().unwrap();
        subscription.pause_collection = Some(Pause { behavior: Some(behavior.into()), resumes_at: None });
        subscription.metadata.extend(mark.map(|mark| ("dunning".to_owned(), mark.to_owned())));
        standing
    };
    does(&paid, Step::Resume, &paused("void", Some("in_1")), day(20), &["resume_subscription"], "");
    does(&paid, Step::Resume, &paused("void", Some("in_2")), day(20), &[], "somebody else");
    does(&paid, Step::Resume, &paused("void", None), day(20), &[], "somebody else");
    does(&paid, Step::Resume, &paused("keep_as_draft", Some("in_1")), day(20), &[], "somebody else");
    does(&paid, Step::Resume, &owed(), day(20), &[], "not paused");
}
