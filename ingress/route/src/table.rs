//! Which route a request takes.

use std::sync::Arc;

use crate::{HostTable, Map, Route, host::parent, path::readings};

/// The routes of one entry point: addresses and ports with the classes that are served there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteTable {
    /// By host; a wildcard by what follows its `*.`; the empty name: rules without a host.
    pub(crate) exact: Map<Arc<str>, Arc<HostTable>>,
    pub(crate) wild: Map<Arc<str>, Arc<HostTable>>,
    pub(crate) any: Option<Arc<HostTable>>,
    /// `defaultBackend` of the oldest Ingress without rules.
    pub(crate) catch_all: Option<Route>,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'t> {
    /// A route.
    Route(&'t Route),
    /// None: answered with 404.
    Nothing,
    /// A backend that decodes more than this proxy would take the request for one of a route that is
    /// closed, or not for all clients: answered with 400.
    Ambiguous,
}

impl RouteTable {
    /// The route of a request. `host`: as [`crate::request_host`] gives it, or empty without one;
    /// `path`: as [`crate::normalise`] gives it.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Found<'_> {
        let table = self.host(host);
        let found = self.find_in(table, path);
        // What a route restricts must not be reached under another spelling.
        let read = readings(path);
        let others = read.iter().filter_map(|read| self.find_in(table, read));
        if others.into_iter().any(|other| other.restricts_more_than(found)) {
            return Found::Ambiguous;
        }
        found.map_or(Found::Nothing, Found::Route)
    }

    /// Is there a route for some request of this host?
    pub(crate) fn knows(&self, host: &str) -> bool {
        self.host(host).is_some() || self.catch_all.is_some()
    }

    /// An exact host, else a wildcard of one label, else the rules without a host. There is no way from
    /// one to the next: a host that is known is served by its own rules only.
    fn host(&self, host: &str) -> Option<&HostTable> {
        let wild = || self.wild.get(parent(host)?);
        self.exact.get(host).or_else(wild).or(self.any.as_ref()).map(|table| &**table)
    }

    fn find_in<'t>(&'t self, table: Option<&'t HostTable>, path: &str) -> Option<&'t Route> {
        table.and_then(|table| table.find(path)).or(self.catch_all.as_ref())
    }

    /// The table of a host as rules write it.
    pub(crate) fn slot_of(&self, host: &str) -> Option<&Arc<HostTable>> {
        match host.strip_prefix("*.") {
            Some(parent) => self.wild.get(parent),
            None if host.is_empty() => self.any.as_ref(),
            None => self.exact.get(host),
        }
    }

    /// Puts the table of a host, or takes it away.
    pub(crate) fn put(&mut self, host: &str, table: Option<Arc<HostTable>>) {
        let (map, name) = match host.strip_prefix("*.") {
            Some(parent) => (&mut self.wild, parent),
            None if host.is_empty() => {
                self.any = table;
                return;
            }
            None => (&mut self.exact, host),
        };
        match table {
            Some(table) => map.insert(name.into(), table),
            None => map.remove(name),
        };
    }

    /// Hosts as rules write them, with their tables, by name.
    #[must_use]
    pub fn hosts(&self) -> Vec<(String, &HostTable)> {
        let exact = self.exact.iter().map(|(host, table)| (host.to_string(), &**table));
        let wild = self.wild.iter().map(|(host, table)| (format!("*.{host}"), &**table));
        let any = self.any.iter().map(|table| (String::new(), &**table));
        let mut all: Vec<_> = exact.chain(wild).chain(any).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// The class's default backend.
    #[must_use]
    pub const fn catch_all(&self) -> Option<&Route> {
        self.catch_all.as_ref()
    }
}
