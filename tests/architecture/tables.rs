//! Rule 3: the statements that write a table stand in that table's module.

use crate::{
    layers::is_listed,
    report::Violation,
    tree::{Tree, module},
};

/// Which module writes which tables: a module of `jobs/src`, or a folder or file of `src`.
const OWNERS: &[(&str, &[&str])] = &[
    ("base", &["bursar.audit"]),
    ("engine", &["apalis.jobs", "bursar.attempt", "bursar.call", "bursar.intent"]),
    ("schedules", &["bursar.schedule"]),
    ("usage", &["bursar.meter", "bursar.usage_report"]),
    ("customers", &["bursar.account", "bursar.customer"]),
    ("receivers", &["bursar.onboarding", "bursar.receiver"]),
    ("notifications", &["bursar.letter"]),
    (
        "subscriptions",
        &[
            "bursar.plan_change",
            "bursar.plan_change_paid",
            "bursar.service_month",
            "bursar.subscription",
            "bursar.subscription_worth",
        ],
    ),
    ("event_gaps", &["bursar.event_watch", "bursar.missed_event"]),
    ("payouts", &["bursar.payout", "bursar.reversal"]),
    ("selling", &["bursar.checkout", "bursar.portal"]),
    ("clawbacks", &["bursar.charge", "bursar.charge_ref", "bursar.dispute", "bursar.refund"]),
    ("dunning", &["bursar.dunning_case", "bursar.dunning_step"]),
    ("reconciliation", &["bursar.finding", "bursar.reconcile_page", "bursar.reconciled", "bursar.reconciliation"]),
    ("desk", &["bursar.bulk", "bursar.bulk_job", "bursar.bulk_payout", "bursar.session", "bursar.token"]),
    ("src/boot.rs", &["bursar.setting"]),
    ("src/dev/", &["bursar.clock"]),
    ("src/operate/jobs/", &["bursar.paused_kind"]),
    ("src/queue/", &["apalis.workers"]),
];

/// What breaks the rule, as `table in module`.
pub fn violations(tree: &Tree) -> Vec<Violation> {
    let code = tree.code();
    let mut found = Vec::new();
    let strings = code
        .iter()
        .filter_map(|file| Some((*file, tree.facts(file)?)))
        .flat_map(|(file, facts)| facts.strings.iter().map(move |(line, text)| (file, *line, text.as_str())));
    let files = tree.texts(".sql").filter(|(path, _)| path.starts_with("src/") || path.starts_with("jobs/src/"));
    for (file, line, text) in strings.chain(files.map(|(path, text)| (path, 1, text))) {
        let writer = module(file).unwrap_or(file);
        // What stands in no module yet is no module's.
        if file.starts_with("jobs/") && !is_listed(writer) {
            continue;
        }
        for table in written(text) {
            let owner = OWNERS.iter().find(|(_, tables)| tables.contains(&table.as_str())).map(|(owner, _)| *owner);
            let is_owner = owner.is_some_and(|owner| owner == writer || file.starts_with(owner));
            if !is_owner {
                let owner = owner.unwrap_or("no module of the list in tables.rs");
                let what = format!("{file}:{line} writes {table}, which belongs to {owner}");
                found.push(Violation::new(format!("{table} in {writer}"), what));
            }
        }
    }
    found
}

/// The tables that a statement writes, with their schema.
fn written(sql: &str) -> Vec<String> {
    let lines: String =
        sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let words: Vec<_> = lines.split_whitespace().collect();
    let mut tables = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let verb = word.trim_start_matches('(').to_ascii_uppercase();
        let next = |at: usize| words.get(at).copied().unwrap_or_default();
        let mut at = match (verb.as_str(), next(at + 1).to_ascii_uppercase().as_str()) {
            ("INSERT" | "MERGE", "INTO") | ("DELETE", "FROM") | ("TRUNCATE", "TABLE") => at + 2,
            ("UPDATE" | "TRUNCATE" | "COPY", _) => at + 1,
            _ => continue,
        };
        if next(at).eq_ignore_ascii_case("only") {
            at += 1;
        }
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
        let table: String =
            next(at).chars().filter(|letter| *letter != '"').take_while(|letter| is_name(*letter)).collect();
        if table.starts_with("bursar.") || table.starts_with("apalis.") {
            tables.push(table);
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(path: &str, text: &str) -> Vec<String> {
        let roots = [("jobs/src/lib.rs", "mod engine; mod desk;"), ("src/lib.rs", "mod api; #[cfg(test)] mod tests;")];
        let files = [roots[0], roots[1], (path, text)];
        violations(&Tree::fixture(&files)).into_iter().map(|violation| violation.key).collect()
    }

    #[test]
    fn a_statement_of_another_module_is_seen() {
        for text in [
            "fn f() { sqlx::query!(\"UPDATE apalis.jobs SET a = 1\") }",
            "fn f() { sqlx::query(\"WITH x AS (DELETE FROM ONLY apalis.jobs) SELECT 1\") }",
            "const SQL: &str = r#\"insert\n into \"apalis\".\"jobs\"(id) VALUES (1)\"#;",
        ] {
            assert_eq!(keys("jobs/src/desk/mod.rs", text), ["apalis.jobs in desk"], "{text}");
            assert_eq!(keys("src/api/mod.rs", text), ["apalis.jobs in src/api/mod.rs"], "{text}");
            assert_eq!(keys("jobs/src/engine/mod.rs", text), [""; 0], "{text}");
            assert_eq!(keys("src/tests.rs", text), [""; 0], "{text}");
        }
        assert_eq!(
            keys("jobs/src/desk/x.sql", "-- DELETE FROM bursar.a\nUPDATE apalis.jobs SET a = 1"),
            ["apalis.jobs in desk"]
        );
        assert_eq!(
            keys("jobs/src/engine/mod.rs", "const A: &str = \"COPY bursar.unheard FROM STDIN\";"),
            ["bursar.unheard in engine"]
        );
    }

    #[test]
    fn reading_is_free() {
        let text = "const A: &str = \"SELECT 1 FROM apalis.jobs j FOR UPDATE OF j\"; /// UPDATE apalis.jobs\nfn f() {}";
        assert_eq!(keys("jobs/src/desk/mod.rs", text), [""; 0]);
    }
}
