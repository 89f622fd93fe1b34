//! Rule 4: what stands in `jobs/src` itself, how long a file is, and how large a cycle of files.

use std::collections::BTreeSet;

use crate::{graph::Graph, modules::Crate, report::Violation, tree::Tree};

/// The most lines of a file.
const MOST_LINES: usize = 400;

/// The files of `jobs/src` that belong to no module.
pub fn flat(tree: &Tree) -> Vec<&str> {
    let files = tree.texts(".rs").map(|(path, _)| path);
    files
        .filter(|path| path.strip_prefix("jobs/src/").is_some_and(|rest| !rest.contains('/') && !is_root(rest)))
        .collect()
}

fn is_root(name: &str) -> bool {
    matches!(name, "lib.rs" | "registry.rs")
}

/// The files that are too long.
pub fn long(tree: &Tree) -> Vec<Violation> {
    let lines = tree.texts(".rs").map(|(path, text)| (path, text.lines().count()));
    let long = lines.filter(|(_, lines)| *lines > MOST_LINES);
    long.map(|(path, lines)| Violation::new(path.to_owned(), format!("{lines} lines are more than {MOST_LINES}")))
        .collect()
}

/// Which file of a crate needs which. A parent and its child may name each other.
pub fn graph(tree: &Tree, root: &str) -> Graph {
    let modules = tree.entry(root).map(|(root, _)| Crate::of(tree, root));
    let Some(modules) = modules else { return Graph::default() };
    modules.graph().without_families(&modules.parents())
}

/// The size of the largest cycle.
pub fn largest(graph: &Graph) -> usize {
    graph.cycles().first().map_or(0, BTreeSet::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(files: &[(&str, &str)]) -> (usize, String) {
        let graph = graph(&Tree::fixture(files), files[0].0);
        (largest(&graph), graph.show("fixture"))
    }

    #[test]
    fn a_flat_file_is_seen() {
        let files = ["lib.rs", "registry.rs", "payout.rs", "payouts/mod.rs"].map(|name| format!("jobs/src/{name}"));
        let files: Vec<_> = files.iter().map(|path| (path.as_str(), "")).collect();
        assert_eq!(flat(&Tree::fixture(&files)), ["jobs/src/payout.rs"]);
    }

    #[test]
    fn a_long_file_is_seen() {
        let (most, more) = ("\n".repeat(MOST_LINES), "\n".repeat(MOST_LINES + 1));
        let found = long(&Tree::fixture(&[("src/a.rs", &most), ("tests/b.rs", &more)]));
        assert_eq!(found.iter().map(|violation| violation.key.as_str()).collect::<Vec<_>>(), ["tests/b.rs"]);
    }

    #[test]
    fn a_cycle_by_inline_paths_and_re_exports_is_seen() {
        let (size, text) = cycles(&[
            ("src/lib.rs", "mod a; mod b; mod c; mod d; pub use d::D;"),
            ("src/a.rs", "pub struct A; fn f() { crate::b::b() }"),
            ("src/b.rs", "pub fn b() { let _ = super::c::C; }"),
            ("src/c.rs", "pub struct C; fn f(_: crate::D) {}"),
            ("src/d.rs", "pub struct D; fn f() { format!(\"{:?}\", crate::a::A) }"),
        ]);
        assert_eq!(size, 4, "{text}");
        assert!(text.contains("cycle of 4 files, closed by 1 edges"), "{text}");
        assert!(text.contains("src/a.rs src/b.rs src/c.rs src/d.rs"), "{text}");
    }

    #[test]
    fn one_direction_is_no_cycle() {
        let (size, text) = cycles(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::c::C; }"),
            ("src/b.rs", "use crate::a::A; pub struct B;"),
            ("src/c.rs", "use crate::{a::A, b::*}; struct C(B);"),
        ]);
        assert_eq!(size, 0, "{text}");
    }

    #[test]
    fn a_parent_and_its_child_may_name_each_other() {
        let mut files = vec![
            ("src/lib.rs", "mod a; mod d;"),
            ("src/a/mod.rs", "mod b; mod c; pub struct A; fn f() { b::b(); c::c() }"),
            ("src/a/b.rs", "use super::A; pub fn b() {}"),
            ("src/a/c.rs", "use super::A; pub fn c() {}"),
        ];
        let (size, text) = cycles(&files);
        assert_eq!(size, 0, "{text}");
        files.push(("src/d.rs", "pub fn d(_: crate::a::A) {}"));
        files[1].1 = "mod b; mod c; pub struct A; fn f() { b::b(); crate::d::d() }";
        let (size, text) = cycles(&files);
        assert_eq!(size, 2, "{text}");
    }
}
