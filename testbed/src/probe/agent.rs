//! The maker's end of a client process: questions and answers, one JSON line each.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdout},
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// For an answer that is to come, on a machine that may be busy.
const ANSWER_MS: u64 = 10_000;

/// What a client is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Ask {
    /// Connect, send a line, read the answer, close.
    Tcp {
        /// Where to.
        to: SocketAddr,
        /// From an AF_INET6 socket with a v4-mapped address.
        mapped: bool,
        /// Milliseconds at most.
        timeout_ms: u64,
    },
    /// One datagram and its answer.
    Udp {
        /// Where to.
        to: SocketAddr,
        /// connect() first.
        connected: bool,
        /// From an AF_INET6 socket with a v4-mapped address.
        mapped: bool,
        /// Keep (or go on using) the socket of this number.
        keep: Option<u32>,
        /// Milliseconds at most.
        timeout_ms: u64,
    },
    /// A message of this many bytes, which must come back as it is.
    Echo {
        /// Where to.
        to: SocketAddr,
        /// Length of the message: for datagrams 65,507 at most.
        bytes: usize,
        /// One unconnected datagram; otherwise a TCP connection.
        udp: bool,
    },
    /// Ask a DNS server; the answer is a [`Resolved`].
    Resolve {
        /// The server.
        server: SocketAddr,
        /// The whole name.
        name: String,
        /// The type of record, such as `A`.
        record: String,
        /// Over TCP.
        tcp: bool,
        /// Milliseconds at most.
        timeout_ms: u64,
    },
    /// One request of HTTP; the answer is an [`super::HttpSeen`].
    Http(super::HttpAsk),
    /// A line on the connection that has left HTTP, and one back.
    Line {
        /// Without its end.
        line: String,
    },
    /// Run on this processor only.
    Pin {
        /// Its number.
        cpu: usize,
    },
    /// The same exchange to two addresses in turn, `count` times each.
    Compare {
        /// The one.
        one: SocketAddr,
        /// The other.
        other: SocketAddr,
        /// Unconnected datagrams; otherwise TCP connections with a request.
        udp: bool,
        /// How often.
        count: u32,
    },
    /// Requests on a connection that is kept (opened by the first such question).
    Kept {
        /// Where to.
        to: SocketAddr,
        /// How many requests.
        requests: u32,
    },
    /// New connections until this name answers.
    Until {
        /// Where to.
        to: SocketAddr,
        /// Whom to wait for.
        name: String,
        /// Milliseconds at most.
        timeout_ms: u64,
    },
    /// New TCP connections at a steady rate, until [`Ask::LoadEnd`]; no answer.
    Load {
        /// Where to.
        to: SocketAddr,
        /// Connections per second.
        per_second: u32,
        /// How long at least.
        millis: u64,
    },
    /// Ends the load when its time has come, and answers what it saw.
    LoadEnd,
}

/// What a client saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// `ok`, `refused`, `timeout`, or the kind of error.
    pub outcome: String,
    /// Who answered.
    pub name: String,
    /// The client's address as the server saw it.
    pub client: Option<SocketAddr>,
    /// getpeername() of a connected socket, or the sender of the datagram.
    pub peer: Option<SocketAddr>,
    /// How long it took.
    pub micros: u64,
}

/// What a DNS server said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The code (`NOERROR`, `NXDOMAIN`), or why there is none: as [`Seen::outcome`].
    pub code: String,
    /// What was answered, in order of text, as in `10.96.0.1` or `0 100 80 web.`.
    pub answers: Vec<String>,
}

/// What a load saw.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Connections that were answered, by who answered.
    pub answers: BTreeMap<String, u64>,
    /// Others, by outcome.
    pub failures: BTreeMap<String, u64>,
}

/// Nanoseconds of the two sides of [`Ask::Compare`], in all.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// To the one address.
    pub one: u64,
    /// To the other.
    pub other: u64,
}

/// When (CLOCK_MONOTONIC, nanoseconds) the connection began that was answered by the name waited
/// for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reached {
    /// `None`: it never was.
    pub at: Option<u64>,
    /// Connections made.
    pub tries: u64,
}

/// A client process.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Agent {
    pub(crate) fn new(mut child: Child) -> Result<Self> {
        let output = child.stdout.take().context("the client has no output")?;
        Ok(Self { child, output: BufReader::new(output) })
    }

    /// Sends a request without waiting; [`Agent::answer`] waits.
    ///
    /// # Errors
    /// When the client process is gone.
    pub fn send(&mut self, ask: &Ask) -> Result<()> {
        let input = self.child.stdin.as_mut().context("the client has no input")?;
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        input.write_all(&line).context("the client is gone")
    }

    fn receive<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the client is gone");
        serde_json::from_str(&line).with_context(|| line.clone())
    }

    /// Asks for one exchange.
    ///
    /// # Errors
    /// When the client process is gone.
    pub fn ask(&mut self, ask: &Ask) -> Result<Seen> {
        self.send(ask)?;
        self.receive()
    }

    /// Asks for something with an answer of its own.
    ///
    /// # Errors
    /// When the client process is gone.
    pub fn ask_for<T: for<'a> Deserialize<'a>>(&mut self, ask: &Ask) -> Result<T> {
        self.send(ask)?;
        self.receive()
    }

    /// The answer to what was sent.
    ///
    /// # Errors
    /// When the client process is gone.
    pub fn answer<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T> {
        self.receive()
    }

    /// Starts a load of `millis` at least. It goes on until [`Agent::load_result`] is called, so that
    /// whatever happens in between happens under load, however slow the machine is.
    ///
    /// # Errors
    /// When the client process is gone.
    pub fn load(&mut self, to: SocketAddr, per_second: u32, millis: u64) -> Result<()> {
        self.send(&Ask::Load { to, per_second, millis })
    }

    /// Ends the load that was started, once its time has come; what it saw.
    ///
    /// # Errors
    /// When the client process is gone, or no load was started.
    pub fn load_result(&mut self) -> Result<Load> {
        self.send(&Ask::LoadEnd)?;
        self.receive()
    }

    /// A TCP exchange.
    ///
    /// # Errors
    /// When the client process is gone.
    pub fn tcp(&mut self, to: SocketAddr) -> Result<Seen> {
        self.ask(&Ask::Tcp { to, mapped: false, timeout_ms: ANSWER_MS })
    }

    /// A UDP exchange.
    ///
    /// # Errors
    /// When the client process is gone.
    pub fn udp(&mut self, to: SocketAddr, connected: bool) -> Result<Seen> {
        self.ask(&Ask::Udp { to, connected, mapped: false, keep: None, timeout_ms: ANSWER_MS })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Its input closes, it ends; nothing is left to wait for if it was killed.
        drop(self.child.stdin.take());
        let _gone = self.child.wait();
    }
}
