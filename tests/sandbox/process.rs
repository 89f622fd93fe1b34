//! `bursar sandbox` as a process.

use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use nix::sys::signal::Signal;

use crate::support::{Child, bursar};

#[test]
fn it_says_where_it_is_and_stops_in_good_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut child = Child::spawn(bursar(&["sandbox", "--port", "0"]).stderr(Stdio::piped()));
        let mut words = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        words.read_line(&mut line).unwrap();
        assert!(line.starts_with("bursar sandbox: http://127.0.0.1:") && line.contains("not Stripe"), "{line}");
        child.signal(signal);
        assert!(child.wait().unwrap().success());
        let mut rest = String::new();
        words.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("STRIPE_API_BASE=http://127.0.0.1:"), "{rest}");
    }
}

#[test]
fn others_reach_it_only_when_that_is_meant() {
    let refused = bursar(&["sandbox", "--bind", "0.0.0.0", "--port", "0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("--public"), "{words}");
}
