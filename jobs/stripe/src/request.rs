//! A request as plain data.

use std::fmt;

use serde::{Deserialize, Serialize};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};

use crate::key::sha256;

/// The methods that Stripe's API has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    Get,
    /// Makes or changes; never sent without an idempotency key.
    Post,
    /// Ends something; Stripe takes no key for it.
    Delete,
}

impl Method {
    /// As the request line says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// One request, ready to be stored and to be sent again unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path below the API's base, with its version: `/v1/transfers`.
    pub path: String,
    /// The form fields, encoded, exactly as sent: a POST's body, any other method's query.
    pub form: String,
}

impl Request {
    /// What a generated builder would send.
    pub fn of(request: &impl StripeRequest) -> Self {
        Self::built(request.build())
    }

    /// A request that only reads.
    pub(crate) fn get(path: String) -> Self {
        Self { method: Method::Get, path, form: String::new() }
    }

    /// A request that makes or changes something, of these fields. For the resources whose generated builders would cost more to compile
    /// than their fields cost to write down.
    pub(crate) fn post(path: impl Into<String>, fields: &[(String, String)]) -> Self {
        let mut sorted: Vec<&(String, String)> = fields.iter().collect();
        sorted.sort_unstable();
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(sorted).finish();
        Self { method: Method::Post, path: path.into(), form }
    }

    /// A request that reads by these fields.
    pub(crate) fn query(path: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Self { method: Method::Get, path: path.into(), form }
    }

    pub(crate) fn built(built: RequestBuilder) -> Self {
        let method = match built.method {
            StripeMethod::Get => Method::Get,
            StripeMethod::Post => Method::Post,
            StripeMethod::Delete => Method::Delete,
        };
        let form = [built.query, built.body].into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        // The builders keep metadata in a hash map, whose order is another in every process; the same intent is to have the same bytes.
        let mut fields: Vec<&str> = form.iter().flat_map(|part| part.split('&')).collect();
        fields.sort_unstable();
        Self { method, path: format!("/v1{}", built.path), form: fields.join("&") }
    }

    /// Hexadecimal SHA-256 over method, path and form fields. Like Stripe's own comparison of what comes under one key, it does not
    /// see the order of the fields, nor how a character was encoded.
    pub fn fingerprint(&self) -> String {
        let mut fields: Vec<_> = form_urlencoded::parse(self.form.as_bytes()).collect();
        fields.sort_unstable();
        let mut parts = vec![self.method.as_str().as_bytes(), self.path.as_bytes()];
        for (name, value) in &fields {
            parts.push(name.as_bytes());
            parts.push(value.as_bytes());
        }
        sha256(&parts)
    }
}

/// The request line, without the fields.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(fields: &[(String, String)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
    }

    fn post(fields: &[(String, String)]) -> Request {
        Request { method: Method::Post, path: "/v1/transfers".into(), form: form(fields) }
    }

    #[test]
    fn it_survives_being_stored() {
        let request = post(&[("metadata[user_id]".into(), "a b&c".into())]);
        let stored = serde_json::to_string(&request).unwrap();
        assert_eq!(stored, r#"{"method":"POST","path":"/v1/transfers","form":"metadata%5Buser_id%5D=a+b%26c"}"#);
        assert_eq!(serde_json::from_str::<Request>(&stored).unwrap(), request);
    }

    #[test]
    fn method_and_path_count() {
        let one = post(&[]);
        assert_ne!(one.fingerprint(), Request { method: Method::Delete, ..one.clone() }.fingerprint());
        assert_ne!(one.fingerprint(), Request { path: "/v1/payouts".into(), ..one.clone() }.fingerprint());
        assert_eq!(one.fingerprint().len(), 64);
    }

    #[test]
    fn how_a_character_was_encoded_does_not_count() {
        let with = |form: &str| Request { form: form.into(), ..post(&[]) }.fingerprint();
        assert_eq!(with("metadata[a]=b+c"), with("metadata%5Ba%5D=b%20c"));
        assert_ne!(with("a=b&c=d"), with("a=b%26c%3Dd"));
    }

    proptest! {
        #[test]
        fn the_order_of_fields_does_not_count(
            fields in prop::collection::vec(("\\PC{0,8}", "\\PC{0,8}"), 0..8),
            shuffled in any::<prop::sample::Index>(),
        ) {
            let mut other = fields.clone();
            if !other.is_empty() {
                let by = shuffled.index(other.len());
                other.rotate_left(by);
                other.swap(0, by);
            }
            prop_assert_eq!(post(&fields).fingerprint(), post(&other).fingerprint());
        }

        #[test]
        fn every_field_counts(
            fields in prop::collection::vec(("\\PC{0,8}", "\\PC{0,8}"), 1..8),
            which in any::<prop::sample::Index>(),
            name: bool,
            more in "\\PC{1,8}",
        ) {
            let mut other = fields.clone();
            let at = which.index(other.len());
            if name { other[at].0.push_str(&more) } else { other[at].1.push_str(&more) }
            prop_assert_ne!(post(&fields).fingerprint(), post(&other).fingerprint());
            let mut fewer = fields.clone();
            fewer.remove(at);
            prop_assert_ne!(post(&fields).fingerprint(), post(&fewer).fingerprint());
        }
    }
}
