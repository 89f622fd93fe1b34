//! What a listener is sent, and what becomes of it, without a websocket.

use serde_json::{Value, json};

use super::LIFE;
use crate::{signature, world::World};

const NOW: i64 = 1_800_000_000;

fn world() -> World {
    let mut world = World::new("http://127.0.0.1:1".to_owned(), None, 7, 1_000_000);
    world.sessions.set_secret(Some("whsec_listen".to_owned()));
    world
}

fn happen(world: &mut World) {
    world.emit("customer.created", &json!({ "id": "cus_1", "object": "customer" }));
}

fn frames(world: &World, session: &str, connection: u64, sent: u64) -> (Vec<Value>, u64) {
    let (frames, last) = world.frames(session, connection, sent, NOW).unwrap();
    (frames.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect(), last)
}

fn ack(frame: &Value) -> String {
    json!({ "type": "event_ack", "webhook_conversation_id": frame["webhook_conversation_id"], "event_token": frame["webhook_id"] })
        .to_string()
}

#[test]
fn what_was_not_acknowledged_is_sent_again_to_who_dials_again() {
    let mut world = world();
    let (session, secret) = world.open_session();
    assert_eq!(secret, "whsec_listen");
    happen(&mut world);
    let connection = world.sessions.connect(&session).unwrap();
    assert!(frames(&world, &session, connection, 0).0.is_empty(), "it did not listen yet");
    happen(&mut world);
    happen(&mut world);
    let (seen, last) = frames(&world, &session, connection, 0);
    assert_eq!(seen.len(), 4, "each in the account's version and in the latest");
    assert_eq!(
        (&seen[0]["endpoint"]["api_version"], &seen[1]["endpoint"]["api_version"]),
        (&Value::Null, &json!("2026-09-30.endive"))
    );
    let body = seen[0]["event_payload"].as_str().unwrap();
    assert_eq!(seen[0]["http_headers"]["Stripe-Signature"], signature::sign(&Some(secret), NOW, body));
    assert!(frames(&world, &session, connection, last).0.is_empty(), "nothing is new");
    world.heard(&session, &ack(&seen[0]));
    world.heard(&session, &ack(&seen[1]));
    assert_eq!(world.undelivered(), 1);

    let again = world.sessions.connect(&session).unwrap();
    assert!(world.frames(&session, connection, 0, NOW).is_none(), "another websocket speaks for it");
    let (left, _) = frames(&world, &session, again, 0);
    assert_eq!((left.len(), &left[0]["event_payload"]), (2, &seen[2]["event_payload"]));
    world.disconnect(&session, connection, NOW);
    assert!(world.sessions.is_connected(&session), "only its own websocket can leave");
    world.heard(&session, &ack(&left[0]));
    let response = json!({ "type": "webhook_response", "webhook_conversation_id": left[0]["webhook_conversation_id"], "status": 503 });
    world.heard(&session, &response.to_string());
    assert_eq!(world.deliveries.shown()[1]["last_status"], 503);
    assert_eq!(world.undelivered(), 0);
}

#[test]
fn a_session_dies_some_minutes_after_its_websocket() {
    let mut world = world();
    let (session, _) = world.open_session();
    assert!(world.sessions.connect("cliws_unknown").is_none());
    let connection = world.sessions.connect(&session).unwrap();
    world.prune_sessions(NOW + 10 * LIFE);
    assert!(world.sessions.is_connected(&session));
    world.disconnect(&session, connection, NOW);
    happen(&mut world);
    world.prune_sessions(NOW + LIFE - 1);
    assert_eq!(world.deliveries.shown()[0]["state"], "under_way");
    world.prune_sessions(NOW + LIFE);
    assert_eq!(world.deliveries.shown()[0]["state"], "given_up");
    assert!(world.sessions.connect(&session).is_none());
}

#[test]
fn any_words_are_heard_without_harm() {
    let mut world = world();
    let (session, _) = world.open_session();
    world.sessions.connect(&session).unwrap();
    happen(&mut world);
    for said in [
        "",
        "{}",
        "[]",
        r#"{"type":"event_ack"}"#,
        r#"{"type":"event_ack","webhook_conversation_id":"wc_99"}"#,
        r#"{"type":"webhook_response","status":-1}"#,
    ] {
        world.heard(&session, said);
    }
    assert_eq!(world.undelivered(), 1);
}

#[test]
fn a_listener_meets_disorder_too() {
    let mut world = world();
    let (session, _) = world.open_session();
    let connection = world.sessions.connect(&session).unwrap();
    let fault = serde_json::from_value(json!({ "fault": "out_of_order" })).unwrap();
    world.event_faults.add(fault).unwrap();
    happen(&mut world);
    assert!(frames(&world, &session, connection, 0).0.is_empty(), "held");
    happen(&mut world);
    let (next, _) = frames(&world, &session, connection, 0);
    assert_eq!(next[0]["webhook_id"], "wh_2");
    world.heard(&session, &ack(&next[0]));
    for planned in world.take_outbox().into_iter().filter(|planned| planned.after.is_zero()) {
        assert!(world.due(planned.id).is_none(), "a listener is not posted to");
    }
    assert_eq!(frames(&world, &session, connection, 0).0[0]["webhook_id"], "wh_1");
}
