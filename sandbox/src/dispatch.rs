//! What happens on a request: who answers it, under which fault, and what is kept under its key.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    admin,
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    faults::{Due, Fault, Kind},
    idempotency::{Fingerprint, Key, Saved},
    layout::{self, API_VERSION},
    message::{Fate, Reply, Request, Response},
    pages,
    params::Params,
    routes, turns,
    world::World,
};

impl World {
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
            let strange = routes::strange(request);
            self.requests.record(self.now, &self.request_id, request, &reply, happened, strange);
        }
        reply
    }

    fn v1(&mut self, request: &Request, happened: &mut Option<Kind>) -> Result<Reply, Failure> {
        let scope = self.authenticate(request)?;
        let (route, ids) = routes::find(&request.method, &request.path)?;
        self.setup.permit(scope.split(' ').next().unwrap_or_default(), route.method, route.path)?;
        // Stripe: "all POST requests accept idempotency keys"; elsewhere they have no effect.
        let header = request.header("idempotency-key").filter(|key| request.method == "POST" && !key.is_empty());
        let key = header.map(|text| Key::new(scope, text)).transpose()?;
        let due = self.fault_due(&route.name(), request, key.as_ref())?;
        let reply = self.meet(due.as_ref(), route, ids, request, key.as_ref(), happened);
        self.met(due.as_ref(), happened.is_some(), request, key.as_ref());
        Ok(reply)
    }

    /// Answers a request under a fault, if one is due and it lets it happen.
    fn meet(
        &mut self,
        due: Option<&Due>,
        route: &Endpoint,
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
        route: &Endpoint,
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

    fn run(&mut self, route: &Endpoint, ids: Vec<String>, request: &Request, fields: &[(String, String)]) -> Answer {
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
