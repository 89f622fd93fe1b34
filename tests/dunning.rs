//! Dunning: a renewal whose payment failed is chased by a case of its own, day by day, and no longer than it is owed.

mod cards;
mod crashes;
mod late;
mod operate;
mod stands_down;
mod world;

use world::{DAY, World};

const GENERIC: &str = "pm_card_chargeCustomerFail";

fn letters(all: &[(i64, &str)]) -> Vec<(i64, String)> {
    all.iter().map(|(day, name)| (*day, (*name).to_owned())).collect()
}

#[tokio::test]
async fn a_month_of_dunning_day_by_day() {
    let world = World::new().await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    assert_eq!(world.case().await.0, "open");
    let days: [(i64, &[i64], &[(i64, &str)]); 5] = [
        (0, &[0], &[(0, "payment_failed_first")]),
        (1, &[0, 1], &[(0, "payment_failed_first")]),
        (3, &[0, 1, 3], &[(0, "payment_failed_first"), (3, "payment_failed_again")]),
        (5, &[0, 1, 3, 5], &[(0, "payment_failed_first"), (3, "payment_failed_again"), (5, "payment_failed_last")]),
        (6, &[0, 1, 3, 5], &[(0, "payment_failed_first"), (3, "payment_failed_again"), (5, "payment_failed_last")]),
    ];
    for (day, tries, written) in days {
        world.to_day(day).await;
        assert_eq!(world.tries().await, tries, "day {day}: {:?}", world.steps().await);
        assert_eq!(world.letters().await, letters(written), "day {day}");
        assert!(world.subscription().await["pause_collection"].is_null(), "day {day}");
    }
    world.to_day(7).await;
    assert_eq!(world.tries().await, [0, 1, 3, 5, 7]);
    let paused = world.subscription().await;
    assert_eq!(paused["pause_collection"]["behavior"], "void");
    assert_eq!(paused["metadata"]["dunning"], invoice.as_str());
    assert_eq!(world.letters().await.last().unwrap(), &(7, "access_paused".to_owned()));
    assert_eq!(world.case().await.0, "paused");
    for step in ["retry:1", "retry:3", "retry:5", "retry:7"] {
        assert_eq!(world.step(step).await, ("done".into(), "declined: generic_decline".into()), "{step}");
    }
    assert_eq!(
        world.asked().await,
        [1, 3, 5, 7].map(|day| format!("dunning:{invoice}:retry:{day}:1")),
        "each step under its own key"
    );
    // The rest of the month, and the one after: nothing more.
    world.pass(33 * DAY).await;
    assert_eq!(world.tries().await, [0, 1, 3, 5, 7]);
    assert_eq!(world.letters().await.len(), 4);
    assert_eq!(world.cases().await, 1);
    assert_eq!(world.balance().await, "150", "what fell due in the pause is void, and grants nothing");
    world.is_clean().await;
}
