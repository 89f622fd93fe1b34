//! What the rooms' searches have in common: their fields, and the way to the next page.

use bursar_jobs::desk::access::Signed;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::{Trouble, form::Fields, page::csrf};

/// Rows on a page.
pub(super) const PAGE: usize = 50;

/// Ages to choose from: a word, how it is said, minutes.
const AGES: &[(&str, &str, i64)] = &[
    ("5m", "5 minutes", 5),
    ("1h", "1 hour", 60),
    ("1d", "1 day", 1_440),
    ("7d", "7 days", 10_080),
    ("30d", "30 days", 43_200),
];

/// One row more than a page has, so that it can be told whether there are more.
pub(super) fn probe() -> i64 {
    i64::try_from(PAGE).unwrap_or(50) + 1
}

/// Cuts what was asked with [`probe`] to a page; the last of it, where there are more.
pub(super) fn cut<T: Clone>(rows: &mut Vec<T>) -> Option<T> {
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    rows.last().filter(|_| more).cloned()
}

/// Refuses what a search does not know: a mistyped filter must not match everything.
pub(super) fn check(query: &Fields, known: &[&str], of: &str) -> Result<(), Trouble> {
    match query.unknown(known) {
        Some(name) => Err(Trouble::malformed(&format!("A search of {of} has no {name:?}."))),
        None => Ok(()),
    }
}

/// What a field says that takes any words.
pub(super) fn words(query: &Fields, name: &str) -> Option<String> {
    query.get(name).map(|said| said.chars().take(500).collect())
}

/// What a field says that takes one of these words.
pub(super) fn one_of(query: &Fields, name: &str, all: &[&str]) -> Result<Option<String>, Trouble> {
    match query.get(name) {
        Some(said) if !all.contains(&said) => Err(odd(name, said)),
        said => Ok(said.map(str::to_owned)),
    }
}

/// The moment that is as long ago as a field says.
pub(super) fn ago(query: &Fields, name: &str, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Trouble> {
    let Some(said) = query.get(name) else { return Ok(None) };
    let minutes = AGES.iter().find(|(word, ..)| *word == said).map(|(.., minutes)| *minutes);
    minutes.map(|minutes| Some(now - TimeDelta::minutes(minutes))).ok_or_else(|| odd("age", said))
}

/// What comes after a place that a link of ours said.
pub(super) fn after<T>(query: &Fields, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Trouble> {
    query.get("after").map(|said| read(said).ok_or_else(|| odd("place", said))).transpose()
}

/// There is no such thing as a field says.
pub(super) fn odd(what: &str, said: &str) -> Trouble {
    Trouble::malformed(&format!("There is no {what} {said:?}. Nothing was changed."))
}

/// A field for words.
pub(super) fn text(query: &Fields, name: &str, label: &str) -> Markup {
    html! { label { (label) input type="search" name=(name) value=(query.get(name).unwrap_or_default()) maxlength="500"; } }
}

/// A field for one of these words.
pub(super) fn choice(query: &Fields, name: &str, label: &str, all: &[&str]) -> Markup {
    html! {
        label { (label) select name=(name) {
            option value="" { "any" }
            @for word in all { option value=(word) selected[query.get(name) == Some(*word)] { (word) } }
        } }
    }
}

/// A field for an age.
pub(super) fn age(query: &Fields, name: &str, label: &str) -> Markup {
    html! {
        label { (label) select name=(name) {
            option value="" { "any" }
            @for (word, words, _) in AGES { option value=(word) selected[query.get(name) == Some(*word)] { (words) } }
        } }
    }
}

/// The form of a search. On a phone it is folded, and says what it found by.
pub(super) fn form(path: &str, query: &Fields, names: &[&str], fields: &Markup) -> Markup {
    let said = names.iter().filter_map(|name| Some(format!("{} {}", name.replace('_', " "), query.get(name)?)));
    let said = said.collect::<Vec<_>>().join(", ");
    html! {
        details.fold {
            summary { @if said.is_empty() { "Find" } @else { "Found by " (said) } }
            form.filter method="get" action=(path) role="search" {
                (fields)
                button { "Find" }
                a href=(path) { "All" }
            }
        }
    }
}

/// The query of the same search, from another place on.
pub(super) fn again(query: &Fields, names: &[&str], (place, at): (&str, &str)) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    for name in names {
        if let Some(value) = query.get(name) {
            text.append_pair(name, value);
        }
    }
    text.append_pair(place, at);
    text.finish()
}

/// The way to what comes after this page, if there is more.
pub(super) fn next(path: &str, query: &Fields, names: &[&str], at: Option<&str>, say: &str) -> Markup {
    html! { @if let Some(at) = at { p { a href={ (path) "?" (again(query, names, ("after", at))) } rel="next" { (say) } } } }
}

/// A form that does one thing, and asks why.
pub(super) fn act(signed: &Signed, path: &str, button: &str) -> Markup {
    html! {
        form.acts method="post" action=(path) {
            (csrf(signed))
            label { "Why (for whoever reads it later)" input name="why" maxlength="2000"; }
            button.act { (button) }
        }
    }
}
