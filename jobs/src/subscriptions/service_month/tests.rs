use super::*;

fn change(second: i64, old_value: i64, new_value: i64) -> PlanChange {
    let at = DateTime::from_timestamp(second, 0).unwrap();
    PlanChange { subscription_id: "sub_1".into(), at, old_value, new_value, event_id: None, billed: true }
}

fn walked(from: i64, changes: &[PlanChange]) -> Vec<(i64, i64)> {
    walk(from, changes.iter()).map(|step| (step.old, step.new)).collect()
}

#[test]
fn what_happened_within_a_second_is_put_in_order() {
    let (down, up) = (change(5, 150, 50), change(5, 50, 500));
    assert_eq!(walked(150, &[up.clone(), down.clone()]), [(150, 50), (50, 500)]);
    assert_eq!(walked(150, &[down, up]), [(150, 50), (50, 500)]);
}

#[test]
fn a_twin_that_comes_a_second_later_leads_nowhere() {
    assert_eq!(walked(50, &[change(5, 50, 150), change(6, 50, 150), change(9, 150, 50)]), [(50, 150), (150, 50)]);
}

#[test]
fn a_change_counts_from_the_plans_value_and_not_from_what_an_event_says_of_before() {
    assert_eq!(walked(200, &[change(5, 150, 500)]), [(200, 500)]);
}
