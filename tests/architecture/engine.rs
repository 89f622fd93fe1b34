//! Rule 2: `jobs/src/engine` names no domain, neither in names nor in strings. Comments may.

use crate::{report::Violation, tree::Tree};

/// The words of the domains, in the singular.
const WORDS: &[&str] = &[
    "charge",
    "checkout",
    "claw",
    "clawback",
    "coupon",
    "customer",
    "dispute",
    "dunning",
    "email",
    "invoice",
    "letter",
    "meter",
    "onboarding",
    "payout",
    "portal",
    "purchase",
    "receiver",
    "reconcile",
    "reconciliation",
    "refill",
    "refund",
    "selling",
    "subscriber",
    "subscription",
    "transfer",
    "trial",
    "usage",
];

/// What breaks the rule, by word.
pub fn violations(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.code().into_iter().filter(|file| file.starts_with("jobs/src/engine/")) {
        let Some(facts) = tree.facts(file) else { continue };
        for (line, text) in facts.names.iter().chain(&facts.strings) {
            for word in words(text) {
                let singular = word.strip_suffix('s').unwrap_or(&word);
                if let Some(known) = WORDS.iter().find(|known| **known == word || **known == singular) {
                    found.push(Violation::new((*known).to_owned(), format!("{file}:{line} says {text:?}")));
                }
            }
        }
    }
    found
}

/// `PayoutState`, `payout_state` and `"a payout's state"` say the same words.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in text.chars() {
        if !letter.is_alphabetic() || (letter.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        if letter.is_alphabetic() {
            words.last_mut().unwrap().extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let tree = Tree::fixture(&[("jobs/src/lib.rs", "mod engine;"), ("jobs/src/engine/mod.rs", text)]);
        violations(&tree).into_iter().map(|violation| violation.key).collect()
    }

    #[test]
    fn a_name_and_a_string_are_seen() {
        assert_eq!(keys("enum Change { PayReceivers }"), ["receiver"]);
        assert_eq!(keys("fn open_dunning() {}"), ["dunning"]);
        assert_eq!(keys("fn f() { query!(\"UPDATE bursar.payout SET state = 'paid'\") }"), ["payout"]);
        assert_eq!(keys("use crate::subscriptions::Month;"), ["subscription"]);
        assert_eq!(keys("const KIND: &str = \"send_email\";"), ["email"]);
    }

    #[test]
    fn comments_terms_and_tests_may() {
        assert_eq!(
            keys("//! Payouts.\n/// A payout. // invoice\npub fn f(_: crate::terms::Terms) {} // checkout"),
            [""; 0]
        );
        assert_eq!(keys("#[cfg(test)] mod tests { fn payout() {} }"), [""; 0]);
    }
}
