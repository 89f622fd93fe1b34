//! The envelope of an event: the few fields that are read before it is stored. Everything else stays bytes until a job reads it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{
    Deserialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

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
    /// An id or type that is empty, over 255 bytes, or holds a control character.
    #[error("the event's {0} is missing or malformed")]
    BadField(&'static str),
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
                let sane = !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
                Ok(Text(sane.then(|| text.to_owned())))
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
    data: Option<VerificationData>,
}

#[derive(Deserialize)]
struct VerificationData {
    job_id: Option<String>,
    user_id: Option<String>,
}

impl Envelope {
    /// Reads the envelope of a Stripe event, v1 or thin, of any API version.
    pub fn stripe(body: &[u8]) -> Result<Self, EnvelopeError> {
        let wire: StripeWire = serde_json::from_slice(body)?;
        let object = wire.data.and_then(|d| d.object).or(wire.related_object);
        let created = match &wire.created {
            Some(serde_json::Value::Number(seconds)) => seconds.as_i64().and_then(|s| DateTime::from_timestamp(s, 0)),
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
        let wire: VerificationWire = serde_json::from_slice(body)?;
        let data = wire.data.ok_or(EnvelopeError::BadField("data"))?;
        Self {
            source: Source::Verification,
            id: id.to_owned(),
            kind: wire.r#type,
            created: wire.timestamp,
            livemode: None,
            api_version: None,
            account: None,
            object_id: data.job_id.or(data.user_id),
            mode: None,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, EnvelopeError> {
        let sane = |text: &str| !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
        let optional = |text: &Option<String>| text.as_deref().is_none_or(sane);
        for (ok, field) in [
            (sane(&self.id), "id"),
            (sane(&self.kind), "type"),
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
