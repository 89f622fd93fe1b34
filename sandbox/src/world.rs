//! The sandbox's whole state, and what a request does to it. No I/O: the same requests at the same times and the same seed give
//! the same answers.

use std::collections::VecDeque;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    admin,
    chaos::Chaos,
    deliveries::{Deliveries, Delivery},
    event_faults::EventFaults,
    failure::{Answer, Failure},
    faults::{Due, Fault, Faults, Kind},
    idempotency::{Fingerprint, Key, Keys, Saved},
    layout,
    listen::Sessions,
    money::Money,
    pages,
    params::{self, Params},
    requests::Requests,
    routes::{self, Call, Route},
    setup::Setup,
    store::{Ids, Store},
    time::Plans,
    turns::{self, Turns},
    v1::payments::Awaited,
};

/// The version whose layout is kept.
pub const API_VERSION: &str = "2026-09-30.endive";

/// A request, read whole.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `POST` or `DELETE`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// Beside the media type and the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// What happens to an answer on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives,
    /// It arrives late; until then the key is in flight, and [`World::land`] is to be told.
    Late {
        /// How late.
        ms: u64,
        /// The request's key.
        key: Option<Key>,
    },
    /// The connection is closed instead.
    Lost,
    /// The connection is reset instead.
    Reset,
    /// The connection is closed in the middle of the body.
    Truncated,
}

/// An answer and its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// Whether and how it arrives.
    pub fate: Fate,
}

/// The state.
#[derive(Debug)]
pub struct World {
    pub(super) seed: u64,
    pub(super) ids: Ids,
    pub(super) store: Store,
    pub(super) money: Money,
    pub(super) faults: Faults,
    pub(super) chaos: Chaos,
    pub(super) keys: Keys,
    pub(super) requests: Requests,
    pub(super) plans: Plans,
    pub(super) awaited: Awaited,
    pub(super) deliveries: Deliveries,
    pub(super) sessions: Sessions,
    pub(super) event_faults: EventFaults,
    pub(super) turns: Turns,
    pub(super) setup: Setup,
    /// What deliveries are to be seen to.
    pub(super) outbox: VecDeque<Delivery>,
    /// Where it is reached, for the links it hands out.
    pub(super) url: String,
    /// Seconds that this sandbox's clock is ahead.
    pub(super) ahead: i64,
    /// The sandbox's time in seconds, as of this request.
    pub(super) now: i64,
    /// The time of its own clock, also while a test clock's is the present: banks know no test clock.
    pub(super) own: i64,
    /// The request that is answered; events name it.
    pub(super) request_id: String,
    pub(super) idempotency_key: Option<String>,
    api_key: Option<String>,
    /// Others than this machine are meant to reach it.
    pub(super) is_public: bool,
    executed: bool,
    injected: Option<Failure>,
}

impl World {
    /// A new one. Any test key is let in when `api_key` is none; `balance` is what each known currency starts with.
    pub fn new(url: String, api_key: Option<String>, seed: u64, balance: i64) -> Self {
        Self {
            seed,
            ids: Ids::new(seed),
            store: Store::default(),
            money: Money::new(balance),
            faults: Faults::default(),
            chaos: Chaos::new(0.0, seed),
            keys: Keys::default(),
            requests: Requests::default(),
            plans: Plans::default(),
            awaited: Awaited::default(),
            deliveries: Deliveries::default(),
            sessions: Sessions::default(),
            event_faults: EventFaults::default(),
            turns: Turns::default(),
            setup: Setup::default(),
            outbox: VecDeque::new(),
            url,
            ahead: 0,
            now: 0,
            own: 0,
            request_id: String::new(),
            idempotency_key: None,
            api_key,
            is_public: false,
            executed: false,
            injected: None,
        }
    }

    /// Answers a request; `now` is real time in seconds.
    pub fn handle(&mut self, now: i64, request: &Request) -> Reply {
        self.pass(now.saturating_add(self.ahead));
        let identity = turns::identity(request);
        self.ids.turn(identity, self.turns.count(identity));
        self.request_id = self.ids.next("req_");
        self.idempotency_key = request.header("idempotency-key").map(str::to_owned);
        let mut happened = None;
        let arrived = |response| Reply { response, fate: Fate::Arrives };
        let is_admin = request.path == "/_sandbox" || request.path.starts_with("/_sandbox/");
        let is_own = pages::guard::is_own(&self.url, self.is_public, request);
        let mut reply = if !is_own && (request.method != "POST" || !pages::is_page(request)) {
            // A browser sends what another site's page makes it send, and would show the answer to a site whose name leads here.
            arrived(pages::guard::foreign().into())
        } else if pages::is_page(request) {
            arrived(pages::answer(self, request))
        } else if is_admin {
            self.executed = true;
            arrived(admin::answer(self, request).map_or_else(Response::from, |body| Response::json(200, &body)))
        } else {
            self.v1(request, &mut happened).unwrap_or_else(|failure| arrived(failure.into()))
        };
        let version = request.header("stripe-version").unwrap_or(API_VERSION).to_owned();
        reply.response.headers.push(("Request-Id", self.request_id.clone()));
        reply.response.headers.push(("Stripe-Version", version));
        reply.response.headers.extend(self.setup.date(now).map(|date| ("Date", date)));
        if !is_admin {
            self.requests.record(self.now, &self.request_id, request, &reply, happened);
        }
        reply
    }

    /// A late answer has been given, or can no longer be: its key is not in flight any more.
    pub fn land(&mut self, key: &Key) {
        self.keys.land(key);
    }

    /// What is to be delivered since it was last asked.
    pub fn take_outbox(&mut self) -> Vec<Delivery> {
        self.outbox.drain(..).collect()
    }

    /// Validation ends here: what goes wrong from now on is saved under the key. Every route that changes something calls it
    /// before it changes anything.
    pub(super) fn execute(&mut self) -> Result<(), Failure> {
        self.executed = true;
        self.injected.take().map_or(Ok(()), Err)
    }

    fn v1(&mut self, request: &Request, happened: &mut Option<Kind>) -> Result<Reply, Failure> {
        let scope = self.authenticate(request)?;
        let (route, ids) = routes::find(&request.method, &request.path)?;
        self.setup.permit(scope.split(' ').next().unwrap_or_default(), route)?;
        // Stripe: "all POST requests accept idempotency keys"; elsewhere they have no effect.
        let header = request.header("idempotency-key").filter(|key| request.method == "POST" && !key.is_empty());
        let key = header.map(|text| Key::new(scope, text)).transpose()?;
        let due = self.fault_due(route, request, key.as_ref())?;
        let reply = self.meet(due.as_ref(), route, ids, request, key.as_ref(), happened);
        self.met(due.as_ref(), happened.is_some(), request, key.as_ref());
        Ok(reply)
    }

    /// Answers a request under a fault, if one is due and it lets it happen.
    fn meet(
        &mut self,
        due: Option<&Due>,
        route: &Route,
        ids: Vec<String>,
        request: &Request,
        key: Option<&Key>,
        happened: &mut Option<Kind>,
    ) -> Reply {
        let fault = due.map(|due| &due.fault);
        if let Some(fault) = fault {
            let before = fault.before(key.map(|key| key.text.as_str()));
            if before.is_some() || fault.kind == Kind::ResetBefore {
                *happened = Some(fault.kind);
                let fate = if fault.kind == Kind::ResetBefore { Fate::Reset } else { fate(fault, None) };
                let response = before.unwrap_or_else(|| Failure::internal().into());
                return Reply { response: retried(response, fault), fate };
            }
        }
        self.executed = false;
        let (response, ran) = self.once(route, ids, request, key, fault);
        let Some(fault) = fault.filter(|fault| !fault.is_of_execution() || ran) else {
            return Reply { response, fate: Fate::Arrives };
        };
        *happened = Some(fault.kind);
        // A refusal before execution has put nothing in flight.
        let held = key.filter(|_| ran && self.executed).cloned();
        Reply { response: retried(fault.disguise(response), fault), fate: fate(fault, held) }
    }

    /// Runs the request unless its key has an answer. Also says whether it ran, and met no refusal before execution.
    fn once(
        &mut self,
        route: &Route,
        ids: Vec<String>,
        request: &Request,
        key: Option<&Key>,
        fault: Option<&Fault>,
    ) -> (Response, bool) {
        let fields = request.fields();
        let fingerprint = Fingerprint::new(&request.path, fields.clone());
        if let Some(key) = key {
            match self.keys.look(key, &fingerprint, self.now) {
                Err(failure) => return (failure.into(), false),
                Ok(Some(saved)) => return (Response::replayed(saved, key), false),
                Ok(None) => {}
            }
        }
        self.injected = fault.and_then(Fault::at_execution);
        let mut answer = self.run(route, ids, request, &fields);
        // A route that reads has no execution of its own.
        if let (Some(refused), true) = (self.injected.take(), answer.is_ok()) {
            answer = Err(refused);
        }
        if let (Some(refused), true) = (fault.and_then(Fault::after_execution), answer.is_ok()) {
            answer = Err(refused);
        }
        let ran = self.executed || answer.is_ok() || request.method == "GET";
        let mut response = answer.map_or_else(Response::from, |object| Response::json(200, &object));
        if let Some(key) = key.filter(|_| self.executed) {
            let saved =
                Saved { status: response.status, body: response.body.clone(), request_id: self.request_id.clone() };
            let slow = fault.is_some_and(|fault| fault.kind == Kind::Slow);
            response.headers.extend(saved.headers(key));
            self.keys.save(key.clone(), fingerprint, saved, slow, self.now);
        }
        (response, ran)
    }

    fn run(&mut self, route: &Route, ids: Vec<String>, request: &Request, fields: &[(String, String)]) -> Answer {
        let form = request.header("content-type").is_none_or(|t| t.starts_with("application/x-www-form-urlencoded"));
        if !request.body.is_empty() && !form {
            let message = "Invalid request (check that your POST content type is application/x-www-form-urlencoded).";
            return Err(Failure::invalid(message));
        }
        let params = Params::parse(fields)?;
        params.check(route.params)?;
        let expand = params.texts("expand")?;
        let version = request.header("stripe-version").unwrap_or(API_VERSION);
        layout::check_version(version)?;
        let account = request.header("stripe-account").map(str::to_owned);
        if account.is_some() && route.path != "/v1/balance" {
            return Err(Failure::invalid(format!(
                "The sandbox keeps no {} of connected accounts: leave Stripe-Account out.",
                route.path
            )));
        }
        let object = (route.run)(self, &Call::new(params, ids, account))?;
        Ok(self.laid_out(object, &expand, version))
    }

    /// Lets test keys in; answers the scope of idempotency keys.
    fn authenticate(&self, request: &Request) -> Result<String, Failure> {
        let given = request.header("authorization").unwrap_or_default();
        let key = match given.split_once(' ') {
            Some(("Bearer", key)) => key.trim().to_owned(),
            Some(("Basic", code)) => {
                let pair = STANDARD.decode(code.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                pair.and_then(|pair| pair.split(':').next().map(str::to_owned)).unwrap_or_default()
            }
            _ => String::new(),
        };
        if key.is_empty() {
            return Err(Failure::unauthorized(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer \
                 auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            ));
        }
        let well_formed = key.len() >= 12 && (key.starts_with("sk_test_") || key.starts_with("rk_test_"));
        if !well_formed || self.api_key.as_ref().is_some_and(|wanted| *wanted != key) {
            let shown: String = key.chars().take(8).collect();
            return Err(Failure::unauthorized(format!(
                "Invalid API Key provided: {shown}***. The sandbox takes {}.",
                if self.api_key.is_some() {
                    "the key it was started with"
                } else {
                    "any sk_test_ key of 12 or more characters"
                }
            )));
        }
        Ok(format!("{key} {}", request.header("stripe-account").unwrap_or_default()))
    }
}

fn fate(fault: &Fault, key: Option<Key>) -> Fate {
    match fault.kind {
        Kind::LoseAnswer => Fate::Lost,
        Kind::ResetAfter | Kind::ResetBefore => Fate::Reset,
        Kind::Truncated200 => Fate::Truncated,
        Kind::Slow => Fate::Late { ms: fault.delay_ms(), key },
        _ => Fate::Arrives,
    }
}

fn retried(mut response: Response, fault: &Fault) -> Response {
    response.headers.extend(fault.should_retry_header().map(|retry| ("Stripe-Should-Retry", retry.to_string())));
    response
}

impl Request {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The decoded fields of the query and the body.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let mut fields = params::decode(self.query.as_bytes());
        fields.extend(params::decode(&self.body));
        fields
    }
}

impl Response {
    /// An answer of JSON.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        // Stripe's own layout; whoever reads a log of it is thankful.
        let body = serde_json::to_string_pretty(body).unwrap_or_else(|_| json!({}).to_string());
        Self { status, content_type: "application/json", headers: Vec::new(), body }
    }

    pub(super) fn html(body: String) -> Self {
        Self { status: 200, content_type: "text/html; charset=utf-8", headers: Vec::new(), body }
    }

    fn replayed(saved: Saved, key: &Key) -> Self {
        let mut headers = vec![("Idempotent-Replayed", "true".to_owned())];
        headers.extend(saved.headers(key));
        Self { status: saved.status, content_type: "application/json", headers, body: saved.body }
    }
}
