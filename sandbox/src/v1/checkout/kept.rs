//! What a session only keeps: settings as they were given, and addresses that a browser is sent to.

use serde_json::{Value, json};

use crate::{failure::Failure, params::Params};

/// Parameters as the values they stand for: every one of them came as a text.
pub(crate) fn typed(given: Value) -> Value {
    match given {
        Value::String(text) if text == "true" => json!(true),
        Value::String(text) if text == "false" => json!(false),
        Value::Object(fields) if !fields.is_empty() && fields.keys().all(|name| name.parse::<u16>().is_ok()) => {
            let mut elements: Vec<(String, Value)> = fields.into_iter().collect();
            elements.sort_by_key(|(index, _)| index.parse::<u16>().unwrap_or_default());
            elements.into_iter().map(|(_, value)| typed(value)).collect::<Vec<_>>().into()
        }
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, typed(value))).collect(),
        other => other,
    }
}

/// The same as the fields of a form again, below a name, or at the top where there is none.
pub(super) fn fields(name: &str, given: &Value, into: &mut Vec<(String, String)>) {
    match given {
        Value::Object(below) => {
            for (inner, value) in below {
                let path = if name.is_empty() { inner.clone() } else { format!("{name}[{inner}]") };
                fields(&path, value, into);
            }
        }
        Value::String(text) => into.push((name.to_owned(), text.clone())),
        _ => {}
    }
}

/// An address that a browser may be sent to: the web's alone, so that no page can be made to run a script by it.
pub(crate) fn web_address<'a>(params: &'a Params, name: &str) -> Result<Option<&'a str>, Failure> {
    let Some(address) = params.text(name)?.filter(|address| !address.is_empty()) else { return Ok(None) };
    let host = ["https://", "http://"].iter().find_map(|scheme| {
        let (given, rest) = address.split_at_checked(scheme.len())?;
        given.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    if host.is_none() && !address.contains("://") {
        let message = "Invalid URL: An explicit scheme (such as https) must be provided.";
        return Err(Failure::invalid(message).code("url_invalid").param(name));
    }
    let is_whole = host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', '?', '#', '\\']));
    if !is_whole || address.chars().any(|c| c.is_control() || c.is_whitespace()) || address.len() > 5000 {
        return Err(Failure::invalid("Not a valid URL").code("url_invalid").param(name));
    }
    Ok(Some(address))
}
