//! Schedules: when each fires next, what its last job came to; firing one now, pausing it.

use bursar_jobs::{
    base::{audit::Via, clock},
    desk::{
        Operator,
        access::{Role, Signed},
        schedules::{self, Schedule},
    },
    engine::kind,
    schedules::RunError,
};
use chrono::{DateTime, Utc};
use hyper::{Request, StatusCode, body::Incoming};
use maud::{Markup, html};

use super::{
    Trouble, find, form, link,
    page::{ago, at, csrf, page, see_other, state},
    reading,
};
use crate::{api::Api, http::reply::Reply};

pub(super) async fn show(api: &Api, signed: &Signed, query: &form::Fields) -> Result<Reply, Trouble> {
    find::check(query, &[], "schedules")?;
    let mut db = reading(api).await?;
    let all = schedules::list(&mut db).await?;
    let now = clock::business(&mut *db).await?;
    let body = html! {
        p.quiet { "They come from " code { "[schedules.NAME]" } " in bursar.toml; a changed file takes effect when a worker starts. The times in them are UTC." }
        div data-live="schedules" {
            @if all.is_empty() { p { "There are none: a worker that starts takes over those that the settings declare." } }
            @else {
                div.wide { table.rows {
                    thead { tr { th { "schedule" } th { "when" } th { "next" } th { "fires" } th { "last fired" } th { "which came to" } th { "missed ticks" } } }
                    tbody { @for one in &all { (row(one, now)) } }
                } }
            }
        }
        @if signed.role >= Role::Operator && !all.is_empty() {
            h2 { "Run, pause, resume" }
            @for one in &all { (acts(signed, one)) }
        }
    };
    Ok(page(signed, "/schedules", "Schedules", &body))
}

fn row(one: &Schedule, now: DateTime<Utc>) -> Markup {
    html! {
        tr {
            td { strong { (one.name) } span.quiet { " (" (one.source) ")" } }
            td.id { (one.cron) }
            td data-th="next" {
                @match (one.paused, one.next_at) {
                    (true, _) => (state("paused")),
                    (false, Some(next)) => { (at(next)) " (" (ago(next, now)) ")" }
                    (false, None) => "never",
                }
            }
            td data-th="fires" { a href={ "/jobs?kind=" (one.kind) } { (one.kind) } }
            td data-th="last fired" { @match one.last_at { Some(last) => (at(last)), None => "never by its time" } }
            td.came {
                @if let (Some(job), Some(word)) = (&one.last_job, &one.last_job_state) {
                    (link::job(job, "its job")) " " (state(word)) @if let Some(reason) = &one.last_job_reason { ": " (reason) }
                }
            }
            td data-th="missed ticks:" { @match one.catch_up.as_str() { "all" => "each fires", "once" => "one firing for all", "none" => "none fires", other => (other) } }
        }
    }
}

/// What an operator may do with it. Outside of what is live, so that nobody's words are swept away.
fn acts(signed: &Signed, one: &Schedule) -> Markup {
    let (act, words) = if one.paused { ("resume", "Resume") } else { ("pause", "Pause") };
    html! {
        form.acts method="post" action=(link::path("schedules", &one.name)) {
            (csrf(signed))
            label { "Why, of " (one.name) input name="why" maxlength="2000"; }
            @if signed.role >= needed(&one.kind) { button.act name="act" value="run" { "Run " (one.name) " now" } }
            button name="act" value=(act) { (words) " " (one.name) }
        }
    }
}

/// Firing what releases money is releasing money.
fn needed(kind: &str) -> Role {
    if kind::moves_money(kind) { Role::Payer } else { Role::Operator }
}

/// Fires, pauses or resumes one.
pub(super) async fn act(api: &Api, signed: &Signed, name: &str, request: Request<Incoming>) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Operator, request).await?;
    let unknown = || Trouble::not_found(&format!("There is no schedule {name}."));
    let by = Operator { who: signed.who.clone(), via: Via::Console };
    let why = fields.get("why");
    let mut db = api.pool.acquire().await?;
    match fields.get("act") {
        Some("run") => {
            let kind = schedules::kind_of(&mut db, name).await?.ok_or_else(unknown)?;
            form::may(signed, needed(&kind))?;
            let job = schedules::run(&mut db, &by, name, why).await.map_err(|error| match error {
                RunError::Unknown(_) => unknown(),
                RunError::Kind(error) => Trouble::new(
                    StatusCode::CONFLICT,
                    &format!("{error}: the settings that declare it are of another version. Restart the worker."),
                ),
                RunError::Database(error) => error.into(),
            })?;
            Ok(see_other(&link::path("jobs", &job)))
        }
        Some(act @ ("pause" | "resume")) => {
            if !schedules::set_paused(&mut db, &by, name, act == "pause", why).await? {
                return Err(unknown());
            }
            Ok(see_other("/schedules"))
        }
        _ => Err(Trouble::malformed("There is no such act: nothing was changed.")),
    }
}
