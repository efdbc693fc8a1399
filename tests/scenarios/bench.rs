//! What a scenario plays on: store, plan, layout and a kernel in memory.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::Value;
use towpath_image::{Capacities, FakeKernel, Kernel as _, ServiceImage, ServiceOp};
use towpath_model::{
    Event, Key, Kind, ObjectName, Problem, Protocol, Store, decode, service::Cidr, unknown_fields,
};
use towpath_proxy::{
    Answer, Holder, Layout, NEEDS, PlanDelta, ProxyConfig, Question, ServicePlan, explain,
    node_identity, plan,
};

use crate::dump::{self, Names};

/// This node.
const NODE: &str = "n0";
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

pub(crate) struct Bench {
    store: Store,
    plan: ServicePlan,
    layout: Layout,
    kernel: FakeKernel<ServiceImage>,
    names: Names,
    /// What an API server would hold: who starts anew is told again.
    objects: BTreeMap<Key, Value>,
    unread: Vec<Problem>,
    /// Operations of the last act.
    written: Vec<ServiceOp>,
    now: u64,
}

fn new_plan() -> ServicePlan {
    ServicePlan::new(ProxyConfig {
        external_ips: vec![Cidr::parse(EXTERNAL).unwrap()],
        ..ProxyConfig::default()
    })
}

impl Bench {
    pub(crate) fn new(capacities: Capacities) -> Self {
        let mut kernel = FakeKernel::new(capacities);
        let layout = Layout::adopt(kernel.read().unwrap());
        let mut bench = Self {
            store: Store::new(NODE),
            plan: new_plan(),
            layout,
            kernel,
            names: Names::default(),
            objects: BTreeMap::new(),
            unread: Vec::new(),
            written: Vec::new(),
            now: 1,
        };
        for stream in NEEDS {
            bench.store.feed(Event::InitDone(stream));
        }
        bench.act("apply", "", NODES);
        bench
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
                self.store = Store::new(NODE);
                self.plan = new_plan();
                self.layout = Layout::adopt(self.kernel.read().unwrap());
                self.hear(body);
            }
            _ => self.hear(body),
        }
        self.turn();
    }

    fn apply(&mut self, kind: Kind, object: &Value) {
        self.unread.extend(unknown_fields(kind.as_str(), object));
        match decode(kind, object.to_string().as_bytes()) {
            Ok(decoded) => {
                self.objects.insert(decoded.key(), object.clone());
                self.store.feed(Event::Apply(decoded));
            }
            Err(bad) => match bad.key {
                Some(key) => {
                    self.store.feed(Event::Bad(*key, *bad.problem));
                }
                None => self.unread.push(*bad.problem),
            },
        }
    }

    /// `Service d/s`.
    fn delete(&mut self, line: &str) {
        let (kind, name) = line.split_once(' ').unwrap();
        let (kind, name) = (kind_named(kind), object_name(name));
        self.objects.remove(&Key { kind, name: name.clone() });
        self.store.feed(Event::Delete(kind, name));
    }

    /// The API server lists a kind again, and this is all there is of it.
    fn list(&mut self, kind: Kind, objects: Vec<Value>) {
        self.store.feed(Event::Init(kind.into()));
        self.objects.retain(|key, _| key.kind != kind);
        for object in objects {
            self.apply(kind, &object);
        }
        self.store.feed(Event::InitDone(kind.into()));
    }

    /// Kinds whose first list comes in, one a line.
    fn hear(&mut self, body: &str) {
        for kind in body.lines().map(kind_named) {
            let known = self.objects.iter().filter(|(key, _)| key.kind == kind);
            let objects = known.map(|(_, object)| object.clone()).collect();
            self.list(kind, objects);
        }
    }

    fn turn(&mut self) {
        self.written.clear();
        if self.store.view().synced(&NEEDS).is_none() {
            return;
        }
        let (view, changes) = self.store.commit();
        let synced = view.synced(&NEEDS);
        let (mut delta, _) = plan(&view, &changes, &mut self.plan);
        self.names.learn(&self.plan);
        for node in view.nodes() {
            let name = node.meta.name.name.to_string();
            self.names.nodes.insert(node_identity(&name), name);
        }
        for _ in 0..6 {
            let batch = self.layout.lay_out(&delta, synced.as_ref(), self.now);
            delta = PlanDelta::default();
            let applied = self.kernel.apply(&batch);
            self.written.extend(batch.ops.iter().take(applied.done).cloned());
            self.layout.settle(&batch, &applied, self.now);
            self.layout.graced(self.now + 1);
            self.now += 2_000;
            assert_eq!(*self.layout.image(), self.kernel.image, "the mirror is the kernel");
        }
        assert_eq!(self.plan.differences(&self.store.view()), Vec::<String>::new());
    }

    pub(crate) fn tables(&self) -> String {
        dump::tables(&self.kernel.image, &self.names)
    }

    pub(crate) fn nodes(&self) -> String {
        dump::nodes(&self.kernel.image, &self.names)
    }

    pub(crate) fn writes(&self) -> String {
        if self.written.is_empty() {
            return "nothing\n".to_owned();
        }
        dump::writes(&self.written, &self.kernel.image, &self.names)
    }

    pub(crate) fn problems(&self) -> String {
        let kept = self.store.problems().cloned().chain(self.plan.problems());
        let mut lines: Vec<String> =
            kept.chain(self.unread.iter().cloned()).map(|problem| problem.to_string()).collect();
        lines.extend(self.layout.refused().map(|r| format!("Service {}: {}", r.service, r.why)));
        for (stream, objects) in self.store.braked() {
            lines.push(format!("{stream}: a list that lacks {objects} objects waits for a second"));
        }
        lines.sort();
        lines.dedup();
        if lines.is_empty() {
            lines.push("none".to_owned());
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    pub(crate) fn health_checks(&self) -> String {
        let checks = self.plan.health_checks();
        let line = |c: &towpath_proxy::HealthCheck| {
            format!("{} on port {}: {} ready here\n", c.service, c.port, c.ready_local)
        };
        let text: String = checks.map(line).collect();
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
        match explain(&self.kernel.image, &self.plan, &question) {
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

    /// Without its index, which is nobody's business.
    fn holder(&self, holder: &Holder) -> String {
        match &holder.name {
            Some(_) => holder.to_string(),
            None => self.names.record(&self.kernel.image, holder.index),
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
