//! What strangers can hold, and that a signed event gets through meanwhile.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    CHECKOUT, Server, WEBHOOK,
    client::{Client, head, stripe_signature},
    deliver, events,
};
use crate::{
    metrics::address,
    support::{self, Child, bursar, scratch},
};

const PROBE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
const SECRET: &str = "whsec_new_of_the_endpoint";

/// Keeps connections open by asking for nothing of use, each anew when it was closed, until it is aborted.
async fn hold(address: std::net::SocketAddr, count: usize) {
    let mut open: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    loop {
        for one in &mut open {
            let is_open = match one {
                Some(stream) => {
                    // Whatever was answered is taken off the socket.
                    let mut seen = [0; 4096];
                    let is_over = matches!(stream.try_read(&mut seen), Ok(0));
                    !is_over && stream.write_all(PROBE).await.is_ok()
                }
                None => false,
            };
            if !is_open {
                *one = TcpStream::connect(address).await.ok();
                if let Some(stream) = one {
                    drop(stream.write_all(PROBE).await);
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_idle_connections_keep_no_signed_event_waiting() {
    const IDLE: usize = 2000;
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    // All of them are there before it begins.
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(PROBE).await.unwrap();
        idle.push(stream);
    }
    let strangers = tokio::spawn(hold(server.address, IDLE));
    let mut slowest = Duration::ZERO;
    for nth in 0..40 {
        let body = CHECKOUT.replace("evt_1", &format!("evt_{nth}"));
        let begun = Instant::now();
        assert_eq!(deliver(&server, &body).await.status, 200);
        slowest = slowest.max(begun.elapsed());
        // A probe is answered as well.
        assert_eq!(Client::connect(server.address).await.request("GET", "/healthz").await.status, 200);
    }
    strangers.abort();
    assert!(slowest < Duration::from_secs(2), "the slowest took {slowest:?}");
    assert_eq!(events(&database.pool).await, 40);
    drop(idle);
}

#[tokio::test]
async fn a_connection_has_so_many_requests_and_then_ends() {
    let database = support::database().await;
    let server = Server::start_with(&database.pool, |settings| settings.limits.requests = 3).await;
    let mut client = Client::connect(server.address).await;
    for last in [false, false, true] {
        let reply = client.request("GET", "/healthz").await;
        assert_eq!((reply.status, reply.header("connection") == Some("close")), (200, last));
    }
    assert!(client.is_closed().await);
    let server = Server::start_with(&database.pool, |settings| settings.limits.age = Duration::ZERO).await;
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.request("GET", "/healthz").await.header("connection"), Some("close"));
}

#[tokio::test]
async fn bodies_that_dawdle_hold_no_memory_against_an_event() {
    let database = support::database().await;
    let server = Server::start_with(&database.pool, |settings| settings.limits.bodies_bytes = 64 << 10).await;
    // Each has paid for 32 KiB beyond what is free, and sends no more.
    let (part, mut slow) = (" ".repeat(40 << 10), Vec::new());
    for _ in 0..2 {
        let mut client = Client::connect(server.address).await;
        client.send(&head("POST", WEBHOOK, &[stripe_signature("whsec_stranger", "")], 100 << 10)).await;
        client.send(&part).await;
        slow.push(client);
    }
    assert_eq!(deliver(&server, CHECKOUT).await.status, 200, "an ordinary event costs nothing of it");
    // A large one gets the memory of the slowest.
    let large = format!("{}{}", CHECKOUT.replace("evt_1", "evt_large"), " ".repeat(30 << 10));
    assert_eq!(deliver(&server, &large).await.status, 200);
    let mut cut = slow.remove(0);
    let reply = cut.reply().await;
    assert_eq!((reply.status, reply.header("retry-after").is_some()), (503, true), "{reply:?}");
    // More than all may hold together is refused, with its sender told to come again.
    let reply = deliver(&server, &format!("{CHECKOUT}{}", " ".repeat(200 << 10))).await;
    assert_eq!((reply.status, reply.header("retry-after").is_some()), (503, true), "{reply:?}");
    assert_eq!(events(&database.pool).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_forged_bodies_of_a_mebibyte_cost_no_more_than_64() {
    let (database, folder) = (support::database().await, scratch());
    let log = folder.join("web");
    let mut command = bursar(&["web"]);
    command.current_dir(&*folder).stderr(File::create(&log).unwrap());
    command.env("DATABASE_URL", &database.url).env("PORT", "0").env("BURSAR_METRICS__WEB_PORT", "off");
    command.env("BURSAR_LOG__FORMAT", "json").env("STRIPE_WEBHOOK_SECRET", SECRET);
    command.env("VERIFICATION_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    let web = Child::spawn(&mut command);
    let address = address(log, "web listens", "address").await;

    let body = std::sync::Arc::new(vec![b'x'; 1 << 20]);
    let forged = head("POST", WEBHOOK, &[stripe_signature("whsec_stranger", "")], 1 << 20);
    let mut senders = JoinSet::new();
    for _ in 0..500 {
        let (forged, body) = (forged.clone(), std::sync::Arc::clone(&body));
        senders.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(forged.as_bytes()).await?;
            stream.write_all(&body).await?;
            let mut line = [0; 12];
            stream.read_exact(&mut line).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&line).into_owned())
        });
    }
    let answers = senders.join_all().await;
    for answer in answers.iter().flatten() {
        assert!(["HTTP/1.1 400", "HTTP/1.1 503", "HTTP/1.1 408"].contains(&answer.as_str()), "{answer}");
    }
    assert!(answers.iter().flatten().count() > 128, "many of them hear an answer");
    let reply = Client::connect(address).await.post(WEBHOOK, &[stripe_signature(SECRET, CHECKOUT)], CHECKOUT).await;
    assert_eq!(reply.status, 200);

    let status = std::fs::read_to_string(format!("/proc/{}/status", web.id())).unwrap();
    let kib = |field| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    // Without the pages of the program's file: in a build without optimisation these alone are 36 MiB, in a release they are few.
    let (most, file) = (kib("VmHWM:"), kib("RssFile:"));
    assert!(cfg!(debug_assertions) || most <= 64 << 10, "{most} KiB resident at most");
    assert!(most - file <= 44 << 10, "{most} KiB resident at most, of which {file} KiB are pages of files");
}
