//! Traces: one for each event, from its receipt through its jobs to their requests of Stripe.
//!
//! The trace's id derives from the event's, so that whoever knows the event knows its trace, in whatever process, after whatever crash. A job
//! keeps the context of the attempt that enqueued it, so that the tree is true. A request of `api` is in its sender's trace, or begins one, and
//! so do the jobs it leads to; any other job that no event caused is the root of its own. Where no endpoint is set nothing of this is done.

mod context;
mod otlp;
mod request;
mod roots;
mod wire;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bursar_jobs::base::clock;
use ring::digest;
use tokio::sync::{mpsc, oneshot};

use super::counts::PROCESS;
pub(crate) use context::Context;
pub use otlp::{Destination, DestinationError};
pub(crate) use request::served;
pub(crate) use roots::{Ended, Origin, contexts, ended, origins};

/// Spans wait here for the exporter; more than this are dropped, and counted.
const WAITING: usize = 1024;
/// What is still to be sent when a process ends has this long.
const FAREWELL: Duration = Duration::from_secs(3);

static SPANS: OnceLock<mpsc::Sender<Item>> = OnceLock::new();

/// The requests that an attempt made so far. Whoever runs it has them too, whatever becomes of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made(Arc<Mutex<Vec<Span>>>);

impl Made {
    /// Takes them out.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

tokio::task_local! {
    static REQUESTS: Made;
}

/// What the exporter takes.
enum Item {
    Spans(Vec<Span>),
    Flush(oneshot::Sender<()>),
}

/// Which side of a conversation a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Internal = 1,
    Server = 2,
    Client = 3,
    Consumer = 5,
}

/// Something that took a while.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub trace: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub name: Cow<'static, str>,
    pub side: Side,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<(&'static str, String)>,
    /// A span of another trace that led to it.
    pub link: Option<Context>,
    /// It did not end well.
    pub is_error: bool,
}

impl Span {
    /// One that ends now and took so long; of no trace yet.
    pub fn ended(name: impl Into<Cow<'static, str>>, side: Side, took: Duration) -> Self {
        let end = u64::try_from(clock::now().timestamp_nanos_opt().unwrap_or_default()).unwrap_or_default();
        Self {
            trace: [0; 16],
            id: chance(),
            parent: None,
            name: name.into(),
            side,
            start: end.saturating_sub(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)),
            end,
            attributes: Vec::new(),
            link: None,
            is_error: false,
        }
    }

    /// The same, at its place in a trace.
    pub fn at(self, place: Context, parent: Option<[u8; 8]>) -> Self {
        Self { trace: place.trace, id: place.span, parent, ..self }
    }
}

/// Starts to send traces of this process, called `role`. Nothing happens without it.
pub fn start(destination: Option<Destination>, role: &'static str) {
    let Some(destination) = destination else { return };
    let (sender, items) = mpsc::channel(WAITING);
    if SPANS.set(sender).is_ok() {
        tracing::info!(endpoint = destination.shown(), "traces are sent");
        tokio::spawn(otlp::run(destination, role, items));
    }
}

/// Sends what is left, when a process ends.
pub async fn finish() {
    let Some(sender) = SPANS.get() else { return };
    let (done, sent) = oneshot::channel();
    let flush = async {
        if sender.send(Item::Flush(done)).await.is_ok() {
            // An error means that the exporter is gone, and there is nobody to wait for.
            drop(sent.await);
        }
    };
    if tokio::time::timeout(FAREWELL, flush).await.is_err() {
        tracing::warn!("the last traces could not be sent in time");
    }
}

/// Whether anybody wants spans.
pub(crate) fn are_on() -> bool {
    SPANS.get().is_some()
}

fn send(spans: Vec<Span>) {
    let Some(sender) = SPANS.get() else { return };
    let count = u64::try_from(spans.len()).unwrap_or_default();
    if sender.try_send(Item::Spans(spans)).is_err() {
        PROCESS.spans_dropped.inc_by(count);
    }
}

/// An event was received, which took so long. What became of it: `new`, `duplicate` or `conflict`. Its trace is its own, and linked to its
/// sender's.
pub(crate) fn received(
    source: &'static str,
    kind: &str,
    id: &str,
    what: &'static str,
    took: Duration,
    sender: Option<Context>,
) {
    if !are_on() {
        return;
    }
    let mut span = Span::ended(format!("receive {kind}"), Side::Server, took);
    span.trace = trace_of(id);
    if what == "new" {
        span.id = receipt_of(id);
    } else {
        span.parent = Some(receipt_of(id));
    }
    span.link = sender;
    span.attributes = vec![
        ("bursar.event", id.to_owned()),
        ("bursar.source", source.to_owned()),
        ("bursar.received", what.to_owned()),
    ];
    send(vec![span]);
}

/// Runs an attempt and keeps the requests that it makes.
pub(crate) async fn attempt<T>(made: Made, run: impl Future<Output = T>) -> T {
    REQUESTS.scope(made, run).await
}

/// Adds to the attempt that runs, if one does and anybody wants to know.
pub(crate) fn within(span: impl FnOnce() -> Span) {
    if are_on() {
        // An error: no attempt runs here.
        REQUESTS
            .try_with(|made| made.0.lock().unwrap_or_else(PoisonError::into_inner).push(span()))
            .unwrap_or_default();
    }
}

/// The trace of what an event, or whatever else, began.
pub fn trace_of(root: &str) -> [u8; 16] {
    first(&["bursar trace", root])
}

/// The span of an event's first receipt.
fn receipt_of(event: &str) -> [u8; 8] {
    first(&["bursar receipt", event])
}

/// A span that nobody has to find again.
fn chance() -> [u8; 8] {
    let (_, id) = uuid::Uuid::new_v4().as_u64_pair();
    id.to_be_bytes()
}

/// The first bytes of what the parts hash to. Never all zeros, but by a chance of one in 2^64.
fn first<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    let digest = context.finish();
    let mut id = [0; N];
    id.copy_from_slice(&digest.as_ref()[..N]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_s_trace_is_the_same_in_every_process_and_another_s_is_another() {
        // As the README has a shell compute it.
        assert_eq!(
            u128::from_be_bytes(trace_of("evt_1SVbursarCheckout0001")),
            0x2cab_6f45_e6f1_ef14_f4f2_1010_564d_1367
        );
        assert_ne!(trace_of("evt_1"), trace_of("evt_2"));
    }

    #[tokio::test]
    async fn where_no_endpoint_is_set_nothing_is_kept() {
        let made = Made::default();
        let done = attempt(made.clone(), async {
            within(|| panic!("nobody asks for a span"));
            7
        })
        .await;
        assert_eq!((done, made.take().len()), (7, 0));
    }
}
