//! Each rule bent, and what comes of it.

use bursar_jobs::engine::call::machine::{Begin, Heard, Matter, begin, hear};

use crate::{
    CALM, is_found_out,
    rules::{PRODUCTION, Rules},
    search::STUCK,
    world::{BOOKS, Bound, TWICE, UNCOMMITTED},
};

#[test]
fn what_is_old_is_sent_without_a_look() {
    let rules = Rules {
        begin: |newest, seen| match begin(newest, seen) {
            (matter, Begin::Look) if newest.is_none() => (matter, Begin::Send),
            other => other,
        },
        ..PRODUCTION
    };
    is_found_out("an old matter is sent without a look", rules, Bound { dumps: 1, ..CALM }, &[TWICE]);
}

#[test]
fn a_key_is_used_again_after_a_day_without_a_look() {
    let rules = Rules {
        begin: |newest, seen| match begin(newest, seen) {
            (matter, Begin::Look) if newest.is_some_and(|m| !m.saved_failure) => (matter, Begin::Send),
            other => other,
        },
        ..PRODUCTION
    };
    is_found_out("an old key is used again without a look", rules, CALM, &[TWICE]);
}

#[test]
fn a_500_is_taken_for_a_refusal() {
    let rules = Rules {
        hear: |matter, generation, heard| match heard {
            Heard::Lost | Heard::SavedFailure => hear(matter, generation, Heard::Refused { saved: true }),
            other => hear(matter, generation, other),
        },
        ..PRODUCTION
    };
    is_found_out("a 500 is taken for a refusal", rules, Bound { faults: 1, ..CALM }, &[BOOKS, TWICE]);
}

#[test]
fn a_refusal_that_was_not_saved_raises_the_generation() {
    let rules = Rules {
        hear: |matter, generation, heard| match heard {
            Heard::Refused { .. } => hear(matter, generation, Heard::Refused { saved: true }),
            other => hear(matter, generation, other),
        },
        ..PRODUCTION
    };
    let bound = Bound { faults: 1, workers: 2, ..CALM };
    is_found_out("an unsaved refusal raises the generation", rules, bound, &[BOOKS, TWICE]);
}

#[test]
fn a_saved_failure_is_forgotten() {
    let rules = Rules {
        hear: |matter, generation, heard| match heard {
            Heard::SavedFailure => hear(matter, generation, Heard::Lost),
            other => hear(matter, generation, other),
        },
        ..PRODUCTION
    };
    is_found_out("a saved failure is forgotten", rules, Bound { faults: 1, ..CALM }, &[STUCK]);
}

#[test]
fn one_look_behind_a_saved_failure_is_enough() {
    let rules = Rules {
        hear: |matter, generation, heard| hear(Matter { raise_after_look: true, ..matter }, generation, heard),
        ..PRODUCTION
    };
    let bound = Bound { faults: 1, ..CALM };
    is_found_out("a new key after one look behind a saved 500", rules, bound, &[TWICE]);
}

#[test]
fn a_request_leaves_before_its_intent_is_committed() {
    let rules = Rules { commits_first: false, ..PRODUCTION };
    is_found_out("sent before the intent is committed", rules, CALM, &[UNCOMMITTED]);
}

/// As it was before this check: what a look had allowed stayed allowed, also in a restored database.
#[test]
fn a_look_makes_an_old_key_young() {
    let rules = Rules {
        hear: |matter, generation, heard| {
            let (after, act) = hear(matter, generation, heard);
            (Matter { young: after.young || matches!(heard, Heard::Nothing { .. }), ..after }, act)
        },
        ..PRODUCTION
    };
    let bound = Bound { lapses: 1, dumps: 1, ..CALM };
    is_found_out("a look makes an old key young", rules, bound, &[TWICE]);
}

/// As it was before this check: Stripe forgot the refusal before the thawed worker's request came.
#[test]
fn a_refusal_under_an_old_key_raises_the_generation_at_once() {
    let rules = Rules {
        begin: |newest, mut seen| {
            seen.rested = true;
            begin(newest, seen)
        },
        ..PRODUCTION
    };
    let bound = Bound { lapses: 1, workers: 2, ..CALM };
    is_found_out("the next generation at once after a refusal of an old key", rules, bound, &[TWICE]);
}

#[test]
fn a_thawed_worker_does_not_mind_its_lease() {
    let rules = Rules { minds_lease: false, ..PRODUCTION };
    is_found_out("the lease is not looked at", rules, Bound { workers: 2, ..CALM }, &[TWICE]);
}

/// As it was before this check.
#[test]
fn a_request_that_left_no_answer_counts_for_nothing() {
    let rules = Rules {
        begin: |newest, mut seen| {
            seen.lost = false;
            begin(newest, seen)
        },
        ..PRODUCTION
    };
    is_found_out("a lost answer counts for nothing", rules, Bound { faults: 1, ..CALM }, &[BOOKS]);
}

/// As it was before this check.
#[test]
fn a_look_decides_while_a_request_is_under_way() {
    let rules = Rules {
        hear: |matter, generation, heard| match heard {
            Heard::Nothing { moved, .. } => hear(matter, generation, Heard::Nothing { moved, under_way: false }),
            other => hear(matter, generation, other),
        },
        ..PRODUCTION
    };
    let bound = Bound { faults: 1, workers: 2, ..CALM };
    is_found_out("a look decides while a request is under way", rules, bound, &[BOOKS]);
}

#[test]
fn an_answer_to_another_generation_counts() {
    let rules = Rules { hear: |matter, _, heard| hear(matter, matter.generation, heard), ..PRODUCTION };
    let bound = Bound { lapses: 1, jobs: 2, workers: 2, ..CALM };
    is_found_out("an answer to another generation counts", rules, bound, &[BOOKS, TWICE]);
}
