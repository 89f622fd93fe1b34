//! One connection, from its first byte to its last answer, and its good end when the process stops.

use std::{
    convert::Infallible,
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Request,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use bursar_jobs::base::clock;

use super::{Opened, Peer, Service, connections::Place, reply::Problem, seat::Seat};
use crate::{http::reply::Reply, telemetry::counts};

/// How long a connection that has sent nothing yet is still listened to after stop: it was accepted, and its request may be in
/// our socket already.
const FIRST_BYTES: Duration = Duration::from_millis(250);

/// Serves a connection until either side closes it. After stop, what has begun to arrive is still answered.
pub(super) async fn serve<S: Service>(server: Arc<S>, stream: TcpStream, place: Place) -> Result<(), hyper::Error> {
    let seat = Arc::clone(&place.seat);
    let place = Arc::new(place);
    let seen = Arc::new(Seen { seat: Arc::clone(&seat), read: AtomicU64::new(0), answered: AtomicU64::new(0) });
    let peer = stream.peer_addr().ok().map(|peer| peer.ip());
    let service = service_fn(|mut request: Request<Incoming>| {
        let (server, seen, place) = (Arc::clone(&server), Arc::clone(&seen), Arc::clone(&place));
        async move {
            seen.seat.begin();
            let client = peer.map(|peer| server.limits().proxies.client(peer, request.headers()));
            if let Some(client) = client {
                request.extensions_mut().insert(Peer(client));
            }
            let is_probe = S::is_probe(&request);
            // A probe is answered beside all others, and takes no seat from them.
            let is_beside = place.is_reserved() && (is_probe || !place.promote().await);
            let begun = clock::monotonic();
            let mut reply = if is_beside && !is_probe {
                Reply::from(Problem::unavailable("All connections are at work. Send it again."))
            } else {
                let counted = client.and_then(|client| place.connections().counted(client));
                request.extensions_mut().insert(Opened {
                    connections: Arc::clone(place.connections()),
                    counted,
                    seat: Arc::clone(&seen.seat),
                });
                server.answer(request).await
            };
            counts::answered(S::NAME, reply.status().as_u16(), begun.elapsed());
            if server.stop().is_said() || is_beside || seen.seat.is_spent(server.limits()) {
                // The connection closes behind the answer.
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            seen.seat.end(reply.status().is_success() && !is_probe);
            seen.answered.store(seen.read.load(Relaxed), Relaxed);
            Ok::<_, Infallible>(reply)
        }
    });
    let limits = server.limits();
    let patience = limits.head;
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // Runs from the last answer on, so that it bounds an idle connection too.
            .header_read_timeout(limits.head)
            .max_header_size(limits.head_bytes)
            .max_buf_size(limits.buffer_bytes)
            .serve_connection(
                TokioIo::new(Watched { stream, seen: Arc::clone(&seen), patience, stalled: None }),
                service
            )
    );
    tokio::select! {
        // First, so that the bytes which are there are seen before the stop is.
        biased;
        end = connection.as_mut() => return end,
        // For another one: its sender has no answer, and loses nothing.
        () = seat.closing() => return Ok(()),
        () = server.stop().wait() => {}
    }
    if seen.read.load(Relaxed) == 0
        && let Ok(end) = tokio::time::timeout(FIRST_BYTES, connection.as_mut()).await
    {
        return end;
    }
    if !seen.is_owed_an_answer() {
        connection.as_mut().graceful_shutdown();
    }
    connection.await
}

/// What went through a connection, by which a request that is half here is told from silence. The HTTP library alone would close
/// a kept-alive connection on the first half of its next request.
#[derive(Debug)]
struct Seen {
    seat: Arc<Seat>,
    /// Bytes read.
    read: AtomicU64,
    /// Bytes that had been read when the last answer was made.
    answered: AtomicU64,
}

impl Seen {
    fn is_owed_an_answer(&self) -> bool {
        self.read.load(Relaxed) > self.answered.load(Relaxed)
    }
}

/// A stream that counts what is read from it, and gives up on a peer that does not read what is written to it.
#[derive(Debug)]
struct Watched {
    stream: TcpStream,
    seen: Arc<Seen>,
    patience: Duration,
    /// Runs while a write makes no progress: the HTTP library has no such limit of its own, and its others stand still meanwhile.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn written(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answers")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(cx, buf);
        let more = buf.filled().len() - before;
        if more > 0 {
            self.seen.seat.received();
        }
        self.seen.read.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Relaxed);
        done
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
