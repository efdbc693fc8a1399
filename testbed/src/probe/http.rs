//! One HTTP request, by a client that knows nothing of the proxy it talks to; and what speaks HTTP in an
//! echo server.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};
use serde::{Deserialize, Serialize};

use super::client::outcome;

/// A head or body longer than this is none of ours.
const ANSWER_MAX: u64 = 64 << 10;

/// A request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAsk {
    /// Where to.
    pub to: SocketAddr,
    /// The host, as the request and the handshake name it.
    pub host: String,
    /// The target.
    pub path: String,
    /// Over TLS, with a server whose certificate (DER) this one has issued.
    pub trust: Option<Vec<u8>>,
    /// Leave HTTP, and keep the connection for [`super::Ask::Line`].
    pub upgrade: bool,
    /// Milliseconds at most.
    pub timeout_ms: u64,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpSeen {
    /// `ok`: there was an answer of HTTP; else as [`super::Seen::outcome`].
    pub outcome: String,
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body; of an echo server its name comes first.
    pub body: String,
}

trait Both: Read + Write {}
impl<S: Read + Write> Both for S {}

/// A connection that has left HTTP.
pub(super) struct Tunnel(BufReader<Box<dyn Both>>);

impl Tunnel {
    /// Sends a line and reads one.
    pub(super) fn line(&mut self, line: &str) -> io::Result<String> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut back = String::new();
        match self.0.read_line(&mut back)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(back),
        }
    }
}

pub(super) fn ask(ask: &HttpAsk, tunnel: &mut Option<Tunnel>) -> HttpSeen {
    exchange(ask, tunnel).unwrap_or_else(|error| {
        let outcome = outcome(&error);
        HttpSeen { outcome, ..HttpSeen::default() }
    })
}

fn exchange(ask: &HttpAsk, tunnel: &mut Option<Tunnel>) -> io::Result<HttpSeen> {
    let timeout = Duration::from_millis(ask.timeout_ms);
    let stream = TcpStream::connect_timeout(&ask.to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Both> = match &ask.trust {
        None => Box::new(stream),
        Some(trust) => Box::new(tls(stream, &ask.host, trust.clone())?),
    };
    let mut stream = BufReader::new(stream);
    let upgrade = if ask.upgrade { "Connection: Upgrade\r\nUpgrade: lines\r\n" } else { "" };
    let HttpAsk { host, path, .. } = ask;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    let head = read_head(&mut stream)?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = String::new();
    stream.by_ref().take(length.unwrap_or(0).min(ANSWER_MAX)).read_to_string(&mut body)?;
    *tunnel = (status == 101).then(|| Tunnel(stream));
    Ok(HttpSeen { outcome: "ok".to_owned(), status, head, body })
}

fn tls(
    stream: TcpStream,
    host: &str,
    trust: Vec<u8>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trust)).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// Up to the empty line.
pub(super) fn read_head(stream: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    let mut stream = stream.take(ANSWER_MAX);
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// Is this the first line of a request?
pub(super) fn is_request(line: &str) -> bool {
    line.ends_with(" HTTP/1.1\r\n")
}

/// Answers a request whose first line was read; an upgrade is taken, and lines follow.
pub(super) fn answer(
    rest: &mut impl BufRead,
    to: &mut impl Write,
    name: &str,
    peer: SocketAddr,
) -> io::Result<()> {
    // What follows the first line: the head may be that alone.
    let mut head = "\r\n".to_owned();
    while !head.ends_with("\r\n\r\n") {
        if rest.read_line(&mut head)? == 0 || head.len() as u64 > ANSWER_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if head.to_ascii_lowercase().contains("\r\nupgrade: ") {
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: lines\r\n\r\n";
        return to.write_all(answer.as_bytes());
    }
    let body = format!("{name} {peer}{head}");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    to.write_all(answer.as_bytes())
}
