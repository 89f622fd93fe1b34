//! The websocket of a listener: frames out, acknowledgements in, pings answered.

use std::{io, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{
        CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
    },
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::{
    body::Answer,
    clock,
    failure::Failure,
    shared::{Shared, Stop, stopped},
};

/// Where listeners dial.
pub(crate) const PATH: &str = "/v1/stripecli/subscribe";
const PROTOCOL: HeaderValue = HeaderValue::from_static("stripecli-devproxy-v1");
/// RFC 6455, 1.3.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A listener pings every 2 seconds: one that is silent this long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Larger than what a listener passes on of an answer (Stripe CLI: 5,000 bytes of body and 20 headers).
const MESSAGE_BYTES: usize = 256 * 1024;

/// Lets a listener in, or refuses it as Stripe does.
pub(crate) fn upgrade(shared: &Arc<Shared>, mut request: Request<Incoming>, stop: Stop) -> Response<Answer> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let session = header("websocket-id").to_owned();
    let key = header(SEC_WEBSOCKET_KEY.as_str()).to_owned();
    let is_websocket = header(UPGRADE.as_str()).eq_ignore_ascii_case("websocket") && !key.is_empty();
    if !is_websocket {
        return refused(Failure::invalid("A websocket is spoken here."));
    }
    let Some(connection) = shared.change(|world| world.sessions.connect(&session)) else {
        return refused(Failure::new(404, "invalid_request_error", "Unknown WebSocket ID."));
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(speak(Arc::clone(shared), session, connection, upgraded, stop));
    let accept = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes());
    let mut response = Response::new(Answer::whole(String::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    if let Ok(accept) = HeaderValue::try_from(STANDARD.encode(accept)) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

fn refused(failure: Failure) -> Response<Answer> {
    let refused = crate::message::Response::from(failure);
    let mut response = Response::new(Answer::whole(refused.body));
    *response.status_mut() = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(refused.content_type));
    response
}

async fn speak(shared: Arc<Shared>, session: String, connection: u64, upgraded: OnUpgrade, stop: Stop) {
    let spoken = async {
        let stream = upgraded.await.map_err(io::Error::other)?;
        let config =
            WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(config)).await;
        converse(&shared, &session, connection, &mut socket, stop).await.map_err(io::Error::other)
    };
    if let Err(error) = spoken.await {
        tracing::debug!(%error, session, "a listener left");
    }
    shared.change(|world| world.disconnect(&session, connection, clock::now()));
}

/// Until the listener leaves or falls silent, another websocket takes its place, or everything stops.
async fn converse(
    shared: &Shared,
    session: &str,
    connection: u64,
    socket: &mut WebSocketStream<TokioIo<Upgraded>>,
    stop: Stop,
) -> Result<(), Error> {
    let mut news = shared.news();
    let mut sent = 0;
    loop {
        // Seen before it is looked at: what comes in between is news again.
        news.mark_unchanged();
        let frames = shared.world().frames(session, connection, sent, clock::now());
        let Some((frames, last)) = frames else { return socket.close(None).await };
        for frame in frames {
            socket.feed(Message::text(frame)).await?;
        }
        socket.flush().await?;
        sent = last;
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return Ok(()) },
            said = timeout(SILENCE, socket.next()) => match said {
                Ok(Some(Ok(Message::Text(text)))) => shared.change(|world| world.heard(session, &text)),
                // Pings are answered, and a farewell returned, below us.
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(Error::ConnectionClosed)) | None) | Err(_) => return Ok(()),
                Ok(Some(Err(error))) => return Err(error),
            },
            () = stopped(stop.clone()) => return socket.close(None).await,
        }
    }
}
