//! Meters, their events, and what they sum up to.

use serde_json::Value;

use super::{made, send, world};
use crate::world::World;

const NOW: i64 = 1_800_000_000;

fn code(answer: (u16, Value)) -> (u16, String) {
    let (status, body) = answer;
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn meter(world: &mut World, event: &str, formula: &str) -> String {
    let form = format!("display_name=Calls&event_name={event}&default_aggregation[formula]={formula}");
    made(world, "/v1/billing/meters", &form)
}

fn used(world: &mut World, event: &str, customer: &str, rest: &str) -> (u16, Value) {
    let form = format!("event_name={event}&payload[stripe_customer_id]={customer}&{rest}");
    send(world, "POST", "/v1/billing/meter_events", &form)
}

fn summed(world: &mut World, meter: &str, query: &str) -> (u16, Value) {
    send(world, "GET", &format!("/v1/billing/meters/{meter}/event_summaries"), query)
}

#[test]
fn events_sum_up_by_customer_and_window() {
    let mut world = world();
    let (alice, bob) = (made(&mut world, "/v1/customers", ""), made(&mut world, "/v1/customers", ""));
    for (formula, total) in [("sum", 12), ("count", 3), ("last", 4)] {
        let meter = meter(&mut world, formula, formula);
        for (value, ago) in [(5, 0), (4, -60), (3, 7200)] {
            let (status, event) =
                used(&mut world, formula, &alice, &format!("payload[value]={value}&timestamp={}", NOW - ago));
            assert_eq!((status, &event["object"]), (200, &"billing.meter_event".into()), "{event}");
            assert_eq!(event["payload"]["value"], value.to_string());
            assert!(event.get("id").is_none() && event["identifier"].is_string(), "{event}");
        }
        used(&mut world, formula, &bob, "payload[value]=100");
        let (hour, day) = (3600, 86_400);
        let query = format!("customer={alice}&start_time={}&end_time={}", NOW - NOW % day, NOW - NOW % day + 2 * day);
        let (status, list) = summed(&mut world, &meter, &query);
        assert_eq!((status, &list["data"][0]["aggregated_value"]), (200, &total.into()), "{formula}: {list}");
        let query = format!(
            "customer={alice}&start_time={}&end_time={}&value_grouping_window=hour",
            NOW - NOW % hour - 5 * hour,
            NOW - NOW % hour + hour
        );
        let (_, hours) = summed(&mut world, &meter, &query);
        assert_eq!(hours["data"].as_array().map(Vec::len), Some(2), "{hours}");
        assert!(hours["data"][0]["start_time"].as_i64() > hours["data"][1]["start_time"].as_i64(), "the newest first");
    }
}

#[test]
fn an_event_is_refused_for_its_time_its_identifier_its_customer_and_its_meter() {
    let mut world = world();
    let customer = made(&mut world, "/v1/customers", "");
    let counted = meter(&mut world, "calls", "sum");
    let day = 24 * 60 * 60;
    for (rest, wanted) in [
        (format!("payload[value]=1&timestamp={}", NOW - 35 * day - 1), "timestamp_too_far_in_past"),
        (format!("payload[value]=1&timestamp={}", NOW + 301), "timestamp_in_future"),
        ("payload[value]=1.5".to_owned(), "parameter_invalid_integer"),
        (String::new(), "parameter_missing"),
    ] {
        assert_eq!(code(used(&mut world, "calls", &customer, &rest)), (400, wanted.to_owned()), "{rest}");
    }
    for at in [NOW - 35 * day, NOW + 300] {
        assert_eq!(used(&mut world, "calls", &customer, &format!("payload[value]=1&timestamp={at}")).0, 200);
    }
    assert_eq!(code(used(&mut world, "calls", "cus_no", "payload[value]=1")).1, "resource_missing");
    assert_eq!(code(used(&mut world, "mails", &customer, "payload[value]=1")).1, "no_meter");

    assert_eq!(used(&mut world, "calls", &customer, "payload[value]=7&identifier=x").0, 200);
    assert_eq!(code(used(&mut world, "calls", &customer, "payload[value]=7&identifier=x")).1, "duplicate_meter_event");
    let cancel = "event_name=calls&type=cancel&cancel[identifier]=x";
    let (status, gone) = send(&mut world, "POST", "/v1/billing/meter_event_adjustments", cancel);
    assert_eq!((status, &gone["status"]), (200, &"pending".into()), "{gone}");
    assert_eq!(send(&mut world, "POST", "/v1/billing/meter_event_adjustments", cancel).0, 400, "only once");
    let query = format!("customer={customer}&start_time={}&end_time={}", NOW - NOW % 60, NOW - NOW % 60 + 60);
    assert_eq!(summed(&mut world, &counted, &query).1["data"][0]["aggregated_value"], 0);
    // A day later the identifier is free, and nothing can be taken back.
    send(&mut world, "POST", "/_sandbox/advance", r#"{"seconds":86400}"#);
    assert_eq!(code(send(&mut world, "POST", "/v1/billing/meter_event_adjustments", cancel)).1, "resource_missing");
    assert_eq!(used(&mut world, "calls", &customer, "payload[value]=7&identifier=x").0, 200);
}

#[test]
fn a_meter_is_renamed_turned_off_and_on_and_alone_with_its_event() {
    let mut world = world();
    let first = meter(&mut world, "calls", "sum");
    let twin = "display_name=x&event_name=calls&default_aggregation[formula]=sum";
    assert_eq!(code(send(&mut world, "POST", "/v1/billing/meters", twin)).1, "resource_already_exists");
    let path = format!("/v1/billing/meters/{first}");
    assert_eq!(send(&mut world, "POST", &path, "display_name=Mails").1["display_name"], "Mails");
    let (_, off) = send(&mut world, "POST", &format!("{path}/deactivate"), "");
    assert_eq!((&off["status"], &off["status_transitions"]["deactivated_at"]), (&"inactive".into(), &NOW.into()));
    let customer = made(&mut world, "/v1/customers", "");
    assert_eq!(code(used(&mut world, "calls", &customer, "payload[value]=1")).1, "no_meter");
    let second = made(&mut world, "/v1/billing/meters", twin);
    assert_eq!(send(&mut world, "POST", &format!("{path}/reactivate"), "").0, 400, "another one counts it now");
    let active = send(&mut world, "GET", "/v1/billing/meters", "status=active").1;
    assert_eq!((&active["data"][0]["id"], active["data"].as_array().map(Vec::len)), (&second.into(), Some(1)));
    let told: Vec<Value> = world.store.all("event").map(|event| event["type"].clone()).collect();
    assert!(told.contains(&"billing.meter.created".into()) && told.contains(&"billing.meter.deactivated".into()));
}
