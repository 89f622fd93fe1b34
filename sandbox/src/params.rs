//! Parameters as Stripe reads them: form-encoded, nested by brackets, every value a text until someone asks for more.

use serde_json::{Map, Value, json};

use super::failure::Failure;

/// Stripe: amounts have at most twelve digits.
pub(super) const MAX_AMOUNT: i64 = 999_999_999_999;
/// Deeper than any parameter of Stripe's; a bound for what strangers send.
const MAX_DEPTH: usize = 8;
/// More fields than any request of Stripe's has.
const MAX_FIELDS: usize = 1000;
/// Stripe: metadata, limits.
const METADATA_KEYS: usize = 50;
const METADATA_KEY_CHARS: usize = 40;
const METADATA_VALUE_CHARS: usize = 500;

/// The parameters of a request, or those below one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params {
    /// What stands before the names here, such as `items[0]`; for messages.
    prefix: String,
    fields: Vec<(String, Node)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Leaf(String),
    Branch(Vec<(String, Node)>),
}

/// The decoded fields, as they were sent.
pub(super) fn decode(form: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(form).into_owned().collect()
}

impl Params {
    pub fn parse(fields: &[(String, String)]) -> Result<Self, Failure> {
        if fields.len() > MAX_FIELDS {
            return Err(Failure::invalid(format!("A request has at most {MAX_FIELDS} fields here.")));
        }
        let mut params = Self::default();
        for (name, value) in fields {
            let segments = segments(name);
            if segments.len() > MAX_DEPTH {
                return Err(Failure::invalid(format!("Parameters nest at most {MAX_DEPTH} deep.")).param(name));
            }
            put(&mut params.fields, &segments, value)
                .ok_or_else(|| Failure::invalid(format!("Invalid object: {name}")).param(name))?;
        }
        Ok(params)
    }

    /// Refuses what is not among `known`: exact paths such as `items[][price]`, or `metadata*` for all below a name.
    pub fn check(&self, known: &[&str]) -> Result<(), Failure> {
        let Some(shown) = self.unknown(known) else { return Ok(()) };
        let message = format!("Received unknown parameter: {shown}");
        Err(Failure::invalid(message).code("parameter_unknown").param(shown))
    }

    /// The first that is not among `known`.
    pub fn unknown(&self, known: &[&str]) -> Option<String> {
        let mut paths = Vec::new();
        flatten(&self.fields, "", "", &mut paths);
        let is_known = |path: &str| known.iter().chain(&["expand*"]).any(|pattern| covers(pattern, path));
        paths.into_iter().find(|(path, _)| !is_known(path)).map(|(_, shown)| shown)
    }

    pub fn has(&self, name: &str) -> bool {
        self.node(name).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// A text; an empty one is a text too.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        match self.node(name) {
            None => Ok(None),
            Some(Node::Leaf(text)) => Ok(Some(text)),
            Some(Node::Branch(_)) => {
                Err(Failure::invalid(format!("Invalid string: {}", self.path(name))).param(self.path(name)))
            }
        }
    }

    /// A text that unsets when it is empty.
    pub fn nullable(&self, name: &str) -> Result<Option<Value>, Failure> {
        Ok(self.text(name)?.map(|text| if text.is_empty() { Value::Null } else { json!(text) }))
    }

    /// A text that must be there and not be empty.
    pub fn required(&self, name: &str) -> Result<&str, Failure> {
        match self.text(name)? {
            None => Err(self.missing(name)),
            Some("") => {
                let path = self.path(name);
                let message = format!(
                    "You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; \
                     however '{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty value."
                );
                Err(Failure::invalid(message).code("parameter_invalid_empty").param(path))
            }
            Some(text) => Ok(text),
        }
    }

    pub fn missing(&self, name: &str) -> Failure {
        let path = self.path(name);
        Failure::invalid(format!("Missing required param: {path}.")).code("parameter_missing").param(path)
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let invalid = || {
            let message = format!("Invalid integer: {text}");
            Failure::invalid(message).code("parameter_invalid_integer").param(self.path(name))
        };
        text.parse().map(Some).map_err(|_| invalid())
    }

    /// An amount of money, or a number of things: at least `least`.
    pub fn at_least(&self, least: i64, name: &str) -> Result<Option<i64>, Failure> {
        let value = self.integer(name)?;
        if value.is_some_and(|value| value < least) {
            let message = format!("This value must be greater than or equal to {least}.");
            return Err(Failure::invalid(message).code("parameter_invalid_integer").param(self.path(name)));
        }
        if value.is_some_and(|value| value > MAX_AMOUNT) {
            let message = format!("Amount must be no more than {MAX_AMOUNT}.");
            return Err(Failure::invalid(message).code("amount_too_large").param(self.path(name)));
        }
        Ok(value)
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.text(name)? {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(text) => Err(Failure::invalid(format!("Invalid boolean: {text}")).param(self.path(name))),
        }
    }

    /// One of the words of an enumeration.
    pub fn choice(&self, name: &str, words: &[&str]) -> Result<Option<&str>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if words.contains(&text) {
            return Ok(Some(text));
        }
        let path = self.path(name);
        Err(Failure::invalid(format!("Invalid {path}: must be one of {}", words.join(", "))).param(path))
    }

    /// What is below a name; nothing when it is absent or unset.
    pub fn below(&self, name: &str) -> Result<Option<Self>, Failure> {
        match self.node(name) {
            None => Ok(None),
            Some(Node::Leaf(text)) if text.is_empty() => Ok(None),
            Some(Node::Leaf(_)) => Err(Failure::invalid("Invalid object").param(self.path(name))),
            Some(Node::Branch(fields)) => Ok(Some(Self { prefix: self.path(name), fields: fields.clone() })),
        }
    }

    /// The elements of an array of objects, in the order of their indexes.
    pub fn elements(&self, name: &str) -> Result<Vec<Self>, Failure> {
        let Some(array) = self.below(name)? else { return Ok(Vec::new()) };
        array.indexes().into_iter().map(|index| Ok(array.below(&index)?.unwrap_or_default())).collect()
    }

    /// The elements of an array of texts.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, Failure> {
        let Some(array) = self.below(name)? else { return Ok(Vec::new()) };
        array.indexes().into_iter().map(|index| Ok(array.text(&index)?.unwrap_or_default().to_owned())).collect()
    }

    /// `metadata` over what is there: an empty value removes its key, an empty `metadata` all of them.
    pub fn metadata(&self, kept: &Value) -> Result<Value, Failure> {
        let mut merged = kept.as_object().cloned().unwrap_or_default();
        if let Some(Node::Leaf(_)) = self.node("metadata") {
            merged = Map::new();
        }
        let Some(given) = self.below("metadata")? else { return Ok(merged.into()) };
        let refuse = |message: String| Err(Failure::invalid(message).param("metadata"));
        for (key, _) in &given.fields {
            let value = given.text(key)?.unwrap_or_default();
            if key.chars().count() > METADATA_KEY_CHARS {
                return refuse(format!(
                    "Metadata keys have at most {METADATA_KEY_CHARS} characters: '{key}' is longer."
                ));
            }
            if value.chars().count() > METADATA_VALUE_CHARS {
                return refuse(format!(
                    "Metadata values have at most {METADATA_VALUE_CHARS} characters: '{key}' has more."
                ));
            }
            if value.is_empty() {
                merged.remove(key);
            } else {
                merged.insert(key.clone(), json!(value));
            }
        }
        if merged.len() > METADATA_KEYS {
            return refuse(format!("Metadata has at most {METADATA_KEYS} keys."));
        }
        Ok(merged.into())
    }

    /// What is below a name as it is, for what the sandbox only keeps (an address, say).
    pub fn kept(&self, name: &str) -> Option<Value> {
        self.node(name).map(Node::to_json)
    }

    /// The names at this level, as they were sent.
    pub fn names(&self) -> Vec<String> {
        self.fields.iter().map(|(name, _)| name.clone()).collect()
    }

    fn indexes(&self) -> Vec<String> {
        let mut names = self.names();
        names.sort_by_key(|name| name.parse::<usize>().unwrap_or(usize::MAX));
        names
    }

    fn node(&self, name: &str) -> Option<&Node> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, node)| node)
    }

    fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}[{name}]", self.prefix) }
    }
}

impl Node {
    fn to_json(&self) -> Value {
        match self {
            Self::Leaf(text) if text.is_empty() => Value::Null,
            Self::Leaf(text) => json!(text),
            Self::Branch(fields) => fields.iter().map(|(name, node)| (name.clone(), node.to_json())).collect(),
        }
    }
}

/// `a[b][]` is `a`, `b`, ``. A name with unbalanced brackets is a name, and nobody knows it.
fn segments(name: &str) -> Vec<&str> {
    let Some((first, rest)) = name.split_once('[') else { return vec![name] };
    let Some(inner) = rest.strip_suffix(']') else { return vec![name] };
    if first.is_empty() {
        return vec![name];
    }
    std::iter::once(first).chain(inner.split("][")).collect()
}

/// Puts a value in its place; `None` where a text is in the way of an object, or the reverse.
fn put(fields: &mut Vec<(String, Node)>, path: &[&str], value: &str) -> Option<()> {
    let (first, rest) = path.split_first()?;
    let name = if first.is_empty() { index(fields, rest) } else { (*first).to_owned() };
    let position = fields.iter().position(|(n, _)| *n == name);
    match (position, rest.is_empty()) {
        (None, true) => fields.push((name, Node::Leaf(value.to_owned()))),
        (None, false) => {
            let mut below = Vec::new();
            put(&mut below, rest, value)?;
            fields.push((name, Node::Branch(below)));
        }
        (Some(at), last) => match (&mut fields.get_mut(at)?.1, last) {
            // The last one wins, as in Stripe's own parser.
            (Node::Leaf(kept), true) => value.clone_into(kept),
            (Node::Branch(below), false) => put(below, rest, value)?,
            _ => return None,
        },
    }
    Some(())
}

/// Where `[]` puts its value: behind the last element, or into it while it lacks what is given.
fn index(fields: &[(String, Node)], rest: &[&str]) -> String {
    match (fields.last(), rest.first()) {
        (Some((name, Node::Branch(below))), Some(next)) if !below.iter().any(|(n, _)| n == next) => name.clone(),
        _ => fields.len().to_string(),
    }
}

/// The path of each leaf, with indexes as `[]` to compare and as they are to show.
fn flatten(fields: &[(String, Node)], path: &str, shown: &str, into: &mut Vec<(String, String)>) {
    for (name, node) in fields {
        let index = !path.is_empty() && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let (compared, shown) = match (path, index) {
            ("", _) => (name.clone(), name.clone()),
            (_, true) => (format!("{path}[]"), format!("{shown}[{name}]")),
            (_, false) => (format!("{path}[{name}]"), format!("{shown}[{name}]")),
        };
        match node {
            Node::Leaf(_) => into.push((compared, shown)),
            Node::Branch(below) => flatten(below, &compared, &shown, into),
        }
    }
}

/// A path that stops short of a known one passes: whoever reads it says what is wrong with it.
fn covers(pattern: &str, path: &str) -> bool {
    let under = |long: &str, short: &str| long == short || long.strip_prefix(short).is_some_and(|r| r.starts_with('['));
    match pattern.strip_suffix('*') {
        Some(all) => under(path, all) || under(all, path),
        None => under(pattern, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(form: &str) -> Params {
        Params::parse(&decode(form.as_bytes())).unwrap()
    }

    #[test]
    fn brackets_nest_and_arrays_count_themselves() {
        let form = params("items[1][price]=b&items[0][price]=a&t[]=x&t[]=y&m[]=&l[][p]=1&l[][q]=2&l[][p]=3");
        let prices: Vec<_> =
            form.elements("items").unwrap().iter().map(|i| i.required("price").unwrap().to_owned()).collect();
        assert_eq!(prices, ["a", "b"]);
        assert_eq!(form.texts("t").unwrap(), ["x", "y"]);
        assert_eq!(form.elements("l").unwrap().len(), 2);
    }

    #[test]
    fn an_unknown_parameter_is_named_with_its_path() {
        let form = params("items[0][price]=a&items[0][prise]=b");
        let failure = form.check(&["items[][price]"]).unwrap_err();
        assert_eq!(
            failure,
            Failure::invalid("Received unknown parameter: items[0][prise]")
                .code("parameter_unknown")
                .param("items[0][prise]")
        );
        form.check(&["items*"]).unwrap();
    }

    #[test]
    fn metadata_merges_and_unsets() {
        let kept = json!({ "a": "1", "b": "2" });
        assert_eq!(params("metadata[a]=&metadata[c]=3").metadata(&kept).unwrap(), json!({ "b": "2", "c": "3" }));
        assert_eq!(params("metadata=").metadata(&kept).unwrap(), json!({}));
        assert_eq!(params("").metadata(&kept).unwrap(), kept);
    }
}
