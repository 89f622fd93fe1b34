//! A server that answers each request with the bytes it was given, and keeps what it was asked.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the stub does with one request.
pub enum Do {
    /// Reads it, answers with these bytes, keeps the connection.
    Answer(String),
    /// Reads it, answers with these bytes, closes the connection.
    AnswerAndClose(String),
    /// Reads it, and never answers.
    Hang,
    /// Closes the connection with the request unread.
    ResetBefore,
    /// Reads it, then closes the connection.
    ResetAfter,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which connection it came by.
    pub connection: usize,
    /// The request line and the headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

pub struct Stub {
    pub base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: JoinHandle<()>,
}

impl Stub {
    /// Does these in turn, the last one again and again.
    pub async fn doing(script: Vec<Do>) -> Self {
        assert!(!script.is_empty());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, kept) = (Arc::new(script), asked.clone());
        let server = tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, connection, script.clone(), kept.clone()));
                connection += 1;
            }
        });
        Self { base, asked, server }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut socket: TcpStream, connection: usize, script: Arc<Vec<Do>>, asked: Arc<Mutex<Vec<Asked>>>) {
    loop {
        let turn = asked.lock().unwrap().len().min(script.len() - 1);
        if matches!(script[turn], Do::ResetBefore) {
            asked.lock().unwrap().push(Asked { connection, head: String::new(), body: String::new() });
            socket.set_zero_linger().unwrap();
            return;
        }
        let Some((head, body)) = read(&mut socket).await else { return };
        asked.lock().unwrap().push(Asked { connection, head, body });
        match &script[turn] {
            Do::Answer(bytes) => socket.write_all(bytes.as_bytes()).await.unwrap(),
            Do::AnswerAndClose(bytes) => return socket.write_all(bytes.as_bytes()).await.unwrap(),
            // Until the client gives up and closes.
            Do::Hang => assert_eq!(socket.read(&mut [0; 1]).await.unwrap_or(0), 0),
            Do::ResetBefore | Do::ResetAfter => return socket.set_zero_linger().unwrap(),
        }
    }
}

async fn read(socket: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
                .map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some((head, String::from_utf8(bytes[end + 4..].to_vec()).unwrap()));
            }
        }
        match socket.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

/// An HTTP answer. `headers` are whole lines.
pub fn http(status: u16, headers: &[&str], body: &str) -> String {
    let length = format!("content-length: {}", body.len());
    let head = [&["request-id: req_1", length.as_str()], headers].concat().join("\r\n");
    format!("HTTP/1.1 {status} X\r\n{head}\r\n\r\n{body}")
}

/// Stripe's error object.
pub fn error(kind: &str, code: &str) -> String {
    serde_json::json!({"error": {"type": kind, "code": code, "message": "as Stripe says it"}}).to_string()
}

/// A Transfer.
pub const TRANSFER: &str = r#"{"id":"tr_1","object":"transfer","amount":100,"currency":"usd","created":1,"destination":"acct_1","metadata":{}}"#;
