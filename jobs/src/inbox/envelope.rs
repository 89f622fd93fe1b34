//! The envelope of an event: the few fields that are read before it is stored. Everything else stays bytes until a job reads it.

use std::fmt;

use chrono::{DateTime, Datelike, Utc};
use serde::{
    Deserialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::base::json_object;

/// Bytes of the longest id that is taken for one.
const LONGEST: usize = 255;

/// Who sent an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Stripe, by its webhook signature.
    Stripe,
    /// The application itself, by the Standard Webhooks scheme.
    Verification,
}

impl Source {
    /// The word used in the database and by operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Verification => "verification",
        }
    }

    /// The source of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Stripe, Self::Verification].into_iter().find(|source| source.as_str() == word)
    }
}

/// What is known of an event before anything is interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it.
    pub source: Source,
    /// `evt_…` at Stripe, `webhook-id` for the application's own. Unique for its source, for ever.
    pub id: String,
    /// For example `invoice.paid`. Unknown types are stored like known ones.
    pub kind: String,
    /// The sender's clock, in whole seconds. Never used to order or to deduplicate (Stripe: webhooks).
    pub created: Option<DateTime<Utc>>,
    /// Whether it happened in live mode; the application's own events have no mode.
    pub livemode: Option<bool>,
    /// The API version its `data` is laid out in; frozen when the event was made.
    pub api_version: Option<String>,
    /// Present when it happened on a connected account.
    pub account: Option<String>,
    /// `data.object.id`, or the id of a thin event's related object. Absent in a few, such as `invoice.upcoming`.
    pub object_id: Option<String>,
    /// `data.object.mode`, which tells a purchase from a subscription before the body is interpreted.
    pub mode: Option<String>,
}

/// Why a body is not an event at all. It gets a 400 and no row.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or JSON of another shape.
    #[error("the body is not a JSON event: {0}")]
    NotAnEvent(#[from] serde_json::Error),
    /// An id or type that is empty, over 255 bytes, or holds a control character; a time that no database keeps.
    #[error("the event's {0} is missing or malformed")]
    BadField(&'static str),
}

/// Years of the times that are taken: those that RFC 3339 writes. The database keeps none before 4713 BC.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// The texts in the data of the application's own events.
const TEXTS: [(&str, &str); 7] = [
    ("job_id", "data.job_id"),
    ("user_id", "data.user_id"),
    ("receiver_id", "data.receiver_id"),
    ("sender_id", "data.sender_id"),
    ("skill", "data.skill"),
    ("currency", "data.currency"),
    ("email", "data.email"),
];

/// Those without which no job could act on an event of this type.
fn required(kind: &str) -> &'static [&'static str] {
    match kind {
        "job.verified" => &["job_id", "skill", "receiver_id"],
        "job.rejected" => &["job_id"],
        "user.created" => &["user_id"],
        _ => &[],
    }
}

#[derive(Deserialize)]
struct StripeWire {
    id: String,
    r#type: String,
    // Seconds in a v1 event, an RFC 3339 string in a thin one.
    created: Option<serde_json::Value>,
    livemode: Option<bool>,
    api_version: Option<String>,
    account: Option<String>,
    data: Option<Data>,
    related_object: Option<Object>,
}

#[derive(Deserialize)]
struct Data {
    object: Option<Object>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    id: Text,
    #[serde(default)]
    mode: Text,
}

/// A text, or whatever a version to come puts in its place, which is no reason to refuse the event.
#[derive(Default)]
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(is_sane(text).then(|| text.to_owned())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[derive(Deserialize)]
struct VerificationWire {
    r#type: String,
    timestamp: Option<DateTime<Utc>>,
    data: Option<Map<String, Value>>,
}

impl Envelope {
    /// Reads the envelope of a Stripe event, v1 or thin, of any API version.
    pub fn stripe(body: &[u8]) -> Result<Self, EnvelopeError> {
        let wire: StripeWire = json_object::read(body)?;
        let object = wire.data.and_then(|d| d.object).or(wire.related_object);
        let created = match &wire.created {
            Some(serde_json::Value::Number(number)) => number
                .as_i64()
                .map(|seconds| DateTime::from_timestamp(seconds, 0).ok_or(EnvelopeError::BadField("created")))
                .transpose()?,
            Some(serde_json::Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        Self {
            source: Source::Stripe,
            id: wire.id,
            kind: wire.r#type,
            created,
            livemode: wire.livemode,
            api_version: wire.api_version,
            account: wire.account,
            mode: object.as_ref().and_then(|o| o.mode.0.clone()),
            object_id: object.and_then(|o| o.id.0),
        }
        .checked()
    }

    /// Reads the envelope of one of the application's own events; its id came in the `webhook-id` header.
    pub fn verification(id: &str, body: &[u8]) -> Result<Self, EnvelopeError> {
        let wire: VerificationWire = json_object::read(body)?;
        let data = wire.data.ok_or(EnvelopeError::BadField("data"))?;
        for (name, path) in TEXTS {
            let well = match data.get(name) {
                None | Some(Value::Null) => !required(&wire.r#type).contains(&name),
                // An address that is none is not written to; everything else is kept, and looked up.
                Some(Value::String(text)) => name == "email" || is_sane(text),
                Some(_) => false,
            };
            if !well {
                return Err(EnvelopeError::BadField(path));
            }
        }
        let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            source: Source::Verification,
            id: id.to_owned(),
            kind: wire.r#type,
            created: wire.timestamp,
            livemode: None,
            api_version: None,
            account: None,
            object_id: text("job_id").or_else(|| text("user_id")),
            mode: None,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, EnvelopeError> {
        let optional = |text: &Option<String>| text.as_deref().is_none_or(is_sane);
        let time = if self.source == Source::Stripe { "created" } else { "timestamp" };
        for (ok, field) in [
            (is_sane(&self.id), "id"),
            (is_sane(&self.kind), "type"),
            (self.created.is_none_or(|at| YEARS.contains(&at.year())), time),
            (optional(&self.account), "account"),
            (optional(&self.api_version), "api_version"),
            (optional(&self.object_id), "data.object.id"),
        ] {
            if !ok {
                return Err(EnvelopeError::BadField(field));
            }
        }
        Ok(self)
    }
}

/// Whether a text can be an id: 1 to 255 bytes without control characters.
fn is_sane(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(read: Result<Envelope, EnvelopeError>) -> String {
        read.unwrap_err().to_string()
    }

    #[test]
    fn times_that_no_database_keeps_are_refused() {
        for created in ["-210898425600", "-93750000000000", "253402300800"] {
            let body = format!(r#"{{"id": "evt_1", "type": "x", "created": {created}}}"#);
            assert!(refused(Envelope::stripe(body.as_bytes())).contains("created"), "{created}");
        }
        for created in ["\"-4800-01-01T00:00:00Z\"", "\"+20000-01-01T00:00:00Z\""] {
            let body = format!(r#"{{"id": "evt_1", "type": "x", "created": {created}}}"#);
            assert!(refused(Envelope::stripe(body.as_bytes())).contains("created"), "{created}");
            let body = format!(r#"{{"type": "x", "timestamp": {created}, "data": {{}}}}"#);
            assert!(refused(Envelope::verification("v_1", body.as_bytes())).contains("timestamp"), "{created}");
        }
        let body = br#"{"id": "evt_1", "type": "x", "created": 0}"#;
        assert_eq!(Envelope::stripe(body).unwrap().created, Some(DateTime::UNIX_EPOCH));
    }

    #[test]
    fn an_array_is_no_event() {
        let stripe = br#"["evt_1", "invoice.paid", 1, false, null, null, null, null]"#;
        assert!(refused(Envelope::stripe(stripe)).contains("a JSON object"));
        let verification = br#"["user.created", null, {"user_id": "alice"}]"#;
        assert!(refused(Envelope::verification("v_1", verification)).contains("a JSON object"));
        let data = br#"{"type": "user.created", "data": [null, "alice"]}"#;
        assert!(Envelope::verification("v_1", data).is_err());
    }

    #[test]
    fn every_field_of_the_applications_own_events_is_a_text_and_the_refusal_names_it() {
        let event = |kind: &str, data: Value| {
            let body = serde_json::json!({ "type": kind, "data": data }).to_string();
            Envelope::verification("v_1", body.as_bytes())
        };
        let whole =
            serde_json::json!({"job_id": "j", "skill": "s", "receiver_id": "r", "sender_id": "s", "user_id": "u"});
        assert_eq!(event("job.verified", whole.clone()).unwrap().object_id.as_deref(), Some("j"));
        for (name, path) in TEXTS {
            for bad in [
                serde_json::json!(7),
                serde_json::json!(true),
                serde_json::json!(["r"]),
                serde_json::json!({"id": "r"}),
            ] {
                let mut data = whole.clone();
                data[name] = bad;
                for kind in ["job.verified", "job.rejected", "user.created", "another.type"] {
                    assert!(refused(event(kind, data.clone())).contains(path), "{kind} {name}");
                }
            }
        }
        for (kind, name) in [
            ("job.verified", "job_id"),
            ("job.verified", "skill"),
            ("job.verified", "receiver_id"),
            ("job.rejected", "job_id"),
            ("user.created", "user_id"),
        ] {
            for bad in [Value::Null, serde_json::json!(""), serde_json::json!("a\u{0}")] {
                let mut data = whole.clone();
                data[name] = bad;
                assert!(refused(event(kind, data)).contains(name), "{kind} {name}");
            }
        }
        assert!(event("job.rejected", serde_json::json!({"job_id": "j"})).is_ok());
    }
}
