//! A client that shows everything: status, headers, body, and how a connection ended.

use std::{fmt::Write, net::Ipv4Addr, time::Duration};

use bursar::sandbox::{self, Options, Sandbox};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// It looks at its end whether our own client has sent anything that Stripe does not know: a job may hide what it was refused.
pub struct Client(pub Sandbox);

/// How bursar's client names itself. A test that sends something unknown on purpose goes by no name.
const OURS: &str = "bursar/";

impl Drop for Client {
    fn drop(&mut self) {
        let strange = self.0.strange_requests(OURS);
        assert!(std::thread::panicking() || strange.is_empty(), "bursar sent what Stripe does not know: {strange:?}");
    }
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    head: String,
    pub text: String,
    pub body: Value,
}

/// How a connection ended without a whole answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Closed, before any byte.
    Closed,
    /// Reset.
    Reset,
    /// Closed within the body.
    Short,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    pub fn id(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text);
        self.body["id"].as_str().unwrap().to_owned()
    }

    /// Type, code and parameter of an error.
    pub fn error(&self) -> (&str, &str, &str) {
        let error = &self.body["error"];
        assert!(error["message"].is_string(), "{}", self.text);
        let field = |name: &str| error[name].as_str().unwrap_or_default();
        (field("type"), field("code"), field("param"))
    }
}

impl Client {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        Self(sandbox::start(Options { address: (Ipv4Addr::LOCALHOST, 0).into(), ..options }).await.unwrap())
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", &[]).await.unwrap()
    }

    pub async fn post(&self, path: &str, form: &str) -> Reply {
        self.send("POST", path, form, &[]).await.unwrap()
    }

    pub async fn keyed(&self, key: &str, path: &str, form: &str) -> Result<Reply, Ended> {
        self.send("POST", path, form, &[("Idempotency-Key", key)]).await
    }

    /// One request on a connection of its own.
    pub async fn send(&self, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Result<Reply, Ended> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        if !headers.iter().any(|(name, _)| *name == "Authorization") {
            write!(head, "authorization: Bearer {}\r\n", self.0.key).unwrap();
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let mut stream = TcpStream::connect(self.0.address).await.unwrap();
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.unwrap();
        if read.is_err() {
            return Err(Ended::Reset);
        }
        let text = String::from_utf8(bytes).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return Err(Ended::Closed) };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let json = serde_json::from_str(body).unwrap_or_default();
        let reply = Reply { status, head: head.to_owned(), text: body.to_owned(), body: json };
        let length: usize = reply.header("content-length").unwrap().parse().unwrap();
        if body.len() < length { Err(Ended::Short) } else { Ok(reply) }
    }

    pub async fn fault(&self, json: &str) {
        let reply = self.post("/_sandbox/faults", json).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    /// An account that may receive.
    pub async fn receiver(&self) -> String {
        let account = self.post("/v1/accounts", "type=express&capabilities[transfers][requested]=true").await.id();
        let reply = self.post(&format!("/_sandbox/accounts/{account}"), r#"{"state":"active"}"#).await;
        assert_eq!(reply.body["capabilities"]["transfers"], "active");
        account
    }

    /// How many Transfers there are, in truth.
    pub async fn transfers(&self) -> usize {
        self.get("/_sandbox/ledger").await.body["transfers"].as_array().unwrap().len()
    }
}

pub fn transfer(receiver: &str) -> String {
    format!("amount=100&currency=usd&destination={receiver}&metadata[job_id]=job_1&transfer_group=job_1")
}
