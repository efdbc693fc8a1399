//! Where the API server really is: the endpoints of `default/kubernetes`, remembered on disk.
//!
//! Only the slices that the API server makes of itself count, by their names (dual stack has one per
//! family): other slices may carry the label of the same Service. What left them goes,
//! except the last of all: an API server that says it has no endpoints is still asked where it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    net::SocketAddr,
    path::Path,
};

use towpath_model::{
    Code, EndpointSlice, Event, Family, Kind, Object, ObjectName, Problem, Scope, Stream,
};

use crate::state_file;

/// More API servers than any cluster has.
const ENDPOINTS_MAX: usize = 16;
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The endpoints as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// From the disk; in force until a list was complete.
    remembered: Vec<SocketAddr>,
    slices: BTreeMap<ObjectName, Vec<SocketAddr>>,
    /// Slices of the list under way.
    seen: Option<BTreeSet<ObjectName>>,
}

impl Endpoints {
    pub(super) const fn new(remembered: Vec<SocketAddr>) -> Self {
        Self { remembered, slices: BTreeMap::new(), seen: None }
    }

    /// As many as are ever asked, sorted. Those of the first slice have their places before others.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut kept = BTreeSet::new();
        for address in self.all() {
            if kept.len() < ENDPOINTS_MAX {
                kept.insert(*address);
            }
        }
        kept.into_iter().collect()
    }

    /// How many there are, asked or not.
    pub(super) fn count(&self) -> usize {
        self.all().collect::<BTreeSet<_>>().len()
    }

    fn all(&self) -> impl Iterator<Item = &SocketAddr> {
        self.slices.values().flatten().chain(&self.remembered)
    }

    /// Takes what concerns them; answers whether the addresses are others now.
    pub(super) fn ingest(&mut self, event: &Event) -> bool {
        match event {
            Event::Init(stream) if lists_them(stream) => self.seen = Some(BTreeSet::new()),
            Event::Apply(Object::EndpointSlice(slice)) => return self.apply(slice),
            Event::Bad(key, _) if key.kind == Kind::EndpointSlice => {
                if let Some(seen) = &mut self.seen {
                    seen.insert(key.name.clone());
                }
            }
            Event::Delete(Kind::EndpointSlice, name) if self.slices.contains_key(name) => {
                return self.change(|this| drop(this.slices.remove(name)));
            }
            Event::InitDone(stream) if lists_them(stream) => return self.change(Self::end_list),
            _ => {}
        }
        false
    }

    fn apply(&mut self, slice: &EndpointSlice) -> bool {
        let name = &slice.meta.name;
        let ours = is_the_servers_own(slice);
        if !ours && !self.slices.contains_key(name) {
            return false;
        }
        if let Some(seen) = self.seen.as_mut().filter(|_| ours) {
            seen.insert(name.clone());
        }
        self.change(|this| {
            if ours {
                this.slices.insert(name.clone(), of_slice(slice));
            } else {
                this.slices.remove(name);
            }
        })
    }

    fn end_list(&mut self) {
        if let Some(seen) = self.seen.take() {
            self.slices.retain(|name, _| seen.contains(name));
        }
        if self.slices.values().any(|slice| !slice.is_empty()) {
            self.remembered.clear();
        }
    }

    /// Changes something, but never to nothing at all.
    fn change(&mut self, how: impl FnOnce(&mut Self)) -> bool {
        let before = self.addresses();
        how(self);
        if self.addresses().is_empty() {
            self.remembered.clone_from(&before);
        } else if self.seen.is_none() && self.slices.values().any(|slice| !slice.is_empty()) {
            self.remembered.clear();
        }
        before != self.addresses()
    }
}

/// Whether a list of this stream has the slices of the API server, if there are any.
fn lists_them(stream: &Stream) -> bool {
    stream.kind == Kind::EndpointSlice
        && match &stream.scope {
            Scope::All | Scope::Selected { .. } => true,
            Scope::Namespace(namespace) => **namespace == *"default",
            Scope::Named(_) | Scope::Node => false,
        }
}

/// The slices that kube-apiserver's endpoint reconciler writes (pkg/controlplane/reconcilers): one
/// with the name of the Service, and with two families (KEP-2438) another one named after the second.
fn is_the_servers_own(slice: &EndpointSlice) -> bool {
    let is_of = |name: &ObjectName| &*name.namespace == "default";
    let names_it = match &*slice.meta.name.name {
        "kubernetes" => true,
        "kubernetes-v4" => slice.family == Some(Family::V4),
        "kubernetes-v6" => slice.family == Some(Family::V6),
        _ => false,
    };
    names_it
        && is_of(&slice.meta.name)
        && is_of(&slice.service)
        && &*slice.service.name == "kubernetes"
}

fn of_slice(slice: &EndpointSlice) -> Vec<SocketAddr> {
    let port =
        slice.ports.iter().find(|port| &*port.name == "https").or_else(|| slice.ports.first());
    let Some(port) = port else { return Vec::new() };
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
    ready.map(|endpoint| SocketAddr::new(endpoint.addr, port.port)).collect()
}

/// Keeps them over restarts.
///
/// # Errors
/// When the directory cannot be written.
pub(super) fn remember(path: &Path, endpoints: &[SocketAddr]) -> io::Result<()> {
    let text: String = endpoints.iter().map(|endpoint| format!("{endpoint}\n")).collect();
    if fs::read_to_string(path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    state_file::write(path, text.as_bytes())
}

/// What was remembered. A missing file is an empty one; of a damaged one, what can be read.
pub(super) fn recall(path: &Path) -> (Vec<SocketAddr>, Option<Problem>) {
    let mut bytes = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    let why = match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), None),
        Err(error) => Some(error.to_string()),
        Ok(_) => None,
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(|line| line.parse::<SocketAddr>());
    let good: Vec<SocketAddr> = lines.clone().flatten().take(ENDPOINTS_MAX).collect();
    let bad = lines.filter(Result::is_err).count();
    let why = why.or_else(|| (bad > 0).then(|| format!("{bad} of its lines are no addresses")));
    let problem = why.map(|why| {
        let action = "it is written anew as soon as the API server is reached";
        Problem::new(Code::AddressFile, None, &path.display().to_string(), &why, action)
    });
    (good, problem)
}

#[cfg(test)]
mod tests;
