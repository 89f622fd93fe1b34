//! What an answer shows of an object: some fields only when asked for, some ids as the objects they name (Stripe: expanding).

use serde_json::{Value, json};

use super::store::{Store, text};

/// Fields that an object carries only in answers that expand them.
const ON_REQUEST: &[(&str, &str)] = &[("checkout.session", "line_items"), ("invoice", "payments")];

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
        *value = if whole.is_array() || whole.is_object() { walk(store, whole, &below) } else { whole };
    }
    object
}

/// The fields at the top of `after` that differ, as they were before: an event's `previous_attributes`.
pub(super) fn difference(before: &Value, after: &Value) -> Value {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return json!({}) };
    let changed = |name: &&String| !name.starts_with('_') && before.get(*name) != after.get(*name);
    after.keys().filter(changed).map(|name| (name.clone(), before.get(name).cloned().unwrap_or_default())).collect()
}
