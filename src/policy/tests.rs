//! The area over maps in memory: what a start may open.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use towpath_image::{
    Applied, Attachments, Batch, FakeKernel, Kernel, KernelError, PolicyCapacities, PolicyImage,
    PolicyOp,
    datapath::{
        decide::forward,
        policy::{DeviceWord, Direction, DirectionWord, PolicyCounters},
    },
};
use towpath_model::{Code, Event, Kind, ObjectName, Protocol, Store, Stream, decode};

use super::{End, NEEDS, Policy, PolicyKernel};
use crate::{
    api::explain::Outcome,
    clock::{Clock as _, ManualClock},
    reconcile::{Area as _, Planned},
};

#[derive(Clone)]
struct Maps(Arc<Mutex<FakeKernel<PolicyImage>>>);

impl Maps {
    fn new() -> Self {
        let image = PolicyImage::with_capacities(PolicyCapacities::default());
        Self(Arc::new(Mutex::new(FakeKernel::over(image))))
    }

    fn lock(&self) -> MutexGuard<'_, FakeKernel<PolicyImage>> {
        self.0.lock().unwrap()
    }

    /// Pods that are isolated for what comes in.
    fn isolated(&self) -> usize {
        self.lock().image.pods.values().filter(|pod| pod.ingress.is_isolated()).count()
    }
}

impl Kernel<PolicyImage> for Maps {
    fn read(&mut self) -> Result<PolicyImage, KernelError> {
        self.lock().read()
    }
    fn apply(&mut self, batch: &Batch<PolicyOp>) -> Applied {
        self.lock().apply(batch)
    }
}

impl PolicyKernel for Maps {
    fn counters(&self) -> PolicyCounters {
        PolicyCounters::default()
    }
}

/// A daemon: a store that is told, and the area over the maps.
struct Daemon {
    store: Store,
    area: Policy,
    clock: ManualClock,
}

impl Daemon {
    fn over(maps: &Maps) -> Self {
        let dns = Some(ObjectName::new("kube-system", "kube-dns"));
        let area = Policy::new(Box::new(maps.clone()), Attachments::new(), dns).unwrap();
        Self { store: Store::new("n"), area, clock: ManualClock::default() }
    }

    /// A list of every kind that is needed.
    fn lists(&mut self, objects: &[(Kind, Value)]) -> Planned {
        for stream in self.area.needs().to_vec() {
            self.store.feed(Event::Init(stream.clone()));
            for (_, object) in objects.iter().filter(|(kind, _)| *kind == stream.kind) {
                let decoded = decode(stream.kind, object.to_string().as_bytes()).unwrap();
                self.store.feed(Event::Apply(decoded));
            }
            self.store.feed(Event::InitDone(stream));
        }
        self.turn()
    }

    fn turn(&mut self) -> Planned {
        let (view, changes) = self.store.commit();
        let synced = view.synced(self.area.needs()).unwrap();
        let planned = self.area.plan(&view, &changes, &synced, &self.clock);
        for _ in 0..6 {
            assert_eq!(self.area.publish(&synced, &self.clock).failure, None);
            self.clock.advance(std::time::Duration::from_secs(2));
            self.area.graced(self.clock.now_ms());
        }
        planned
    }

    fn codes(&self) -> Vec<Code> {
        let mut problems = Vec::new();
        self.area.problems(&mut problems);
        let codes = problems.iter().map(|problem| problem.code);
        codes.filter(|code| *code != Code::PodWithoutDevice).collect()
    }
}

fn pods(count: usize) -> Vec<(Kind, Value)> {
    let pod = |at: usize| {
        let json = json!({
            "metadata": { "namespace": "d", "name": format!("p{at}") }, "spec": { "nodeName": "n" },
            "status": { "phase": "Running", "podIPs": [{ "ip": format!("10.1.0.{}", at + 1) }] },
        });
        (Kind::Pod, json)
    };
    (0..count).map(pod).collect()
}

fn closed(mut objects: Vec<(Kind, Value)>) -> Vec<(Kind, Value)> {
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
    let meta = json!({ "namespace": "d", "name": "closed" });
    objects.push((Kind::NetworkPolicy, json!({ "metadata": meta, "spec": spec })));
    objects
}

fn needs() -> std::collections::BTreeSet<Stream> {
    NEEDS.iter().cloned().collect()
}

/// Maps in which an earlier daemon isolated three pods.
fn isolating() -> Maps {
    let maps = Maps::new();
    assert_eq!(Daemon::over(&maps).lists(&closed(pods(3))).relist, [].into());
    assert_eq!(maps.isolated(), 3);
    maps
}

#[test]
fn a_first_list_without_policies_opens_no_pod_before_a_second_agrees() {
    let maps = isolating();
    let before = maps.lock().image.clone();
    let mut daemon = Daemon::over(&maps);
    assert_eq!(daemon.lists(&pods(3)).relist, needs());
    assert_eq!(maps.lock().image, before, "nothing is written while the lists are doubted");
    assert_eq!(daemon.codes(), [Code::IsolationHeld]);
    assert_eq!(daemon.lists(&pods(3)).relist, [].into());
    assert_eq!(maps.isolated(), 0, "both lists say so");
    assert_eq!(daemon.codes(), []);
}

#[test]
fn lists_that_are_all_empty_open_nothing_at_once() {
    let maps = isolating();
    let before = maps.lock().image.clone();
    let mut daemon = Daemon::over(&maps);
    assert_eq!(daemon.lists(&[]).relist, needs());
    assert_eq!(daemon.codes(), [Code::IsolationHeld]);
    assert_eq!(maps.lock().image, before, "as it was found");
    assert_eq!(daemon.lists(&[]).relist, [].into());
    assert_eq!(maps.isolated(), 0, "a second list agrees");
}

#[test]
fn a_second_list_that_has_the_policies_again_is_in_force() {
    let maps = isolating();
    let mut daemon = Daemon::over(&maps);
    daemon.lists(&pods(4));
    daemon.lists(&closed(pods(4)));
    assert_eq!((maps.isolated(), daemon.codes()), (4, Vec::new()));
    // From here on a policy that goes is gone.
    daemon.store.feed(Event::Delete(Kind::NetworkPolicy, ObjectName::new("d", "closed")));
    assert_eq!(daemon.turn().relist, [].into());
    assert_eq!(maps.isolated(), 0);
}

#[test]
fn lists_that_open_little_or_nothing_are_believed_at_once() {
    let maps = isolating();
    let mut daemon = Daemon::over(&maps);
    // One pod of three left the policy: its isolation ends with the first list.
    let mut objects = pods(3);
    let spec = json!({ "podSelector": { "matchExpressions":
        [{ "key": "open", "operator": "DoesNotExist" }] }, "policyTypes": ["Ingress"] });
    objects[0].1["metadata"]["labels"] = json!({ "open": "yes" });
    let meta = json!({ "namespace": "d", "name": "closed" });
    objects.push((Kind::NetworkPolicy, json!({ "metadata": meta, "spec": spec })));
    assert_eq!(daemon.lists(&objects).relist, [].into());
    assert_eq!((maps.isolated(), daemon.codes()), (2, Vec::new()));
}

#[test]
fn where_the_maps_say_something_else_it_cannot_be_told() {
    let maps = Maps::new();
    let mut daemon = Daemon::over(&maps);
    daemon.lists(&closed(pods(2)));
    let view = daemon.store.view();
    let pod = view.pod(&ObjectName::new("d", "p0")).unwrap();
    let peer = "10.1.0.2".parse().unwrap();
    let carried = (Protocol::Tcp, 80);
    let end = |direction| End { pod, direction, peer, carried };
    let mut held = maps.lock().image.clone();
    // No device was bound here: what the maps say is told of the slot that a device leads to.
    let slot = *held.pods.iter().find(|(_, one)| one.v4.to_be() & 0xff == 1).unwrap().0;
    held.devices.insert(7, DeviceWord::bound(slot));
    let hop =
        |held: &PolicyImage, direction| daemon.area.judge(view, Some(held)).hop(&end(direction));
    let told = hop(&held, Direction::Ingress);
    assert!(told.here && told.outcome == Outcome::Dies && told.kernel.unwrap().agrees);
    assert_eq!(hop(&held, Direction::Egress).outcome, Outcome::Passes);
    // The word of the pod is another one than was written.
    let mut other = held.clone();
    other.pods.get_mut(&slot).unwrap().ingress = DirectionWord::open();
    let told = hop(&other, Direction::Ingress);
    assert!(told.outcome == Outcome::Unknown && !told.kernel.unwrap().agrees, "{}", told.why);
    // No device leads to the pod.
    held.devices.clear();
    let told = hop(&held, Direction::Egress);
    assert!(told.outcome == Outcome::Unknown && told.why.contains("TP7002"), "{}", told.why);
}

#[test]
fn where_this_node_answers_dns_its_address_is_judged_as_the_services_pods() {
    let maps = Maps::new();
    let mut objects = pods(1);
    let to = json!([{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } },
                      "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } } }]);
    let spec = json!({ "podSelector": {}, "policyTypes": ["Egress"],
        "egress": [{ "to": to, "ports": [{ "port": 53, "protocol": "UDP" }] }] });
    let policy = json!({ "metadata": { "namespace": "d", "name": "dns" }, "spec": spec });
    objects.push((Kind::NetworkPolicy, policy));
    objects.push((Kind::Namespace, json!({ "metadata": { "name": "kube-system" } })));
    let service = |address: &str| {
        json!({ "metadata": { "namespace": "kube-system", "name": "kube-dns" },
            "spec": { "clusterIP": address, "clusterIPs": [address],
                "selector": { "k8s-app": "kube-dns" },
                "ports": [{ "name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53 }] } })
    };
    let mut daemon = Daemon::over(&maps);
    let other = json!({ "metadata": { "namespace": "d", "name": "web" },
        "spec": { "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "selector": { "k8s-app": "kube-dns" }, "ports": [{ "port": 53, "protocol": "UDP" }] } });
    objects.push((Kind::Service, service("10.96.0.10")));
    objects.push((Kind::Service, other));
    daemon.lists(&objects);
    let passes = |address: &str, port: u16| {
        let held = maps.lock().image.clone();
        let pod = held.pods.values().next().unwrap();
        let peer = address.parse::<std::net::IpAddr>().unwrap().into();
        forward(&held, pod.word(Direction::Egress), &peer, 17, Some(port.to_be())).passes()
    };
    assert!(passes("10.96.0.10", 53), "where DNS is answered");
    assert!(!passes("10.96.0.10", 54) && !passes("10.96.0.9", 53), "and nothing else");
    let decoded = decode(Kind::Service, service("10.96.0.11").to_string().as_bytes()).unwrap();
    daemon.store.feed(Event::Apply(decoded));
    daemon.turn();
    assert!(passes("10.96.0.11", 53) && !passes("10.96.0.10", 53), "the address moved");
    // Pods have the address in their resolv.conf as long as they live.
    let name = ObjectName::new("kube-system", "kube-dns");
    daemon.store.feed(Event::Delete(Kind::Service, name));
    daemon.turn();
    assert!(passes("10.96.0.11", 53));
}
