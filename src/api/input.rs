//! What a request says, read strictly: an unknown field is a typo, and a typo must not sell anything.

use bursar_jobs::{base::json_object, inbox::event::check_user};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Incoming,
    header::{HeaderName, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::Api;
use crate::http::{
    body,
    reply::{Problem, Reply},
};

/// The header by which a request is known again (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The header of an answer that repeats an earlier one, as Stripe has it.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An answer, which says of itself where it repeats an earlier one.
pub(super) fn repeated(mut reply: Reply, is_repetition: bool) -> Reply {
    if is_repetition {
        reply.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    reply
}

/// A key that stands for another request.
pub(super) fn key_conflict() -> Problem {
    unprocessable(
        "This Idempotency-Key stands for another request of this user: repeat that one exactly, or take a new key.",
    )
}

/// A body that is well-formed and says something else than this server understands.
pub(super) fn unprocessable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

/// Reads the body of a request as a `T`, and the caller's key.
pub(super) async fn read<T: DeserializeOwned>(
    api: &Api,
    request: Request<Incoming>,
) -> Result<(T, Option<String>), Problem> {
    let (head, stream) = request.into_parts();
    let key = key(&head.headers)?;
    let bytes = body::read(&head, stream, &api.settings.limits).await?;
    let value = json_object::read(&bytes).map_err(|error| match error.classify() {
        Category::Data => unprocessable(format!("The body says something that is not understood: {error}.")),
        Category::Io | Category::Syntax | Category::Eof => {
            Problem::bad_request(format!("The body is not JSON: {error}."))
        }
    })?;
    Ok((value, key))
}

/// The caller's `Idempotency-Key`, where there is one. The quotes of the draft's examples are no part of it.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (all.next(), all.next());
    let Some(value) = first else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim_matches('"');
    if second.is_some() || !is_word(text) {
        return Err(Problem::bad_request("Idempotency-Key must be there once, with 1 to 255 printable characters."));
    }
    Ok(Some(text.to_owned()))
}

/// The key of the body, or that of the header; both only if they are the same.
pub(super) fn one_key(body: Option<String>, header: Option<String>) -> Result<Option<String>, Problem> {
    match (body, header) {
        (Some(a), Some(b)) if a != b => Err(unprocessable("`key` and Idempotency-Key differ: send one of them.")),
        (Some(key), _) if !is_word(&key) => {
            Err(unprocessable("`key` must have 1 to 255 bytes, none a control character."))
        }
        (a, b) => Ok(a.or(b)),
    }
}

/// 1 to 255 bytes without control characters.
pub(super) fn is_word(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A user's id that can be one.
pub(super) fn user(id: &str) -> Result<(), Problem> {
    check_user(id).map_err(|error| unprocessable(format!("`user_id`: {error}.")))
}

/// An address that a browser can be sent to.
pub(super) fn url(field: &str, text: &str) -> Result<(), Problem> {
    if is_url(text) {
        return Ok(());
    }
    Err(unprocessable(format!("`{field}` must be an http(s) URL of at most 2000 characters.")))
}

/// Whether a browser can be sent there.
pub(crate) fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text.len() <= 2000
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The segments of a path, decoded; none where one is malformed.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    path.strip_prefix('/')?.split('/').map(decoded).collect()
}

/// A part of an address without its percent-encoding.
pub(super) fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(hex, 16).ok())??);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The fields of a query, of which each may be there once.
pub(super) fn query<'a>(query: Option<&'a str>, known: &[&str]) -> Result<Vec<(&'a str, &'a str)>, Problem> {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !known.contains(&name) || fields.iter().any(|(seen, _)| *seen == name) {
            let detail = format!("The query takes {}, each once; not {name:?}.", known.join(" and "));
            return Err(Problem::bad_request(detail));
        }
        fields.push((name, value));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_and_a_malformed_one_is_none() {
        assert_eq!(segments("/api/credits/a%2Fb%20%C3%A9"), Some(vec!["api".into(), "credits".into(), "a/b é".into()]));
        for bad in ["/a%", "/a%2", "/a%zz", "/%ff", "/%+1", ""] {
            assert_eq!(segments(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_url_is_one_that_a_browser_can_follow() {
        assert!(is_url("https://shop.example/ok?s={CHECKOUT_SESSION_ID}"));
        for bad in ["", "javascript:alert(1)", "https://", "https:///x", "ftp://a", "https://a b", "//a"] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
