//! Prometheus's text format, read strictly.

use std::collections::{BTreeMap, BTreeSet};

/// What one scrape showed.
pub struct Scrape {
    /// Types by name, as `# TYPE` says.
    pub types: BTreeMap<String, String>,
    pub series: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Scrape {
    pub fn read(text: &str) -> Self {
        let mut scrape = Self { types: BTreeMap::new(), series: Vec::new() };
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(scrape.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is declared twice");
            } else if !line.starts_with("# HELP ") {
                scrape.series.push(series(line));
            }
        }
        scrape
    }

    /// The sum of the series of a name whose labels are at least these.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |of: &BTreeMap<String, String>| labels.iter().all(|(k, v)| of.get(*k).is_some_and(|is| is == v));
        self.series.iter().filter(|(n, of, _)| n == name && has(of)).map(|(.., value)| value).sum()
    }

    /// Names of metrics, and the labels seen on each.
    pub fn labels(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, labels, _) in &self.series {
            all.entry(self.metric_of(name)).or_default().extend(labels.keys().filter(|key| *key != "le").cloned());
        }
        all
    }

    fn metric_of(&self, series: &str) -> String {
        let histogram = ["_bucket", "_sum", "_count"].into_iter().filter_map(|end| series.strip_suffix(end));
        let mut histogram = histogram.filter(|name| self.types.get(*name).is_some_and(|kind| kind == "histogram"));
        histogram.next().unwrap_or(series).to_owned()
    }
}

fn series(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (left, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
    let value = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
    let Some((name, labels)) = left.split_once('{') else { return (left.to_owned(), BTreeMap::new(), value) };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line:?}"));
    let pairs = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{line:?}"));
        (key.to_owned(), value.trim_end_matches('"').to_owned())
    });
    (name.to_owned(), pairs.collect(), value)
}
