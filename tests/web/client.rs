//! A sender that says exactly what a test wants, byte for byte, and the two ways of signing.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use bursar_jobs::base::clock;
use ring::hmac;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

pub type Header = (&'static str, String);

pub struct Client(BufReader<TcpStream>);

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// What a refusal tells its sender.
    pub fn detail(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub async fn post(&mut self, path: &str, headers: &[Header], body: &str) -> Reply {
        self.send(&head("POST", path, headers, body.len())).await;
        self.send(body).await;
        self.reply().await
    }

    pub async fn request(&mut self, method: &str, path: &str) -> Reply {
        self.send(&head(method, path, &[], 0)).await;
        self.reply().await
    }

    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    pub async fn reply(&mut self) -> Reply {
        let line = self.line().await;
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut reply = Reply { status, headers, body: String::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        reply.body = String::from_utf8(body).unwrap();
        reply
    }

    /// Whether the server closes the connection without another word.
    pub async fn is_closed(&mut self) -> bool {
        // A reset is an end too.
        self.0.read(&mut [0; 1]).await.unwrap_or(0) == 0
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

pub fn head(method: &str, path: &str, headers: &[Header], length: usize) -> String {
    let headers: String = headers.iter().fold(String::new(), |all, (name, value)| all + name + ": " + value + "\r\n");
    format!("{method} {path} HTTP/1.1\r\nhost: bursar.test\r\ncontent-length: {length}\r\n{headers}\r\n")
}

/// Signed now.
pub fn stripe_signature(secret: &str, body: &str) -> Header {
    stripe_signature_at(secret, body, clock::now().timestamp())
}

pub fn stripe_signature_at(secret: &str, body: &str, time: i64) -> Header {
    ("stripe-signature", format!("t={time},v1={}", hex_hmac(secret, time, body)))
}

pub fn hex_hmac(secret: &str, time: i64, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), format!("{time}.{body}").as_bytes());
    tag.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Signed now, by the application's secret: id, time, signature.
pub fn standard_signature(id: &str, body: &str) -> [Header; 3] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode("C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap());
    let time = clock::now().timestamp();
    let tag = hmac::sign(&key, format!("{id}.{time}.{body}").as_bytes());
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", time.to_string()),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(tag))),
    ]
}
