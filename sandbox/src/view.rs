//! What an answer shows of an object: some fields only when asked for, some ids as the objects they name (Stripe: expanding).

use serde_json::{Value, json};

use super::store::{Store, text};

/// Stripe: a list within an object shows ten entries at most; the others are on its own pages.
const SHOWN: usize = 10;

/// Fields that an object carries only in answers that expand them.
const ON_REQUEST: &[(&str, &str)] =
    &[("checkout.session", "line_items"), ("invoice", "payments"), ("invoice", "confirmation_secret")];

/// The object as it is answered. A path that does not lead to an id is let pass.
pub(super) fn shown(store: &Store, object: Value, expand: &[String]) -> Value {
    let paths: Vec<Vec<&str>> = expand.iter().map(|path| path.split('.').take(4).collect()).collect();
    let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
    walk(store, object, &paths)
}

fn walk(store: &Store, mut object: Value, paths: &[&[&str]]) -> Value {
    if let Value::Array(elements) = object {
        return elements.into_iter().map(|element| walk(store, element, paths)).collect();
    }
    let kind = text(&object, "object").to_owned();
    let Value::Object(fields) = &mut object else { return object };
    // The sandbox's own notes on an object.
    fields.retain(|field, _| !field.starts_with('_'));
    for (owner, field) in ON_REQUEST {
        if *owner == kind && !paths.iter().any(|path| path.first() == Some(field)) {
            fields.remove(*field);
        }
    }
    for (field, value) in fields.iter_mut() {
        let below: Vec<&[&str]> = paths
            .iter()
            .filter(|path| path.first() == Some(&field.as_str()))
            .filter_map(|path| path.get(1..))
            .collect();
        let named = value.as_str().filter(|_| !below.is_empty()).and_then(|id| store.any(id)).cloned();
        let whole = named.unwrap_or_else(|| value.take());
        // Below a list's own frame and below what was asked for, the same rules hold.
        *value = if whole.is_array() || whole.is_object() { walk(store, within(whole), &below) } else { whole };
    }
    object
}

/// What an object shows of a list within it.
fn within(mut list: Value) -> Value {
    let is_list = list["object"] == "list";
    let more = match list.get_mut("data").and_then(Value::as_array_mut).filter(|_| is_list) {
        Some(data) if data.len() > SHOWN => {
            data.truncate(SHOWN);
            true
        }
        _ => false,
    };
    if more {
        list["has_more"] = json!(true);
    }
    list
}

/// What of `after` differs, as it was before: an event's `previous_attributes`. Of an object below, that is what differs in it; a list
/// is there as a whole.
pub(super) fn difference(before: &Value, after: &Value) -> Value {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return json!({}) };
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let changed = |name: &&String| !name.starts_with('_') && before.get(*name) != after.get(*name);
    let one = |name: &String| match (before.get(name), after.get(name)) {
        (Some(was @ Value::Object(_)), Some(is @ Value::Object(_))) => difference(was, is),
        (was, _) => was.cloned().unwrap_or_default(),
    };
    after.keys().chain(gone).filter(changed).map(|name| (name.clone(), one(name))).collect()
}

/// The object as it was before it differed so.
pub(super) fn before(after: Value, difference: &Value) -> Value {
    match (after, difference) {
        (Value::Object(mut all), Value::Object(difference)) => {
            for (name, was) in difference {
                let is = all.remove(name).unwrap_or_default();
                all.insert(name.clone(), before(is, was));
            }
            all.into()
        }
        (_, was) => was.clone(),
    }
}

/// A difference without what is not shown of the object as it was.
pub(super) fn public(difference: &Value, before: &Value) -> Value {
    let (Some(fields), Some(_)) = (difference.as_object(), before.as_object()) else { return before.clone() };
    let kept = fields.iter().filter_map(|(name, was)| Some((name.clone(), public(was, before.get(name)?))));
    kept.collect()
}
