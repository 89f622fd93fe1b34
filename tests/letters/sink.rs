//! A mail server that keeps what it is given, and goes wrong where it is told to: real SMTP over a real socket, TLS too.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bursar_jobs::letters::{Config, Postbox, Smtp, Way};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

pub const CA: &[u8] = include_bytes!("certificates/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("certificates/server.pem");
const KEY: &[u8] = include_bytes!("certificates/server.key");

/// One letter as it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
    /// Who said to be writing, if anybody.
    pub user: Option<String>,
    pub encrypted: bool,
}

impl Taken {
    pub fn header(&self, name: &str) -> String {
        let (head, _) = self.data.split_once("\r\n\r\n").unwrap();
        let unfolded = head.replace("\r\n ", " ");
        let found = unfolded.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        found.unwrap_or_default()
    }

    /// The bodies, decoded as far as these tests need it.
    pub fn text(&self) -> String {
        let plain = self.data.replace("=\r\n", "");
        plain.replace("=3D", "=").replace("=C3=A4", "ä").replace("=C3=BC", "ü").replace("=C3=9C", "Ü")
    }
}

/// What to do at a command, instead of taking it.
#[derive(Debug, Clone)]
pub enum Wrong {
    Says(&'static str),
    HangsUp,
    /// At `.`: the letter is kept, but nobody is told.
    TakesItAndHangsUp,
}

#[derive(Default)]
pub struct State {
    pub taken: Vec<Taken>,
    pub connections: usize,
    /// Every command of every connection, without its argument.
    pub commands: Vec<String>,
    /// What goes wrong at the next of a command: `MAIL`, `RCPT`, `DATA`, `.`, `AUTH`, `CONNECT`.
    pub wrong: VecDeque<(&'static str, Wrong)>,
    /// The same for every one.
    pub always: Option<(&'static str, Wrong)>,
    /// `user:password`, where one is wanted.
    pub password: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    None,
    Upgraded,
    FromTheStart,
}

pub struct Sink {
    pub port: u16,
    pub state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Sink {
    pub async fn start() -> Self {
        Self::with(Tls::None).await
    }

    pub async fn with(tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let kept = Arc::clone(&state);
        let acceptor = acceptor();
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (state, acceptor) = (Arc::clone(&kept), acceptor.clone());
                tokio::spawn(async move { connected(socket, state, acceptor, tls).await });
            }
        });
        Self { port, state, server }
    }

    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// A postbox whose letters come here.
    pub fn postbox(&self) -> Postbox {
        postbox(&self.url(), None)
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.state.lock().unwrap().taken.clone()
    }

    pub fn goes_wrong(&self, at: &'static str, wrong: Wrong) {
        self.state.lock().unwrap().wrong.push_back((at, wrong));
    }
}

/// A postbox over a mail server.
pub fn postbox(url: &str, roots: Option<&[u8]>) -> Postbox {
    postbox_of(Way::Smtp(Smtp::new(url, roots).unwrap()), None)
}

pub fn postbox_of(way: Way, templates: Option<&std::path::Path>) -> Postbox {
    let portal_url = Some("https://acme.example/billing");
    let (from, team) = ("Acme <billing@acme.example>", Some("ops@acme.example"));
    Postbox::new(Config { from, team, locale: "en", templates, portal_url, way }).unwrap()
}

fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

async fn connected(socket: TcpStream, state: Arc<Mutex<State>>, acceptor: TlsAcceptor, tls: Tls) -> Option<()> {
    state.lock().unwrap().connections += 1;
    if tls == Tls::FromTheStart {
        let socket = acceptor.accept(socket).await.ok()?;
        return Session::over(socket, state, true, false).run(true).await.map(drop);
    }
    let session = Session::over(socket, state, false, tls == Tls::Upgraded);
    if let Some(upgraded) = session.run(true).await? {
        let Session { stream, state, .. } = upgraded;
        let socket = acceptor.accept(stream.into_inner()).await.ok()?;
        Session::over(socket, state, true, false).run(false).await?;
    }
    Some(())
}

struct Session<S> {
    stream: BufReader<S>,
    state: Arc<Mutex<State>>,
    encrypted: bool,
    offers_tls: bool,
    user: Option<String>,
    from: Option<String>,
    to: Vec<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn over(socket: S, state: Arc<Mutex<State>>, encrypted: bool, offers_tls: bool) -> Self {
        let stream = BufReader::new(socket);
        Self { stream, state, encrypted, offers_tls, user: None, from: None, to: Vec::new() }
    }

    async fn say(&mut self, line: &str) -> Option<()> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.ok()
    }

    fn wrong(&self, at: &str) -> Option<Wrong> {
        let mut state = self.state.lock().unwrap();
        if let Some((_, wrong)) = state.always.as_ref().filter(|(always, _)| *always == at) {
            return Some(wrong.clone());
        }
        let found = state.wrong.iter().position(|(next, _)| *next == at)?;
        state.wrong.remove(found).map(|(_, wrong)| wrong)
    }

    /// Some(self): STARTTLS was asked for and granted. None: over.
    async fn run(mut self, greets: bool) -> Option<Option<Self>> {
        if greets {
            match self.wrong("CONNECT") {
                Some(Wrong::Says(line)) => return self.say(line).await.map(|()| None),
                Some(_) => return None,
                None => self.say("220 sink.example ESMTP").await?,
            }
        }
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            let verb = verb.to_ascii_uppercase();
            self.state.lock().unwrap().commands.push(verb.clone());
            match self.wrong(&verb) {
                Some(Wrong::Says(reply)) => {
                    self.say(reply).await?;
                    continue;
                }
                Some(Wrong::HangsUp | Wrong::TakesItAndHangsUp) => return None,
                None => {}
            }
            match verb.as_str() {
                "EHLO" => {
                    self.say("250-sink.example").await?;
                    if self.offers_tls {
                        self.say("250-STARTTLS").await?;
                    }
                    self.say("250-AUTH PLAIN LOGIN").await?;
                    self.say("250 8BITMIME").await?;
                }
                "STARTTLS" if self.offers_tls => {
                    self.say("220 go ahead").await?;
                    return Some(Some(self));
                }
                "AUTH" => {
                    let told = rest.strip_prefix("PLAIN ").and_then(|told| STANDARD.decode(told).ok())?;
                    let told = String::from_utf8(told).ok()?;
                    let (user, password) = told.trim_start_matches('\0').split_once('\0')?;
                    let wanted = self.state.lock().unwrap().password;
                    if wanted == Some(&format!("{user}:{password}")) {
                        self.user = Some(user.to_owned());
                        self.say("235 welcome").await?;
                    } else {
                        self.say("535 5.7.8 who are you?").await?;
                    }
                }
                "MAIL" if self.state.lock().unwrap().password.is_some() && self.user.is_none() => {
                    self.say("530 5.7.0 say who you are first").await?;
                }
                "MAIL" => {
                    self.from = Some(path(rest));
                    self.to.clear();
                    self.say("250 2.1.0 fine").await?;
                }
                "RCPT" => {
                    self.to.push(path(rest));
                    self.say("250 2.1.5 fine").await?;
                }
                "DATA" => {
                    self.say("354 go on").await?;
                    self.letter().await?;
                }
                "NOOP" => self.say("250 still here").await?,
                "QUIT" => {
                    self.say("221 bye").await?;
                    return None;
                }
                _ => self.say("500 5.5.1 what?").await?,
            }
        }
    }

    /// The letter itself, up to the lonely dot.
    async fn letter(&mut self) -> Option<()> {
        let mut data = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if line == ".\r\n" {
                break;
            }
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
        }
        let wrong = self.wrong(".");
        let (from, to) = (self.from.take()?, std::mem::take(&mut self.to));
        if matches!(wrong, None | Some(Wrong::TakesItAndHangsUp)) {
            let taken = Taken { from, to, data, user: self.user.clone(), encrypted: self.encrypted };
            self.state.lock().unwrap().taken.push(taken);
        }
        match wrong {
            None => self.say("250 2.0.0 taken").await,
            Some(Wrong::Says(line)) => self.say(line).await,
            Some(Wrong::HangsUp | Wrong::TakesItAndHangsUp) => None,
        }
    }
}

fn path(rest: &str) -> String {
    let inner = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map(|(path, _)| path.to_owned()).unwrap_or_default()
}
