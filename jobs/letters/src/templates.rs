//! All templates: the built-in ones, and those of a folder that stand in their place.
//!
//! `{letter}.txt` and `{letter}.html` are what everybody gets for whose language there is no other; `de/{letter}.txt` is for German. A
//! text of the folder without HTML beside it is sent as text alone: the built-in HTML would say something else.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::{
    catalog::{BUILT_IN, LETTERS, Letter, letter},
    template::{FillError, Template, TemplateError, Values},
};

/// A letter with its fields filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// For those who read no HTML.
    pub text: String,
    /// The same, where the template has it.
    pub html: Option<String>,
}

/// Every template that is in force. Read once, when a process starts.
#[derive(Debug, Clone)]
pub struct Templates {
    /// By locale, lower case (empty: for everybody), and by letter.
    all: BTreeMap<(String, &'static str), Both>,
}

#[derive(Debug, Clone)]
struct Both {
    text: Template,
    html: Option<Template>,
}

/// The two files of a letter, with their names.
#[derive(Default)]
struct Files {
    text: Option<(String, String)>,
    html: Option<(String, String)>,
}

impl Templates {
    /// The built-in ones, and over them those of a folder. Every one is checked.
    pub fn load(folder: Option<&Path>) -> Result<Self, TemplateError> {
        let mut all = BTreeMap::new();
        for (locale, name, text, html) in BUILT_IN {
            let Some(known) = letter(name) else { continue };
            let file = format!("the built-in {}{name}", locale.map(|locale| format!("{locale}/")).unwrap_or_default());
            let both =
                Both { text: Template::text(known, &file, text)?, html: Some(Template::html(known, &file, html)?) };
            all.insert((locale.unwrap_or_default().to_owned(), known.name), both);
        }
        let mut templates = Self { all };
        if let Some(folder) = folder {
            templates.lay_over(folder, None)?;
        }
        Ok(templates)
    }

    fn lay_over(&mut self, folder: &Path, locale: Option<&str>) -> Result<(), TemplateError> {
        let unreadable =
            |path: &Path, error: io::Error| TemplateError::Unreadable(path.display().to_string(), error.to_string());
        let mut found: BTreeMap<&'static str, Files> = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
            let path = entry.map_err(|error| unreadable(folder, error))?.path();
            let shown = path.display().to_string();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // A mounted volume keeps its own things under names with a dot.
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                if locale.is_some() || !is_locale(name) {
                    return Err(TemplateError::NoLocale(shown));
                }
                self.lay_over(&path, Some(name))?;
                continue;
            }
            let Some((stem, extension @ ("txt" | "html"))) = name.rsplit_once('.') else { continue };
            let Some(known) = letter(stem) else {
                let known: Vec<&str> = LETTERS.iter().map(|letter| letter.name).collect();
                return Err(TemplateError::NoLetter { file: shown, known: known.join(", ") });
            };
            let content = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            let files = found.entry(known.name).or_default();
            let slot = if extension == "txt" { &mut files.text } else { &mut files.html };
            *slot = Some((shown, content));
        }
        for (name, files) in found {
            let Some(known) = letter(name) else { continue };
            let (file, content) = match (files.text, &files.html) {
                (Some(text), _) => text,
                (None, Some((file, _))) => return Err(TemplateError::NoText(file.clone())),
                (None, None) => continue,
            };
            let text = Template::text(known, &file, &content)?;
            let html = files.html.map(|(file, content)| Template::html(known, &file, &content)).transpose()?;
            self.all.insert((locale.unwrap_or_default().to_ascii_lowercase(), known.name), Both { text, html });
        }
        Ok(())
    }

    /// Fills the template of a letter in the first of these languages that it is written in. A language without its country will do;
    /// English is what stands in no folder.
    pub fn fill(&self, name: &str, locales: &[&str], values: &Values) -> Result<Rendered, FillError> {
        let known: &'static Letter = letter(name).ok_or_else(|| FillError::NoLetter(name.to_owned()))?;
        let both = locales
            .iter()
            .find_map(|locale| self.of(known.name, locale))
            .or_else(|| self.all.get(&(String::new(), known.name)))
            .ok_or_else(|| FillError::NoLetter(name.to_owned()))?;
        let html = both.html.as_ref().map(|html| html.fill(values)).transpose()?;
        Ok(Rendered { subject: both.text.subject(values)?, text: both.text.fill(values)?, html })
    }

    fn of(&self, name: &'static str, locale: &str) -> Option<&Both> {
        let locale = locale.trim().replace('_', "-").to_ascii_lowercase();
        let language = locale.split('-').next().unwrap_or_default().to_owned();
        let exact = self.all.get(&(locale, name)).or_else(|| self.all.get(&(language.clone(), name)));
        // What everybody gets is English, unless somebody wrote it otherwise.
        exact.or_else(|| (language == "en").then(|| self.all.get(&(String::new(), name))).flatten())
    }
}

/// `de`, `pt-BR`: RFC 5646, as far as mail needs it.
pub(crate) fn is_locale(name: &str) -> bool {
    let mut parts = name.split(['-', '_']);
    let language = parts.next().unwrap_or_default();
    (2..=3).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field of a letter, filled.
    fn all_fields(letter: &Letter) -> Values {
        letter
            .fields()
            .map(|field| {
                (
                    field.to_owned(),
                    if field.ends_with("_url") { "https://x.example/".into() } else { format!("<{field}>") },
                )
            })
            .collect()
    }

    #[test]
    fn every_built_in_template_fills_with_everything_and_with_the_least() {
        let templates = Templates::load(None).unwrap();
        for letter in LETTERS {
            for locale in ["en", "de"] {
                let all = all_fields(letter);
                let full = templates.fill(letter.name, &[locale], &all).unwrap();
                let mut least = all.clone();
                least.retain(|field, _| !letter.may_miss(field));
                let bare = templates.fill(letter.name, &[locale], &least).unwrap();
                assert!(bare.text.len() > 60, "{}: {}", letter.name, bare.text);
                for given in letter.given.iter().filter(|field| !field.ends_with("_price")) {
                    assert!(full.text.contains(&format!("<{given}>")), "{} {locale} text: {given}", letter.name);
                    let html = full.html.clone().unwrap();
                    assert!(html.contains(&format!("&lt;{given}&gt;")), "{} {locale} html: {given}", letter.name);
                }
            }
        }
    }

    #[test]
    fn the_language_is_the_first_that_there_is() {
        let templates = Templates::load(None).unwrap();
        let values = all_fields(letter("refund_made").unwrap());
        let subject = |locales: &[&str]| templates.fill("refund_made", locales, &values).unwrap().subject;
        let (english, german) = (subject(&["en"]), subject(&["de"]));
        assert_ne!(english, german);
        assert_eq!(subject(&["de-AT", "en"]), german);
        assert_eq!(subject(&["fr", "DE_ch"]), german);
        assert_eq!(subject(&["en-GB", "de"]), english, "English comes first");
        assert_eq!(subject(&["fr"]), english);
        assert_eq!(subject(&["../de"]), english);
    }

    #[test]
    fn locales_are_no_paths() {
        for good in ["de", "pt-BR", "zh_Hant", "sr-Latn-RS"] {
            assert!(is_locale(good), "{good}");
        }
        for bad in ["", "d", "..", "de/..", "german", "de-", "de-123456789"] {
            assert!(!is_locale(bad), "{bad}");
        }
    }
}
