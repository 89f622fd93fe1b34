//! Events on their way out: signed, posted, and tried again a few times in quick succession.

use std::{io, sync::Arc, time::Duration};

use bursar_jobs::clock;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Uri,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use ring::hmac;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{events::Delivery, server::Shared};

/// Stripe's days of retries, in seconds: some 13 of them in all.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// At once; the order of what is delivered at once is nobody's promise.
const AT_ONCE: usize = 8;

/// Delivers what comes until nobody can send any more.
pub(super) async fn run(mut deliveries: mpsc::UnboundedReceiver<Delivery>, shared: std::sync::Weak<Shared>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut under_way = JoinSet::new();
    while let Some(delivery) = deliveries.recv().await {
        while under_way.try_join_next().is_some() {}
        let (slots, shared) = (Arc::clone(&slots), shared.clone());
        under_way.spawn(async move {
            if persist(&slots, &delivery).await
                && let Some(shared) = shared.upgrade()
            {
                shared.world().delivered(&delivery.event);
            }
        });
    }
}

/// Whether it was taken in the end.
async fn persist(slots: &Semaphore, delivery: &Delivery) -> bool {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=TRIES {
        let result = {
            let Ok(_slot) = slots.acquire().await else { return false };
            timeout(PATIENCE, post(delivery)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        match result {
            Ok(status) if (200..300).contains(&status) => return true,
            Ok(status) => tracing::debug!(delivery.event, delivery.url, status, attempt, "an event was not taken"),
            Err(error) => tracing::debug!(delivery.event, delivery.url, %error, attempt, "an event was not taken"),
        }
        sleep(pause).await;
        pause *= 2;
    }
    tracing::warn!(delivery.event, delivery.url, "an event was not taken in {TRIES} tries, and is not sent again");
    false
}

async fn post(delivery: &Delivery) -> io::Result<u16> {
    let uri: Uri = delivery.url.parse().map_err(io::Error::other)?;
    let host = uri.host().unwrap_or("localhost").trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, uri.authority().map_or("localhost", |authority| authority.as_str()))
        .header(USER_AGENT, "bursar-sandbox (not Stripe)")
        .header(CONTENT_TYPE, "application/json; charset=utf-8")
        .header("Stripe-Signature", signature(&delivery.secret, &delivery.body))
        .body(Full::new(Bytes::from(delivery.body.clone())))
        .map_err(io::Error::other)?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        drop(sender);
        Ok::<_, hyper::Error>(status)
    };
    let (status, _) = tokio::join!(answered, connection);
    status.map_err(io::Error::other)
}

/// Signed anew for each try, by real time: the receiver judges the age by its own clock, which the sandbox does not move.
fn signature(secret: &str, body: &str) -> String {
    let time = clock::now().timestamp();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    let hex: String = tag
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|n| char::from_digit(n.into(), 16))
        .collect();
    format!("t={time},v1={hex}")
}
