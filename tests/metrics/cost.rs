//! What tracing costs `web`: a measurement, no judgement. Two webs over one database take events in turn, one of them traced.
//!
//! `cargo test --release --test main -- --ignored --nocapture metrics::cost`

use std::{fs::File, net::SocketAddr, time::Duration};

use bursar_jobs::clock;

use super::{WEBHOOK_SECRET, address, purchase, sink::Sink};
use crate::{
    support::{Child, bursar, database, scratch},
    web::client::{Client, stripe_signature},
};

/// Turns of each, and connections at once, and events on each in a turn.
const TURNS: usize = 12;
const CONNECTIONS: usize = 8;
const EVENTS: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, which wants the machine for itself"]
async fn what_tracing_costs_web() {
    let (db, folder, sink) = (database().await, scratch(), Sink::deaf().await);
    let mut webs = Vec::new();
    for (name, endpoint) in [("plain", String::new()), ("traced", format!("http://{}", sink.address))] {
        let mut command = bursar(&["web"]);
        command.env("DATABASE_URL", &db.url).env("PORT", "0").env("BURSAR_METRICS__WEB_PORT", "0");
        command.env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET).env("BURSAR_WEB__VERIFICATIONS", "false");
        command.env("BURSAR_LOG__FORMAT", "json").env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        command.stderr(File::create(folder.join(name)).unwrap());
        let process = Child::spawn(&mut command);
        webs.push((process, address(folder.join(name), "web listens", "address").await));
    }
    let mut took = [Vec::new(), Vec::new()];
    for turn in 0..=TURNS {
        for (nth, (_, web)) in webs.iter().enumerate() {
            let one = hear(*web, 2 * turn + nth).await;
            // The first turn warms up.
            if turn > 0 {
                took[nth].push(one);
            }
        }
    }
    let mut ratios: Vec<f64> =
        took[0].iter().zip(&took[1]).map(|(plain, traced)| plain.div_duration_f64(*traced)).collect();
    ratios.sort_by(f64::total_cmp);
    let events = u32::try_from(TURNS * CONNECTIONS * EVENTS).unwrap();
    for (name, took) in ["plain", "traced"].iter().zip(&took) {
        println!("{name}: {:.0} events a second", f64::from(events) / took.iter().sum::<Duration>().as_secs_f64());
    }
    println!("traced / plain: {:.3} (from {:.3} to {:.3})", ratios[TURNS / 2], ratios[0], ratios[TURNS - 1]);
    let heads = sink.heads().len();
    assert!(heads > 0, "spans were sent");
}

/// One turn: so many events over so many connections.
async fn hear(web: SocketAddr, turn: usize) -> Duration {
    let begun = clock::monotonic();
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            tokio::spawn(async move {
                let mut client = Client::connect(web).await;
                for nth in 0..EVENTS {
                    let body = purchase((turn * CONNECTIONS + connection) * EVENTS + nth).to_string();
                    let signed = stripe_signature(WEBHOOK_SECRET, &body);
                    assert_eq!(client.post("/api/stripe/webhook", &[signed], &body).await.status, 200);
                }
            })
        })
        .collect();
    for connection in connections {
        connection.await.unwrap();
    }
    begun.elapsed()
}
