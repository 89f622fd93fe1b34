//! A mail server, spoken to by SMTP.
//!
//! What an answer means depends on where it comes: a refused password is the operator's to mend, a refused recipient is the letter's end, and
//! what is lost once the letter itself is under way may have arrived. So the commands are given one by one here.
//!
//! A connection that a letter went through well is kept for the next one for a little while; one on which anything else happened is
//! closed, for the answers on it may be another letter's.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::{address::without, postbox::Came, sealed::Sealed};

/// Connecting, TLS and the password together. All of these together stay under the two minutes of an attempt.
const READY: Duration = Duration::from_secs(30);
/// Whether a connection that was kept still answers.
const STILL_THERE: Duration = Duration::from_secs(5);
/// The sender and the recipient.
const ENVELOPE: Duration = Duration::from_secs(25);
/// The letter itself. RFC 5321, 4.5.3.2.6 would wait ten minutes for the last answer; who answers later gets the letter again.
const LETTER: Duration = Duration::from_secs(50);
/// Saying goodbye.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a connection is kept without a letter, and how many are.
const IDLE: Duration = Duration::from_secs(20);
const KEPT: usize = 4;
/// Of a server's words.
const WORDS: usize = 300;
/// RFC 5321 and RFC 8314: relay, submission, submission over TLS.
const PORTS: [u16; 3] = [25, 587, 465];

/// Why no mail server can be spoken to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpError {
    /// Not an address.
    #[error("is no smtp:// or smtps:// URL of a host")]
    Url,
    /// An unknown `?tls=`.
    #[error("has a parameter that is neither tls=required nor tls=opportunistic")]
    Parameter,
    /// A password that others could read.
    #[error("would send its password for everybody to read")]
    PlainPassword,
    /// A certificate that does not read.
    #[error("is no certificate in PEM form")]
    Certificate,
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

#[derive(Clone)]
enum Security {
    None,
    IfOffered(TlsParameters),
    StartTls(TlsParameters),
    FromTheStart(TlsParameters),
}

/// Sends letters to a mail server. Cheap to clone.
#[derive(Clone)]
pub struct Smtp(Arc<Inner>);

struct Inner {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    hello: ClientId,
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    connection: AsyncSmtpConnection,
    /// Tells it from those kept later.
    number: u64,
}

/// The URL may hold a password.
impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("server", &self.to_string()).finish_non_exhaustive()
    }
}

impl fmt::Display for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.host, self.0.port)
    }
}

impl Smtp {
    /// Reads `smtps://user:password@host` (TLS from the start, port 465), `smtp://…?tls=required` (STARTTLS, 587), `smtp://…?tls=opportunistic`,
    /// or `smtp://host` (no TLS, 25). A path is the name to say in EHLO. `roots` are certificates to trust besides Mozilla's, in PEM form.
    pub fn new(url: &str, roots: Option<&[u8]>) -> Result<Self, SmtpError> {
        let url = Url::parse(url.trim()).map_err(|_| SmtpError::Url)?;
        let host = match url.host().ok_or(SmtpError::Url)? {
            // A scheme that is not the web's: the parser leaves names and addresses as they are written.
            Host::Domain("") => return Err(SmtpError::Url),
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        let mut tls = None;
        for (name, value) in url.query_pairs() {
            if name != "tls" || tls.replace(value.into_owned()).is_some() {
                return Err(SmtpError::Parameter);
            }
        }
        let (security, port) = match (url.scheme(), tls.as_deref()) {
            ("smtp", None) => (Security::None, PORTS[0]),
            ("smtp", Some("opportunistic")) => (Security::IfOffered(trust(&host, roots)?), PORTS[1]),
            ("smtp", Some("required")) => (Security::StartTls(trust(&host, roots)?), PORTS[1]),
            ("smtps", None | Some("required")) => (Security::FromTheStart(trust(&host, roots)?), PORTS[2]),
            ("smtp" | "smtps", Some(_)) => return Err(SmtpError::Parameter),
            _ => return Err(SmtpError::Url),
        };
        let plain =
            |text: &str| percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| SmtpError::Url);
        let (user, password) = (plain(url.username())?, url.password().map(plain).transpose()?);
        let credentials = match (user.is_empty(), password) {
            (true, None) => None,
            (false, Some(password)) => Some(Credentials::new(user, password)),
            _ => return Err(SmtpError::Url),
        };
        // Whoever is in between takes STARTTLS out of what is offered.
        if credentials.is_some() && matches!(security, Security::None | Security::IfOffered(_)) && !is_here(&host) {
            return Err(SmtpError::PlainPassword);
        }
        let name = url.path().trim_matches('/');
        if name.bytes().any(|b| !(b.is_ascii_alphanumeric() || b".-".contains(&b))) {
            return Err(SmtpError::Url);
        }
        let hello = if name.is_empty() { ClientId::default() } else { ClientId::Domain(name.to_owned()) };
        let port = url.port().unwrap_or(port);
        Ok(Self(Arc::new(Inner { host, port, security, credentials, hello, kept: Mutex::default() })))
    }

    /// Sends a letter once.
    pub(crate) async fn send(&self, sealed: &Sealed) -> Came {
        let came = self.0.send(sealed).await;
        match came {
            Ok((connection, words)) => {
                self.keep(connection);
                Came::Taken(without(&words, &sealed.to))
            }
            Err(Came::Refused(words)) => Came::Refused(without(&words, &sealed.to)),
            Err(Came::NotYet { why, mend }) => Came::NotYet { why: without(&why, &sealed.to), mend },
            Err(came) => came,
        }
    }

    /// Connects, encrypts and says who we are, and goes again.
    pub(crate) async fn greet(&self) -> Result<(), Came> {
        self.0.ready().await.map(part)
    }

    /// Keeps a connection for the next letter, for a little while.
    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.back().map_or(0, |last| last.number + 1);
        kept.push_back(Kept { connection, number });
        if kept.len() > KEPT
            && let Some(oldest) = kept.pop_front()
        {
            part(oldest.connection);
        }
        drop(kept);
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(IDLE).await;
            let Some(inner) = inner.upgrade() else { return };
            let idle = {
                let mut kept = inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
                let at = kept.iter().position(|one| one.number == number);
                at.and_then(|at| kept.remove(at))
            };
            if let Some(idle) = idle {
                part(idle.connection);
            }
        });
    }
}

/// Says goodbye, which nobody waits for.
fn part(mut connection: AsyncSmtpConnection) {
    tokio::spawn(async move { tokio::time::timeout(FAREWELL, connection.abort()).await.unwrap_or_default() });
}

impl Inner {
    /// The connection that it went through, and the server's words.
    async fn send(&self, sealed: &Sealed) -> Result<(AsyncSmtpConnection, String), Came> {
        let address = |text: &str| {
            let read: Result<Address, _> = text.parse();
            read.map_err(|_| Came::Refused("its address is none".into()))
        };
        let (from, to) = (address(&sealed.from)?, address(&sealed.to)?);
        let mut connection = self.ready().await?;
        let envelope = async {
            let sent = connection.command(Mail::new(Some(from), Vec::new())).await;
            sent.map_err(|error| at_envelope("the sender ([letters] from)", &error))?;
            let sent = connection.command(Rcpt::new(to, Vec::new())).await;
            sent.map_err(|error| at_envelope("the recipient", &error))?;
            connection.command(Data).await.map_err(|error| at_envelope("the letter", &error))
        };
        match tokio::time::timeout(ENVELOPE, envelope).await {
            Ok(Ok(_)) => {}
            Ok(Err(came)) => {
                part(connection);
                return Err(came);
            }
            Err(_) => return Err(not_yet(format!("the mail server did not answer within {ENVELOPE:?}"))),
        }
        match tokio::time::timeout(LETTER, connection.message(&sealed.bytes)).await {
            Ok(Ok(response)) => {
                let words = format!("{} {}", response.code(), response.message().collect::<Vec<_>>().join(" "));
                Ok((connection, bounded(&words)))
            }
            Ok(Err(error)) if error.is_permanent() => {
                part(connection);
                Err(Came::Refused(format!("the mail server refuses the letter: {}", words(&error))))
            }
            Ok(Err(error)) if error.is_transient() => {
                part(connection);
                Err(not_yet(format!("the mail server puts the letter off: {}", words(&error))))
            }
            Ok(Err(error)) => Err(Came::Unknown(format!("the answer to the letter was lost: {}", words(&error)))),
            Err(_) => Err(Came::Unknown(format!("the mail server did not answer to the letter within {LETTER:?}"))),
        }
    }

    /// A connection that takes a letter: one that was kept and still answers, or a new one.
    async fn ready(&self) -> Result<AsyncSmtpConnection, Came> {
        loop {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop_back();
            let Some(Kept { mut connection, .. }) = kept else { break };
            if tokio::time::timeout(STILL_THERE, connection.test_connected()).await.unwrap_or(false) {
                return Ok(connection);
            }
        }
        match tokio::time::timeout(READY, self.connect()).await {
            Ok(ready) => ready,
            Err(_) => Err(not_yet(format!("{}:{} did not answer within {READY:?}", self.host, self.port))),
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Came> {
        let wrapped = match &self.security {
            Security::FromTheStart(trust) => Some(trust.clone()),
            Security::None | Security::IfOffered(_) | Security::StartTls(_) => None,
        };
        let server = (self.host.as_str(), self.port);
        let connected = AsyncSmtpConnection::connect_tokio1(server, Some(READY), &self.hello, wrapped, None).await;
        let mut connection = connected.map_err(|error| self.at_connecting(&error))?;
        match &self.security {
            Security::StartTls(trust) => {
                let begun = connection.starttls(trust.clone(), &self.hello).await;
                begun.map_err(|error| self.at_connecting(&error))?;
            }
            Security::IfOffered(trust) if connection.can_starttls() => {
                let begun = connection.starttls(trust.clone(), &self.hello).await;
                begun.map_err(|error| self.at_connecting(&error))?;
            }
            Security::None | Security::IfOffered(_) | Security::FromTheStart(_) => {}
        }
        if let Some(credentials) = &self.credentials
            && let Err(error) = connection.auth(DEFAULT_MECHANISMS, credentials).await
        {
            part(connection);
            // 4xx: the server cannot tell just now (RFC 4954, 454).
            let mend = error.is_permanent() || error.is_client();
            let why = format!("the mail server does not let us in: {}. Mend SMTP_URL", words(&error));
            return Err(Came::NotYet { why, mend });
        }
        Ok(connection)
    }

    fn at_connecting(&self, error: &Error) -> Came {
        // Of a server that does not do what is asked of it, or is not who it should be, the operator must know.
        let mend = error.is_tls() || error.is_client();
        let remedy = if mend { ". Mend SMTP_URL" } else { "" };
        Came::NotYet { why: format!("{}:{}: {}{remedy}", self.host, self.port, words(error)), mend }
    }
}

/// RFC 4954, 6: a password is wanted, it was wrong, it is too weak, or only over TLS. Not the letter's fault.
fn is_about_password(error: &Error) -> bool {
    error.status().is_some_and(|code| matches!(u16::from(code), 530 | 534 | 535 | 538))
}

fn at_envelope(what: &str, error: &Error) -> Came {
    match (error.is_permanent(), is_about_password(error)) {
        (true, true) => Came::NotYet {
            why: format!("the mail server wants to know who we are: {}. Mend SMTP_URL", words(error)),
            mend: true,
        },
        (true, false) => Came::Refused(format!("the mail server refuses {what}: {}", words(error))),
        (false, _) => not_yet(format!("the mail server puts {what} off: {}", words(error))),
    }
}

fn not_yet(why: String) -> Came {
    Came::NotYet { why, mend: false }
}

/// The server's words, or what happened instead.
fn words(error: &Error) -> String {
    let source = std::error::Error::source(error);
    bounded(&match (error.status(), source) {
        (Some(code), Some(said)) => format!("{code} {said}"),
        _ => error.to_string(),
    })
}

fn bounded(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect::<String>().trim().to_owned()
}

fn trust(host: &str, roots: Option<&[u8]>) -> Result<TlsParameters, SmtpError> {
    let mut builder = TlsParameters::builder(host.to_owned()).certificate_store(CertificateStore::WebpkiRoots);
    if let Some(pem) = roots {
        // A file without any is read as none.
        if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(SmtpError::Certificate);
        }
        builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(|_| SmtpError::Certificate)?);
    }
    builder.build_rustls().map_err(|error| SmtpError::Tls(error.to_string()))
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_will_do() {
        for good in [
            "smtp://localhost",
            "smtp://mail.example.com:2525",
            "smtps://user:p%40ss@mail.example.com",
            "smtp://user:pass@mail.example.com?tls=required",
            "smtp://user:pass@127.0.0.1:1025",
            "smtp://[::1]:25/ehlo.example.com",
        ] {
            assert!(Smtp::new(good, None).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", SmtpError::Url),
            ("mail.example.com", SmtpError::Url),
            ("https://mail.example.com", SmtpError::Url),
            ("smtp://", SmtpError::Url),
            ("smtp://user@mail.example.com?tls=required", SmtpError::Url),
            ("smtp://mail.example.com/a%0d%0ab", SmtpError::Url),
            ("smtp://mail.example.com?tls=maybe", SmtpError::Parameter),
            ("smtp://mail.example.com?verify=no", SmtpError::Parameter),
            ("smtps://mail.example.com?tls=opportunistic", SmtpError::Parameter),
            ("smtp://user:pass@mail.example.com", SmtpError::PlainPassword),
            ("smtp://user:pass@mail.example.com?tls=opportunistic", SmtpError::PlainPassword),
        ] {
            assert_eq!(Smtp::new(bad, None).err(), Some(why), "{bad}");
        }
        assert_eq!(Smtp::new("smtps://x.example", Some(b"no")).err(), Some(SmtpError::Certificate));
    }

    #[test]
    fn a_password_is_never_shown() {
        let smtp = Smtp::new("smtps://user:hunter2@mail.example.com", None).unwrap();
        assert_eq!(smtp.to_string(), "mail.example.com:465");
        assert!(!format!("{smtp:?}").contains("hunter2"));
    }
}
