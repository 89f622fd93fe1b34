//! Each row of the table of `Reply::of`, and that nothing at all can make it panic.

use std::time::Duration;

use bursar_stripe::{Answer, Lost, Reply, Seen, Why};
use proptest::prelude::*;

use crate::stub::{TRANSFER, error};

fn answer(status: u16, body: &str) -> Answer {
    let body = Ok(body.to_owned().into());
    Answer { status, request_id: None, replayed: false, should_retry: None, retry_after: None, body }
}

/// The class alone, as one word; an unknown that is to be looked up says so.
fn class(answer: &Answer) -> &'static str {
    match Reply::of(Ok(answer)) {
        Reply::Success(_) => "success",
        Reply::Rejected { replayed: false, .. } => "rejected",
        Reply::Rejected { replayed: true, .. } => "saved",
        Reply::Limited { .. } => "limited",
        Reply::Busy { .. } => "busy",
        Reply::KeyMisuse { .. } => "misuse",
        Reply::Unauthorized { .. } => "unauthorized",
        Reply::Unknown { look_up: false, .. } => "unknown",
        Reply::Unknown { look_up: true, .. } => "look up",
        Reply::NotSent { .. } => "not sent",
    }
}

#[test]
fn every_row() {
    let e = error;
    // What came, then its class: without Stripe-Should-Retry, with true, with false; and the three again when replayed.
    let rows = [
        (200, TRANSFER.to_owned(), ["success", "success", "success"], ["success", "success", "success"]),
        (200, "{}".into(), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (200, "[]".into(), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (200, "<html>".into(), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (200, TRANSFER[..40].into(), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (204, String::new(), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (429, e("invalid_request_error", "rate_limit"), ["limited", "limited", "rejected"], ["saved", "busy", "saved"]),
        (
            429,
            e("invalid_request_error", "lock_timeout"),
            ["limited", "limited", "rejected"],
            ["saved", "busy", "saved"],
        ),
        (429, "slow down".into(), ["limited", "limited", "look up"], ["limited", "limited", "look up"]),
        (
            409,
            e("idempotency_error", "idempotency_key_in_use"),
            ["busy", "busy", "look up"],
            ["busy", "busy", "look up"],
        ),
        (409, e("invalid_request_error", "conflict"), ["busy", "busy", "rejected"], ["saved", "busy", "saved"]),
        (400, e("idempotency_error", ""), ["misuse"; 3], ["misuse"; 3]),
        (401, e("invalid_request_error", "api_key_expired"), ["unauthorized"; 3], ["saved", "busy", "saved"]),
        (403, e("invalid_request_error", "more_permissions_required"), ["unauthorized"; 3], ["saved", "busy", "saved"]),
        (
            403,
            e("invalid_request_error", "account_invalid"),
            ["rejected", "busy", "rejected"],
            ["saved", "busy", "saved"],
        ),
        (
            400,
            e("invalid_request_error", "balance_insufficient"),
            ["rejected", "busy", "rejected"],
            ["saved", "busy", "saved"],
        ),
        (402, e("card_error", "card_declined"), ["rejected", "busy", "rejected"], ["saved", "busy", "saved"]),
        (
            404,
            e("invalid_request_error", "resource_missing"),
            ["rejected", "busy", "rejected"],
            ["saved", "busy", "saved"],
        ),
        (404, "<html>not found</html>".into(), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (403, r#"{"message":"a firewall"}"#.into(), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (500, e("api_error", ""), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (502, "<html>bad gateway</html>".into(), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (503, String::new(), ["unknown", "unknown", "look up"], ["look up"; 3]),
        (302, String::new(), ["unknown", "unknown", "look up"], ["look up"; 3]),
    ];
    for (status, body, fresh, again) in rows {
        for (replayed, classes) in [(false, fresh), (true, again)] {
            for (should_retry, expected) in [None, Some(true), Some(false)].into_iter().zip(classes) {
                let answer = Answer { replayed, should_retry, ..answer(status, &body) };
                assert_eq!(class(&answer), expected, "{answer:?}");
            }
        }
    }
}

#[test]
fn what_did_not_come_is_unknown() {
    for lost in [Lost::NoConnection("refused".into()), Lost::TimedOut, Lost::Broken("reset".into()), Lost::TooLong] {
        let unknown = Reply::Unknown { why: Why::Lost(lost.clone()), look_up: false, after: None };
        assert_eq!(Reply::of(Err(&lost)), unknown);
        for status in [200, 400, 401, 409, 500] {
            let answer = Answer { body: Err(lost.clone()), ..answer(status, "") };
            assert_eq!(Reply::of(Ok(&answer)), unknown, "half an answer of {status}");
        }
    }
}

#[test]
fn waiting_is_kept() {
    let after = Some(Duration::from_secs(7));
    for status in [429, 409, 503] {
        let answer = Answer { retry_after: after, ..answer(status, &error("api_error", "x")) };
        assert_eq!(Reply::of(Ok(&answer)).after(), after, "{status}");
    }
}

#[test]
fn an_error_says_what_it_knows() {
    let Reply::Rejected { error, .. } = Reply::of(Ok(&answer(
        400,
        r#"{"error":{"type":"invalid_request_error","code":"resource_missing","param":"destination","message":"No such destination","new":{}}}"#,
    ))) else {
        panic!("a rejection is one")
    };
    assert_eq!(error.to_string(), "resource_missing (destination): No such destination");
    // A field of another type is as good as absent; the refusal stands.
    assert_eq!(class(&answer(400, r#"{"error":{"type":7,"code":null}}"#)), "rejected");
}

#[test]
fn the_text_for_people_is_cut() {
    let long = "é".repeat(5000);
    let raw = Seen::of(Ok(&answer(502, &format!("x{long}")))).raw;
    assert_eq!(raw.len(), bursar_stripe::RAW_LIMIT - 1, "cut between characters");
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (0..TRANSFER.len()).prop_map(|cut| TRANSFER.as_bytes()[..cut].to_vec()),
        "\\PC{0,40}".prop_map(move |t| text(&t)),
        ("[a-z_]{0,20}", "[a-z_]{0,20}").prop_map(|(kind, code)| error(&kind, &code).into_bytes()),
        Just(br#"{"error":{"code":"idempotency_key_in_use"}}"#.to_vec()),
        Just(br#"{"error":{"type":"idempotency_error"}}"#.to_vec()),
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_only_a_2xx_is_a_success(
        status: u16, low in 100u16..600, odd: bool, body in body(), replayed: bool, should_retry: Option<bool>, seconds: Option<u32>,
    ) {
        let status = if odd { status } else { low };
        let retry_after = seconds.map(|s| Duration::from_secs(s.into()));
        let answer = Answer { status, request_id: None, replayed, should_retry, retry_after, body: Ok(body.into()) };
        let seen = Seen::of(Ok(&answer));
        prop_assert!(seen.raw.len() <= bursar_stripe::RAW_LIMIT && !seen.to_string().is_empty());
        match seen.reply {
            Reply::Success(_) => prop_assert!((200..300).contains(&status)),
            // A definitive refusal is Stripe's own word in a 4xx.
            Reply::Rejected { .. } | Reply::KeyMisuse { .. } | Reply::Unauthorized { .. } => {
                prop_assert!((400..500).contains(&status) && seen.raw.contains("\"error\""));
            }
            Reply::Limited { .. } => prop_assert_eq!(status, 429),
            Reply::Busy { .. } => prop_assert!((400..500).contains(&status)),
            Reply::Unknown { look_up, .. } => {
                prop_assert!(look_up || !replayed && should_retry != Some(false));
            }
            Reply::NotSent { .. } => prop_assert!(false, "an answer is to something sent"),
        }
    }
}
