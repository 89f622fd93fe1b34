//! One template: text with `{fields}`.
//!
//! - A field is a word in braces; any other brace is a brace, as in a style sheet.
//! - A line that names a field which is not always known is left out where it is not.
//! - A value is one line: control characters in it become spaces. In HTML it is escaped.

use std::collections::BTreeMap;

use crate::catalog::Letter;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It names a field that its letter has not.
    #[error("{file} names the field {{{field}}}, which this letter has not; it has {known}")]
    Unknown {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// Those there are.
        known: String,
    },
    /// A text does not begin with its subject.
    #[error("{0} does not begin with a line like `Subject: Your refund`")]
    NoSubject(String),
    /// The subject may turn out to be missing.
    #[error("the subject of {file} names {{{field}}}, which is not always known: a subject cannot be left out")]
    SubjectMayMiss {
        /// The file.
        file: String,
        /// The field.
        field: String,
    },
    /// A file of another name.
    #[error("{file} is no letter of this version; there are {known}")]
    NoLetter {
        /// The file.
        file: String,
        /// Those there are.
        known: String,
    },
    /// A folder of another name.
    #[error("{0} is no folder of a language, such as de or pt-BR")]
    NoLocale(String),
    /// HTML without text.
    #[error("{0} has no text beside it: write the .txt too, for those who read no HTML")]
    NoText(String),
    /// The file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(String, String),
}

/// Why a template cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The job has not what the template names.
    #[error("the template of {letter} names {{{field}}}, and this job has none")]
    Missing {
        /// The letter.
        letter: &'static str,
        /// The field.
        field: String,
    },
    /// A link is not one.
    #[error("{{{0}}} is no http:// or https:// URL")]
    NotAUrl(String),
    /// There is no such letter.
    #[error("{0:?} is no letter of this version")]
    NoLetter(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

/// A template, read.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    letter: &'static Letter,
    subject: Vec<Piece>,
    lines: Vec<Vec<Piece>>,
    html: bool,
}

/// The values of fields.
pub(crate) type Values = BTreeMap<String, String>;

impl Template {
    /// Reads a text: its first line is the subject.
    pub(crate) fn text(letter: &'static Letter, file: &str, content: &str) -> Result<Self, TemplateError> {
        let content = content.strip_prefix('\u{feff}').unwrap_or(content);
        let (first, rest) = content.split_once('\n').unwrap_or((content, ""));
        let subject = first.trim().strip_prefix("Subject:").map(str::trim).filter(|subject| !subject.is_empty());
        let subject = pieces(subject.ok_or_else(|| TemplateError::NoSubject(file.to_owned()))?);
        let body = rest.trim_start_matches(['\r', '\n']);
        let template = Self { letter, subject, lines: body.lines().map(pieces).collect(), html: false };
        template.check(file)?;
        Ok(template)
    }

    /// Reads HTML.
    pub(crate) fn html(letter: &'static Letter, file: &str, content: &str) -> Result<Self, TemplateError> {
        let lines = content.lines().map(pieces).collect();
        let template = Self { letter, subject: Vec::new(), lines, html: true };
        template.check(file)?;
        Ok(template)
    }

    fn check(&self, file: &str) -> Result<(), TemplateError> {
        let named = self.subject.iter().chain(self.lines.iter().flatten());
        for field in named.filter_map(Piece::field) {
            if !self.letter.knows(field) {
                let known: Vec<String> = self.letter.fields().map(|known| format!("{{{known}}}")).collect();
                let (file, field) = (file.to_owned(), field.to_owned());
                return Err(TemplateError::Unknown { file, field, known: known.join(", ") });
            }
        }
        match self.subject.iter().filter_map(Piece::field).find(|field| self.letter.may_miss(field)) {
            Some(field) => Err(TemplateError::SubjectMayMiss { file: file.to_owned(), field: field.to_owned() }),
            None => Ok(()),
        }
    }

    /// The subject with its fields filled: one line.
    pub(crate) fn subject(&self, values: &Values) -> Result<String, FillError> {
        Ok(self.line(&self.subject, values)?.unwrap_or_default())
    }

    /// The body with its fields filled.
    pub(crate) fn fill(&self, values: &Values) -> Result<String, FillError> {
        let mut out = String::new();
        let mut blank = true;
        for line in &self.lines {
            let Some(line) = self.line(line, values)? else { continue };
            // What a line leaves behind that was left out: no gap.
            let is_blank = line.trim().is_empty();
            if !(is_blank && blank) {
                out.push_str(line.trim_end());
                out.push('\n');
            }
            blank = is_blank;
        }
        Ok(out.trim_end().to_owned() + "\n")
    }

    /// None: it names what is not known and may be missing.
    fn line(&self, line: &[Piece], values: &Values) -> Result<Option<String>, FillError> {
        let mut out = String::new();
        for piece in line {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(field) => match values.get(field).map(|value| one_line(value)) {
                    Some(value) if !value.is_empty() => {
                        if field.ends_with("_url") && !is_url(&value) {
                            return Err(FillError::NotAUrl(field.clone()));
                        }
                        out.push_str(&if self.html { escaped(&value) } else { value });
                    }
                    _ if self.letter.may_miss(field) => return Ok(None),
                    _ => return Err(FillError::Missing { letter: self.letter.name, field: field.clone() }),
                },
            }
        }
        Ok(Some(out))
    }
}

impl Piece {
    fn field(&self) -> Option<&str> {
        match self {
            Self::Field(name) => Some(name),
            Self::Text(_) => None,
        }
    }
}

fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = line;
    while let Some(open) = rest.find('{') {
        let after = &rest[open + 1..];
        let close = after.find('}').filter(|close| is_name(after[..*close].trim()));
        if let Some(close) = close {
            text.push_str(&rest[..open]);
            pieces.push(Piece::Text(std::mem::take(&mut text)));
            pieces.push(Piece::Field(after[..close].trim().to_owned()));
            rest = &after[close + 1..];
        } else {
            text.push_str(&rest[..=open]);
            rest = after;
        }
    }
    text.push_str(rest);
    pieces.push(Piece::Text(text));
    pieces
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// One line, whatever was in it: no line end, and nothing that turns the direction of what follows.
fn one_line(value: &str) -> String {
    let harmless = |c: char| {
        let turns = matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { ' ' } else { c }
    };
    value.chars().map(harmless).collect::<String>().trim().to_owned()
}

fn is_url(value: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| value.len() > scheme.len() && value.starts_with(scheme))
        && !value.contains(char::is_whitespace)
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::letter;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refund(content: &str) -> Result<Template, TemplateError> {
        Template::text(letter("refund_made").unwrap(), "refund_made.txt", content)
    }

    #[test]
    fn an_unknown_field_is_named_with_those_there_are() {
        let error = refund("Subject: x\n\n{ amout } back\n").unwrap_err().to_string();
        assert!(
            error.contains("refund_made.txt") && error.contains("{amout}") && error.contains("{amount}"),
            "{error}"
        );
    }

    #[test]
    fn other_braces_are_braces() {
        let made = Template::html(
            letter("refund_made").unwrap(),
            "f",
            "<style>p { color: red } a{margin:0} {}</style>{amount}",
        );
        let filled = made.unwrap().fill(&values(&[("amount", "9.99 USD")])).unwrap();
        assert_eq!(filled, "<style>p { color: red } a{margin:0} {}</style>9.99 USD\n");
    }

    #[test]
    fn a_line_goes_where_its_field_is_not_known_and_leaves_no_gap() {
        let made = refund("Subject: {amount}\n\nOne\n\nCredits: {credits}\n\nTwo\n").unwrap();
        assert_eq!(made.fill(&values(&[("amount", "1 USD")])).unwrap(), "One\n\nTwo\n");
        let known = values(&[("amount", "1 USD"), ("credits", "5")]);
        assert_eq!(made.fill(&known).unwrap(), "One\n\nCredits: 5\n\nTwo\n");
    }

    #[test]
    fn a_field_that_is_always_there_and_is_not_is_said() {
        let made = refund("Subject: x\n\n{amount}\n").unwrap();
        let error = made.fill(&values(&[("amount", " \r\n")])).unwrap_err();
        assert_eq!(error, FillError::Missing { letter: "refund_made", field: "amount".into() });
    }

    #[test]
    fn a_value_is_one_line_and_html_is_escaped() {
        let hostile = values(&[("amount", "1\r\nBcc: x@y.example\u{202e}<img src=x onerror='alert(1)'>&\"")]);
        let subject = refund("Subject: Refund of {amount}\n\nx\n").unwrap().subject(&hostile).unwrap();
        assert!(!subject.contains(['\r', '\n', '\u{202e}']), "{subject:?}");
        let html = Template::html(letter("refund_made").unwrap(), "f", "<a title=\"{amount}\">{amount}</a>").unwrap();
        let html = html.fill(&hostile).unwrap();
        assert!(!html.contains("<img") && !html.contains("'alert") && html.contains("&lt;img"), "{html}");
    }

    #[test]
    fn a_link_is_a_link() {
        let html = Template::html(letter("refund_made").unwrap(), "f", "<a href=\"{portal_url}\">x</a>").unwrap();
        for bad in ["javascript:alert(1)", "https://", "https://a b", "ftp://x"] {
            assert_eq!(
                html.fill(&values(&[("portal_url", bad)])),
                Err(FillError::NotAUrl("portal_url".into())),
                "{bad}"
            );
        }
        assert_eq!(html.fill(&Values::new()).unwrap(), "\n", "not known: left out");
    }

    #[test]
    fn a_text_begins_with_a_subject_that_is_always_known() {
        for bad in ["", "Hello\n", "Subject:\n\nx\n", "subject: x\n"] {
            assert!(matches!(refund(bad), Err(TemplateError::NoSubject(_))), "{bad:?}");
        }
        assert!(matches!(refund("Subject: {credits}\n\nx\n"), Err(TemplateError::SubjectMayMiss { .. })));
    }
}
