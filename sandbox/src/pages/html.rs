//! Text that is safe on a page, by its type: what a template is filled with was escaped, or is a template itself.

use chrono::DateTime;
use serde_json::Value;

use crate::{failure::Failure, message::Response, money::decimals};

/// A piece of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    /// Whatever anybody has written, as text.
    pub fn text(text: &str) -> Self {
        let mut html = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                other => html.push(other),
            }
        }
        Self(html)
    }

    /// What we have written ourselves. It takes no text that is made at run time.
    pub fn own(html: &'static str) -> Self {
        Self(html.to_owned())
    }

    /// Several pieces, one after the other.
    pub fn all(pieces: impl IntoIterator<Item = Self>) -> Self {
        Self(pieces.into_iter().map(|piece| piece.0).collect::<Vec<_>>().join("\n"))
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// A template with its `{{names}}` replaced. One pass: what is put in is never read as a template. An unknown name is left empty.
pub(super) fn fill(template: &'static str, with: &[(&str, Html)]) -> Html {
    let mut html = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        html.push_str(before);
        if let Some((_, value)) = with.iter().find(|(known, _)| *known == name) {
            html.push_str(&value.0);
        }
        rest = after;
    }
    html.push_str(rest);
    Html(html)
}

/// An amount of minor units as people write it, with its currency.
pub(super) fn amount(minor: i64, currency: &str) -> Html {
    let decimals = decimals(currency);
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = decimals + 1);
    let (whole, part) = digits.split_at(digits.len() - decimals);
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if minor < 0 { "-" } else { "" };
    let point = if part.is_empty() { "" } else { "." };
    Html::text(&format!("{sign}{grouped}{point}{part} {}", currency.to_uppercase()))
}

/// The day of a time in seconds.
pub(super) fn day(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0).map(|time| time.format("%-d %B %Y").to_string()).unwrap_or_default()
}

/// How often a price recurs: ` every month`; nothing for one that does not.
pub(super) fn rhythm(price: &Value) -> String {
    let recurring = &price["recurring"];
    match (recurring["interval"].as_str(), recurring["interval_count"].as_i64().unwrap_or(1)) {
        (None, _) => String::new(),
        (Some(interval), 1) => format!(" every {interval}"),
        (Some(interval), count) => format!(" every {count} {interval}s"),
    }
}

/// What a person is told of a refusal.
pub(super) fn message(failure: Failure) -> String {
    let body: Value = serde_json::from_str(&Response::from(failure).body).unwrap_or_default();
    body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        for (minor, currency, shown) in [
            (1900, "usd", "19.00 USD"),
            (5, "eur", "0.05 EUR"),
            (-123_456_789, "usd", "-1,234,567.89 USD"),
            (1900, "jpy", "1,900 JPY"),
            (1_500_000, "kwd", "1,500.000 KWD"),
            (0, "krw", "0 KRW"),
        ] {
            assert_eq!(amount(minor, currency).into_string(), shown);
        }
    }

    #[test]
    fn what_is_put_in_is_never_a_template() {
        let filled = fill("<b>{{a}}</b>{{missing}}{{b}}", &[("a", Html::text("{{b}}<i>")), ("b", Html::text("2"))]);
        assert_eq!(filled.into_string(), "<b>{{b}}&lt;i&gt;</b>2");
    }
}
