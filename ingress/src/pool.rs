//! Connections to endpoints that can take the next request. One pool a worker: no lock.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use hyper::client::conn::{http1, http2};
use rustls::pki_types::ServerName;
use tokio::{sync::watch, time::Instant};

use crate::{body::Body, fail::Fail};

/// Shorter than servers keep idle connections, so that few requests meet one that closes.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections to one endpoint, for each worker.
const IDLE_MAX: usize = 32;
/// One of HTTP/2 tells before it closes, so it may wait longer.
const SHARED_IDLE: Duration = Duration::from_secs(60);
/// Requests at a time on one connection of HTTP/2, where its endpoint allows more.
pub(crate) const STREAMS_MAX: usize = 100;

/// What connections have in common that can stand for one another, apart from the name that was verified.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    pub(crate) endpoint: SocketAddr,
    pub(crate) http_2: bool,
    /// Of the connector; 0: without TLS.
    pub(crate) tls: u64,
}

/// The name that was verified or told, where it is the request's: one for another must not be used.
pub(crate) type Name = Option<ServerName<'static>>;

struct Idle {
    sender: http1::SendRequest<Body>,
    name: Name,
    since: Instant,
}

/// A connection of HTTP/2.
pub(crate) struct Shared {
    pub(crate) sender: http2::SendRequest<Body>,
    pub(crate) name: Name,
    /// Requests that it takes at a time, as its endpoint said last.
    pub(crate) limit: Rc<Cell<usize>>,
    pub(crate) running: Rc<Cell<usize>>,
    pub(crate) since: Instant,
}

impl Shared {
    fn stream(&mut self) -> Option<Sender> {
        let running = self.running.get();
        if running >= self.limit.get().min(STREAMS_MAX) || self.sender.is_closed() {
            return None;
        }
        self.running.set(running + 1);
        self.since = Instant::now();
        let _running = Running(Rc::clone(&self.running));
        Some(Sender::Many(Stream { sender: self.sender.clone(), _running }))
    }
}

/// A request that runs on a connection of HTTP/2.
struct Running(Rc<Cell<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// What takes a request.
pub(crate) enum Sender {
    One(http1::SendRequest<Body>),
    Many(Stream),
}

/// A place on a connection of HTTP/2.
pub(crate) struct Stream {
    pub(crate) sender: http2::SendRequest<Body>,
    _running: Running,
}

/// A connection that a response comes from.
pub(crate) struct Lease {
    pub(crate) pool: Rc<Pool>,
    pub(crate) key: Key,
    pub(crate) name: Name,
    pub(crate) sender: Sender,
}

impl Lease {
    pub(crate) fn give_back(self) {
        // One of HTTP/2 was never taken away.
        let Sender::One(sender) = self.sender else { return };
        if sender.is_closed() {
            return;
        }
        let mut idle = self.pool.idle.borrow_mut();
        let of = idle.entry(self.key).or_default();
        if of.len() < IDLE_MAX {
            of.push(Idle { sender, name: self.name, since: Instant::now() });
        }
    }
}

/// A connection of HTTP/2 that is being made, for all that wait for it: `Some` tells how it went.
type Made = Option<Result<(), Fail>>;

struct Making {
    key: Key,
    name: Name,
    made: watch::Receiver<Made>,
}

#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<Key, Vec<Idle>>>,
    shared: RefCell<HashMap<Key, Vec<Shared>>>,
    making: RefCell<Vec<Making>>,
}

/// Makes a connection of HTTP/2 that others wait for.
pub(crate) struct Maker<'p> {
    pool: &'p Pool,
    key: Key,
    name: &'p Name,
    made: watch::Sender<Made>,
}

impl Maker<'_> {
    pub(crate) fn announce(self, made: Result<(), Fail>) {
        self.made.send_replace(Some(made));
    }
}

impl Drop for Maker<'_> {
    /// Also when its request was given up: another one makes it then.
    fn drop(&mut self) {
        let is_this = |making: &Making| making.key == self.key && making.name == *self.name;
        self.pool.making.borrow_mut().retain(|making| !is_this(making));
    }
}

impl Pool {
    /// A connection that was made before.
    pub(crate) fn take(&self, key: Key, name: &Name) -> Option<Sender> {
        if key.http_2 {
            let mut shared = self.shared.borrow_mut();
            let of = shared.get_mut(&key)?;
            return of.iter_mut().filter(|shared| shared.name == *name).find_map(Shared::stream);
        }
        let mut idle = self.idle.borrow_mut();
        let of = idle.get_mut(&key)?;
        // The one that was used last: the least likely to be closed.
        while let Some(at) = of.iter().rposition(|idle| idle.name == *name) {
            let Idle { sender, since, .. } = of.remove(at);
            if since.elapsed() < IDLE && !sender.is_closed() {
                return Some(Sender::One(sender));
            }
        }
        None
    }

    /// Takes in a new connection of HTTP/2; answers it for a first request.
    pub(crate) fn share(&self, key: Key, mut shared: Shared) -> Option<Sender> {
        let first = shared.stream();
        self.shared.borrow_mut().entry(key).or_default().push(shared);
        first
    }

    /// Either it is to be made, or another request makes it already.
    pub(crate) fn make<'p>(
        &'p self,
        key: Key,
        name: &'p Name,
    ) -> Result<Maker<'p>, watch::Receiver<Made>> {
        let mut making = self.making.borrow_mut();
        if let Some(same) = making.iter().find(|making| making.key == key && making.name == *name) {
            return Err(same.made.clone());
        }
        let (made, receiver) = watch::channel(None);
        making.push(Making { key, name: name.clone(), made: receiver });
        Ok(Maker { pool: self, key, name, made })
    }

    /// Closes what waited too long.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, of| {
            of.retain(|idle| idle.since.elapsed() < IDLE && !idle.sender.is_closed());
            !of.is_empty()
        });
        let now = Instant::now();
        self.shared.borrow_mut().retain(|_, of| {
            of.retain_mut(|shared| {
                if shared.running.get() > 0 {
                    shared.since = now;
                }
                !shared.sender.is_closed() && shared.since.elapsed() < SHARED_IDLE
            });
            !of.is_empty()
        });
    }
}
