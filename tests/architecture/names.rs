//! Rule 5: one name for one thing, and none of the old names.

use std::collections::{BTreeMap, BTreeSet};

use crate::{report::Violation, tree::Tree};

/// In how many files a type of one name may be defined.
const MOST_FILES: usize = 3;
/// Names that every domain has.
const SHARED: &[&str] = &["Change", "Facts"];

/// Names of the private language that was spoken here: no definition bears them.
const OLD: &[&str] = &[
    "Act",
    "Asked",
    "BREATH",
    "Came",
    "Carrier",
    "Clawed",
    "Dice",
    "Do",
    "FAREWELL",
    "Fate",
    "GLANCE",
    "Goes",
    "Going",
    "Goods",
    "Heard",
    "HoldBack",
    "Lane",
    "LetGo",
    "Looked",
    "Made",
    "Matter",
    "Odd",
    "Outside",
    "PATIENCE",
    "Saw",
    "Shop",
    "Standing",
    "Stays",
    "TROUBLE",
    "TakeBack",
    "TakenBack",
    "Told",
    "Trouble",
    "Turns",
    "Under",
    "Unsure",
    "Way",
    "Weights",
    "Word",
    "about",
    "around",
    "blank",
    "by_hand",
    "heed",
    "is_ours",
    "judge",
    "keeper",
    "rested",
    "told",
    "turn",
    "turns",
    "undone",
    "upkeep",
    "weigh",
    "young",
];

/// The types that are defined in too many files, by name.
pub fn repeated(tree: &Tree) -> Vec<Violation> {
    let mut files: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in tree.code() {
        let types = tree.facts(file).into_iter().flat_map(|facts| &facts.definitions);
        for definition in types.filter(|definition| definition.is_type && definition.is_public) {
            files.entry(&definition.name).or_default().insert(file);
        }
    }
    let many = files.into_iter().filter(|(name, files)| files.len() > MOST_FILES && !SHARED.contains(name));
    many.map(|(name, files)| {
        let files: Vec<_> = files.into_iter().collect();
        Violation::new(name.to_owned(), format!("{} files define it: {}", files.len(), files.join(" ")))
    })
    .collect()
}

/// The definitions that bear an old name.
pub fn old(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.code() {
        for definition in tree.facts(file).into_iter().flat_map(|facts| &facts.definitions) {
            if OLD.contains(&definition.name.as_str()) {
                found.push(Violation::new(definition.name.clone(), format!("{file}:{}", definition.line)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(found: Vec<Violation>) -> Vec<String> {
        found.into_iter().map(|violation| violation.key).collect()
    }

    #[test]
    fn a_name_of_many_types_is_seen() {
        let files = [
            ("src/lib.rs", "mod a; mod b; mod c; mod d;"),
            ("src/a.rs", "pub struct Order; pub struct Facts; pub struct Few;"),
            ("src/b.rs", "pub(crate) enum Order {} pub struct Facts; pub struct Few;"),
            ("src/c.rs", "pub trait Order {} pub struct Facts; struct Few;"),
            ("src/d.rs", "pub type Order = u8; pub struct Facts; pub struct Few;"),
        ];
        assert_eq!(keys(repeated(&Tree::fixture(&files))), ["Order"]);
    }

    #[test]
    fn an_old_name_is_seen() {
        let text = "mod undone {} enum Answer { Made } impl Answer { fn is_ours() {} } const BREATH: u8 = 1; struct Standing; \
                    fn f() { let told = 1; }";
        let found = keys(old(&Tree::fixture(&[("src/lib.rs", text)])));
        assert_eq!(found, ["undone", "Made", "is_ours", "BREATH", "Standing"]);
    }
}
