//! The rules of the source tree: which module may name which, who writes a table, how long a file is, and more.
//!
//! ```text
//! cargo test --test architecture                         what breaks a rule
//! cargo test --test architecture -- --nocapture cycles   each crate's cycles, and the edges whose cut would open them
//! ```
//!
//! It reads the sources with `syn`, so it also answers while they do not compile. It resolves `use` (groups, renames,
//! globs), paths in the code and in macros, and re-exports. It does not see methods that are called on a value. What only tests
//! declare does not count.
//!
//! Each rule is a function over a [`tree::Tree`] in a file of its own, with fixtures that break it. What still breaks a rule in
//! this repository stands in `exceptions.rs`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and shows what it found")]

mod documents;
mod engine;
mod exceptions;
mod facts;
mod files;
mod graph;
mod layers;
mod modules;
mod names;
mod report;
mod tables;
mod tree;

use report::{keep, keep_below};
use tree::Tree;

#[test]
fn modules_name_only_modules_above_them() {
    keep("a module of jobs/src names only modules above it", &layers::violations(Tree::here()), exceptions::LAYERS);
}

#[test]
fn the_engine_names_no_domain() {
    keep("jobs/src/engine says no word of a domain", &engine::violations(Tree::here()), exceptions::ENGINE);
}

#[test]
fn tables_are_written_in_their_module() {
    keep("a table is written in its module", &tables::violations(Tree::here()), exceptions::TABLES);
}

#[test]
fn jobs_holds_modules_alone() {
    let flat = files::flat(Tree::here());
    let rule = format!("only lib.rs and registry.rs stand in jobs/src itself, and not {}", flat.join(" "));
    keep_below(&rule, flat.len(), 0, exceptions::FLAT);
}

#[test]
fn files_are_short() {
    keep("a file has at most 400 lines", &files::long(Tree::here()), exceptions::LONG);
}

#[test]
fn cycles_are_small() {
    let crates = [("jobs", "jobs/src/lib.rs", 3), ("src", "src/lib.rs", 6), ("sandbox", "sandbox/src/lib.rs", 6)];
    let graphs = crates.map(|(name, root, limit)| (name, limit, files::graph(Tree::here(), root)));
    for (name, _, graph) in &graphs {
        println!("{}", graph.show(name));
    }
    for ((name, limit, graph), exception) in graphs.iter().zip(exceptions::CYCLES) {
        keep_below(&format!("the files of the largest cycle in {name}"), files::largest(graph), *limit, exception);
    }
}

#[test]
fn one_name_is_one_type() {
    keep("a type's name is defined in at most three files", &names::repeated(Tree::here()), exceptions::REPEATED);
}

#[test]
fn old_names_are_gone() {
    keep("no definition bears an old name", &names::old(Tree::here()), exceptions::OLD);
}

#[test]
fn the_readme_is_short() {
    let lines = documents::lines_of_readme(Tree::here());
    keep_below("the README's lines", lines, documents::MOST_LINES, exceptions::README);
}

#[test]
fn links_lead_somewhere() {
    keep("links lead somewhere, and each page is linked", &documents::violations(Tree::here()), exceptions::DOCUMENTS);
}
