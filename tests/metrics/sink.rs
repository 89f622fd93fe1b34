//! A collector of traces: it takes OTLP over HTTP and reads the protobuf by the numbers of its fields, not by our structs.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

#[derive(Debug, Clone, Default)]
pub struct Span {
    pub service: String,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
    pub name: String,
    pub kind: u64,
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
    /// The trace and the span that it is linked to.
    pub link: Option<(Vec<u8>, Vec<u8>)>,
    pub status: u64,
}

#[derive(Clone)]
pub struct Sink {
    pub address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    heads: Arc<Mutex<Vec<String>>>,
    /// It takes everything and reads nothing.
    is_deaf: bool,
}

impl Sink {
    pub async fn start() -> Self {
        Self::with(false).await
    }

    /// One that costs next to nothing.
    pub async fn deaf() -> Self {
        Self::with(true).await
    }

    async fn with(is_deaf: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink =
            Self { address: listener.local_addr().unwrap(), spans: Arc::default(), heads: Arc::default(), is_deaf };
        let taking = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(taking.clone(), stream));
            }
        });
        sink
    }

    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// The heads of all requests.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(sink: Sink, stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        sink.heads.lock().unwrap().push(lower);
        if !sink.is_deaf {
            sink.spans.lock().unwrap().extend(request(&body));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }
}

/// A field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        let Self::Bytes(bytes) = self else { panic!("a number where bytes belong") };
        bytes
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }

    fn number(&self) -> u64 {
        let Self::Number(number) = self else { panic!("bytes where a number belongs") };
        *number
    }
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(split(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                Field::Bytes(split(&mut bytes, length))
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn split<'a>(bytes: &mut &'a [u8], at: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(at);
    *bytes = tail;
    head
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let byte = split(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number without an end")
}

/// opentelemetry/proto/collector/trace/v1, and trace/v1.
fn request(bytes: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for (_, resource_spans) in fields(bytes).into_iter().filter(|(number, _)| *number == 1) {
        let parts = fields(resource_spans.bytes());
        let resource = parts.iter().find(|(number, _)| *number == 1).unwrap();
        let service = attributes(&fields(resource.1.bytes()), 1)["service.name"].clone();
        for (_, scope_spans) in parts.iter().filter(|(number, _)| *number == 2) {
            let of_scope = fields(scope_spans.bytes());
            let all = of_scope.iter().filter(|(number, _)| *number == 2);
            spans.extend(all.map(|(_, one)| Span { service: service.clone(), ..span(one.bytes()) }));
        }
    }
    spans
}

fn span(bytes: &[u8]) -> Span {
    let parts = fields(bytes);
    let mut span = Span { attributes: attributes(&parts, 9), ..Span::default() };
    for (number, field) in &parts {
        match number {
            1 => span.trace = field.bytes().to_vec(),
            2 => span.id = field.bytes().to_vec(),
            4 => span.parent = field.bytes().to_vec(),
            5 => span.name = field.text(),
            6 => span.kind = field.number(),
            7 => span.start = field.number(),
            8 => span.end = field.number(),
            9 => {}
            13 => {
                let link = fields(field.bytes());
                span.link = Some((link[0].1.bytes().to_vec(), link[1].1.bytes().to_vec()));
            }
            15 => {
                let code = fields(field.bytes()).into_iter().find(|(number, _)| *number == 3);
                span.status = code.map_or(0, |(_, code)| code.number());
            }
            other => panic!("a span has no field {other} of ours"),
        }
    }
    span
}

fn attributes(parts: &[(u64, Field<'_>)], number: u64) -> BTreeMap<String, String> {
    let pairs = parts.iter().filter(|(of, _)| *of == number).map(|(_, pair)| {
        let pair = fields(pair.bytes());
        (pair[0].1.text(), fields(pair[1].1.bytes())[0].1.text())
    });
    pairs.collect()
}
