//! A small world of objects that changes at random: few names, few addresses, many collisions.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde_json::{Value, json};
use towpath_model::{EndpointSlice, Event, Kind, Node, Object, ObjectName, Service, decode};

/// xorshift64*: repeatable everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(value).unwrap() % limit
    }
    /// True once in `of` times.
    pub(crate) fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// One question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Probe {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    pub(crate) protocol: u8,
    pub(crate) host: bool,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) services: BTreeMap<ObjectName, Arc<Service>>,
    pub(crate) slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    pub(crate) nodes: BTreeMap<ObjectName, Arc<Node>>,
}

const CLUSTER: [&str; 4] = ["10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4"];
const CLUSTER6: [&str; 3] = ["fd96::1", "fd96::2", "fd96::3"];
const BALANCER: [&str; 3] = ["1.1.1.1", "1.1.1.2", "fd11::1"];
const EXTERNAL: [&str; 3] = ["2.2.2.2", "2.2.2.3", "3.3.3.3"];
const NODES: [&str; 3] = ["192.168.0.10", "192.168.0.11", "192.168.0.12"];
const NODE_PORTS: [u16; 3] = [0, 30001, 30002];

impl World {
    pub(crate) fn probes() -> impl Iterator<Item = Probe> {
        let vips = CLUSTER.iter().chain(&CLUSTER6).chain(&BALANCER).chain(&EXTERNAL);
        let vips = vips.flat_map(|ip| [(*ip, 80u16), (*ip, 53), (*ip, 81)]);
        let nodes = NODES.iter().chain(&["127.0.0.1", "::1"]);
        let nodes = nodes.flat_map(|ip| [(*ip, 30001u16), (*ip, 30002)]);
        vips.chain(nodes).flat_map(|(ip, port)| {
            let addr: IpAddr = ip.parse().unwrap();
            [(6, true), (6, false), (17, false)].map(|(protocol, host)| Probe {
                addr,
                port,
                protocol,
                host,
            })
        })
    }

    /// One change, as events.
    pub(crate) fn change(&mut self, random: &mut Random) -> Vec<Event> {
        match random.below(12) {
            0..=3 => vec![self.change_service(random)],
            4..=8 => vec![self.change_slice(random)],
            9 | 10 => vec![self.change_node(random)],
            _ => self.relist(random),
        }
    }

    /// Everything goes.
    pub(crate) fn clear(&mut self) -> Vec<Event> {
        let services = std::mem::take(&mut self.services).into_keys();
        let services = services.map(|name| Event::Delete(Kind::Service, name));
        let slices = std::mem::take(&mut self.slices).into_keys();
        services.chain(slices.map(|name| Event::Delete(Kind::EndpointSlice, name))).collect()
    }

    fn change_service(&mut self, random: &mut Random) -> Event {
        let name = ObjectName::new("d", &format!("s{}", random.below(4)));
        if random.chance(5) {
            self.services.remove(&name);
            return Event::Delete(Kind::Service, name);
        }
        let object = decode(Kind::Service, service(&name, random).to_string().as_bytes()).unwrap();
        if let Object::Service(service) = &object {
            self.services.insert(name, Arc::clone(service));
        }
        Event::Apply(object)
    }

    fn change_slice(&mut self, random: &mut Random) -> Event {
        let name = ObjectName::new("d", &format!("x{}", random.below(6)));
        if random.chance(6) {
            self.slices.remove(&name);
            return Event::Delete(Kind::EndpointSlice, name);
        }
        let json = slice(&name, random).to_string();
        let object = decode(Kind::EndpointSlice, json.as_bytes()).unwrap();
        if let Object::EndpointSlice(slice) = &object {
            self.slices.insert(name, Arc::clone(slice));
        }
        Event::Apply(object)
    }

    fn change_node(&mut self, random: &mut Random) -> Event {
        let number = random.below(3);
        let name = ObjectName::new("", &format!("n{number}"));
        if random.chance(6) {
            self.nodes.remove(&name);
            return Event::Delete(Kind::Node, name);
        }
        let mut json = json!({
            "metadata": { "name": &*name.name, "labels": {} },
            "status": { "addresses": [{ "type": "InternalIP", "address": NODES[number] }] },
        });
        if !random.chance(4) {
            let zone = random.pick(&["z0", "z1"]);
            json["metadata"]["labels"]["topology.kubernetes.io/zone"] = zone.into();
        }
        let object = decode(Kind::Node, json.to_string().as_bytes()).unwrap();
        if let Object::Node(node) = &object {
            self.nodes.insert(name, Arc::clone(node));
        }
        Event::Apply(object)
    }

    /// A kind is listed again, and one of its objects was deleted meanwhile.
    fn relist(&mut self, random: &mut Random) -> Vec<Event> {
        let mut events = vec![Event::Init(Kind::EndpointSlice.into())];
        if let Some(lost) = self.slices.keys().nth(random.below(6)).cloned() {
            self.slices.remove(&lost);
        }
        events.extend(
            self.slices.values().map(|s| Event::Apply(Object::EndpointSlice(Arc::clone(s)))),
        );
        events.push(Event::InitDone(Kind::EndpointSlice.into()));
        events
    }
}

fn service(name: &ObjectName, random: &mut Random) -> Value {
    let own = name.name.as_bytes()[1] - b'0';
    let mut ips = vec![CLUSTER[usize::from(own)]];
    if random.chance(8) {
        ips = vec![random.pick(&CLUSTER)];
    }
    if random.chance(2) {
        ips.push(random.pick(&CLUSTER6));
    }
    if random.chance(12) {
        ips = vec!["None"];
    }
    let mut ports = Vec::new();
    for (port, protocol, number) in [("a", "TCP", 80), ("b", "UDP", 53)] {
        if !random.chance(4) {
            let node_port = random.pick(&NODE_PORTS);
            ports.push(json!({ "name": port, "protocol": protocol, "port": number, "nodePort": node_port }));
        }
    }
    let kind = random.pick(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]);
    let mut json = json!({
        "metadata": {
            "name": &*name.name, "namespace": "d", "labels": {},
            "creationTimestamp": random.pick(&["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
        },
        "spec": {
            "type": kind, "clusterIPs": ips, "ports": ports,
            "internalTrafficPolicy": random.pick(&["Cluster", "Local"]),
            "externalTrafficPolicy": random.pick(&["Cluster", "Local"]),
            "sessionAffinity": random.pick(&["None", "None", "ClientIP"]),
        },
    });
    if random.chance(3) {
        json["spec"]["externalIPs"] = json!([random.pick(&EXTERNAL)]);
    }
    if random.chance(2) {
        let mode = random.pick(&["VIP", "VIP", "Proxy"]);
        json["status"]["loadBalancer"]["ingress"] =
            json!([{ "ip": random.pick(&BALANCER), "ipMode": mode }]);
    }
    if random.chance(5) {
        let range = random.pick(&["10.0.0.0/8", "fd00::/8"]);
        json["spec"]["loadBalancerSourceRanges"] = json!([range]);
    }
    if random.chance(15) {
        let label = random.pick(&["service-proxy-name", "headless"]);
        json["metadata"]["labels"][format!("service.kubernetes.io/{label}")] = "x".into();
    }
    json
}

fn slice(name: &ObjectName, random: &mut Random) -> Value {
    let v6 = random.chance(4);
    let hinted = random.below(4);
    let endpoints: Vec<Value> = (0..random.below(4))
        .map(|_| {
            let last = 1 + random.below(5);
            let ip = if v6 { format!("fd00::{last}") } else { format!("10.0.0.{last}") };
            let ip = if random.chance(30) { "169.254.1.1".to_owned() } else { ip };
            let mut json = json!({
                "addresses": [ip],
                "conditions": {
                    "ready": !random.chance(3), "serving": !random.chance(3),
                    "terminating": random.chance(3),
                },
            });
            if !random.chance(5) {
                json["nodeName"] = random.pick(&["n0", "n1", "n2"]).into();
            }
            if hinted == 1 || random.chance(8) {
                json["hints"]["forZones"] = json!([{ "name": random.pick(&["z0", "z1"]) }]);
            }
            if hinted == 2 || random.chance(8) {
                json["hints"]["forNodes"] = json!([{ "name": random.pick(&["n0", "n1"]) }]);
            }
            json
        })
        .collect();
    let ports = match random.below(4) {
        0 => json!([{ "name": "a", "protocol": "TCP", "port": 8080 }]),
        1 => json!([{ "name": "b", "protocol": "UDP", "port": 5353 }]),
        2 => {
            json!([{ "name": "a", "protocol": "TCP", "port": 9090 }, { "name": "b", "protocol": "UDP", "port": 5353 }])
        }
        _ => {
            json!([{ "name": "a", "protocol": "TCP", "port": 8080 }, { "name": "b", "protocol": "UDP", "port": 5353 }])
        }
    };
    let service = format!("s{}", random.below(4));
    let mut json = json!({
        "metadata": {
            "name": &*name.name, "namespace": "d",
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": if v6 { "IPv6" } else { "IPv4" }, "ports": ports, "endpoints": endpoints,
    });
    if random.chance(20) {
        json["metadata"]["labels"]["service.kubernetes.io/headless"] = "".into();
    }
    json
}
