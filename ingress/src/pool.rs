//! Connections to endpoints that wait for the next request. One pool a worker: no lock.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, time::Duration};

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use crate::body::Body;

/// Shorter than servers keep idle connections, so that few requests meet one that closes.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections to one endpoint, for each worker.
const IDLE_MAX: usize = 32;

/// A connection, and since when it waits.
type Idle = (SendRequest<Body>, Instant);

#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
}

/// A connection that a response comes from.
pub(crate) struct Lease {
    pub(crate) pool: Rc<Pool>,
    pub(crate) endpoint: SocketAddr,
    pub(crate) sender: SendRequest<Body>,
}

impl Lease {
    pub(crate) fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = self.pool.idle.borrow_mut();
        let of = idle.entry(self.endpoint).or_default();
        if of.len() < IDLE_MAX {
            of.push((self.sender, Instant::now()));
        }
    }
}

impl Pool {
    /// The connection that was used last: the one least likely to be closed.
    pub(crate) fn take(&self, endpoint: SocketAddr) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.borrow_mut();
        let of = idle.get_mut(&endpoint)?;
        while let Some((sender, since)) = of.pop() {
            if since.elapsed() < IDLE && !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Closes what waited too long.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, of| {
            of.retain(|(sender, since)| since.elapsed() < IDLE && !sender.is_closed());
            !of.is_empty()
        });
    }
}
