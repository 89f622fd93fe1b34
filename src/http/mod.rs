//! What the processes that speak HTTP have in common: connections within limits, bodies read whole, answers as JSON, problems as
//! `application/problem+json`, and an end in good order.

pub(crate) mod body;
mod budget;
mod connection;
mod connections;
pub(crate) mod host;
mod proxies;
pub(crate) mod reply;
mod seat;
pub(crate) mod throttle;

use std::{future::Future, io, net::IpAddr, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinError, JoinSet},
};

pub use self::proxies::Proxies;
use self::{
    connections::{Admission, Connections},
    reply::Reply,
    seat::Seat,
};
use crate::stop::Stop;

/// Whom a request comes from, in its extensions: who is at the other end, or whom a trusted proxy there names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub IpAddr);

/// The connection that a request came by, in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    connections: Arc<Connections>,
    seat: Arc<Seat>,
    /// Whose share of the memory its body is of.
    counted: Option<IpAddr>,
}

/// What answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// What it is called in the log.
    const NAME: &'static str;

    /// Whether it stands beside what the process is there for. The log then gives its address another name, so that whoever looks for the
    /// process's own finds that.
    const IS_BESIDE: bool = false;

    /// What its senders may take.
    fn limits(&self) -> &Limits;

    /// What tells it to end.
    fn stop(&self) -> &Stop;

    /// Whether a request only asks how the process is: it is answered where there is room for nothing else.
    fn is_probe(request: &Request<Incoming>) -> bool {
        matches!(request.uri().path(), "/healthz" | "/readyz")
    }

    /// Answers one request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Reply> + Send;
}

/// What one sender, and all of them together, may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections served at once. Where there are more, the idlest is closed; where none is idle, more wait.
    pub connections: u32,
    /// Those of one address among them. This machine and trusted proxies have no such limit: they are many senders.
    pub connections_per_address: u32,
    /// Requests after which a connection is closed.
    pub requests: u32,
    /// Its age after which a connection is closed behind its next answer.
    pub age: Duration,
    /// The proxies that are believed about whom a request comes from.
    pub proxies: Proxies,
    /// Bytes of all bodies together, beyond the first 8 KiB of each.
    pub bodies_bytes: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes read ahead of what is wanted.
    pub buffer_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// For a request's head to arrive, and for which a connection may idle.
    pub head: Duration,
    /// For a request's body to arrive.
    pub body: Duration,
    /// For an answer to be found: for `web`, for an event to be stored, well below the time after which Stripe gives up.
    pub store: Duration,
    /// For requests in flight to end after stop. Longer than the three before it together, so that none is cut off.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_address: 128,
            requests: 1000,
            age: Duration::from_mins(5),
            proxies: Proxies::default(),
            bodies_bytes: 4 << 20,
            // No sender of events needs more. All connections together: 3 MiB.
            head_bytes: 8 << 10,
            buffer_bytes: 8 << 10,
            body_bytes: 1 << 20,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            store: Duration::from_secs(4),
            drain: Duration::from_secs(25),
        }
    }
}

/// Serves until stop is said and what was accepted is answered.
///
/// # Panics
/// When the limits contradict each other: see [`Limits::drain`].
pub(crate) async fn serve<S: Service>(service: &Arc<S>, listener: TcpListener) -> io::Result<()> {
    let limits = service.limits().clone();
    assert!(
        limits.head + limits.body + limits.store < limits.drain,
        "a request that keeps its limits must survive a drain"
    );
    let name = S::NAME;
    let address = listener.local_addr()?;
    if S::IS_BESIDE {
        tracing::info!(beside = %address, "{name} listens");
    } else {
        tracing::info!(%address, "{name} listens");
    }
    let seats = Connections::new(name, &limits);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = service.stop().wait() => break,
            Some(end) = connections.join_next() => note(end),
            (stream, peer) = accept(&listener, &seats) => match seats.admit(peer) {
                Admission::Seated(place) => {
                    connections.spawn(connection::serve(Arc::clone(service), stream, place));
                }
                Admission::Refused => drop(stream),
                // What was idle a moment ago is at work again.
                Admission::Full => {
                    let (service, seats) = (Arc::clone(service), Arc::clone(&seats));
                    connections.spawn(async move {
                        let Some(place) = seats.admit_soon(peer).await else { return Ok(()) };
                        connection::serve(service, stream, place).await
                    });
                }
            }
        }
    }
    for stream in waiting(listener)? {
        connections.spawn(connection::serve(Arc::clone(service), stream, seats.last()));
    }
    tracing::info!(connections = connections.len(), "{name} stops: it accepts no more and answers what it has");
    let drained = tokio::time::timeout(limits.drain, async {
        while let Some(end) = connections.join_next().await {
            note(end);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections were cut off: they did not end within {:?}",
            limits.drain
        );
        connections.shutdown().await;
    }
    Ok(())
}

/// The next connection, once there is room for it. Its failures end nothing: what is wrong is out of our hands and may pass.
async fn accept(listener: &TcpListener, seats: &Connections) -> (TcpStream, Option<IpAddr>) {
    // Before it is accepted: whoever waits in the kernel's queue is not lost when the process stops.
    seats.has_room().await;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                prepare(&stream);
                return (stream, Some(peer.ip()));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection; trying again (too many open files? raise `ulimit -n`)");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Closes the listener, and returns the connections that the kernel had accepted in our name: their requests may be here already.
fn waiting(listener: TcpListener) -> io::Result<Vec<TcpStream>> {
    // No backlog is longer.
    const MOST: usize = 1024;
    let listener = listener.into_std()?;
    let accepted = std::iter::from_fn(|| listener.accept().ok()).take(MOST);
    accepted
        .map(|(stream, _)| {
            stream.set_nonblocking(true)?;
            TcpStream::from_std(stream).inspect(prepare)
        })
        .collect()
}

/// Answers are small: each goes out at once.
fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
}

fn note(end: Result<Result<(), hyper::Error>, JoinError>) {
    match end {
        Ok(Ok(())) => {}
        // A sender that goes away, sends junk or takes too long.
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        Err(error) => {
            tracing::error!(%error, "a connection's handler panicked: this is a bug; its sender will try again");
        }
    }
}
