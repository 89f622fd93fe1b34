//! Reconciliations: which months were compared, what was found, what would close it; comparing one, and repairing it.

use std::collections::BTreeMap;

use bursar_jobs::{
    base::clock,
    desk::{
        access::{Role, Signed},
        runs::{self, Comparison, Finding, Judged, Kind},
    },
    ledger::CREDITS,
    reconciliation::{self, Phase},
};
use chrono::{DateTime, Utc};
use hyper::{Request, StatusCode, body::Incoming};
use maud::{Markup, html};

use super::{
    Trouble,
    act::operator,
    form::{self, Fields},
    link,
    page::{ago, at, csrf, page, see_other, state, words},
    payouts::segment,
    reading,
};
use crate::{api::Api, http::reply::Reply};
use bursar_jobs::ledger::adjustment::amount_said;

/// Runs on a page.
const PAGE: usize = 50;
/// Findings of a run that are shown.
const FINDINGS: i64 = 500;

pub(super) async fn show(api: &Api, signed: &Signed, query: &Fields) -> Result<Reply, Trouble> {
    if let Some(name) = query.unknown(&["after"]) {
        return Err(Trouble::malformed(&format!("A list of comparisons has no {name:?}.")));
    }
    let mut db = reading(api).await?;
    let now = clock::business(&mut *db).await?;
    let mut all = runs::list(&mut db, query.get("after"), i64::try_from(PAGE).unwrap_or(50) + 1).await?;
    let more = all.len() > PAGE;
    all.truncate(PAGE);
    let last = reconciliation::last_month(now).format("%Y-%m").to_string();
    let body = html! {
        @if signed.role >= Role::Operator {
            form.acts method="post" action="/reconcile" {
                (csrf(signed))
                label { "Month (UTC, over)" input name="month" value=(last) required maxlength="7" size="8"; }
                button.act name="act" value="compare" { "Compare it with Stripe" }
                @if signed.role >= Role::Payer { button name="act" value="repair" { "Compare and repair …" } }
                span.quiet { "A worker does it. A comparison changes nothing; what a repair would mean is shown first." }
            }
        }
        div data-live="runs" { (rows(&all, now)) }
        @if let Some(last) = all.last().filter(|_| more) { p { a href={ "/reconcile?after=" (segment(&last.run)) } rel="next" { "Older ones" } } }
    };
    Ok(page(signed, "/reconcile", "Reconciliation", &body))
}

fn rows(all: &[Comparison], now: DateTime<Utc>) -> Markup {
    html! {
        @if all.is_empty() { p { "No month was compared yet." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "run" } th { "state" } th { "begun" } th.n { "objects" } th.n { "found" } th.n { "open" } th { "by" } th { "why" } } }
                tbody { @for run in all {
                    tr {
                        td.id { a href={ "/reconcile/" (segment(&run.run)) } { (run.run) } }
                        td.is { (run_state(run)) @if run.state == "running" { " " (run.phase) } }
                        td data-th="begun" { (ago(run.begun_at, now)) }
                        td.n data-th="objects" { (run.objects) } td.n data-th="found" { (run.found) }
                        td.n data-th="open" { @if run.open > 0 { span.bad { (run.open) } } @else { "0" } }
                        td data-th="by" { (run.asked_by) @if run.repair_by.is_some() { span.quiet { ", with repairs" } } }
                        td.why { (words(run.reason.as_deref().unwrap_or_default())) }
                    }
                } }
            } }
        }
    }
}

/// A run that left something open must not look well.
pub(super) fn run_state(run: &Comparison) -> Markup {
    html! {
        @if run.state == "done" && run.open > 0 { span.state.wait { "done, " (run.open) " open" } } @else { (state(&run.state)) }
    }
}

/// What the open findings of these come to, in all: money, then credits.
fn open_sums(findings: &[Finding]) -> String {
    let mut sums: BTreeMap<(bool, &str), i64> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.state == "open") {
        if let (Some(amount), Some(unit)) = (finding.raw, finding.unit.as_deref()) {
            let sum = sums.entry((unit == CREDITS, unit)).or_default();
            *sum = sum.saturating_add(amount.saturating_abs());
        }
    }
    sums.iter().map(|((_, unit), sum)| amount_said(*sum, unit)).collect::<Vec<_>>().join(", ")
}

/// One comparison.
pub(super) async fn one(api: &Api, signed: &Signed, id: &str) -> Result<Reply, Trouble> {
    let mut db = reading(api).await?;
    let run = runs::one(&mut db, id).await?;
    let run = run.ok_or_else(|| Trouble::not_found(&format!("There is no comparison {id}.")))?;
    let kinds = runs::by_type(&mut db, Some(id)).await?;
    let findings = runs::findings(&mut db, id, FINDINGS).await?;
    let now = clock::business(&mut *db).await?;
    let automatic: i64 = kinds.iter().map(|kind| kind.automatic).sum();
    let body = html! {
        div data-live="run" {
            dl {
                dt { "State" } dd { (run_state(&run)) @if let Some(why) = &run.reason { ": " (words(why)) } }
                @if run.state == "running" { dt { "Compares" } dd { (run.phase) " " (bar(&run.phase)) } }
                dt { "Begun" } dd { (at(run.begun_at)) " (" (ago(run.begun_at, now)) ") by " (run.asked_by) }
                @if let Some(ended) = run.ended_at { dt { "Ended" } dd { (at(ended)) } }
                @if let Some(who) = &run.repair_by { dt { "Repairs" } dd { "for " (who) } }
                dt { "Objects compared" } dd { (run.objects) }
                dt { "Findings" } dd {
                    (run.found) ", " (run.open) " open"
                    @let sums = open_sums(&findings);
                    @if !sums.is_empty() { ", over " strong { (sums) } @if run.found > FINDINGS { " (of those below)" } }
                }
            }
            (by_type(&kinds))
        }
        @if automatic > 0 && run.state != "running" {
            @if signed.role >= Role::Payer {
                form.acts method="post" action="/reconcile" {
                    (csrf(signed))
                    input type="hidden" name="month" value=(run.month.format("%Y-%m"));
                    button name="act" value="repair" { "Repair what can be repaired …" }
                    span.quiet { "What it would mean is shown first." }
                }
            } @else { p.quiet { "A repair moves money or credits: that takes a payer." } }
        }
        h2 { "Findings" }
        @if findings.is_empty() { p { "Nothing differs." } }
        @if run.found > FINDINGS { p.say.wait { "Only the first " (FINDINGS) " are shown: " code { "bursar reconcile show " (run.run) " --json" } " shows them all." } }
        @for finding in &findings { (entry(signed, &run, finding)) }
    };
    Ok(page(signed, "/reconcile", &format!("Comparison {}", run.run), &body))
}

fn bar(phase: &str) -> Markup {
    let at = Phase::ALL.iter().position(|known| known.word() == phase).unwrap_or(Phase::ALL.len());
    html! { progress max=(Phase::ALL.len() + 1) value=(at) aria-label="How far it has come" {} }
}

fn amounts(kind: &Kind) -> String {
    let all: Vec<String> = kind.amounts.iter().map(|(unit, sum)| amount_said(*sum, unit)).collect();
    if all.is_empty() { "–".to_owned() } else { all.join(", ") }
}

/// What was found, by type.
pub(super) fn by_type(kinds: &[Kind]) -> Markup {
    html! {
        @if !kinds.is_empty() {
            div.wide { table.rows {
                thead { tr { th { "type" } th.n { "found" } th.n { "open" } th.n { "a repair closes" } th.n { "of those, in all" } } }
                tbody { @for kind in kinds {
                    tr {
                        td.is { (kind.r#type) } td.n data-th="found" { (kind.found) } td.n data-th="open" { (kind.open) } td.n data-th="a repair closes" { (kind.automatic) }
                        td.n data-th="of those, in all" { (amounts(kind)) @if kind.unpriced > 0 { ", and " (kind.unpriced) " of no known amount" } }
                    }
                } }
            } }
        }
    }
}

fn entry(signed: &Signed, run: &Comparison, finding: &Finding) -> Markup {
    html! {
        details {
            summary {
                (state(&finding.state)) " " strong { (finding.r#type) } " " (finding.object)
                @if let Some(user) = &finding.user_id { " of " (link::user(user)) }
                @if !finding.said.is_empty() { ", " (finding.said) }
            }
            dl {
                dt { "Finding" } dd { (finding.id) }
                @match &finding.closed_by {
                    Some(how) => { dt { "Closed by" } dd { (how) } }
                    None => { dt { "What closes it" } dd { @if finding.automatic { "the repair above, or " } code { (finding.remedy) } } }
                }
            }
            p.quiet { "The evidence, as data: money in the smallest unit of its currency, credits in millionths unless they are text." }
            pre { (format!("{:#}", finding.evidence)) }
            @if finding.state == "open" && signed.role >= Role::Operator {
                form.acts method="post" action={ "/reconcile/" (segment(&run.run)) "/judge" } {
                    (csrf(signed))
                    input type="hidden" name="finding" value=(finding.id);
                    label { "Why it may stay" input name="why" maxlength="2000" required; }
                    button { "It may stay" }
                }
            }
        }
    }
}

/// Begins a comparison; a repair shows first what it would mean.
pub(super) async fn begin(api: &Api, signed: &Signed, request: Request<Incoming>) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Operator, request).await?;
    let repair = match fields.get("act") {
        Some("compare") => false,
        Some("repair") => true,
        _ => return Err(Trouble::malformed("There is no such act: nothing was changed.")),
    };
    if repair {
        form::may(signed, Role::Payer)?;
    }
    let mut db = api.pool.acquire().await?;
    let now = clock::business(&mut *db).await?;
    let month = reconciliation::month_of(fields.get("month").unwrap_or_default(), now)
        .map_err(|why| Trouble::malformed(&format!("{why}. Nothing was changed.")))?;
    if repair && fields.get("step") != Some("act") {
        let last = runs::last_of(&mut db, month).await?;
        let kinds = match &last {
            Some(last) => runs::by_type(&mut db, Some(&last.run)).await?,
            None => Vec::new(),
        };
        let body = meaning(signed, &month.format("%Y-%m").to_string(), last.as_ref(), &kinds, now);
        return Ok(page(signed, "/reconcile", "Compare and repair", &body));
    }
    let mut tx = sqlx::Connection::begin(&mut *db).await?;
    let begun = runs::begin(&mut tx, &operator(signed), month, repair, fields.get("why")).await?;
    tx.commit().await?;
    Ok(see_other(&format!("/reconcile/{}", segment(&begun.run))))
}

fn meaning(signed: &Signed, month: &str, last: Option<&Comparison>, kinds: &[Kind], now: DateTime<Utc>) -> Markup {
    let automatic: i64 = kinds.iter().map(|kind| kind.automatic).sum();
    let left: i64 = kinds.iter().map(|kind| kind.open - kind.automatic).sum();
    html! {
        @match last {
            None => p.say.wait { (month) " was never compared: what a repair would do is not known. Compare it first." }
            Some(last) => {
                p { "By the comparison " a href={ "/reconcile/" (segment(&last.run)) } { (last.run) } " of " (ago(last.begun_at, now)) ": a repair closes "
                    strong { (automatic) } " findings, and leaves " (left) " to a person." }
                (by_type(kinds))
                p { "The month is compared again, and what is found then is repaired, under the keys of every effect: what is there already is not made again. "
                    "A payout is let go only if it is looked for at Stripe before anything can leave." }
                form.acts method="post" action="/reconcile" {
                    (csrf(signed))
                    input type="hidden" name="month" value=(month);
                    input type="hidden" name="step" value="act";
                    label { "Why (for whoever reads it later)" input name="why" maxlength="2000"; }
                    button.act name="act" value="repair" { "Compare " (month) " and repair" }
                    a href="/reconcile" { "No" }
                }
            }
        }
    }
}

/// A finding may stay.
pub(super) async fn judge(api: &Api, signed: &Signed, run: &str, request: Request<Incoming>) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Operator, request).await?;
    let why = fields.get("why").ok_or_else(|| Trouble::malformed("Say why. Nothing was changed."))?;
    let no_such = || Trouble::not_found("There is no such finding.");
    let finding: i64 = fields.get("finding").and_then(|id| id.parse().ok()).ok_or_else(no_such)?;
    let mut tx = api.pool.begin().await?;
    match runs::judge(&mut tx, &operator(signed), finding, why).await? {
        Judged::Stays => {
            tx.commit().await?;
            Ok(see_other(&format!("/reconcile/{}", segment(run))))
        }
        Judged::NoSuch => Err(no_such()),
        Judged::Not(state) => Err(Trouble::new(
            StatusCode::CONFLICT,
            &format!("The finding is {state} by now: there is nothing to judge, and nothing was changed."),
        )),
    }
}
