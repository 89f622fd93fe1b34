//! The arrows of the machine, one by one; what they come to together, `jobs/tests/payout_model` shows.

use super::*;

/// The third generation of a matter, open and young.
const OPEN: Matter = Matter {
    generation: 3,
    state: State::Open,
    young: true,
    look_first: false,
    saved_failure: false,
    refusals: 0,
    looks: 0,
    raise_after_look: false,
};
/// What is seen when nothing has changed, nothing is lost, and everything is young.
const SAME: Beginning = Beginning { young: true, same: true, lost: false, rested: false };
const OTHER: Beginning = Beginning { same: false, ..SAME };

fn in_state(state: State) -> Matter {
    Matter { state, ..OPEN }
}

/// What a generation begins as.
fn fresh(generation: i32, young: bool) -> Matter {
    Matter { generation, young, ..OPEN }
}

#[test]
fn every_state_is_read_as_it_is_named() {
    for (state, name) in [
        (State::Open, "open"),
        (State::Unknown, "unknown"),
        (State::Succeeded, "succeeded"),
        (State::Rejected, "rejected"),
    ] {
        assert_eq!((state.name(), State::parse(name)), (name, Some(state)));
    }
    assert_eq!(State::parse("failed"), None);
}

#[test]
fn a_matter_begins_with_a_send_where_it_is_young_and_with_a_look_where_it_is_not() {
    assert_eq!(begin(None, SAME), (Some(fresh(1, true)), Begin::Send));
    assert_eq!(begin(None, Beginning { young: false, ..SAME }), (Some(fresh(1, false)), Begin::Look));
}

#[test]
fn what_has_ended_is_not_sent_again_and_what_was_refused_goes_on_in_the_next_generation() {
    let had = in_state(State::Succeeded);
    assert_eq!(begin(Some(had), SAME), (Some(had), Begin::Had));
    let refused = Matter { saved_failure: true, refusals: 2, looks: 1, ..in_state(State::Rejected) };
    assert_eq!(begin(Some(refused), OTHER), (Some(fresh(4, true)), Begin::Send), "its refusal is surely kept");
    let old = Matter { young: false, ..refused };
    assert_eq!(begin(Some(old), OTHER), (Some(old), Begin::Wait), "it may be kept no more, and be under way");
    let rested = Beginning { rested: true, ..OTHER };
    assert_eq!(begin(Some(old), rested), (Some(fresh(4, true)), Begin::Send));
    assert_eq!(begin(Some(old), Beginning { young: false, ..rested }), (Some(fresh(4, false)), Begin::Look));
}

#[test]
fn other_bytes_go_under_the_next_key_and_only_where_all_of_this_one_was_refused_and_rests() {
    let refused = Matter { refusals: 1, ..OPEN };
    let rested = Beginning { rested: true, ..OTHER };
    assert_eq!(begin(Some(refused), rested), (Some(fresh(4, false)), Begin::Look));
    assert_eq!(begin(Some(refused), OTHER), (Some(refused), Begin::Wait));
    for (matter, seen) in [
        (OPEN, rested),
        (refused, Beginning { lost: true, ..rested }),
        (Matter { refusals: 1, ..in_state(State::Unknown) }, rested),
    ] {
        assert_eq!(begin(Some(matter), seen), (Some(matter), Begin::Changed), "{matter:?} {seen:?}");
    }
}

#[test]
fn the_same_bytes_go_again_under_a_young_key_and_after_a_look_otherwise() {
    for state in [State::Open, State::Unknown] {
        let matter = Matter { refusals: 1, ..in_state(state) };
        assert_eq!(begin(Some(matter), SAME), (Some(matter), Begin::Send));
        for careful in [
            Matter { saved_failure: true, ..matter },
            Matter { look_first: true, ..matter },
            Matter { young: false, ..matter },
        ] {
            assert_eq!(begin(Some(careful), SAME), (Some(careful), Begin::Look), "{careful:?}");
        }
        let lost = Matter { state: State::Unknown, ..matter };
        assert_eq!(begin(Some(matter), Beginning { lost: true, ..SAME }), (Some(lost), Begin::Send));
    }
}

#[test]
fn an_answer_to_what_has_ended_or_gone_on_changes_nothing() {
    for (matter, generation) in
        [(in_state(State::Succeeded), 3), (in_state(State::Rejected), 3), (OPEN, 2), (in_state(State::Unknown), 4)]
    {
        assert_eq!(hear(matter, generation, Heard::Made), (matter, Do::Overtaken), "{matter:?} {generation}");
    }
}

#[test]
fn each_answer_means_what_it_says_in_either_open_state() {
    for state in [State::Open, State::Unknown] {
        let matter = Matter { saved_failure: true, refusals: 1, looks: 1, raise_after_look: true, ..in_state(state) };
        let unknown = Matter { state: State::Unknown, ..matter };
        let look_first = Matter { look_first: true, ..unknown };
        let ended = |state| Matter { state, saved_failure: false, ..matter };
        let refused_before = match state {
            // An earlier one may have been executed.
            State::Unknown => (look_first, Do::Retry),
            _ => (Matter { refusals: 2, ..matter }, Do::Refuse { saved: false }),
        };
        for (heard, expected) in [
            (Heard::Made, (ended(State::Succeeded), Do::Book)),
            (Heard::Unlike, (unknown, Do::Stop)),
            (Heard::Misused, (unknown, Do::Stop)),
            (Heard::Unreadable, (look_first, Do::Unsure)),
            (Heard::LookFirst, (look_first, Do::Unsure)),
            (Heard::Refused { saved: true }, (ended(State::Rejected), Do::Refuse { saved: true })),
            (Heard::Refused { saved: false }, refused_before),
            (Heard::Lost, (unknown, Do::Unsure)),
            (Heard::NotNow, (matter, Do::Retry)),
            (Heard::NotLooked, (matter, Do::Retry)),
            (Heard::Nothing { moved: true, under_way: false }, (matter, Do::Retry)),
            (Heard::NotSent, (matter, Do::Dead)),
            (Heard::Nothing { moved: false, under_way: true }, (ended(State::Rejected), Do::Raise)),
        ] {
            assert_eq!(hear(matter, 3, heard), expected, "{state:?} {heard:?}");
        }
        let plain = in_state(state);
        let saved = Matter { saved_failure: true, ..in_state(State::Unknown) };
        assert_eq!(hear(plain, 3, Heard::SavedFailure), (saved, Do::Unsure));
    }
}

#[test]
fn a_look_that_found_nothing_lets_the_same_bytes_out_unless_a_failure_is_saved() {
    let matter = Matter { look_first: true, looks: 2, raise_after_look: true, ..in_state(State::Unknown) };
    for (under_way, state) in [(true, State::Unknown), (false, State::Open)] {
        let next = Matter { state, look_first: false, looks: 0, ..matter };
        assert_eq!(hear(matter, 3, Heard::Nothing { moved: false, under_way }), (next, Do::Send));
    }
}

#[test]
fn behind_a_saved_failure_it_is_looked_for_in_1_2_and_4_minutes_and_then_by_an_operator() {
    let mut matter = Matter { saved_failure: true, ..in_state(State::Unknown) };
    for (looks, expected) in [(1, Do::LookAgain(1)), (2, Do::LookAgain(2)), (3, Do::LookAgain(4)), (4, Do::Stop)] {
        let next = hear(matter, 3, Heard::Nothing { moved: false, under_way: false });
        assert_eq!(next, (Matter { looks, ..matter }, expected));
        matter = next.0;
    }
}

#[test]
fn an_operator_raises_a_generation_only_behind_a_saved_failure_that_was_looked_behind() {
    let looked = Matter { saved_failure: true, looks: 1, ..in_state(State::Unknown) };
    assert_eq!(raise(looked), Some(Matter { raise_after_look: true, ..looked }));
    for not in [
        Matter { looks: 0, ..looked },
        Matter { saved_failure: false, ..looked },
        Matter { state: State::Open, ..looked },
        Matter { state: State::Succeeded, ..looked },
        Matter { state: State::Rejected, ..looked },
    ] {
        assert_eq!(raise(not), None, "{not:?}");
    }
}
