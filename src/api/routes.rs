//! From a request to an answer: let in, route, answer within the time there is.

use std::time::Duration;

use bursar_jobs::desk::access::{self, Role};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    header::{ACCEPT, HeaderValue, WWW_AUTHENTICATE},
};

use super::{Api, checkout, connect, console, credits, input, portal, subscriptions, token};
use crate::{
    http::{
        host,
        reply::{Problem, Reply, json, only},
    },
    telemetry::traces,
};

/// Wrong tokens that an address may send within a minute before it waits for each answer: more than a restart with an old one sends.
const GUESSES: u32 = 20;
/// So long.
const PENALTY: Duration = Duration::from_secs(1);

/// Answers one request.
pub(super) async fn answer(api: &Api, request: Request<Incoming>) -> Reply {
    let limit = api.settings.limits.body + api.settings.limits.store;
    if let Ok(answered) = tokio::time::timeout(limit, route(api, request)).await {
        return answered.unwrap_or_else(Reply::from);
    }
    tracing::error!(?limit, "a request was not answered in time; its sender was told to try again");
    Problem::unavailable("This took too long. Send it again, with the same key.").into()
}

/// Who sends a request: the application, or an operator by a token of their own.
#[derive(Debug, Clone)]
pub(super) struct Who(pub Option<String>);

impl Who {
    /// Who sent this one, which was let in.
    pub(super) fn of(request: &Request<Incoming>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or(Self(None))
    }
}

/// The application's token may everything. An operator's may what its role may: a viewer reads, an operator acts for users, and what an
/// administrator moves takes a payer.
async fn let_in(api: &Api, request: &Request<Incoming>, is_admins: bool) -> Result<Who, Problem> {
    let (method, headers) = (request.method(), request.headers());
    if api.settings.token.is_carried_by(headers) {
        return Ok(Who(None));
    }
    let signed = match token::carried(headers) {
        Some(text) => access::bearer(&api.pool, text).await.map_err(|error| failed(&error))?,
        None => None,
    };
    let Some(signed) = signed else {
        // Who guesses is slowed, and nobody else: a token that is one is answered at once, from wherever it comes.
        if api.guesses.are_more_than(GUESSES, console::session::peer(request.extensions())) {
            tokio::time::sleep(PENALTY).await;
        }
        let detail = "Send the token that API_TOKEN holds, or one of `bursar tokens create`, once, as `Authorization: Bearer TOKEN`.";
        let challenge = HeaderValue::from_static("Bearer realm=\"bursar\"");
        return Err(Problem::new(StatusCode::UNAUTHORIZED, detail).header(WWW_AUTHENTICATE, challenge));
    };
    let needed = match *method {
        Method::GET | Method::HEAD => Role::Viewer,
        _ if is_admins => Role::Payer,
        _ => Role::Operator,
    };
    if signed.role >= needed {
        return Ok(Who(Some(signed.who)));
    }
    let detail =
        format!("This takes a token of the role {}, and this is one of a {}.", needed.word(), signed.role.word());
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

/// Whether whoever asks shows pages: then what is not there is said on one.
fn is_browser(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|takes| takes.contains("text/html"))
}

/// Whether a path is among those that programs call.
fn is_ours(segments: &[&str]) -> bool {
    matches!(segments, ["api" | "admin" | "metrics", ..])
}

async fn route(api: &Api, mut request: Request<Incoming>) -> Result<Reply, Problem> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    if api.settings.is_for_this_machine {
        host::check(request.headers())?;
    }
    if path == "/healthz" {
        only(&method, "GET, HEAD", &[Method::GET, Method::HEAD])?;
        return Ok(json(StatusCode::OK, r#"{"status":"ok"}"#));
    }
    // Whoever asks is let in by the very segments by which the request is routed, however its path is written.
    let decoded = input::segments(&path);
    let segments: Vec<&str> = decoded.iter().flatten().map(String::as_str).collect();
    let is_page =
        || matches!(method, Method::GET | Method::HEAD) && is_browser(request.headers()) && !is_ours(&segments);
    if console::has(&segments) || is_page() {
        return Ok(console::answer(api, &segments, request).await);
    }
    let who = let_in(api, &request, segments.first() == Some(&"admin")).await?;
    request.extensions_mut().insert(who);
    let headers = request.headers().clone();
    let answered = Box::pin(within(api, &segments, request));
    let Some(place) = place(&segments) else { return answered.await };
    // Only of those who were let in: strangers begin no traces and join none.
    let answered = async { answered.await.unwrap_or_else(Reply::from) };
    Ok(traces::served(format!("{method} {place}"), &headers, answered).await)
}

/// What the span of a request is called: its path without what differs. Nothing for what is no request of the application's.
fn place(segments: &[&str]) -> Option<&'static str> {
    Some(match segments {
        ["api", "stripe", "checkout"] => "/api/stripe/checkout",
        ["api", "stripe", "checkout", _] => "/api/stripe/checkout/{session}",
        ["api", "stripe", "connect"] => "/api/stripe/connect",
        ["api", "stripe", "connect", "status"] => "/api/stripe/connect/status",
        ["api", "stripe", "portal"] => "/api/stripe/portal",
        ["api", "credits", "spend"] => "/api/credits/spend",
        ["api", "credits", _] => "/api/credits/{user_id}",
        ["api", "credits", _, "history"] => "/api/credits/{user_id}/history",
        ["api", "subscriptions", _] => "/api/subscriptions/{user_id}",
        ["admin", "api", "v1", "transactions"] => "/admin/api/v1/transactions",
        _ => return None,
    })
}

fn nothing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "There is nothing at this path. See the README for what api answers to.")
}

/// Answers a request of somebody who was let in.
async fn within(api: &Api, segments: &[&str], request: Request<Incoming>) -> Result<Reply, Problem> {
    let method = request.method().clone();
    let read = |method: &Method| only(method, "GET, HEAD", &[Method::GET, Method::HEAD]);
    let made = |method: &Method| only(method, "POST", &[Method::POST]);
    match segments {
        ["metrics"] => {
            read(&method)?;
            Ok(api.exposed.answer(request.headers()).await)
        }
        ["api", "stripe", "checkout"] => {
            made(&method)?;
            checkout::create(api, request).await
        }
        ["api", "stripe", "checkout", session] => {
            read(&method)?;
            checkout::status(api, session).await
        }
        ["api", "stripe", "connect"] => {
            made(&method)?;
            connect::create(api, request).await
        }
        ["api", "stripe", "connect", "status"] => {
            read(&method)?;
            connect::status(api, request.uri().query()).await
        }
        ["api", "stripe", "portal"] => {
            made(&method)?;
            portal::create(api, request).await
        }
        ["api", "credits", "spend"] => {
            made(&method)?;
            credits::spend(api, request).await
        }
        ["api", "credits", user] => {
            read(&method)?;
            credits::balance(api, user, request.headers()).await
        }
        ["api", "credits", user, "history"] => {
            read(&method)?;
            credits::history(api, user, request.uri().query()).await
        }
        ["api", "subscriptions", user] => {
            read(&method)?;
            subscriptions::status(api, user, request.headers()).await
        }
        ["admin", "api", "v1", "transactions"] => {
            made(&method)?;
            credits::by_hand(api, request).await
        }
        _ => Err(nothing()),
    }
}

/// What the database's refusal means for whoever asked.
pub(super) fn failed(error: &sqlx::Error) -> Problem {
    let code = error.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
    match code.as_deref() {
        Some("22003") => input::unprocessable("That is more than an account can hold."),
        Some("55P03") => {
            Problem::unavailable("Another transaction holds what this one needs. Send it again, with the same key.")
        }
        _ => {
            tracing::error!(%error, "a request could not be answered; its sender was told to try again");
            Problem::unavailable("The database does not answer. Send it again, with the same key.")
        }
    }
}
