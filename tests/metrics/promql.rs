//! As much of PromQL as the dashboard and the alerts use, read strictly: what is not understood here is refused.

/// A metric that an expression speaks of, with the labels it selects or groups by.
#[derive(Debug)]
pub struct Selected {
    pub name: String,
    pub labels: Vec<String>,
    pub has_range: bool,
}

/// Reads an expression to its end.
pub fn read(text: &str) -> Result<Vec<Selected>, String> {
    let mut reader = Reader { rest: text, found: Vec::new() };
    reader.expression().map_err(|error| format!("{error}, before {:?}", reader.rest))?;
    if reader.rest.trim().is_empty() { Ok(reader.found) } else { Err(format!("not understood: {:?}", reader.rest)) }
}

const AGGREGATES: &[&str] = &["sum", "max", "min", "count"];
/// Functions, how many arguments they take, and whether the last is a range.
const FUNCTIONS: &[(&str, usize, bool)] = &[
    ("rate", 1, true),
    ("increase", 1, true),
    ("histogram_quantile", 2, false),
    ("absent", 1, false),
    ("clamp_min", 2, false),
];

struct Reader<'a> {
    rest: &'a str,
    found: Vec<Selected>,
}

impl Reader<'_> {
    fn take(&mut self, token: &str) -> bool {
        let trimmed = self.rest.trim_start();
        trimmed.strip_prefix(token).is_some_and(|rest| {
            self.rest = rest;
            true
        })
    }

    fn need(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(format!("no {token:?}")) }
    }

    fn word(&mut self) -> Option<String> {
        let trimmed = self.rest.trim_start();
        let end = trimmed.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(trimmed.len());
        let word = &trimmed[..end];
        if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.rest = &trimmed[end..];
        Some(word.to_owned())
    }

    fn number(&mut self) -> bool {
        let trimmed = self.rest.trim_start();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let is_number = trimmed[..end].parse::<f64>().is_ok();
        if is_number {
            self.rest = &trimmed[end..];
        }
        is_number
    }

    fn expression(&mut self) -> Result<(), String> {
        self.operand()?;
        while [">=", "<=", "==", "!=", ">", "<", "/", "*", "+", "-", "or ", "and "].into_iter().any(|op| self.take(op))
        {
            self.operand()?;
        }
        Ok(())
    }

    fn operand(&mut self) -> Result<(), String> {
        if self.take("(") {
            self.expression()?;
            return self.need(")");
        }
        if self.number() {
            return Ok(());
        }
        let name = self.word().ok_or("neither a number nor a name")?;
        if AGGREGATES.contains(&name.as_str()) {
            let labels = if self.take("by ") { self.names("(", ")")? } else { Vec::new() };
            let before = self.found.len();
            self.need("(")?;
            self.expression()?;
            self.need(")")?;
            for selected in &mut self.found[before..] {
                selected.labels.extend(labels.iter().cloned());
            }
            return Ok(());
        }
        if let Some((_, arguments, range)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) {
            let before = self.found.len();
            self.need("(")?;
            for nth in 0..*arguments {
                if nth > 0 {
                    self.need(",")?;
                }
                self.expression()?;
            }
            self.need(")")?;
            let wrong = *range && self.found[before..].iter().any(|selected| !selected.has_range);
            return if wrong { Err(format!("{name} needs a range")) } else { Ok(()) };
        }
        self.selector(name)
    }

    fn selector(&mut self, name: String) -> Result<(), String> {
        let mut labels = Vec::new();
        if self.take("{") {
            while !self.take("}") {
                labels.push(self.word().ok_or("no label")?);
                if !["=~", "!=", "!~", "="].into_iter().any(|op| self.take(op)) {
                    return Err("no matcher".to_owned());
                }
                self.need("\"")?;
                let end = self.rest.find('"').ok_or("no end of a value")?;
                self.rest = &self.rest[end + 1..];
                self.take(",");
            }
        }
        let has_range = self.take("[");
        if has_range && !(self.number() && ["m]", "h]", "d]", "s]"].into_iter().any(|unit| self.take(unit))) {
            return Err("no range".to_owned());
        }
        self.found.push(Selected { name, labels, has_range });
        Ok(())
    }

    fn names(&mut self, open: &str, close: &str) -> Result<Vec<String>, String> {
        self.need(open)?;
        let mut names = Vec::new();
        while !self.take(close) {
            names.push(self.word().ok_or("no name")?);
            self.take(",");
        }
        Ok(names)
    }
}

#[test]
fn what_is_not_promql_is_refused() {
    let good = r#"sum by (le) (rate(a_bucket{b=~"x|y"}[5m])) / clamp_min(max(c), 1) > 0.05 or absent(c)"#;
    assert_eq!(read(good).unwrap().len(), 3);
    for bad in ["", "sum(", "rate(a)", "a{b}", "a[5]", "frobnicate(a)", "a b", "max(a) >", "a{b=\"c\"} }"] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
}
