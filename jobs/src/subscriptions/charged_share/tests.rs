use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const START: i64 = 1_795_996_800; // 2026-11-30
const CREDITS: i64 = 150_000_000;

fn line(amount: i64, quantity: i64, days: i64, unit: Option<&str>) -> Line {
    let at = |seconds| DateTime::from_timestamp(seconds, 0);
    Line {
        subscription: Some("sub_1".into()),
        price: Some("price_1".into()),
        of_item: true,
        proration: false,
        amount,
        quantity,
        start: at(START),
        end: at(START + days * 86_400),
        user: None,
        metered: false,
        currency: Some("usd".into()),
        unit_amount: unit.map(str::to_owned),
        full_price: None,
    }
}

fn price(more: &Value) -> Price {
    let mut price = json!({"id": "price_1", "currency": "usd", "unit_amount": 2500, "recurring": {"interval": "month", "interval_count": 1}});
    for (name, value) in more.as_object().unwrap() {
        price[name] = value.clone();
    }
    serde_json::from_value(price).unwrap()
}

fn by(line: &Line, price: Price) -> Charge {
    of(line, &BTreeMap::from([(price.id.clone(), price)]))
}

/// What the months of a period grant, one by one.
fn granted(charge: Charge, count: usize) -> Vec<i64> {
    let Charge::Part { months, .. } = charge else { panic!("{charge:?}") };
    (0..count).map(|k| months.share(CREDITS, k, count).unwrap()).collect()
}

#[test]
fn twelve_days_for_10_of_25_are_two_fifths_of_a_month() {
    let part = Charge::Part { months: Months { num: 2, den: 5 }, days: None };
    let short = line(1000, 1, 12, Some("2500"));
    assert_eq!((by(&short, price(&json!({}))), of(&short, &BTreeMap::new())), (part, part));
    let legacy = Line { unit_amount: None, full_price: Some(price(&json!({}))), ..short };
    assert_eq!(of(&legacy, &BTreeMap::new()), part);
    assert_eq!(granted(part, 1), [60_000_000]);
}

#[test]
fn what_the_line_leaves_open_is_asked() {
    for open in [
        line(1000, 1, 12, None),
        line(1000, 1, 12, Some("1000")),
        line(2000, 2, 12, Some("2500")),
        line(500, 1, 7, Some("500")),
        line(100, 1, 3, Some("5000")),
    ] {
        assert_eq!(of(&open, &BTreeMap::new()), Charge::Unknown, "{open:?}");
    }
    let whole = Charge::Whole { days: None };
    assert_eq!(of(&line(2500, 1, 30, Some("2500")), &BTreeMap::new()), whole);
    assert_eq!(of(&line(5000, 2, 31 + 30, None), &BTreeMap::new()), whole, "November 30 to January 30");
    let tiered = price(&json!({"unit_amount": null}));
    assert_eq!(by(&line(1000, 1, 12, None), tiered), Charge::Unknown);
}

#[test]
fn a_price_says_what_an_interval_costs_in_packs_in_fractions_and_in_another_currency() {
    let packs = json!({"transform_quantity": {"divide_by": 5, "round": "up"}});
    assert_eq!(by(&line(5000, 10, 30, Some("2500")), price(&packs)), Charge::Whole { days: None });
    assert_eq!(by(&line(7500, 11, 30, Some("2500")), price(&packs)), Charge::Whole { days: None });
    assert_eq!(granted(by(&line(2500, 10, 15, Some("2500")), price(&packs)), 1), [75_000_000]);
    let fraction = json!({"unit_amount": null, "unit_amount_decimal": "0.5"});
    assert_eq!(by(&line(1, 3, 30, None), price(&fraction)), Charge::Whole { days: None }, "Stripe rounds 1.5");
    let euros = json!({"currency": "eur", "unit_amount": 2300});
    assert_eq!(by(&line(1000, 1, 12, None), price(&euros)), Charge::Unknown);
    let both = json!({"currency": "eur", "currency_options": {"usd": {"unit_amount": 4000}}});
    assert_eq!(granted(by(&line(1000, 1, 12, None), price(&both)), 1), [37_500_000]);
}

#[test]
fn each_interval_is_counted_in_months_of_service() {
    let every =
        |interval: &str, count: i64| price(&json!({"recurring": {"interval": interval, "interval_count": count}}));
    assert_eq!(by(&line(2500, 1, 7, None), every("week", 1)), Charge::Whole { days: Some(7) });
    assert_eq!(by(&line(2500, 1, 28, None), every("week", 4)), Charge::Whole { days: None });
    let half = Months { num: 1, den: 2 };
    assert_eq!(by(&line(1250, 1, 3, None), every("week", 1)), Charge::Part { months: half, days: Some(7) });
    assert_eq!(by(&line(1250, 1, 14, None), every("day", 30)), Charge::Part { months: half, days: None });
    assert_eq!(by(&line(2500, 1, 365, None), every("year", 1)), Charge::Whole { days: None });
    // A hundred days of a year: three months and a part of the fourth.
    let short = by(&line(685, 1, 100, None), every("year", 1));
    assert_eq!(short, Charge::Part { months: Months { num: 411, den: 125 }, days: None });
    assert_eq!(granted(short, 4), [CREDITS, CREDITS, CREDITS, 43_200_000]);
    // Backdated by two months and a part.
    assert_eq!(granted(by(&line(6000, 1, 72, None), every("month", 1)), 2), [CREDITS, 210_000_000]);
}

#[test]
fn months_are_whole_by_any_anchor() {
    let at = |text: &str| format!("{text}T10:00:00Z").parse::<DateTime<Utc>>().unwrap();
    for (start, end) in [
        ("2027-01-31", "2027-02-28"),
        ("2027-02-28", "2027-03-31"),
        ("2027-02-28", "2027-03-29"),
        ("2028-02-29", "2029-02-28"),
        ("2026-12-15", "2027-01-15"),
    ] {
        assert!(is_whole_months(at(start), at(end)), "{start} {end}");
    }
    for (start, end) in [("2027-01-31", "2027-03-01"), ("2027-01-15", "2027-02-14"), ("2027-01-15", "2027-01-15")] {
        assert!(!is_whole_months(at(start), at(end)), "{start} {end}");
    }
    assert!(!is_whole_months(at("2027-01-15"), at("2027-02-15") + TimeDelta::seconds(1)));
}

proptest! {
    #[test]
    fn parts_of_an_interval_never_come_to_more_than_the_whole(
        unit in 1i64..10_000_000, cuts in prop::collection::vec(1i64..10_000_000, 1..6), quantity in 1i64..50, credits in 1i64..1_000_000_000_000
    ) {
        let full = unit * quantity;
        let mut left = full;
        let mut sum = 0;
        for cut in cuts {
            let amount = cut.min(left);
            left -= amount;
            if amount == 0 { break }
            let part = match by(&line(amount, quantity, 12, None), price(&json!({"unit_amount": unit}))) {
                Charge::Part { months, days: None } => months.share(credits, 0, 1).unwrap(),
                Charge::Whole { days: None } => credits,
                other => panic!("{other:?}"),
            };
            let exact = i128::from(credits) * i128::from(amount) / i128::from(full);
            prop_assert_eq!(i128::from(part), exact);
            prop_assert!(part <= credits);
            sum += part;
        }
        prop_assert!(sum <= credits);
    }

    #[test]
    fn the_months_of_a_period_come_to_what_was_paid(
        num in 1i64..100_000, den in 1i64..100_000, count in 1usize..40, credits in 1i64..1_000_000_000_000
    ) {
        let months = Months::new(num.into(), den.into()).unwrap();
        let shares: Vec<i64> = (0..count).map(|k| months.share(credits, k, count).unwrap()).collect();
        prop_assert!(shares.iter().rev().skip(1).all(|share| *share <= credits));
        let (sum, exact) = (shares.iter().map(|s| i128::from(*s)).sum::<i128>(), i128::from(credits) * i128::from(num) / i128::from(den));
        prop_assert!(sum <= exact && exact - sum <= 2, "{sum} of {exact}");
    }
}
