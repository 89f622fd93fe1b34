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

#[test]
fn it_says_how_its_chaos_can_be_had_again() {
    for (args, said) in
        [(&["--chaos", "0.3", "--seed", "7"][..], "--chaos 0.3 --seed 7"), (&["--chaos", "1"][..], "--chaos 1 --seed ")]
    {
        let args = [&["sandbox", "--port", "0"], args].concat();
        let mut child = Child::spawn(bursar(&args).stderr(Stdio::piped()));
        let words = BufReader::new(child.stderr.take().unwrap());
        assert!(words.lines().take(10).any(|line| line.unwrap().contains(said)), "{args:?}");
        child.signal(Signal::SIGTERM);
        assert!(child.wait().unwrap().success());
    }
    let refused = bursar(&["sandbox", "--port", "0", "--chaos", "2"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("between 0 and 1"), "{words}");
}
