//! What goes and what is held, to the last minor unit.

use super::*;
use crate::{
    base::credits::Credits,
    engine::change::AnyChange,
    payouts::debt::Netting,
    terms::{PayoutTerms, Selling},
};

fn terms(limits: Limits) -> Terms {
    let payout = PayoutTerms {
        minor_units_per_credit: 50,
        currency: "usd".into(),
        limits: [("usd".to_owned(), limits)].into(),
        ..PayoutTerms::default()
    };
    Terms {
        tiers: Vec::new(),
        packages: Vec::new(),
        skills: std::collections::BTreeMap::new(),
        payout,
        initial_credits: Credits::ZERO,
        livemode: false,
        stripe_on: true,
        grace: std::time::Duration::ZERO,
        selling: Selling::default(),
        dunning: crate::dunning::Dunning::default(),
    }
}

/// Ten dollars for one receiver.
const HELD: Held<'static> = Held {
    job_id: "job",
    receiver_id: "receiver",
    currency: "usd",
    amount: 1000,
    fixed: None,
    minimum_met: false,
    cap_lifted: false,
};
const NONE: Limits = Limits { minimum: 0, daily_cap_per_receiver: None, daily_cap: None };

fn debts(open: &[i64]) -> Weights {
    let carriers = open.iter().enumerate().map(|(n, open)| Carrier { job_id: format!("old {n}"), open: *open });
    Weights { carriers: carriers.collect(), ..Weights::default() }
}

/// What it sends, and what is true from then on.
fn goes(held: &Held<'_>, weights: &Weights, limits: Limits) -> (i64, Vec<AnyChange>) {
    match judge(held, weights, &terms(limits)) {
        Verdict::Goes { amount, marks } => (amount, marks),
        Verdict::Stays(effects) => panic!("{effects:?}"),
    }
}

/// What is true of one that stays.
fn stays(held: &Held<'_>, weights: &Weights, limits: Limits) -> Effects {
    match judge(held, weights, &terms(limits)) {
        Verdict::Stays(effects) => effects,
        Verdict::Goes { amount, marks } => panic!("{amount} {marks:?}"),
    }
}

fn let_go(state: &'static str, reason: &str, fixed: Option<(i64, Vec<Netting>)>) -> AnyChange {
    Change::LetGo(Going {
        job_id: "job".into(),
        receiver_id: "receiver".into(),
        currency: "usd".into(),
        state,
        reason: reason.into(),
        fixed,
    })
    .into()
}

/// By what it is held back, and whether the team is told.
fn held_by(effects: &Effects) -> (&'static str, usize) {
    let [change] = &effects.changes[..] else { panic!("{effects:?}") };
    let Some(Change::HoldBack { by, job_id, .. }) = change.of() else { panic!("{effects:?}") };
    assert_eq!(job_id, "job");
    (by, effects.follow_ups.len())
}

#[test]
fn without_limits_and_debts_all_of_it_goes() {
    let expected = (1000, vec![let_go("sending", "under way", Some((1000, vec![])))]);
    assert_eq!(goes(&HELD, &Weights::default(), NONE), expected);
}

#[test]
fn below_the_minimum_it_is_held_and_at_it_all_that_is_held_may_go() {
    let limits = Limits { minimum: 1500, ..NONE };
    let weights = |held| Weights { held, ..Weights::default() };
    let short = stays(&HELD, &weights(1400), limits);
    let missing = format!("{} is missing to the minimum of {}", money::format(100, "usd"), money::format(1500, "usd"));
    assert_eq!(short.outcome, Effects::skip(format!("held: {missing}")).outcome);
    assert_eq!(held_by(&short), ("minimum", 0));
    assert_eq!(held_by(&stays(&HELD, &weights(1499), limits)), ("minimum", 0));
    for held in [1500, 1501] {
        let (amount, marks) = goes(&HELD, &weights(held), limits);
        let met = Change::MinimumMet { user_id: "receiver".into(), currency: "usd".into() }.into();
        assert_eq!((amount, &marks[0], marks.len()), (1000, &met, 2), "{held}");
    }
    let met = Held { minimum_met: true, ..HELD };
    assert_eq!(goes(&met, &weights(0), limits).1.len(), 1, "what has met it once is asked no more");
}

#[test]
fn what_it_sends_stays_fixed_whatever_the_minimum_and_the_debts() {
    let fixed = Held { fixed: Some(700), ..HELD };
    let expected = (700, vec![let_go("sending", "under way", None)]);
    assert_eq!(goes(&fixed, &debts(&[300]), Limits { minimum: 1500, ..NONE }), expected);
}

#[test]
fn debts_are_settled_first_and_what_is_left_goes() {
    let netting = |n: usize, amount| Netting { job_id: format!("old {n}"), amount };
    let (amount, marks) = goes(&HELD, &debts(&[100, 200]), NONE);
    let said = format!("{} of it settles the debt carried by old 0, old 1", money::format(300, "usd"));
    let expected = let_go("sending", &said, Some((700, vec![netting(0, 100), netting(1, 200)])));
    assert_eq!((amount, marks), (700, vec![expected]));

    // No cap holds what sends nothing, even where more has left already.
    let limits = Limits { daily_cap: Some(100), daily_cap_per_receiver: Some(100), ..NONE };
    let weights = Weights { left: 200, left_for_all: 200, ..debts(&[1000]) };
    let netted = stays(&HELD, &weights, limits);
    let said = format!("{} of it settles the debt carried by old 0", money::format(1000, "usd"));
    let expected = let_go("paid", &said, Some((0, vec![netting(0, 1000)])));
    assert_eq!(netted, Effects { changes: vec![expected], ..Effects::done() });
}

#[test]
fn a_cap_is_what_may_leave_to_the_last_unit_and_beyond_it_the_team_is_told() {
    for (limits, weights) in [
        (
            Limits { daily_cap_per_receiver: Some(1500), ..NONE },
            (|left| Weights { left, ..Weights::default() }) as fn(i64) -> Weights,
        ),
        (Limits { daily_cap: Some(1500), ..NONE }, |left| Weights { left_for_all: left, ..Weights::default() }),
    ] {
        for left in [0, 499, 500] {
            assert_eq!(goes(&HELD, &weights(left), limits).0, 1000, "{left} of {limits:?}");
        }
        for left in [501, 2000, i64::MAX] {
            let capped = stays(&HELD, &weights(left), limits);
            assert_eq!(held_by(&capped), ("cap", 1), "{left} of {limits:?}");
            let lifted = Held { cap_lifted: true, ..HELD };
            assert_eq!(goes(&lifted, &weights(left), limits).0, 1000, "{left} of {limits:?}");
        }
        // A debt makes what leaves smaller.
        let weights = Weights { carriers: debts(&[400]).carriers, ..weights(900) };
        assert_eq!(goes(&HELD, &weights, limits).0, 600);
    }
}
