//! Events on their way out: posted when they are due, signed anew for each try.

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Uri,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    clock,
    deliveries::{Delivery, Post},
    shared::Shared,
    signature,
};

/// How an event names its sender.
pub(super) const AGENT: &str = "bursar-sandbox (not Stripe)";
pub(super) const MEDIA_TYPE: &str = "application/json; charset=utf-8";
/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// At once; the order of what is delivered at once is nobody's promise.
const AT_ONCE: usize = 8;

/// Delivers what comes until nobody can send any more.
pub(super) async fn run(mut deliveries: mpsc::UnboundedReceiver<Delivery>, shared: Weak<Shared>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut under_way = JoinSet::new();
    while let Some(delivery) = deliveries.recv().await {
        while under_way.try_join_next().is_some() {}
        under_way.spawn(persist(delivery, Arc::clone(&slots), shared.clone()));
    }
}

/// Tries until the world says that it is enough.
async fn persist(delivery: Delivery, slots: Arc<Semaphore>, shared: Weak<Shared>) {
    let mut pause = Some(delivery.after);
    while let Some(wait) = pause {
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let Ok(slot) = slots.acquire().await else { return };
        let due = shared.upgrade().and_then(|shared| shared.change(|world| world.due(delivery.id)));
        let Some(due) = due else { return };
        let result = timeout(PATIENCE, post(&due)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        drop(slot);
        tracing::debug!(due.event, due.url, ?result, "an event was posted");
        let result = result.map_err(|error| error.to_string());
        pause = shared.upgrade().and_then(|shared| shared.change(|world| world.tried(delivery.id, result)));
    }
}

async fn post(due: &Post) -> io::Result<u16> {
    let uri: Uri = due.url.parse().map_err(io::Error::other)?;
    let host = uri.host().unwrap_or("localhost").trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, uri.authority().map_or("localhost", |authority| authority.as_str()))
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header("Stripe-Signature", signature::sign(&due.secrets, clock::now(), &due.body))
        .body(Full::new(Bytes::from(due.body.clone())))
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
