//! `bursar payouts show`: one payout, and every call that was made for it.

use bursar_jobs::{credits::Credits, desk::payout, money};
use sqlx::PgConnection;

use super::no_such;
use crate::operate::{Failure, Screen, screen::stamp};

/// Shows it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, job: &str) -> Result<(), Failure> {
    let page = payout::page(db, job).await?.ok_or_else(|| no_such(job))?;
    if screen.is_json() {
        screen.object(&page)?;
        return Ok(());
    }
    let payout::Page { payout, reversals, nettings, calls, .. } = page;
    let skill = format!("{} ({} credits)", payout.skill, Credits::from_micros(payout.credits));
    let next = match payout.state.as_str() {
        "held" | "skipped" | "rejected" | "unknown" => Some(format!("bursar payouts release {}", payout.job_id)),
        _ => payout.event_id.as_ref().map(|event| format!("bursar events show {event}")),
    };
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
    if let Some(next) = next {
        screen.fact("next", &next)?;
    }
    Ok(())
}
