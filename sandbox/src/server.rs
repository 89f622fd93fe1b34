//! HTTP around the world: reads a request whole, lets the world answer, and does to the answer what a fault wants.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Response as HttpResponse, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use super::{
    body::Answer,
    clock,
    failure::Failure,
    listen::socket,
    message::{Fate, Reply, Request, Response},
    pages,
    shared::{Shared, Stop, stopped},
};

/// No request of Stripe's API is larger.
const BODY_BYTES: usize = 1024 * 1024;
/// For the head and the body each.
const PATIENCE: Duration = Duration::from_secs(30);
/// For connections to end by themselves after stop.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often time passes while nobody asks for anything.
const TICK: Duration = Duration::from_millis(500);
/// Between two tries to accept when the machine has no descriptor left.
const BREATH: Duration = Duration::from_millis(50);

/// Serves until stop.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: Stop) {
    let mut connections = JoinSet::new();
    let mut ticks = interval(TICK);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ticks.tick() => {
                shared.change(|world| world.tick(clock::now()));
                continue;
            }
            () = stopped(stop.clone()) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => drop(connections.spawn(connection(stream, Arc::clone(&shared), stop.clone()))),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    // An answer that is told to be slow need not be waited for.
    drop(timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await);
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, stop: Stop) {
    // Small answers must not wait for each other.
    drop(stream.set_nodelay(true));
    let resets = Arc::new(AtomicBool::new(false));
    let stream = Resettable { stream, resets: Arc::clone(&resets) };
    let service = service_fn(|request| answer(Arc::clone(&shared), Arc::clone(&resets), stop.clone(), request));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let end = tokio::select! {
        end = connection.as_mut() => end,
        () = stopped(stop.clone()) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = end {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// An error closes the connection without an answer, which is what some faults want.
async fn answer(
    shared: Arc<Shared>,
    resets: Arc<AtomicBool>,
    stop: Stop,
    request: hyper::Request<Incoming>,
) -> io::Result<HttpResponse<Answer>> {
    if request.uri().path() == socket::PATH {
        let asked = head_of(&request);
        let is_own = {
            let world = shared.world();
            pages::guard::is_own(&world.url, world.is_public, &asked)
        };
        if !is_own {
            return Ok(http(pages::guard::foreign().into(), Answer::whole));
        }
        return Ok(socket::upgrade(&shared, request, stop));
    }
    let reply = match read(request).await {
        Ok(request) => shared.handle(&request),
        Err(refused) => Reply { response: refused.into(), fate: Fate::Arrives },
    };
    match reply.fate {
        Fate::Arrives => Ok(http(reply.response, Answer::whole)),
        Fate::Truncated => Ok(http(reply.response, Answer::half)),
        Fate::Lost => Err(io::Error::other("the answer is lost")),
        Fate::Reset => {
            resets.store(true, Relaxed);
            Err(io::Error::other("the connection is reset"))
        }
        Fate::Late { ms, key } => {
            // A task of its own: the key lands also when the caller has gone away.
            let landing = tokio::spawn(async move {
                sleep(Duration::from_millis(ms)).await;
                if let Some(key) = key {
                    shared.world().land(&key);
                }
            });
            landing.await.map_err(io::Error::other)?;
            Ok(http(reply.response, Answer::whole))
        }
    }
}

/// A request without its body.
fn head_of(request: &hyper::Request<Incoming>) -> Request {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Request {
        method: request.method().as_str().to_owned(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        body: Vec::new(),
    }
}

async fn read(request: hyper::Request<Incoming>) -> Result<Request, Failure> {
    let head = head_of(&request);
    let body = request.into_body();
    let body = match timeout(PATIENCE, Limited::new(body, BODY_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes().to_vec(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Failure::new(
                413,
                "invalid_request_error",
                format!("A request has at most {BODY_BYTES} bytes."),
            ));
        }
        Ok(Err(_)) => return Err(Failure::invalid("The body ended early.")),
        Err(_) => return Err(Failure::new(408, "invalid_request_error", "The body did not arrive in time.")),
    };
    Ok(Request { body, ..head })
}

fn http(response: Response, body: impl FnOnce(String) -> Answer) -> HttpResponse<Answer> {
    let mut http = HttpResponse::new(body(response.body));
    *http.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    for (name, value) in response.headers {
        // A key echoed from a request may hold what no header may: it is then left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            http.headers_mut().insert(name, value);
        }
    }
    http
}

/// A stream that can end with a reset instead of a farewell.
#[derive(Debug)]
struct Resettable {
    stream: TcpStream,
    resets: Arc<AtomicBool>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.resets.load(Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::warn!(%error, "a connection could not be reset");
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A farewell first would make the reset an end in good order.
        if self.resets.load(Relaxed) { Poll::Ready(Ok(())) } else { Pin::new(&mut self.stream).poll_shutdown(cx) }
    }
}
