//! The operators' console: pages made here, of what the database says, for whoever has signed in.
//!
//! A page changes nothing. A form is taken once, by its session's token and its sender's role, and leads to a page. Whatever is done here
//! is done by [`bursar_jobs::desk`], as the command line does it, and written down.

mod account;
mod accounts;
mod act;
mod audit;
mod disputes;
mod dunning;
mod event;
mod events;
mod find;
mod form;
mod job;
mod jobs;
mod link;
mod overview;
mod page;
mod payouts;
pub(super) mod reading;
mod reconcile;
mod release;
mod schedules;
pub(super) mod session;
mod standing;
mod subscriptions;
mod undone;

use bursar_jobs::desk::access::Signed;
use hyper::{HeaderMap, Method, Request, StatusCode, body::Incoming};
use maud::html;

use self::{form::Fields, reading::reading};
use super::Api;
use crate::http::reply::Reply;

/// Why a page is not what was asked for: a status, and a sentence.
#[derive(Debug)]
pub(super) struct Trouble {
    status: StatusCode,
    say: String,
}

impl Trouble {
    fn new(status: StatusCode, say: &str) -> Self {
        Self { status, say: say.to_owned() }
    }

    fn not_found(say: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, say)
    }

    fn malformed(say: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, say)
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        if matches!(&error, sqlx::Error::Database(e) if e.code().as_deref() == Some("57014")) {
            let detail = "This would read too much. Say more of what you look for: a state, a kind, or since when.";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        }
        tracing::error!(%error, "a page of the console could not be made");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer. Try again in a moment.")
    }
}

/// Whether a path is one of the console's.
pub(super) fn has(segments: &[&str]) -> bool {
    matches!(
        segments,
        ["" | "console.css" | "console.js" | "sign-in" | "sign-out"]
            | [
                "bulk"
                    | "jobs"
                    | "payouts"
                    | "dunning"
                    | "reconcile"
                    | "events"
                    | "event-types"
                    | "accounts"
                    | "subscriptions"
                    | "schedules"
                    | "audit",
                ..
            ]
    )
}

/// Answers a request for one of its pages.
pub(super) async fn answer(api: &Api, segments: &[&str], request: Request<Incoming>) -> Reply {
    match route(api, segments, request).await {
        Ok(reply) => reply,
        Err(trouble) => page::bare(
            trouble.status,
            trouble.status.canonical_reason().unwrap_or("Trouble"),
            &html! { p.say.bad role="alert" { (trouble.say) } p { a href="/" { "To the overview" } } },
        ),
    }
}

async fn route(api: &Api, segments: &[&str], request: Request<Incoming>) -> Result<Reply, Trouble> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && *request.method() != Method::POST {
        return Err(Trouble::new(StatusCode::METHOD_NOT_ALLOWED, "The console knows GET and POST."));
    }
    match (reads, segments) {
        (true, ["console.css"]) => return Ok(page::file("text/css; charset=utf-8", include_str!("style.css"))),
        (true, ["console.js"]) => return Ok(page::file("text/javascript; charset=utf-8", include_str!("console.js"))),
        // A browser says where a form comes from; of another site, or another port of this host, none is taken.
        (false, _) if is_anothers(request.headers()) => {
            return Err(Trouble::new(StatusCode::FORBIDDEN, "This form is not of this console: nothing was changed."));
        }
        (true, ["sign-in"]) => return Ok(session::ask(StatusCode::OK, None)),
        (false, ["sign-in"]) => return session::sign_in(api, request).await,
        _ => {}
    }
    let Some(signed) = session::signed(api, request.headers()).await? else {
        let why = (!reads).then_some("Your session is over: nothing was changed. Sign in, and send it again.");
        return Ok(session::ask(StatusCode::UNAUTHORIZED, why));
    };
    // No text of the database holds this letter: what is named so is not there.
    if segments.iter().any(|segment| segment.contains('\0')) {
        return Err(Trouble::not_found("There is no such page."));
    }
    let query = Fields::of(request.uri().query().unwrap_or_default().as_bytes());
    if reads { show(api, &signed, segments, &query).await } else { take(api, &signed, segments, request).await }
}

/// Whether a browser says that a request was made by what is no page of ours (Fetch Metadata, `Sec-Fetch-Site`).
fn is_anothers(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

/// The pages.
async fn show(api: &Api, signed: &Signed, segments: &[&str], query: &Fields) -> Result<Reply, Trouble> {
    match segments {
        [""] => overview::show(api, signed).await,
        ["jobs"] => jobs::show(api, signed, query).await,
        ["jobs", id] => job::show(api, signed, id).await,
        ["bulk", id] => act::progress(api, signed, id).await,
        ["payouts"] => payouts::show(api, signed, query).await,
        ["payouts", job] => payouts::one(api, signed, job).await,
        ["dunning"] => dunning::show(api, signed, query).await,
        ["dunning", invoice] => dunning::one(api, signed, invoice).await,
        ["reconcile"] => reconcile::show(api, signed, query).await,
        ["reconcile", run] => reconcile::one(api, signed, run).await,
        ["events"] => events::show(api, signed, query).await,
        ["event-types"] => events::types(api, signed).await,
        ["events", id] => event::show(api, signed, id).await,
        ["accounts"] => accounts::show(api, signed, query).await,
        ["accounts", user] => account::show(api, signed, user, query).await,
        ["subscriptions"] => subscriptions::show(api, signed, query).await,
        ["subscriptions", id] => subscriptions::one(api, signed, id).await,
        ["schedules"] => schedules::show(api, signed, query).await,
        ["audit"] => audit::show(api, signed, query).await,
        _ => Err(Trouble::not_found("There is no such page.")),
    }
}

/// The forms.
async fn take(api: &Api, signed: &Signed, segments: &[&str], request: Request<Incoming>) -> Result<Reply, Trouble> {
    match segments {
        ["sign-out"] => {
            let headers = request.headers().clone();
            form::read(api, signed, bursar_jobs::desk::access::Role::Viewer, request).await?;
            session::sign_out(api, &headers).await
        }
        ["jobs", id, verb @ ("retry" | "cancel")] => act::one(api, signed, id, verb, request).await,
        ["bulk"] => act::all(api, signed, request).await,
        ["payouts"] => release::all(api, signed, request).await,
        ["payouts", job, "release"] => release::one(api, signed, job, request).await,
        ["payouts", job, "reverse"] => release::reverse(api, signed, job, request).await,
        ["accounts", user, "unflag"] => disputes::unflag(api, signed, user, request).await,
        ["dunning", invoice, "stop"] => dunning::stop(api, signed, invoice, request).await,
        ["reconcile"] => reconcile::begin(api, signed, request).await,
        ["reconcile", run, "judge"] => reconcile::judge(api, signed, run, request).await,
        ["events", id, "replay"] => event::again(api, signed, id, request).await,
        ["schedules", name] => schedules::act(api, signed, name, request).await,
        _ => Err(Trouble::not_found("There is no such form.")),
    }
}
