//! How a rule says what breaks it, and what is let pass for now.

use std::collections::BTreeSet;

/// Something that breaks a rule.
#[derive(Debug)]
pub struct Violation {
    /// What an exception names.
    pub key: String,
    /// Where it stands, for people.
    pub what: String,
}

impl Violation {
    /// One.
    pub fn new(key: String, what: String) -> Self {
        Self { key, what }
    }
}

/// Panics unless exactly the known exceptions break a rule.
pub fn keep(rule: &str, found: &[Violation], known: &[&str]) {
    let keys: BTreeSet<_> = found.iter().map(|violation| violation.key.as_str()).collect();
    let mut text: Vec<_> = found
        .iter()
        .filter(|violation| !known.contains(&violation.key.as_str()))
        .map(|violation| format!("  {}: {}", violation.key, violation.what))
        .collect();
    let new: BTreeSet<_> = keys.iter().filter(|key| !known.contains(key)).map(|key| format!("    {key:?},")).collect();
    if new.len() > 1 {
        text.push("  as exceptions:".to_owned());
        text.extend(new);
    }
    let ended = known.iter().filter(|key| !keys.contains(**key));
    text.extend(ended.map(|key| format!("  {key:?} breaks the rule no more: take it out of exceptions.rs")));
    assert!(text.is_empty(), "{rule}\n{}", text.join("\n"));
}

/// Panics if a number is above the rule's limit, or above the exception as long as there is one.
pub fn keep_below(rule: &str, found: usize, limit: usize, exception: Option<usize>) {
    let ceiling = exception.unwrap_or(limit);
    assert!(found <= ceiling, "{rule}: {found} are more than {ceiling}");
    assert!(
        exception.is_none() || found > limit,
        "{rule}: {found} keep to {limit}: take the exception out of exceptions.rs"
    );
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn an_exception_that_is_not_needed_fails_too() {
        let found = [Violation::new("a -> b".to_owned(), "x.rs:1".to_owned())];
        keep("rule", &found, &["a -> b"]);
        assert!(catch_unwind(|| keep("rule", &found, &[])).is_err());
        assert!(catch_unwind(|| keep("rule", &found, &["a -> b", "a -> c"])).is_err());
    }

    #[test]
    fn a_ceiling_only_falls() {
        keep_below("rule", 3, 3, None);
        keep_below("rule", 5, 3, Some(7));
        for (found, exception) in [(4, None), (8, Some(7)), (3, Some(7))] {
            assert!(catch_unwind(|| keep_below("rule", found, 3, exception)).is_err(), "{found}");
        }
    }
}
