//! Words about a failure, for the log: without what they repeat of what a stranger, Stripe or a mail server sent. The database keeps them whole,
//! for an operator; a log goes further.

use bursar_jobs::letters::redacted;

/// What a secret of Stripe's begins with.
const SECRETS: [&str; 6] = ["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_", "bursar_dev_"];
/// Before a text that a reader of JSON did not expect, and quotes.
const QUOTES: [(&str, char); 2] = [("string \"", '"'), ("unknown variant `", '`')];

/// The same without quoted texts of JSON, mail addresses, and secrets.
pub(crate) fn quiet(said: &str) -> String {
    let mut rest = said;
    let mut out = String::with_capacity(said.len());
    while let Some((at, opening, closing)) = first(rest) {
        let (before, quoted) = rest.split_at(at + opening.len());
        words(before, &mut out);
        out.push('…');
        rest = end(quoted, closing).map_or("", |end| &quoted[end..]);
    }
    words(rest, &mut out);
    out
}

/// The first quotation: where it begins, and what opens and closes it.
fn first(said: &str) -> Option<(usize, &'static str, char)> {
    let found = QUOTES.iter().filter_map(|(opening, closing)| Some((said.find(opening)?, *opening, *closing)));
    found.min_by_key(|(at, ..)| *at)
}

/// Where a quotation ends: before what closes it and is not escaped.
fn end(quoted: &str, closing: char) -> Option<usize> {
    let mut is_escaped = false;
    quoted.char_indices().find_map(|(at, c)| {
        let is_end = c == closing && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

/// Copies words, and shortens those that are an address or a secret.
fn words(said: &str, out: &mut String) {
    let is_between = |c: char| c.is_whitespace() || "\"'`<>()[]{},;:".contains(c);
    for piece in said.split_inclusive(is_between) {
        let word = piece.trim_end_matches(is_between);
        if let Some(prefix) = SECRETS.iter().find(|prefix| word.starts_with(**prefix)) {
            out.push_str(prefix);
            out.push('…');
        } else if word.contains('@') {
            out.push_str(&redacted(word));
        } else {
            out.push_str(word);
        }
        out.push_str(&piece[word.len()..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_of_strangers_is_left_out_and_the_rest_is_there() {
        for (said, left) in [
            ("nothing to hide: cus_1, in_2 (\"open\")", "nothing to hide: cus_1, in_2 (\"open\")"),
            (
                "invalid type: string \"a \\\"b\\\" c\", expected a boolean at line 1 column 9",
                "invalid type: string \"…\", expected a boolean at line 1 column 9",
            ),
            ("unknown variant `x y`, expected `a` or `b`", "unknown variant `…`, expected `a` or `b`"),
            ("invalid type: string \"never ends", "invalid type: string \"…"),
            ("550 <alice@example.com>: no such user", "550 <a…@example.com>: no such user"),
            ("Invalid email address: é@x.example", "Invalid email address: é…@x.example"),
            ("Invalid API Key provided: sk_live_abc; whsec_x=", "Invalid API Key provided: sk_live_…; whsec_…"),
            ("", ""),
        ] {
            assert_eq!(quiet(said), left);
        }
    }
}
