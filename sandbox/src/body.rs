//! The body of an answer, which may end in its middle.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// How long the half of a body has to leave before the connection is closed on the rest.
const HALF: Duration = Duration::from_millis(30);

/// A body known whole, of which all or half is sent.
#[derive(Debug)]
pub(super) struct Answer {
    left: Option<Bytes>,
    /// The length that is promised.
    length: u64,
    /// Set when the promise is broken.
    breaks: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    pub fn whole(body: String) -> Self {
        Self { length: u64::try_from(body.len()).unwrap_or_default(), left: Some(body.into()), breaks: None }
    }

    pub fn half(body: String) -> Self {
        let mut answer = Self::whole(body);
        answer.left = answer.left.map(|body| body.slice(..body.len() / 2));
        answer.breaks = Some(Box::pin(sleep(HALF)));
        answer
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(data) = self.left.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(pause) = &mut self.breaks else { return Poll::Ready(None) };
        pause.as_mut().poll(cx).map(|()| Some(Err(io::Error::other("told to end here"))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none() && self.breaks.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
