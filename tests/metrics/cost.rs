//! What tracing costs `web`. Two webs over one database take events in turn, one of them traced: every event is taken by either, and the
//! ratio is said. On a machine of its own it is measured longer, by
//! `BURSAR_MEASURE=1 cargo test --release --test main -- --nocapture metrics::cost`.

use std::{fs::File, net::SocketAddr, time::Duration};

use bursar_jobs::base::clock;

use super::{WEBHOOK_SECRET, address, purchase, sink::Sink};
use crate::{
    support::{Child, bursar, database, scratch},
    web::client::{Client, stripe_signature},
};

/// Connections at once.
const CONNECTIONS: usize = 8;

/// Turns of each, and events on each connection in a turn.
fn extent() -> (usize, usize) {
    if std::env::var_os("BURSAR_MEASURE").is_some() { (12, 150) } else { (3, 20) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_traced_web_takes_every_event_and_says_what_that_costs() {
    let (turns, events) = extent();
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
    for turn in 0..=turns {
        for (nth, (_, web)) in webs.iter().enumerate() {
            let one = hear(*web, 2 * turn + nth, events).await;
            // The first turn warms up.
            if turn > 0 {
                took[nth].push(one);
            }
        }
    }
    let mut ratios: Vec<f64> =
        took[0].iter().zip(&took[1]).map(|(plain, traced)| plain.div_duration_f64(*traced)).collect();
    ratios.sort_by(f64::total_cmp);
    let taken = u32::try_from(turns * CONNECTIONS * events).unwrap();
    for (name, took) in ["plain", "traced"].iter().zip(&took) {
        println!("{name}: {:.0} events a second", f64::from(taken) / took.iter().sum::<Duration>().as_secs_f64());
    }
    println!("traced / plain: {:.3} (from {:.3} to {:.3})", ratios[turns / 2], ratios[0], ratios[turns - 1]);
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM bursar.event").fetch_one(&db.pool).await.unwrap();
    assert_eq!(usize::try_from(stored).unwrap(), 2 * (turns + 1) * CONNECTIONS * events);
    let heads = sink.heads().len();
    assert!(heads > 0, "spans were sent");
}

/// One turn: so many events over so many connections.
async fn hear(web: SocketAddr, turn: usize, events: usize) -> Duration {
    let begun = clock::monotonic();
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            tokio::spawn(async move {
                let mut client = Client::connect(web).await;
                for nth in 0..events {
                    let body = purchase((turn * CONNECTIONS + connection) * events + nth).to_string();
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
