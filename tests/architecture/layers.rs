//! Rule 1: a module of `jobs/src` names only modules on lines above its own.

use crate::{
    modules::Crate,
    report::Violation,
    tree::{Tree, module},
};

/// The lines. Modules on one line never name each other.
const LINES: &[&[&str]] = &[
    &["base"],
    &["terms"],
    &["ledger"],
    &["engine"],
    &["inbox"],
    &["schedules", "usage", "customers", "receivers"],
    &["notifications"],
    &["subscriptions", "event_gaps", "payouts", "report"],
    &["selling", "clawbacks", "dunning"],
    &["reconciliation"],
    &["registry"],
    &["desk"],
];

/// Modules that may name less than what stands above them.
const NARROW: &[(&str, &[&str])] = &[("ledger", &["base"])];

/// Whether it is one of the modules.
pub fn is_listed(module: &str) -> bool {
    LINES.iter().any(|line| line.contains(&module))
}

/// What breaks the rule, as `module -> module`.
pub fn violations(tree: &Tree) -> Vec<Violation> {
    let line = |module: &str| LINES.iter().position(|line| line.contains(&module));
    let mut found = Vec::new();
    for it in Crate::of(tree, "jobs/src/lib.rs").uses() {
        let Some(from) = module(&it.from) else { continue };
        let Some(own) = line(from) else { continue };
        for file in &it.touched {
            let Some(to) = module(file).filter(|to| *to != from) else { continue };
            let narrow = NARROW.iter().find(|(module, _)| *module == from).is_some_and(|(_, may)| !may.contains(&to));
            if line(to).is_some_and(|other| other >= own || narrow) {
                let what = format!("{}:{} names {} of {file}", it.from, it.line, it.path);
                found.push(Violation::new(format!("{from} -> {to}"), what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "mod base; mod engine; mod payouts; mod dunning; mod selling;";

    fn keys(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("jobs/src/lib.rs", LIB)];
        all.extend(files);
        let mut keys: Vec<_> = violations(&Tree::fixture(&all)).into_iter().map(|violation| violation.key).collect();
        keys.dedup();
        keys
    }

    #[test]
    fn a_use_of_a_module_below_is_seen() {
        let payouts = ("jobs/src/payouts/mod.rs", "pub struct Payout; pub struct Hold;");
        for text in [
            "use crate::payouts::Payout;",
            "use crate::{payouts::{Hold, Payout as P}};",
            "use crate::payouts as out; fn f(_: out::Payout) {}",
            "use crate::payouts::*;",
            "fn f() { use super::payouts::Payout; }",
            "mod inner { use super::super::payouts::Hold; }",
        ] {
            assert_eq!(keys(&[payouts, ("jobs/src/engine/mod.rs", text)]), ["engine -> payouts"], "{text}");
        }
    }

    #[test]
    fn an_inline_path_is_seen() {
        let payouts = ("jobs/src/payouts/mod.rs", "pub fn pay() {} pub mod state { pub enum State { Paid } }");
        for text in [
            "fn f() { crate::payouts::pay() }",
            "fn f() -> super::payouts::state::State { todo!() }",
            "fn f() { println!(\"{:?}\", crate::payouts::state::State::Paid) }",
            "#[serde(with = \"crate::payouts::state\")] struct S;",
        ] {
            assert_eq!(keys(&[payouts, ("jobs/src/engine/mod.rs", text)]), ["engine -> payouts"], "{text}");
        }
    }

    #[test]
    fn a_re_export_hides_nothing() {
        let files = [
            ("jobs/src/base/mod.rs", "pub use crate::payouts::Payout;"),
            ("jobs/src/engine/mod.rs", "fn f(_: crate::base::Payout) {}"),
            ("jobs/src/payouts/mod.rs", "pub struct Payout;"),
        ];
        assert_eq!(keys(&files), ["base -> payouts", "engine -> payouts"]);
        let files = [
            ("jobs/src/base/mod.rs", "pub struct Money;"),
            ("jobs/src/engine/mod.rs", "fn f(_: crate::payouts::Money) {}"),
            ("jobs/src/payouts/mod.rs", "pub use crate::base::*;"),
        ];
        assert_eq!(keys(&files), ["engine -> payouts"]);
    }

    #[test]
    fn modules_on_one_line_stay_apart() {
        let files = [
            ("jobs/src/dunning/mod.rs", "use crate::selling::Sale; use crate::base::Money;"),
            ("jobs/src/selling/mod.rs", "pub struct Sale;"),
            ("jobs/src/base/mod.rs", "pub struct Money;"),
        ];
        assert_eq!(keys(&files), ["dunning -> selling"]);
    }

    #[test]
    fn tests_may_name_everything() {
        let files = [
            ("jobs/src/engine/mod.rs", "#[cfg(test)] mod tests; #[cfg(test)] mod more { use crate::payouts::Payout; }"),
            ("jobs/src/engine/tests.rs", "use crate::payouts::Payout;"),
            ("jobs/src/payouts/mod.rs", "pub struct Payout;"),
        ];
        assert_eq!(keys(&files), [""; 0]);
    }
}
