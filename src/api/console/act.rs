//! What an operator does to jobs from the console: one, or all that match; what it would mean is shown before.

use bursar_jobs::{
    base::{audit::Via, clock},
    desk::{
        JobFilter, Operator, State,
        access::{Role, Signed},
        bulk::{self, Progress, Refused, Verb},
        change::{self, Change},
        risk::{self, DryRun},
    },
    engine::kind,
};
use chrono::{DateTime, SecondsFormat, Utc};
use hyper::{Request, StatusCode, body::Incoming};
use maud::{Markup, html};
use sqlx::PgConnection;

use super::{
    Trouble,
    form::{self, Fields},
    jobs,
    page::{amount, csrf, page, see_other},
    reading, undone,
};
use crate::{api::Api, http::reply::Reply};

pub(super) fn operator(signed: &Signed) -> Operator {
    Operator { who: signed.who.clone(), via: Via::Console }
}

fn verb(word: &str) -> Result<Verb, Trouble> {
    match word {
        "retry" => Ok(Verb::Retry),
        "cancel" => Ok(Verb::Cancel),
        "replay" => Ok(Verb::Replay),
        _ => Err(Trouble::malformed("There is no such act: nothing was changed.")),
    }
}

/// A retry or a cancellation of one job.
pub(super) async fn one(
    api: &Api,
    signed: &Signed,
    id: &str,
    word: &str,
    request: Request<Incoming>,
) -> Result<Reply, Trouble> {
    let verb = verb(word)?;
    let fields = form::read(api, signed, Role::Operator, request).await?;
    let mut tx = api.pool.begin().await?;
    let kind =
        sqlx::query_scalar!("SELECT job_type FROM apalis.jobs WHERE id = $1", id).fetch_optional(&mut *tx).await?;
    let kind = kind.ok_or_else(|| Trouble::not_found(&format!("There is no job {id}.")))?;
    if verb != Verb::Cancel && kind::moves_money(&kind) {
        form::may(signed, Role::Payer)?;
    }
    let (by, why) = (operator(signed), fields.get("why"));
    if verb == Verb::Cancel && why.is_none() {
        return Err(Trouble::malformed("Say why it need not be done. Nothing was changed."));
    }
    let came = match verb {
        Verb::Retry => change::retry(&mut tx, &by, id, why).await?,
        Verb::Cancel => change::cancel(&mut tx, &by, id, why).await?,
        Verb::Replay => change::replay(&mut tx, &by, id, why).await?,
    };
    match came {
        Change::Done(_) => {
            tx.commit().await?;
            Ok(see_other(&format!("/jobs/{id}")))
        }
        Change::Not(state) => Err(Trouble::new(
            StatusCode::CONFLICT,
            &format!("The job is {} by now: there is nothing to {word}, and nothing was changed.", state.word()),
        )),
        Change::Unknown => Err(Trouble::not_found(&format!("There is no job {id}."))),
    }
}

/// All that match: the dry run first, then the act.
pub(super) async fn all(api: &Api, signed: &Signed, request: Request<Incoming>) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Operator, request).await?;
    let verb = verb(fields.get("verb").unwrap_or_default())?;
    let _place = reading::place(api).await?;
    let mut db = api.pool.acquire().await?;
    let now = clock::business(&mut *db).await?;
    // What was shown is acted on, and not what has come to match since, though it be as many.
    let acts = fields.get("step") == Some("act");
    let shown = fields.get("shown").and_then(|text| text.parse::<DateTime<Utc>>().ok()).filter(|at| acts && *at <= now);
    let filter_at = |at: DateTime<Utc>| {
        jobs::filter(&fields, at)
            .map(|filter| JobFilter { before: Some(filter.before.map_or(at, |before| before.min(at))), ..filter })
    };
    let show_now = async |db: &mut PgConnection, changed: bool| -> Result<Reply, Trouble> {
        let dry = risk::dry_run(db, &filter_at(now)?).await?;
        Ok(page(signed, "/jobs", &title(verb), &confirm(signed, &fields, (verb, changed), &dry, now)))
    };
    if !acts {
        return show_now(&mut db, false).await;
    }
    if verb == Verb::Cancel && fields.get("why").is_none() {
        return Err(Trouble::malformed("Say why they need not be done. Nothing was changed."));
    }
    // A form that does not say what was shown has shown nothing.
    let seal = Some(fields.get("seal").unwrap_or_default());
    let may_pay = signed.role >= Role::Payer;
    let filter = filter_at(shown.unwrap_or(now))?;
    let asked = bulk::Asked { seal, may_pay, why: fields.get("why"), ..bulk::Asked::new(verb, &filter) };
    let began = match bulk::begin(&mut db, &operator(signed), asked).await {
        Ok(began) => began,
        Err(Refused::Payer) => return Err(form::refusal(signed, Role::Payer)),
        // What was confirmed is not what would be done: it is shown again, as it is now.
        Err(Refused::JobsChanged(_)) => return show_now(&mut db, true).await,
        Err(Refused::Database(error)) => return Err(error.into()),
        Err(other) => return Err(Trouble::malformed(&format!("{other}. Nothing was changed."))),
    };
    go_on(api, &began.id);
    Ok(see_other(&format!("/bulk/{}", began.id)))
}

/// Does the act beside the requests; what a crash leaves, a worker goes on with.
pub(super) fn go_on(api: &Api, id: &str) {
    let (pool, id) = (api.pool.clone(), id.to_owned());
    tokio::spawn(async move {
        let step = async || -> Result<bool, sqlx::Error> {
            let mut db = pool.acquire().await?;
            Ok(bulk::step(&mut db, &id).await?.is_none_or(|so_far| so_far.ended_at.is_some()))
        };
        loop {
            match step().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, act = id, "an act in bulk was interrupted; a worker goes on with it");
                    return;
                }
            }
        }
    });
}

fn title(verb: Verb) -> String {
    match verb {
        Verb::Retry => "Retry all that match".to_owned(),
        Verb::Cancel => "Cancel all that match".to_owned(),
        Verb::Replay => "Run all that match again".to_owned(),
    }
}

fn confirm(
    signed: &Signed,
    fields: &Fields,
    (verb, changed): (Verb, bool),
    dry: &DryRun,
    shown: DateTime<Utc>,
) -> Markup {
    let [safe, done, unknown] = verb.means();
    let kinds: Vec<String> = dry.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let sums: Vec<String> = dry.amounts.iter().map(|(currency, sum)| amount(*sum, currency)).collect();
    let allowed = !verb.releases(dry) || signed.role >= Role::Payer;
    html! {
        @if changed { p.say.wait role="alert" { "What matches has changed since it was shown: nothing was done. This is how it stands now." } }
        p { strong { (dry.matching) } " jobs match: " (kinds.join(", ")) "." }
        div.cards {
            div.card { b.good { (dry.safe) } span { "safe: " (safe) } }
            div.card { b.quiet { (dry.done) } span { "already done: " (done) } }
            div.card { b.unknown { (dry.unknown) } span { "unknown: " (unknown) } }
            div.card {
                b { @if sums.is_empty() { "–" } @else { (sums.join(", ")) } }
                span { "at stake" @if dry.unpriced > 0 { ", and " (dry.unpriced) " jobs of no known amount" } }
            }
        }
        @if !dry.examples.is_empty() {
            h2 { "To look at" }
            ul { @for one in &dry.examples { li { a href={ "/jobs/" (one.id) } { (one.kind) } ": " (one.why) } } }
        }
        @if dry.matching == 0 { p { "Nothing to do." } }
        @else if !allowed { p.say.wait { "Some of these release money: that takes a payer. You are signed in as a" @if signed.role == Role::Operator { "n" } " " (signed.role.word()) "." } }
        @else {
            @if verb == Verb::Cancel { p.say.bad { (undone::all(dry)) } }
            form.acts method="post" action="/bulk" {
                (csrf(signed))
                (hidden(fields))
                input type="hidden" name="verb" value=(verb.word());
                input type="hidden" name="step" value="act";
                input type="hidden" name="seal" value=(dry.seal);
                input type="hidden" name="shown" value=(shown.to_rfc3339_opts(SecondsFormat::Micros, true));
                label { "Why (for whoever reads it later)" input name="why" maxlength="2000" required[verb == Verb::Cancel]; }
                button.act[verb != Verb::Cancel].danger[verb == Verb::Cancel] {
                    @match verb { Verb::Retry => "Retry all ", Verb::Replay => "Run again all ", Verb::Cancel => "Cancel all " } (dry.matching)
                }
                a href="/jobs" { "No" }
            }
        }
    }
}

/// The filter, carried along in a form.
pub(super) fn hidden(fields: &Fields) -> Markup {
    html! { @for name in jobs::FIELDS { @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); } } }
}

/// How far an act has come.
pub(super) async fn progress(api: &Api, signed: &Signed, id: &str) -> Result<Reply, Trouble> {
    let mut db = reading(api).await?;
    let so_far = bulk::progress(&mut db, id).await?;
    let so_far = so_far.ok_or_else(|| Trouble::not_found("There is no such act."))?;
    let releases = so_far.verb == "release";
    let body = html! {
        div data-live="bulk" { (said(&so_far)) }
        @if releases { p { a href="/payouts" { "Payouts" } } } @else { p { a href={ "/jobs?state=" (State::Dead.word()) } { "Dead jobs" } } }
    };
    Ok(page(signed, if releases { "/payouts" } else { "/jobs" }, "An act on all that matched", &body))
}

fn said(so_far: &Progress) -> Markup {
    let seen = so_far.changed + so_far.skipped;
    html! {
        progress max=(so_far.matching.max(1)) value=(seen) aria-label="How far it has come" {}
        p { strong { (so_far.changed) } " of " (so_far.matching) @if so_far.verb == "release" { " let go" } @else { " changed" }
            @if so_far.skipped > 0 { ", " (so_far.skipped) " were in another state by then" } "." }
        @if so_far.ended_at.is_some() { p.say.good role="status" { "Done." } } @else { p role="status" { "It goes on." } }
    }
}
