//! The postings that lead from what is gone to what is to be gone, one by one.

use super::*;

fn taken(source: &str, posting: i64, amount: i64, restored: i64, times: usize) -> Clawed {
    Clawed { source: source.into(), posting, amount, restored, restores: times }
}

fn of(targets: &[(&str, i64)], clawed: &[Clawed]) -> Vec<Move> {
    moves(&targets.iter().map(|(source, amount)| ((*source).to_owned(), *amount)).collect(), clawed)
}

fn claw(source: &str, nth: usize, amount: i64) -> Move {
    Move::Claw { source: source.into(), nth, amount }
}

fn restore(source: &str, nth: usize, of: i64, amount: i64) -> Move {
    Move::Restore { source: source.into(), nth, of, amount }
}

#[test]
fn what_grows_takes_the_difference_under_a_number_of_its_own() {
    assert_eq!(of(&[("re", 50)], &[]), [claw("re", 1, 50)]);
    assert_eq!(of(&[("re", 50)], &[taken("re", 7, 30, 0, 0)]), [claw("re", 2, 20)]);
    assert_eq!(of(&[("re", 50)], &[taken("re", 7, 30, 10, 1)]), [claw("re", 2, 30)], "what came back is not gone");
    assert_eq!(of(&[("re", 50)], &[taken("re", 7, 30, 0, 0), taken("re", 8, 20, 0, 0)]), []);
}

#[test]
fn what_shrinks_gives_back_the_last_taken_first_and_no_more_than_was_taken() {
    let clawed = [taken("re", 7, 30, 0, 0), taken("re", 8, 20, 5, 1)];
    assert_eq!(of(&[("re", 40)], &clawed), [restore("re", 2, 8, 5)]);
    assert_eq!(of(&[("re", 30)], &clawed), [restore("re", 2, 8, 15)]);
    assert_eq!(of(&[("re", 10)], &clawed), [restore("re", 2, 8, 15), restore("re", 3, 7, 20)]);
    let all = [restore("re", 2, 8, 15), restore("re", 3, 7, 30)];
    assert_eq!(of(&[("re", 0)], &clawed), all);
    assert_eq!(of(&[], &clawed), all, "nor is anything to be gone of what is not there any more");
}

#[test]
fn what_comes_back_is_posted_before_what_is_taken() {
    let clawed = [taken("b", 7, 30, 0, 0)];
    assert_eq!(of(&[("a", 20), ("b", 10)], &clawed), [restore("b", 1, 7, 20), claw("a", 1, 20)]);
}
