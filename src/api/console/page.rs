//! What every page of the console has in common: its frame, and how a moment, an amount and a state are written.

use bursar_jobs::{
    base::{credits::Credits, money},
    desk::access::Signed,
};
use chrono::{DateTime, SecondsFormat, Utc};
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    },
};
use maud::{DOCTYPE, Markup, html};

use crate::http::reply::Reply;

/// The rooms of the console, in the order in which they are looked into.
const ROOMS: &[(&str, &str)] = &[
    ("/", "Overview"),
    ("/events", "Events"),
    ("/jobs", "Jobs"),
    ("/payouts", "Payouts"),
    ("/dunning", "Dunning"),
    ("/subscriptions", "Subscriptions"),
    ("/accounts", "Accounts"),
    ("/reconcile", "Reconciliation"),
    ("/schedules", "Schedules"),
    ("/audit", "Audit"),
];

/// A page within the console's frame.
pub(super) fn page(signed: &Signed, here: &str, title: &str, body: &Markup) -> Reply {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body {
                a.skip href="#main" { "To the content" }
                header {
                    strong { "bursar" }
                    nav aria-label="Rooms" {
                        @for (path, name) in ROOMS {
                            a href=(path) aria-current=[(*path == here).then_some("page")] { (name) }
                        }
                    }
                    form method="post" action="/sign-out" {
                        (csrf(signed))
                        span.quiet { (signed.who) " (" (signed.role.word()) ") " }
                        button.plain { "Sign out" }
                    }
                }
                main id="main" {
                    p.say.bad id="stale" role="status" hidden { "This page is not current: bursar does not answer." }
                    h1 { (title) }
                    (body)
                }
                footer.quiet id="zone" { "Times are in UTC." }
                script src="/console.js" defer {}
            }
        }
    };
    answer(StatusCode::OK, markup)
}

/// A page without a frame: before anybody has signed in, or where something went wrong.
pub(super) fn bare(status: StatusCode, title: &str, body: &Markup) -> Reply {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body { main.sign-in id="main" { h1 { (title) } (body) } }
        }
    };
    answer(status, markup)
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="robots" content="noindex";
            title { (title) " · bursar" }
            link rel="stylesheet" href="/console.css";
            link rel="icon" href="data:,";
        }
    }
}

fn answer(status: StatusCode, markup: Markup) -> Reply {
    let mut reply = Response::new(Full::new(markup.into_string().into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    guard(headers);
    reply
}

/// Nothing from elsewhere is loaded, nothing inline is run, and no other page may frame this one.
fn guard(headers: &mut hyper::HeaderMap) {
    const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                          form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
}

/// A file of the console's own.
pub(super) fn file(kind: &'static str, text: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(text.into()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    guard(reply.headers_mut());
    reply
}

/// Sends a browser on: after a form was taken, so that a reload does not send it again.
pub(super) fn see_other(to: &str) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    reply.headers_mut().insert(LOCATION, to);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// What each form carries, so that no other site can send it.
pub(super) fn csrf(signed: &Signed) -> Markup {
    html! { input type="hidden" name="csrf" value=(signed.csrf); }
}

/// A moment: in UTC, and by the script in the viewer's zone.
pub(super) fn at(moment: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(moment.to_rfc3339_opts(SecondsFormat::Millis, true)) { (moment.format("%Y-%m-%d %H:%M:%S UTC")) }
    }
}

/// Words for people, as they are; a moment among them is written as every other moment of the page.
pub(super) fn words(text: &str) -> Markup {
    let moment = |word: &str| DateTime::parse_from_rfc3339(word).ok().map(|moment| moment.with_timezone(&Utc));
    html! {
        @for word in text.split_inclusive(' ') {
            @let bare = word.trim_matches(|letter: char| letter.is_whitespace() || "(),.;:".contains(letter));
            @match moment(bare).zip(word.split_once(bare)) {
                Some((moment, (before, after))) => { (before) (at(moment)) (after) }
                None => (word),
            }
        }
    }
}

/// A moment among words, for [`words`] to write.
pub(super) fn stamp(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// How far away a moment is: in whole units that are over, as the command line says it. It is not broken into lines.
pub(super) fn ago(moment: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - moment).num_seconds();
    let length = match seconds.unsigned_abs() {
        s @ 0..60 => format!("{s}\u{a0}s"),
        s @ 60..3_600 => format!("{}\u{a0}min", s / 60),
        s @ 3_600..172_800 => format!("{}\u{a0}h", s / 3_600),
        s => format!("{}\u{a0}d", s / 86_400),
    };
    if seconds < 0 { format!("in\u{a0}{length}") } else { format!("{length}\u{a0}ago") }
}

/// So many, in the words for one or for several.
pub(super) fn many(count: i64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// A length of time, in seconds, in one unit: what of it is over.
pub(super) fn length(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{:.0} s", s.floor()),
        s if s < 7_200.0 => format!("{:.0} min", (s / 60.0).floor()),
        s if s < 172_800.0 => format!("{:.0} h", (s / 3_600.0).floor()),
        s => format!("{:.0} d", (s / 86_400.0).floor()),
    }
}

/// Money with its unit.
pub(super) fn amount(minor: i64, currency: &str) -> String {
    money::format(minor, currency)
}

/// Credits with their unit.
pub(super) fn credits(micros: i64) -> String {
    format!("{} credits", Credits::from_micros(micros))
}

/// A state's word; its colour only adds to it.
pub(super) fn state(word: &str) -> Markup {
    let class = match word {
        "done" | "paid" | "active" | "trialing" | "ok" | "repaired" | "recovered" => "good",
        "dead" | "rejected" | "refused" | "failed" | "lost" | "unpaid" | "restricted" | "deauthorised" => "bad",
        "unknown" | "sending" => "unknown",
        "ready" | "running" | "held" | "scheduled" | "open" | "past_due" | "paused" | "pending" => "wait",
        _ => "quiet",
    };
    html! { span class={ "state " (class) } { (word) } }
}

/// A job's state; of one that did nothing, that it was skipped: it must not look like one that did.
pub(super) fn job_state(word: &str, reason: Option<&str>) -> Markup {
    html! { @if word == "done" && reason.is_some() { span.state.quiet { "skipped" } } @else { (state(word)) } }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn what_is_not_over_yet_is_not_said_to_be() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let said = |seconds: i64| ago(now - TimeDelta::seconds(seconds), now).replace('\u{a0}', " ");
        assert_eq!((said(59), said(119), said(7_199)), ("59 s ago".into(), "1 min ago".into(), "1 h ago".into()));
        assert_eq!((said(2 * 86_400 + 80_000), said(-90)), ("2 d ago".into(), "in 1 min".into()));
        assert_eq!(
            (length(119.9), length(7_199.0), length(259_199.0)),
            ("119 s".into(), "119 min".into(), "2 d".into())
        );
    }

    #[test]
    fn a_moment_among_words_is_one_of_the_pages_moments_and_words_stay_text() {
        let said = words("it waits <b>here</b> (2027-02-25T12:09:24+00:00), or 3: until then.").into_string();
        assert!(
            said.contains(
                "(<time datetime=\"2027-02-25T12:09:24.000Z\">2027-02-25 12:09:24 UTC</time>), or 3: until then."
            ),
            "{said}"
        );
        assert!(said.contains("&lt;b&gt;here"), "{said}");
        assert_eq!(words("no moment  at all: 2027-02-25").into_string(), "no moment  at all: 2027-02-25");
    }
}
