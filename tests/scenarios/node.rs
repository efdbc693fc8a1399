//! What a scenario plays on: a daemon, and the API server that it was told of.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::Value;
use towpath_image::{Capacities, ServiceOp};
use towpath_model::{
    Event, Key, Kind, ObjectName, Problem, Protocol, decode, service::Cidr, unknown_fields,
};
use towpath_proxy::{Answer, Holder, NEEDS, ProxyConfig, Question, explain, node_identity};

use crate::{
    dump::{self, Names},
    fixture::Fixture,
};

/// externalIPs are allowed here, as a configuration would say.
const EXTERNAL: &str = "198.51.100.0/24";
/// The nodes there are unless a scenario says otherwise.
const NODES: &str = "
kind: Node
metadata: { name: n0, labels: { topology.kubernetes.io/zone: z0 } }
status: { addresses: [{ type: InternalIP, address: 192.168.0.10 }] }
---
kind: Node
metadata: { name: n1, labels: { topology.kubernetes.io/zone: z1 } }
status: { addresses: [{ type: InternalIP, address: 192.168.0.11 }] }
";

pub(crate) struct Node {
    daemon: Fixture,
    names: Names,
    /// What an API server would hold: a daemon that starts is told again.
    objects: BTreeMap<Key, Value>,
    /// What the source would say of objects besides what the loop says.
    unread: Vec<Problem>,
    /// Operations of the last act.
    written: Vec<ServiceOp>,
}

impl Node {
    pub(crate) fn new(capacities: Capacities) -> Self {
        let config = ProxyConfig {
            external_ips: vec![Cidr::parse(EXTERNAL).unwrap()],
            ..ProxyConfig::default()
        };
        let mut node = Self {
            daemon: Fixture::new(capacities, config),
            names: Names::default(),
            objects: BTreeMap::new(),
            unread: Vec::new(),
            written: Vec::new(),
        };
        node.daemon.ingest(NEEDS.map(Event::InitDone).into());
        node.act("apply", "", NODES);
        node
    }

    /// Something happens, and the loop turns until it has nothing to do.
    pub(crate) fn act(&mut self, what: &str, argument: &str, body: &str) {
        match what {
            "apply" => {
                for object in documents(body) {
                    self.apply(kind_of(&object), &object);
                }
            }
            "delete" => body.lines().for_each(|line| self.delete(line)),
            "list" => self.list(kind_named(argument), documents(body)),
            "restart" => {
                self.daemon.restart();
                self.receive(body);
            }
            _ => self.receive(body),
        }
        self.turn();
    }

    fn apply(&mut self, kind: Kind, object: &Value) {
        self.unread.extend(unknown_fields(kind.as_str(), object));
        match decode(kind, object.to_string().as_bytes()) {
            Ok(decoded) => {
                self.objects.insert(decoded.key(), object.clone());
                self.daemon.ingest(vec![Event::Apply(decoded)]);
            }
            Err(bad) => match bad.key {
                Some(key) => self.daemon.ingest(vec![Event::Bad(*key, *bad.problem)]),
                None => self.unread.push(*bad.problem),
            },
        }
    }

    /// `Service d/s`.
    fn delete(&mut self, line: &str) {
        let (kind, name) = line.split_once(' ').unwrap();
        let (kind, name) = (kind_named(kind), object_name(name));
        self.objects.remove(&Key { kind, name: name.clone() });
        self.daemon.ingest(vec![Event::Delete(kind, name)]);
    }

    /// The API server lists a kind again, and this is all there is of it.
    fn list(&mut self, kind: Kind, objects: Vec<Value>) {
        self.daemon.ingest(vec![Event::Init(kind.into())]);
        self.objects.retain(|key, _| key.kind != kind);
        for object in objects {
            self.apply(kind, &object);
        }
        self.daemon.ingest(vec![Event::InitDone(kind.into())]);
    }

    /// Kinds whose first list comes in, one a line.
    fn receive(&mut self, body: &str) {
        for kind in body.lines().map(kind_named) {
            let known = self.objects.iter().filter(|(key, _)| key.kind == kind);
            let objects = known.map(|(_, object)| object.clone()).collect();
            self.list(kind, objects);
        }
    }

    fn turn(&mut self) {
        self.daemon.settle();
        self.written = self.daemon.take_written();
        self.names.learn(self.daemon.services().plan());
        for node in self.daemon.state().view().nodes() {
            let name = node.meta.name.name.to_string();
            self.names.nodes.insert(node_identity(&name), name);
        }
    }

    pub(crate) fn tables(&self) -> String {
        dump::tables(&self.daemon.image(), &self.names)
    }

    pub(crate) fn nodes(&self) -> String {
        dump::nodes(&self.daemon.image(), &self.names)
    }

    pub(crate) fn writes(&self) -> String {
        if self.written.is_empty() {
            return "nothing\n".to_owned();
        }
        dump::writes(&self.written, &self.daemon.image(), &self.names)
    }

    pub(crate) fn problems(&self) -> String {
        let problems = self.daemon.state().problems(100).into_iter().chain(self.unread.clone());
        let mut lines: Vec<String> = problems.map(|problem| format!("{problem}\n")).collect();
        lines.sort();
        lines.dedup();
        if lines.is_empty() { "none\n".to_owned() } else { lines.concat() }
    }

    pub(crate) fn health_checks(&self) -> String {
        let checks = self.daemon.health_checks();
        let line = |c: &towpath_proxy::HealthCheck| {
            format!("{} on port {}: {} ready here\n", c.service, c.port, c.ready_local)
        };
        let text: String = checks.iter().map(line).collect();
        if text.is_empty() { "none\n".to_owned() } else { text }
    }

    /// `pod tcp 10.96.0.1:80`: what a socket gets.
    pub(crate) fn ask(&self, question: &str) -> String {
        let words: Vec<&str> = question.split_whitespace().collect();
        let [who, protocol, to] = words[..] else { panic!("not a question: {question:?}") };
        let to: SocketAddr = to.parse().unwrap();
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => panic!("no such protocol: {other}"),
        };
        let host = match who {
            "host" => true,
            "pod" => false,
            other => panic!("neither pod nor host: {other}"),
        };
        let question = Question { to, protocol, host };
        match explain(&self.daemon.image(), self.daemon.services().plan(), &question) {
            Answer::Translated { service, backends, affinity_seconds } => {
                let mut backends: Vec<String> =
                    backends.into_iter().map(|b| SocketAddr::from(b).to_string()).collect();
                backends.sort();
                let kept = affinity_seconds.map(|s| format!(", kept {s} s")).unwrap_or_default();
                format!("{}: {}{kept}", self.holder(&service), backends.join(" "))
            }
            Answer::Refused { service } => format!("{}: refused", self.holder(&service)),
            Answer::NotAService => "not a Service: left alone".to_owned(),
            other => other.to_string(),
        }
    }

    /// Without its index, which says nothing to a reader.
    fn holder(&self, holder: &Holder) -> String {
        match &holder.name {
            Some(_) => holder.to_string(),
            None => self.names.record(&self.daemon.image(), holder.index),
        }
    }
}

fn documents(body: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(body).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn kind_of(object: &Value) -> Kind {
    kind_named(object["kind"].as_str().unwrap_or_default())
}

fn kind_named(name: &str) -> Kind {
    Kind::of_name(name).unwrap_or_else(|| panic!("{name}?"))
}

fn object_name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap_or(("", text));
    ObjectName::new(namespace, name)
}
