//! `bursar dev send`: signs an event as its sender would, and hands it to the `bursar dev` of this folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bursar_jobs::base::clock;
use hyper::{Method, StatusCode};
use ring::{digest, hmac};
use serde_json::Value;

use super::{
    http,
    instance::{Instance, running_instance},
    steps::{say, show},
};

/// What begins the ids that one happening at Stripe brings along; those of customers, prices and products stay what they are.
const IDS_OF_A_HAPPENING: [&str; 8] = ["evt_", "cs_", "in_", "il_", "sub_", "si_", "pi_", "ch_"];
/// Where the application's own events come in.
const VERIFICATIONS: &str = "/api/verifications";

/// Why an event did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody to send it to.
    #[error("no `bursar dev` runs in this folder: start it in another terminal, or go where it was started")]
    NotRunning,
    /// No such file, or one that cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no JSON.
    #[error("{} is not JSON: {source}", path.display())]
    NotJson {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The secret is not one of the scheme.
    #[error(
        "the verification secret is not base64: write whsec_ and base64, or unset VERIFICATION_SECRET to have one made"
    )]
    Secret,
    /// The connection failed.
    #[error("{0} does not answer: {1}. Is `bursar dev` still running?")]
    Unreachable(String, #[source] http::Unanswered),
    /// It was answered, and not taken.
    #[error("the event was not taken: {0}")]
    Refused(StatusCode),
}

/// Sends the event in a file, and prints the answer's status and body. With `new` it is another event about another object.
pub async fn run(file: &Path, new: bool) -> Result<(), SendError> {
    let here = std::env::current_dir().map_err(|source| SendError::File { path: ".".into(), source })?;
    let instance = running_instance(&here).ok_or(SendError::NotRunning)?;
    let text = fs::read(file).map_err(|source| SendError::File { path: file.to_owned(), source })?;
    let not_json = |source| SendError::NotJson { path: file.to_owned(), source };
    let mut event: Value = serde_json::from_slice(&text).map_err(not_json)?;
    let body = if new {
        let random = uuid::Uuid::new_v4().simple().to_string();
        renew(&mut event, &format!("x{}", &random[..12]));
        serde_json::to_vec(&event).map_err(not_json)?
    } else {
        text
    };
    let signed = sign(&instance, &event, &body, clock::now().timestamp())?;
    say(
        "sending",
        &format!("{} {} to {}{}", event["type"].as_str().unwrap_or("an event"), signed.id, instance.url, signed.path),
    );
    let (status, answer) = http::ask(Method::POST, &instance.url, &signed.path, &signed.headers, body)
        .await
        .map_err(|error| SendError::Unreachable(instance.url.clone(), error))?;
    show(&format!("{} {}", status.as_u16(), answer.trim()));
    if status.is_success() { Ok(()) } else { Err(SendError::Refused(status)) }
}

/// Where an event goes, and what proves whose it is.
#[derive(Debug)]
struct Signed {
    id: String,
    path: String,
    headers: Vec<(&'static str, String)>,
}

fn sign(instance: &Instance, event: &Value, body: &[u8], now: i64) -> Result<Signed, SendError> {
    // An event of Stripe's has its id within; one of the application's has it in a header.
    if let Some(id) = event["id"].as_str() {
        let signature = stripe_signature(first(&instance.webhook_secret), body, now);
        let headers = vec![("stripe-signature", signature)];
        return Ok(Signed { id: id.to_owned(), path: instance.webhook_path.clone(), headers });
    }
    // The same body is the same event, as with a sender that repeats itself.
    let id = format!("msg_{}", &hex(digest::digest(&digest::SHA256, body).as_ref())[..24]);
    let headers = standard_webhook(first(&instance.verification_secret), &id, body, now)?;
    Ok(Signed { id, path: VERIFICATIONS.to_owned(), headers })
}

/// HMAC-SHA256 over the time, a dot and the bytes, in hexadecimal (Stripe: webhooks, verify signatures manually).
fn stripe_signature(secret: &str, body: &[u8], now: i64) -> String {
    let tag = tag(secret.as_bytes(), &[format!("{now}.").as_bytes(), body]);
    format!("t={now},v1={}", hex(tag.as_ref()))
}

/// HMAC-SHA256 over the id, the time and the bytes with dots between, in base64, under the secret's bytes (standardwebhooks.com).
fn standard_webhook(secret: &str, id: &str, body: &[u8], now: i64) -> Result<Vec<(&'static str, String)>, SendError> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).map_err(|_| SendError::Secret)?;
    let tag = tag(&key, &[format!("{id}.{now}.").as_bytes(), body]);
    Ok(vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", now.to_string()),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(tag))),
    ])
}

fn tag(key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// While a secret rolls there are several; any of them will do.
fn first(secrets: &str) -> &str {
    secrets.split(',').next().unwrap_or_default().trim()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Makes it another happening: its ids, and its job's, get an ending that was never used. What they refer to within the event
/// stays the same thing.
fn renew(value: &mut Value, ending: &str) {
    match value {
        Value::String(text) if IDS_OF_A_HAPPENING.iter().any(|prefix| text.starts_with(prefix)) => {
            text.push_str(ending);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| renew(item, ending)),
        Value::Object(fields) => {
            if let Some(Value::String(job)) = fields.get_mut("job_id") {
                job.push_str(ending);
            }
            fields.values_mut().for_each(|field| renew(field, ending));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stripe_signature_is_as_stripe_makes_it() {
        // printf '1492774577.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test_secret
        let header = stripe_signature("whsec_test_secret", br#"{"id":"evt_1"}"#, 1_492_774_577);
        assert_eq!(header, "t=1492774577,v1=799c4ba7bb339f3c8601adfd112f0e477c930a268be1243d341abb8286501c2f");
    }

    #[test]
    fn a_standard_webhook_is_signed_as_published() {
        // From the test suite of the reference libraries.
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let id = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
        let headers = standard_webhook("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", id, body, 1_649_367_553).unwrap();
        assert_eq!(headers[2].1, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn a_renewed_event_is_another_about_the_same_customer_and_price() {
        let mut invoice: Value = serde_json::from_str(include_str!("../../fixtures/invoice.paid.json")).unwrap();
        let before = invoice.clone();
        renew(&mut invoice, "x7");
        let (old, new) = (&before["data"]["object"], &invoice["data"]["object"]);
        assert_eq!(invoice["id"], format!("{}x7", before["id"].as_str().unwrap()));
        assert_eq!(new["id"], new["lines"]["data"][0]["invoice"], "what it refers to is still itself");
        assert_ne!(new["parent"], old["parent"], "another subscription");
        assert_eq!(new["customer"], old["customer"]);
        assert_eq!(new["lines"]["data"][0]["pricing"], old["lines"]["data"][0]["pricing"]);

        let mut verification: Value = serde_json::from_str(include_str!("../../fixtures/job.verified.json")).unwrap();
        renew(&mut verification, "x7");
        assert_eq!(verification["data"]["job_id"], "job_0001x7");
        assert_eq!(verification["data"]["receiver_id"], "bob");
    }
}
