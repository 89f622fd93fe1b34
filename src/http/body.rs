//! Reads a request's body whole, within a size and a time.

use http_body_util::BodyExt;
use hyper::{
    HeaderMap, StatusCode,
    body::{Body, Incoming},
    header::EXPECT,
};

use super::{Limits, reply::Problem};

/// A body over the limit is still read and thrown away up to this many bytes: a sender that is busy writing hears the 413 only
/// after that, and would otherwise see a broken connection.
const DISCARD_BYTES: usize = 8 << 20;

pub(crate) async fn read(headers: &HeaderMap, body: Incoming, limits: &Limits) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        let detail = format!("The body is larger than {} bytes.", limits.body_bytes);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    if declares_too_much(&body, limits) && headers.contains_key(EXPECT) {
        // The sender waits for our word before it sends: this is it.
        return Err(too_large());
    }
    match tokio::time::timeout(limits.body, collect(body, limits.body_bytes)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::bad_request("The body ended early; send it whole.")),
        Err(_) => {
            let detail = format!("The body did not arrive within {} s; send it again.", limits.body.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// Whether what the sender declares is over the limit, whatever it will send.
pub(crate) fn declares_too_much(body: &Incoming, limits: &Limits) -> bool {
    usize::try_from(body.size_hint().lower()).is_ok_and(|bytes| bytes > limits.body_bytes)
}

/// The body; `None` when there was more of it than the limit.
async fn collect(mut body: Incoming, limit: usize) -> Result<Option<Vec<u8>>, hyper::Error> {
    // What is declared is not believed: the buffer grows with what arrives.
    let (mut kept, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        seen += data.len();
        if seen <= limit {
            kept.extend_from_slice(&data);
        } else if seen > DISCARD_BYTES {
            break;
        } else {
            kept = Vec::new();
        }
    }
    Ok((seen <= limit).then_some(kept))
}
