//! Every interleaving of a payout with what can go wrong, within a stated bound: at most one Transfer, none without a committed intent, books that
//! are right, and an end from everywhere. The machines are production's own (`call::machine`, `payout`); each rule of theirs is then bent, and
//! the same search must find what comes of it.
//!
//! `cargo test -p bursar-jobs --test payout_model -- --nocapture` prints the bounds, the number of worlds, and the shortest way to each disaster.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why on the way")]

mod moves;
mod mutations;
mod rules;
mod search;
mod world;

use rules::{Label, PRODUCTION, Rules};
use search::search;
use world::{Bound, World};

/// Nothing goes wrong but that workers die and freeze, answers go with them, time passes, keys are forgotten, and an operator releases and
/// cancels: these have no bound.
pub const CALM: Bound = Bound { faults: 0, dumps: 0, changes: 0, lapses: 0, jobs: 1, workers: 1 };

fn holds(bound: Bound) {
    let found = search(&PRODUCTION, &bound);
    println!("{bound:?}: {} worlds", found.worlds);
    if let Some((wrong, way)) = found.wrong {
        panic!("{wrong}, under {bound:?}:\n{}", told(&way));
    }
}

#[test]
fn two_workers_and_an_operator_pay_at_most_once_whatever_is_lost_late_or_refused() {
    holds(Bound { faults: 1, lapses: 1, workers: 2, ..CALM });
}

#[test]
fn two_faults_in_a_row_pay_at_most_once() {
    holds(Bound { faults: 2, ..CALM });
    holds(Bound { faults: 1, lapses: 1, ..CALM });
}

#[test]
fn two_jobs_for_one_payout_pay_at_most_once() {
    holds(Bound { lapses: 1, jobs: 2, workers: 2, ..CALM });
}

#[test]
fn a_database_restored_to_any_earlier_state_pays_at_most_once() {
    holds(Bound { faults: 1, dumps: 1, ..CALM });
    holds(Bound { lapses: 1, dumps: 1, ..CALM });
}

#[test]
fn a_receiver_whose_account_is_another_meanwhile_is_paid_at_most_once() {
    let bound = Bound { changes: 1, workers: 2, ..CALM };
    // What was sent to the old account is for an operator: such a payout need not end by itself.
    let found = search(&PRODUCTION, &bound);
    println!("{bound:?}: {} worlds", found.worlds);
    if let Some((wrong, way)) = found.wrong.filter(|(wrong, _)| *wrong != search::STUCK) {
        panic!("{wrong}, under {bound:?}:\n{}", told(&way));
    }
}

/// Its account is gone, and another takes its place; the refusal of the first may have been saved under its key, or not.
#[test]
fn a_receiver_whose_account_is_gone_is_paid_at_most_once_to_the_next() {
    for workers in [1, 2] {
        let bound = Bound { lapses: 1, changes: 1, workers, ..CALM };
        let found = search(&PRODUCTION, &bound);
        println!("{bound:?}: {} worlds", found.worlds);
        if let Some((wrong, way)) = found.wrong.filter(|(wrong, _)| *wrong != search::STUCK) {
            panic!("{wrong}, under {bound:?}:\n{}", told(&way));
        }
    }
}

/// A mutation must be found out, by this sentence.
fn is_found_out(what: &str, rules: Rules, bound: Bound, by: &[&str]) {
    let found = search(&rules, &bound);
    let Some((wrong, way)) = found.wrong else {
        panic!("{what}: nobody noticed, in {} worlds under {bound:?}", found.worlds)
    };
    println!("{what}: {wrong} ({} worlds seen)\n{}", found.worlds, told(&way));
    assert!(by.contains(&wrong), "{what}: {wrong}, and not {by:?}\n{}", told(&way));
}

/// A way, for people.
fn told(way: &[(Label, World)]) -> String {
    let mut lines = Vec::new();
    for (at, (label, world)) in way.iter().enumerate() {
        let key = if label.generation > 0 { format!(" [key {}]", label.generation) } else { String::new() };
        let payout = world.db.payout.map_or("not verified", bursar_jobs::payouts::state::State::name);
        let matter = world.db.matter.map_or_else(String::new, |m| {
            let age = if m.young { "young" } else { "old" };
            let failure = if m.saved_failure { ", 5xx saved" } else { "" };
            format!(", generation {} {} ({age}{failure})", m.generation, m.state.name())
        });
        lines.push(format!(
            "{:3}. {}{key}  -> {payout}{matter}; Transfers: {}",
            at + 1,
            label.what,
            world.stripe.transfers
        ));
    }
    lines.join("\n")
}
