//! Reads a request's body whole, within a size, a time, and the memory that all bodies share.

use std::{ops::Deref, pin::pin, time::Duration};

use http_body_util::BodyExt;
use hyper::{
    StatusCode,
    body::{Body as _, Incoming},
    header::EXPECT,
    http::request::Parts,
};

use super::{
    Limits, Opened,
    budget::{BLOCK, NoRoom, Portion},
    reply::Problem,
};

/// A body that is not taken is still read and thrown away up to this many bytes: a sender that is busy writing hears the answer only
/// after that, and would otherwise see a broken connection.
const DISCARD_BYTES: usize = 8 << 20;

/// A body that was given up is thrown away for this long, so that its sender hears the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Longer than any limit of a body.
const NEVER: Duration = Duration::from_hours(1);

/// A body, and its part of the memory that all share.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    _portion: Option<Portion>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why there is no body.
enum Lost {
    TooLarge,
    NoRoom(NoRoom),
    Early,
}

pub(crate) async fn read(head: &Parts, body: Incoming, limits: &Limits) -> Result<Body, Problem> {
    if declares_too_much(&body, limits) && head.headers.contains_key(EXPECT) {
        // The sender waits for our word before it sends: this is it.
        return Err(too_large(limits));
    }
    let opened = head.extensions.get::<Opened>();
    if let Some(opened) = opened {
        opened.seat.read();
    }
    let collected = tokio::time::timeout(limits.body, collect(body, limits.body_bytes, opened)).await;
    if let Some(opened) = opened {
        opened.seat.has_read();
    }
    collected.map_err(|_| late(limits.body))?.map_err(|lost| match lost {
        Lost::TooLarge => too_large(limits),
        Lost::Early => Problem::bad_request("The body ended early; send it whole."),
        Lost::NoRoom(why) => no_room(opened, why),
    })
}

/// Whether what the sender declares is over the limit, whatever it will send.
pub(crate) fn declares_too_much(body: &Incoming, limits: &Limits) -> bool {
    usize::try_from(body.size_hint().lower()).is_ok_and(|bytes| bytes > limits.body_bytes)
}

fn too_large(limits: &Limits) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is larger than {} bytes.", limits.body_bytes))
}

fn late(limit: Duration) -> Problem {
    let detail = format!("The body did not arrive within {} s; send it again.", limit.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
}

fn no_room(opened: Option<&Opened>, why: NoRoom) -> Problem {
    if let Some(opened) = opened {
        opened.connections.say_heavy(opened.counted, why);
    }
    let detail = match why {
        NoRoom::Share => "Your address sends more large bodies at once than it may. Send it again.",
        NoRoom::Budget => "More large bodies arrive at once than there is memory for. Send it again.",
        NoRoom::Slow => "The body arrived slowly while others needed the memory. Send it again.",
    };
    Problem::unavailable(detail)
}

/// Takes a body in blocks, each of which is paid for before it is filled. What is declared is not believed.
async fn collect(mut body: Incoming, limit: usize, opened: Option<&Opened>) -> Result<Body, Lost> {
    let mut portion = opened.map(|opened| opened.connections.budget.begin(opened.counted));
    let cut = portion.as_ref().map(Portion::cut_by).unwrap_or_default();
    let (mut blocks, mut seen, mut lost): (Vec<Vec<u8>>, usize, Option<Lost>) = (Vec::new(), 0, None);
    let mut linger = pin!(tokio::time::sleep(NEVER));
    loop {
        let frame = tokio::select! {
            biased;
            () = cut.notified(), if lost.is_none() => {
                lost = Some(Lost::NoRoom(NoRoom::Slow));
                linger.set(tokio::time::sleep(LINGER));
                // What it held goes at once, and what still comes is thrown away.
                blocks = Vec::new();
                portion = None;
                continue;
            }
            () = linger.as_mut() => break,
            frame = body.frame() => frame,
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| Lost::Early)?.into_data() else { continue };
        seen += data.len();
        if seen > limit && lost.is_none() {
            lost = Some(Lost::TooLarge);
        }
        if lost.is_none() {
            let refused = keep(&data, &mut blocks, portion.as_mut()).await.err();
            if refused == Some(NoRoom::Slow) {
                linger.set(tokio::time::sleep(LINGER));
            }
            lost = refused.map(Lost::NoRoom);
        }
        if lost.is_some() {
            blocks = Vec::new();
            portion = None;
            if seen > DISCARD_BYTES {
                break;
            }
        }
    }
    if let Some(lost) = lost {
        return Err(lost);
    }
    if let Some(portion) = &portion {
        portion.arrived();
    }
    Ok(Body { bytes: joined(blocks), _portion: portion })
}

async fn keep(mut data: &[u8], blocks: &mut Vec<Vec<u8>>, mut portion: Option<&mut Portion>) -> Result<(), NoRoom> {
    while !data.is_empty() {
        if blocks.last().is_none_or(|block| block.len() == BLOCK) {
            // The first one is free.
            if let Some(portion) = portion.as_deref_mut().filter(|_| !blocks.is_empty()) {
                portion.grow().await?;
            }
            blocks.push(Vec::new());
        }
        let Some(block) = blocks.last_mut() else { break };
        let (now, later) = data.split_at(data.len().min(BLOCK - block.len()));
        block.extend_from_slice(now);
        data = later;
    }
    Ok(())
}

/// The blocks as one. Each goes as soon as it is copied.
fn joined(mut blocks: Vec<Vec<u8>>) -> Vec<u8> {
    if blocks.len() < 2 {
        return blocks.pop().unwrap_or_default();
    }
    let mut all = Vec::with_capacity(blocks.iter().map(Vec::len).sum());
    for block in blocks {
        all.extend_from_slice(&block);
    }
    all
}
