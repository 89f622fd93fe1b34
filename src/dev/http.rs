//! One request to a process on this machine: all that the development commands need of a client.

use std::error::Error;

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why there is no answer.
pub(super) type Unanswered = Box<dyn Error + Send + Sync>;

/// Asks `base` (`http://host:port`) for a path, and reads the answer whole.
pub(super) async fn ask(
    method: Method,
    base: &str,
    path: &str,
    headers: &[(&'static str, String)],
    body: Vec<u8>,
) -> Result<(StatusCode, String), Unanswered> {
    let host = base.trim_start_matches("http://").trim_end_matches('/');
    let stream = TcpStream::connect(host).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(Bytes::from(body)))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    // The connection is driven beside the exchange, and may end first: the answer says "close".
    let (answer, _driven) = tokio::join!(exchange, connection);
    Ok(answer?)
}
