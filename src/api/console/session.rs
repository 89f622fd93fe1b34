//! Signing in with a token, and the cookie that a browser gets for it.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bursar_jobs::{
    base::clock,
    desk::access::{self, Signed},
};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Incoming,
    header::{COOKIE, HeaderValue, RETRY_AFTER, SET_COOKIE},
    http::Extensions,
};
use maud::html;
use ring::hmac;

use super::{Trouble, form::Fields, page};
use crate::{
    api::Api,
    http::{Peer, body, reply::Reply},
};

/// What a page carries that asks for itself, to be current.
const LIVE: &str = "bursar-live";
/// Attempts that one address has, before it waits.
const ATTEMPTS: u32 = 5;
/// For which it then waits, and after which its attempts are forgotten.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses remembered at most; with more, all of them wait.
const MOST: usize = 10_000;

/// Who has lately failed to show a token.
#[derive(Debug, Default)]
pub(in crate::api) struct Failures(Mutex<HashMap<IpAddr, (u32, Instant)>>);

impl Failures {
    /// Counts an attempt of an address before it is made, so that many at once are as many; whether it is one too many.
    pub(in crate::api) fn are_more_than(&self, most: u32, peer: IpAddr) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, last)| last.elapsed() < WINDOW);
        let is_crowded = all.len() >= MOST;
        match all.entry(peer) {
            Entry::Occupied(known) if known.get().0 >= most => true,
            Entry::Vacant(_) if is_crowded => true,
            entry => {
                let known = entry.or_insert_with(|| (0, clock::monotonic()));
                *known = (known.0 + 1, clock::monotonic());
                false
            }
        }
    }

    /// It was no failure.
    fn forgive(&self, peer: IpAddr) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut known) = all.entry(peer) {
            known.get_mut().0 -= 1;
            if known.get().0 == 0 {
                known.remove();
            }
        }
    }
}

/// Who is at the other end.
pub(in crate::api) fn peer(head: &Extensions) -> IpAddr {
    head.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0)
}

/// Whether two secrets are the same, in constant time.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"bursar console");
    let tag = hmac::sign(&key, other.as_bytes());
    !other.is_empty() && hmac::verify(&key, one.as_bytes(), tag.as_ref()).is_ok()
}

/// The cookie's name. `__Host-` makes a browser refuse one that is not secure, or of another host or path.
fn name(api: &Api) -> &'static str {
    if api.settings.is_over_tls { "__Host-bursar_session" } else { "bursar_session" }
}

/// Who sends a request, by its cookie.
pub(super) async fn signed(api: &Api, headers: &HeaderMap) -> Result<Option<Signed>, sqlx::Error> {
    match secret(api, headers) {
        Some(secret) => access::session(&api.pool, secret, !headers.contains_key(LIVE)).await,
        None => Ok(None),
    }
}

fn secret<'a>(api: &Api, headers: &'a HeaderMap) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|all| all.split(';')).find_map(|one| {
        let (found, value) = one.trim().split_once('=')?;
        (found == name(api)).then_some(value)
    })
}

/// The page that asks for a token.
pub(super) fn ask(status: StatusCode, why: Option<&str>) -> Reply {
    page::bare(
        status,
        "Sign in",
        &html! {
            @if let Some(why) = why { p.say.bad role="alert" { (why) } }
            form method="post" action="/sign-in" {
                label { "Your token" input type="password" name="token" autocomplete="current-password" required autofocus; }
                p { button.act { "Sign in" } }
            }
            p.quiet { "A token is made with " code { "bursar tokens create NAME --role viewer|operator|payer" } "." }
        },
    )
}

/// Takes the token.
pub(super) async fn sign_in(api: &Api, request: Request<Incoming>) -> Result<Reply, Trouble> {
    let (head, stream) = request.into_parts();
    let peer = peer(&head.extensions);
    let bytes = body::read(&head, stream, &api.settings.limits)
        .await
        .map_err(|_| Trouble::new(StatusCode::BAD_REQUEST, "The form did not arrive whole. Send it again."))?;
    let fields = Fields::of(&bytes);
    if api.failures.are_more_than(ATTEMPTS, peer) {
        let mut reply = ask(StatusCode::TOO_MANY_REQUESTS, Some("Too many attempts. Wait a minute, and try again."));
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(WINDOW.as_secs()));
        return Ok(reply);
    }
    let mut db = api.pool.acquire().await?;
    let Some(secret) = access::sign_in(&mut db, fields.get("token").unwrap_or_default()).await? else {
        tracing::warn!(%peer, "somebody tried to sign in with what is no token");
        return Ok(ask(StatusCode::UNAUTHORIZED, Some("That is no token, or one that was revoked.")));
    };
    api.failures.forgive(peer);
    let mut reply = page::see_other("/");
    set(api, &mut reply, &secret, "Max-Age=43200");
    Ok(reply)
}

/// Ends the session.
pub(super) async fn sign_out(api: &Api, headers: &HeaderMap) -> Result<Reply, Trouble> {
    if let Some(secret) = secret(api, headers) {
        access::sign_out(&api.pool, secret).await?;
    }
    let mut reply = page::see_other("/");
    set(api, &mut reply, "", "Max-Age=0");
    Ok(reply)
}

fn set(api: &Api, reply: &mut Reply, secret: &str, age: &str) {
    let secure = if api.settings.is_over_tls { "; Secure" } else { "" };
    let cookie = format!("{}={secret}; Path=/; HttpOnly; SameSite=Strict; {age}{secure}", name(api));
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        reply.headers_mut().insert(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_not_the_same_as_nothing() {
        assert!(is_same("abc", "abc") && !is_same("abc", "abd") && !is_same("", "") && !is_same("", "abc"));
    }

    #[test]
    fn an_address_waits_after_some_attempts_and_others_do_not() {
        let failures = Failures::default();
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        for _ in 0..ATTEMPTS {
            assert!(!failures.are_more_than(ATTEMPTS, one));
        }
        assert!(failures.are_more_than(ATTEMPTS, one) && !failures.are_more_than(ATTEMPTS, other));
        failures.forgive(one);
        failures.forgive(other);
        assert!(!failures.are_more_than(ATTEMPTS, one) && failures.are_more_than(ATTEMPTS, one));
    }
}
