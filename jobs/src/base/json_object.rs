//! What a stranger sends as JSON: an object, and nothing that only reads like one.
//!
//! A derived reader takes an array for a struct, field by field, and so takes whatever stands in the right place for what was meant. What
//! comes in from outside is read through here.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Reads a body that is one JSON object.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<Object<T>>(body).map(|object| object.0)
}

struct Object<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Map<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Map(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Spend {
        user: String,
        credits: i64,
    }

    #[test]
    fn an_object_is_read_and_nothing_else() {
        let wanted = Spend { user: "alice".into(), credits: 1 };
        assert_eq!(read::<Spend>(br#" {"credits": 1, "user": "alice"} "#).unwrap(), wanted);
        for bad in [
            r#"["alice", 1]"#,
            "null",
            "7",
            r#""alice""#,
            "",
            "[]",
            r#"{"user": "alice", "credits": 1} {}"#,
            r#"{"user": "alice", "credits": 1, "user": "bob"}"#,
            r#"{"user": "alice", "credits": 1, "more": null}"#,
        ] {
            assert!(read::<Spend>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
