//! A stand-in for Stripe that answers a GET with the object that was put there, and a POST with what was put there for it.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A path, and the fields that were posted there.
pub type Post = (String, Vec<(String, String)>);

#[derive(Clone, Default)]
pub struct Stripe {
    pub url: String,
    objects: Arc<Mutex<HashMap<String, Value>>>,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Stripe {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stripe = Self { url, ..Self::default() };
        let served = stripe.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move { served.serve(stream).await });
            }
        });
        stripe
    }

    /// What Stripe has there from now on. A POST is answered with what is at `POST /v1/…`.
    pub fn put(&self, path: &str, object: Value) {
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    /// What was posted so far: paths and fields.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).await.ok()? == 0 {
                    return None;
                }
            }
            let field = |name: &str| {
                head.lines()
                    .filter_map(|l| l.split_once(": "))
                    .find(|(n, _)| n.eq_ignore_ascii_case(name))
                    .map(|(_, v)| v)
            };
            let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
            stream.read_exact(&mut body).await.ok()?;
            let mut words = head.split(' ');
            let (method, path) = (words.next()?, words.next()?);
            let key = if method == "POST" {
                let fields = form(&String::from_utf8(body).unwrap());
                self.posts.lock().unwrap().push((path.to_owned(), fields));
                format!("POST {path}")
            } else {
                path.to_owned()
            };
            let found = {
                let objects = self.objects.lock().unwrap();
                let bare = key.split('?').next().unwrap_or_default();
                let found = objects.get(&key).or_else(|| objects.get(bare)).cloned();
                // What changes is prorated, unless a test says that it is not.
                found.or_else(|| (bare == "/v1/invoiceitems").then(|| items(true)))
            };
            let (status, answer) = match found {
                Some(object) => ("200 OK", object),
                None => (
                    "404 Not Found",
                    json!({"error": {"type": "invalid_request_error", "code": "resource_missing",
                                                            "message": format!("No such thing: {path}")}}),
                ),
            };
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nrequest-id: req_1\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all(format!("{head}{answer}").as_bytes()).await.ok()?;
        }
    }
}

/// The invoice items of changes with prorations, or of those without.
pub fn items(prorated: bool) -> Value {
    let item = |subscription: &str| {
        let parent = json!({"type": "subscription_details", "subscription_details": {"subscription": subscription}});
        json!({"id": format!("ii_{subscription}"), "object": "invoiceitem", "proration": prorated, "parent": parent})
    };
    json!({"object": "list", "data": [item("sub_1"), item("sub_2")], "has_more": false})
}

fn form(body: &str) -> Vec<(String, String)> {
    let plain = |text: &str| text.replace("%5B", "[").replace("%5D", "]");
    body.split('&').filter_map(|field| field.split_once('=')).map(|(name, value)| (plain(name), plain(value))).collect()
}
