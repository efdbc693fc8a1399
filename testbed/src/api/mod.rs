//! A small API server: lists, watches and faults, over plain HTTP.
//!
//! It speaks the part of the API that a node data plane reads: list with limit and continue,
//! watch with resourceVersion, bookmarks, streaming lists (sendInitialEvents) and 410, one object by
//! name; POST, PUT and DELETE on the usual paths, PATCH of a status, with 409 where a version is not the
//! latest; what was written so is recorded. What a real API server never does is done on request
//! ([`Faults`]).

mod faults;
mod select;
mod serve;
mod store;
mod watch;
mod writes;

use std::{net::TcpListener, sync::Arc, thread};

use anyhow::{Context as _, Result};
use serde_json::Value;

pub use faults::Faults;
use store::Objects;
pub use writes::Write;

/// A running API server; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Api {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) objects: Objects,
    pub(crate) faults: Faults,
    pub(crate) writes: writes::Writes,
}

impl Api {
    /// An empty one, out of every client's reach yet.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            objects: Objects::new(),
            faults: Faults::default(),
            writes: writes::Writes::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Serves a listener on a thread of its own, until the process ends.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn serve(&self, listener: TcpListener) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || runtime.block_on(serve::serve(listener, shared)))
            .context("starting the API server")?;
        Ok(())
    }

    /// Creates or replaces an object; its kind says which resource it is.
    ///
    /// # Errors
    /// When it has no kind or name that is known.
    pub fn put(&self, object: Value) -> Result<()> {
        self.shared.objects.put(object)
    }

    /// Deletes an object; one that is not there is a success.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        self.shared.objects.delete(resource, namespace, name);
    }

    /// An object as it is kept, if it is there.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared.objects.get(resource, &format!("{namespace}/{name}"))
    }

    /// What was written over the wire, the latest 10,000 of it: not what [`Api::put`] did.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        self.shared.writes.all()
    }

    /// Forgets what watches could go on from: every one of them has to list again.
    pub fn expire(&self) {
        self.shared.objects.expire();
        self.shared.faults.drop_streams();
    }

    /// What goes wrong on request.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }
}

impl Default for Api {
    fn default() -> Self {
        Self::new()
    }
}
