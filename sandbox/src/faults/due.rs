//! Which fault a request meets: the one it asks for itself, else the next that was asked for, else what chaos draws.

use serde_json::{Map, Value, json};

use super::{ANY, Asked, Fault};
use crate::{failure::Failure, idempotency::Key, message::Request, world::World};

/// Names a fault for the request that carries it.
const HEADER: &str = "bursar-sandbox-fault";

/// A fault that a request is about to meet.
#[derive(Debug)]
pub(crate) struct Due {
    source: Source,
    pub fault: Fault,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Header,
    /// The place in the queue.
    Queue(usize),
    Chaos,
}

impl World {
    /// The fault that is due, if any; `route` is the name of the request's route.
    pub(crate) fn fault_due(
        &mut self,
        route: &str,
        request: &Request,
        key: Option<&Key>,
    ) -> Result<Option<Due>, Failure> {
        if let Some(header) = request.header(HEADER) {
            return Ok(Some(Due { source: Source::Header, fault: own(header)? }));
        }
        let fields = request.fields();
        let asked = Asked {
            route,
            endpoint: format!("{} {}", request.method, request.path),
            fields: &fields,
            key: key.map(|key| key.text.as_str()),
        };
        if let Some(at) = self.faults.next(&asked) {
            let fault = self.faults.get(at).cloned();
            return Ok(fault.map(|fault| Due { source: Source::Queue(at), fault }));
        }
        let drawn = self.chaos.draw(route, request, key);
        Ok(drawn.map(|fault| Due { source: Source::Chaos, fault }))
    }

    /// The request is answered: a fault of the queue that happened is consumed, and chaos counts what one key has met in a row.
    pub(crate) fn met(&mut self, due: Option<&Due>, happened: bool, request: &Request, key: Option<&Key>) {
        if let Some(Due { source: Source::Queue(at), .. }) = due.filter(|_| happened) {
            self.faults.consume(*at);
        }
        self.chaos.met(request, key, happened && matches!(due, Some(Due { source: Source::Chaos, .. })));
    }
}

/// `lose_answer`, or with options `slow; ms=50`.
fn own(header: &str) -> Result<Fault, Failure> {
    let refuse = |why: String| {
        let message = format!("Bursar-Sandbox-Fault: {why}. Write it like lose_answer, or slow; ms=50.");
        Failure::invalid(message).param("Bursar-Sandbox-Fault")
    };
    let mut parts = header.split(';').map(str::trim);
    let mut fault = Map::from_iter([("route".to_owned(), json!(ANY))]);
    fault.insert("fault".to_owned(), json!(parts.next().unwrap_or_default()));
    for option in parts {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if !["ms", "retry_after", "should_retry", "applied"].contains(&name) {
            return Err(refuse(format!("unknown option `{name}`, expected ms, retry_after, should_retry or applied")));
        }
        fault.insert(name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| json!(value)));
    }
    let fault: Fault = serde_json::from_value(Value::Object(fault)).map_err(|error| refuse(error.to_string()))?;
    // It is for this request, whose route is known.
    fault.check(|_, _| None)?;
    Ok(fault)
}
