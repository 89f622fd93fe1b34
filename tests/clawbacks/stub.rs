//! A Stripe whose truth a test writes down as it likes, and the team's own address: one server, which keeps what it was asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// What there is.
#[derive(Default)]
pub struct State {
    pub charges: Vec<Value>,
    pub refunds: Vec<Value>,
    pub disputes: Vec<Value>,
    pub invoices: Vec<Value>,
    pub credit_notes: Vec<Value>,
    pub sessions: Vec<Value>,
    pub payments: Vec<Value>,
    /// What meters were told, by identifier.
    pub meter_events: HashMap<String, Value>,
    /// The answers saved under idempotency keys.
    saved: HashMap<String, String>,
    /// What the team's address answers next; 204 when there is nothing.
    pub team: Vec<u16>,
    pub asked: Vec<Asked>,
    /// Objects a page.
    pub page: usize,
}

pub struct Stub {
    pub url: String,
    pub state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Stub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { page: 100, ..State::default() }));
        let kept = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&kept)));
            }
        });
        Self { url, state, server }
    }

    pub fn asked(&self, line: &str) -> Vec<Asked> {
        self.state.lock().unwrap().asked.iter().filter(|asked| asked.line.starts_with(line)).cloned().collect()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut socket: TcpStream, state: Arc<Mutex<State>>) {
    let Some(asked) = read(&mut socket).await else { return };
    let (status, extra, body) = answer(&mut state.lock().unwrap(), &asked);
    state.lock().unwrap().asked.push(asked);
    let text =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{extra}content-length: {}\r\n\r\n{body}", body.len());
    drop(socket.write_all(text.as_bytes()).await);
}

async fn read(socket: &mut TcpStream) -> Option<Asked> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let (line, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
            let headers: HashMap<String, String> = rest
                .lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                let line = line.trim_end_matches(" HTTP/1.1").to_owned();
                return Some(Asked { line, headers, body: String::from_utf8(bytes[end + 4..].to_vec()).unwrap() });
            }
        }
        match socket.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

pub fn form(text: &str) -> HashMap<String, String> {
    let decode = |text: &str| {
        let mut out = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'%' => {
                    let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                    out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
                }
                b'+' => out.push(b' '),
                byte => out.push(byte),
            }
        }
        String::from_utf8(out).unwrap()
    };
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

fn answer(state: &mut State, asked: &Asked) -> (u16, &'static str, String) {
    let (method, target) = asked.line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = form(query);
    let list = |all: &[Value], of: &dyn Fn(&Value) -> bool| {
        let newest: Vec<&Value> = all.iter().rev().filter(|one| of(one)).collect();
        let from = query
            .get("starting_after")
            .map_or(0, |last| newest.iter().position(|one| one["id"] == last.as_str()).unwrap() + 1);
        let page: Vec<&Value> = newest.iter().skip(from).take(state.page).copied().collect();
        (200, "", json!({"object": "list", "has_more": from + page.len() < newest.len(), "data": page}).to_string())
    };
    let is = |name: &'static str| {
        let wanted = query.get(name).cloned();
        move |one: &Value| wanted.as_deref().is_none_or(|wanted| one[name] == wanted)
    };
    match (method, path) {
        ("POST", "/team") => {
            (if state.team.is_empty() { 204 } else { state.team.remove(0) }, "location: /elsewhere\r\n", String::new())
        }
        ("GET", "/v1/refunds") => list(&state.refunds, &is("charge")),
        ("GET", "/v1/disputes") => list(&state.disputes, &is("charge")),
        ("GET", "/v1/credit_notes") => list(&state.credit_notes, &is("invoice")),
        ("GET", path) if path.starts_with("/v1/invoices/") => {
            let found = state.invoices.iter().find(|invoice| path.ends_with(invoice["id"].as_str().unwrap()));
            found.map_or_else(missing, |invoice| (200, "", invoice.to_string()))
        }
        ("GET", "/v1/checkout/sessions") => list(&state.sessions, &is("payment_intent")),
        ("GET", "/v1/invoice_payments") => {
            let intent = query.get("payment[payment_intent]").cloned();
            let of_invoice = is("invoice");
            list(&state.payments, &|one| {
                of_invoice(one) && intent.as_deref().is_none_or(|intent| one["payment"]["payment_intent"] == intent)
            })
        }
        ("POST", "/v1/billing/meter_events") => meter(state, asked),
        ("GET", path) if path.starts_with("/v1/charges/") => {
            let found = state.charges.iter().find(|charge| path.ends_with(charge["id"].as_str().unwrap()));
            found.map_or_else(missing, |charge| (200, "", charge.to_string()))
        }
        ("GET", path) if path.starts_with("/v1/payment_intents/") => {
            let intent = path.rsplit('/').next().unwrap();
            let charge = state.charges.iter().find(|charge| charge["payment_intent"] == intent);
            let charge = charge.map(|charge| &charge["id"]);
            (200, "", json!({"object": "payment_intent", "id": intent, "latest_charge": charge}).to_string())
        }
        _ => (
            404,
            "",
            json!({"error": {"type": "invalid_request_error", "message": "Unrecognized request URL"}}).to_string(),
        ),
    }
}

fn missing() -> (u16, &'static str, String) {
    (
        404,
        "",
        json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such charge"}})
            .to_string(),
    )
}

/// Stripe: a key is answered once, and an identifier counted once.
fn meter(state: &mut State, asked: &Asked) -> (u16, &'static str, String) {
    let key = asked.headers["idempotency-key"].clone();
    if let Some(saved) = state.saved.get(&key) {
        return (200, "idempotent-replayed: true\r\n", saved.clone());
    }
    let form = form(&asked.body);
    let identifier = form["identifier"].clone();
    let event = json!({"object": "billing.meter_event", "identifier": identifier, "event_name": form["event_name"],
                       "timestamp": form["timestamp"].parse::<i64>().unwrap(),
                       "payload": {"value": form["payload[value]"], "stripe_customer_id": form["payload[stripe_customer_id]"]}});
    assert!(state.meter_events.insert(identifier, event.clone()).is_none(), "an identifier is sent under one key");
    state.saved.insert(key, event.to_string());
    (200, "", event.to_string())
}
