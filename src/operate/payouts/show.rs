//! `bursar payouts show`: one payout, every call that was made for it, its jobs, and what would help.

use bursar_jobs::{
    base::{credits::Credits, money},
    desk::{
        job, payout,
        release::{self, Judged},
    },
};
use serde_json::json;
use sqlx::PgConnection;

use super::no_such;
use crate::operate::{Failure, Screen, screen::stamp};

/// Jobs shown to people; programs get all of them.
const SHOWN: usize = 5;

/// Shows it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, id: &str) -> Result<(), Failure> {
    let page = payout::page(db, id).await?.ok_or_else(|| no_such(id))?;
    if screen.is_json() {
        screen.object(&page)?;
        return Ok(());
    }
    let judged = release::judge(db, &[id.to_owned()]).await?.pop();
    let next = next(&page, judged.as_ref());
    let mut jobs = Vec::new();
    let hidden = page.jobs.len().saturating_sub(SHOWN);
    for run in &page.jobs[hidden..] {
        let why = match job::page(db, &run.id).await? {
            Some(one) => one.why(|at| screen.moment(at)),
            None => run.reason.clone().unwrap_or_default(),
        };
        jobs.push(format!("{} {} {}: {why}", run.id, run.kind, run.state));
    }
    let payout::Page { payout, reversals, nettings, calls, .. } = page;
    let skill = format!("{} ({} credits)", payout.skill, Credits::from_micros(payout.credits));
    let currency = payout.currency.clone();
    let some = |amount: i64| (amount > 0).then(|| money::format(amount, &currency));
    let facts = [
        ("payout for", Some(payout.job_id)),
        ("state", Some(payout.state)),
        ("why", payout.reason),
        ("amount", Some(money::format(payout.amount, &payout.currency))),
        ("sent", payout.transfer_amount.filter(|_| payout.netted > 0).map(|sent| money::format(sent, &currency))),
        ("netted", some(payout.netted)),
        ("reversed", some(payout.reversed)),
        ("came back", some(payout.returned)),
        ("carried", some(payout.carried)),
        ("receiver", Some(payout.receiver_id)),
        ("sender", payout.sender_id),
        ("skill", Some(skill)),
        ("Transfer", payout.transfer_id),
        ("recorded", Some(stamp(payout.recorded_at))),
        ("changed", Some(stamp(payout.changed_at))),
        ("caused by", payout.event_id.as_ref().map(|event| format!("event {event}"))),
    ];
    for (label, text) in facts {
        if let Some(text) = text {
            screen.fact(label, &text)?;
        }
    }
    for netting in &nettings {
        let said = money::format(netting.amount, &currency);
        screen.fact("netting", &format!("{said} {}", netting.why.as_deref().unwrap_or_default()))?;
    }
    for reversal in &reversals {
        screen.fact(
            &format!("reversal {}", reversal.n),
            &format!("{}: {}", stamp(reversal.asked_at), reversal.sentence(&currency)),
        )?;
    }
    for (i, call) in calls.iter().enumerate() {
        screen.fact(&format!("call {}", i + 1), &call.sentence(stamp))?;
    }
    if hidden > 0 {
        screen.fact("jobs", &format!("{hidden} earlier ones are shown by --json"))?;
    }
    for said in jobs {
        screen.fact("job", &said)?;
    }
    for next in next {
        screen.fact("next", &next)?;
    }
    Ok(())
}

/// What would help from here: nothing but a look, as long as a job goes on by itself.
fn next(page: &payout::Page, judged: Option<&Judged>) -> Vec<String> {
    let of = &page.payout;
    if let Some(live) = page.live() {
        return vec![format!("bursar jobs show {}", live.id)];
    }
    if !matches!(of.state.as_str(), "held" | "skipped" | "rejected" | "sending" | "unknown") {
        return of.event_id.iter().map(|event| format!("bursar events show {event}")).collect();
    }
    let release = format!("bursar payouts release {} --why '…'", of.job_id);
    if page.is_saved_failure {
        return vec![
            format!("look for payout:{} among the Transfers in Stripe's dashboard", of.job_id),
            format!("if none is there: bursar payouts release {} --after-saved-failure --why '…'", of.job_id),
        ];
    }
    if judged.is_some_and(|judged| judged.is_held_again) {
        let asked = json!({ "user_id": of.receiver_id });
        let first = match page.receiver_state.as_deref() {
            Some("pending") => "nothing to do but wait for Stripe, which is looking at the account".to_owned(),
            _ => {
                format!("{} onboards: POST /api/stripe/connect {asked} answers with the link for them", of.receiver_id)
            }
        };
        // What nothing but the account holds goes by itself then.
        let then = if of.state == "held" && of.held_by.is_none() {
            "once the account is active it goes by itself".to_owned()
        } else {
            format!("once the account is active: {release}")
        };
        return vec![first, then];
    }
    vec![release]
}
