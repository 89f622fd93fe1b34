//! Lists: the newest first, filtered, a page at a time (Stripe: pagination).

use serde_json::{Value, json};

use super::{
    failure::{Answer, Failure},
    params::Params,
    store::text,
};

/// The parameters of every list; with `created`, of those that filter by it.
pub(super) const MAX_LIMIT: i64 = 100;
const DEFAULT_LIMIT: i64 = 10;

/// A page of `newest_first`, which holds everything that matches.
pub(super) fn page(newest_first: &[&Value], params: &Params, noun: &str, url: &str) -> Answer {
    let limit = params.integer("limit")?.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let message = format!("Invalid limit: must be between 1 and {MAX_LIMIT}.");
        return Err(Failure::invalid(message).code("parameter_invalid_integer").param("limit"));
    }
    let limit = usize::try_from(limit).unwrap_or_default();
    let place = |name: &str| -> Result<Option<usize>, Failure> {
        let Some(id) = params.text(name)? else { return Ok(None) };
        let found = newest_first.iter().position(|object| text(object, "id") == id);
        found.map(Some).ok_or_else(|| Failure::no_such_param(noun, id, name))
    };
    let (page, has_more) = match (place("starting_after")?, place("ending_before")?) {
        (Some(_), Some(_)) => {
            let message = "You cannot parameterize both starting_after and ending_before.";
            return Err(Failure::invalid(message).param("ending_before"));
        }
        // Those next to the cursor, on the newer side: this is how one walks forward in time.
        (None, Some(cursor)) => {
            let newer = newest_first.get(..cursor).unwrap_or_default();
            let skipped = newer.len().saturating_sub(limit);
            (newer.get(skipped..).unwrap_or_default(), skipped > 0)
        }
        (cursor, None) => {
            let older = newest_first.get(cursor.map_or(0, |cursor| cursor + 1)..).unwrap_or_default();
            (older.get(..limit).unwrap_or(older), older.len() > limit)
        }
    };
    Ok(json!({ "object": "list", "data": page, "has_more": has_more, "url": url }))
}

/// `created` as a time, or as bounds by `gt`, `gte`, `lt`, `lte`; in seconds.
#[derive(Debug, Default)]
pub(super) struct Created {
    from: Option<i64>,
    to: Option<i64>,
}

impl Created {
    pub fn read(params: &Params) -> Result<Self, Failure> {
        if let Ok(Some(_)) = params.text("created") {
            let at = params.integer("created")?;
            return Ok(Self { from: at, to: at });
        }
        let Some(bounds) = params.below("created")? else { return Ok(Self::default()) };
        let later = |at: i64| at.saturating_add(1);
        let earlier = |at: i64| at.saturating_sub(1);
        Ok(Self {
            from: bounds.integer("gte")?.max(bounds.integer("gt")?.map(later)),
            to: match (bounds.integer("lte")?, bounds.integer("lt")?.map(earlier)) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        })
    }

    pub fn holds(&self, object: &Value) -> bool {
        let at = super::store::number(object, "created");
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at <= to)
    }
}

/// Whether the object's field is what the parameter of that name asks for; a parameter that is absent asks for nothing.
pub(super) fn is_asked(object: &Value, params: &Params, field: &str) -> Result<bool, Failure> {
    let Some(wanted) = params.text(field)? else { return Ok(true) };
    Ok(match object.get(field) {
        Some(Value::Bool(is)) => params.boolean(field)? == Some(*is),
        Some(Value::String(is)) => is == wanted,
        _ => false,
    })
}
