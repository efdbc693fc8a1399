//! The API's JSON as the reference reads it: a reader of its own, so that no wrong default can stand
//! on both sides. Sources: services.md 1.1 ("table") and the API's own documentation of each field
//! ("API": k8s.io/api core/v1 and discovery/v1), never `towpath_model`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    rc::Rc,
};

use serde_json::Value;

use crate::world::{Kind, Name, OWN_NODE, World};

/// Everything that an answer depends on.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) services: Rc<Vec<Service>>,
    pub(crate) slices: Rc<Vec<Slice>>,
    /// This node's.
    pub(crate) zone: Option<String>,
    /// Which node has an address.
    pub(crate) addresses: Rc<BTreeMap<IpAddr, String>>,
    /// What this node goes by, IPv4 and IPv6.
    pub(crate) node_ips: [Option<IpAddr>; 2],
    /// `socketLB: hostOnly`.
    pub(crate) host_only: bool,
}

/// A Service that is proxied.
pub(crate) struct Service {
    pub(crate) name: Name,
    pub(crate) created: String,
    pub(crate) cluster: Vec<IpAddr>,
    pub(crate) external: Vec<IpAddr>,
    pub(crate) balancers: Vec<IpAddr>,
    /// Source ranges, trimmed: first address, length.
    pub(crate) ranges: Vec<(IpAddr, u32)>,
    pub(crate) internal_local: bool,
    pub(crate) external_local: bool,
    pub(crate) affinity: Option<u32>,
    pub(crate) health_check: Option<u16>,
    pub(crate) ports: Vec<Port>,
    /// Fields of spec that are absent or null, and what else was left to a default.
    unsaid: Vec<&'static str>,
}

pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) protocol: u8,
    pub(crate) number: u16,
    pub(crate) node_port: Option<u16>,
    pub(crate) protocol_unsaid: bool,
}

pub(crate) struct Slice {
    pub(crate) service: Name,
    pub(crate) v6: bool,
    /// Name, protocol, number.
    pub(crate) ports: Vec<(String, u8, u16)>,
    pub(crate) endpoints: Vec<Endpoint>,
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    pub(crate) addr: IpAddr,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
    pub(crate) node: Option<String>,
    pub(crate) zones: Vec<String>,
    pub(crate) nodes: Vec<String>,
    /// Conditions that are absent or null: ready, serving, terminating.
    pub(crate) unsaid: [bool; 3],
}

impl Facts {
    pub(crate) fn read(world: &World) -> Self {
        Self {
            services: services(world),
            slices: slices(world),
            zone: zone(world),
            addresses: Rc::new(addresses(world)),
            node_ips: node_ips(world),
            host_only: world.host_only,
        }
    }

    /// What a daemon shows that was told of one thing after the other.
    #[allow(dead_code, reason = "not every test binary that shares this file mixes")]
    pub(crate) fn mixed(services: &Self, slices: &Self, zone: &Self, addresses: &Self) -> Self {
        Self {
            services: Rc::clone(&services.services),
            slices: Rc::clone(&slices.slices),
            zone: zone.zone.clone(),
            addresses: Rc::clone(&addresses.addresses),
            node_ips: addresses.node_ips,
            host_only: services.host_only,
        }
    }
}

fn services(world: &World) -> Rc<Vec<Service>> {
    Rc::new(world.of(Kind::Service).filter_map(Service::read).collect())
}

fn slices(world: &World) -> Rc<Vec<Slice>> {
    Rc::new(world.of(Kind::EndpointSlice).filter_map(Slice::read).collect())
}

fn zone(world: &World) -> Option<String> {
    let own = world.of(Kind::Node).find(|json| json["metadata"]["name"] == OWN_NODE)?;
    // Table: "Missing => zone hints ignored".
    own["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str().map(str::to_owned)
}

/// Which node answers on an address (services.md 1.9): what its Node object lists, what is on this
/// node's devices (a packet to it is delivered here, whatever an object says), loopback.
fn addresses(world: &World) -> BTreeMap<IpAddr, String> {
    let mut addresses = BTreeMap::new();
    for node in world.of(Kind::Node) {
        for address in list(&node["status"]["addresses"]) {
            // API, NodeAddress: of the five types these two are IP addresses that others can reach.
            let is_ip = address["type"] == "InternalIP" || address["type"] == "ExternalIP";
            if let Some(ip) = address_of(&address["address"]).filter(|_| is_ip) {
                addresses.insert(ip, text(&node["metadata"]["name"]).to_owned());
            }
        }
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let own = world.own_addresses.iter().copied().chain(loopback);
    addresses.extend(own.map(|ip| (ip, OWN_NODE.to_owned())));
    addresses
}

impl Service {
    /// `None`: not proxied.
    fn read(json: &Value) -> Option<Self> {
        let (spec, labels) = (&json["spec"], &json["metadata"]["labels"]);
        // Table: any value of either label hides the Service.
        if said(&labels["service.kubernetes.io/service-proxy-name"])
            || said(&labels["service.kubernetes.io/headless"])
            || spec["type"] == "ExternalName"
        {
            return None;
        }
        // API: "clusterIPs ... If this field is not specified, it will be initialized from the
        // clusterIP field". Table: "None" or "" is skipped entirely.
        let listed = list(&spec["clusterIPs"]);
        let single = std::slice::from_ref(&spec["clusterIP"]);
        let texts = if listed.is_empty() { single } else { listed };
        let cluster: Vec<IpAddr> = texts.iter().filter_map(address_of).collect();
        if cluster.is_empty() {
            return None;
        }
        let mut unsaid = Vec::new();
        let mut or = |field: &'static str, default: &str| {
            if !said(&spec[field]) {
                unsaid.push(field);
            }
            spec[field].as_str().unwrap_or(default).to_owned()
        };
        // API: both policies default to Cluster, affinity to None.
        let internal_local = or("internalTrafficPolicy", "Cluster") == "Local";
        let external_local = or("externalTrafficPolicy", "Cluster") == "Local";
        let affinity = (or("sessionAffinity", "None") == "ClientIP").then(|| {
            let seconds = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
            // API: "Default value is 10800 (for 3 hours)".
            if !said(seconds) {
                unsaid.push("timeoutSeconds");
            }
            u32::try_from(seconds.as_u64().unwrap_or(10_800)).unwrap()
        });
        let balancers = balancers(&json["status"]["loadBalancer"]["ingress"], &mut unsaid);
        // services.md 1.6: only of type LoadBalancer with externalTrafficPolicy Local.
        let balanced = spec["type"] == "LoadBalancer" && external_local;
        Some(Self {
            name: name(json),
            created: text(&json["metadata"]["creationTimestamp"]).to_owned(),
            cluster,
            external: list(&spec["externalIPs"]).iter().filter_map(address_of).collect(),
            balancers,
            ranges: ranges(&spec["loadBalancerSourceRanges"]),
            internal_local,
            external_local,
            affinity,
            health_check: number(&spec["healthCheckNodePort"]).filter(|_| balanced),
            ports: list(&spec["ports"]).iter().map(Port::read).collect(),
            unsaid,
        })
    }

    /// Was this left to its default?
    pub(crate) fn left_out(&self, field: &str) -> bool {
        self.unsaid.contains(&field)
    }
}

/// Table: every IP whose ipMode is unset or "VIP" (KEP-1860); an entry with a host name only is none.
fn balancers(ingress: &Value, unsaid: &mut Vec<&'static str>) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    for entry in list(ingress) {
        if !said(&entry["ipMode"]) {
            unsaid.push("ipMode");
        }
        let captured = !said(&entry["ipMode"]) || entry["ipMode"] == "VIP";
        ips.extend(address_of(&entry["ip"]).filter(|_| captured));
    }
    ips
}

/// Table: trimmed of white space.
fn ranges(ranges: &Value) -> Vec<(IpAddr, u32)> {
    let range = |range: &Value| {
        let (base, length) = text(range).trim().split_once('/')?;
        Some((base.parse().ok()?, length.parse().ok()?))
    };
    list(ranges).iter().filter_map(range).collect()
}

/// The API's NodeAddressType: an internal address is what the cluster itself uses.
fn node_ips(world: &World) -> [Option<IpAddr>; 2] {
    let own = world.of(Kind::Node).find(|json| json["metadata"]["name"] == OWN_NODE);
    let listed = own.map_or(&[][..], |own| list(&own["status"]["addresses"]));
    [false, true].map(|v6| {
        let of = |kind: &str| {
            let kind = kind.to_owned();
            let ips = listed.iter().filter(move |address| address["type"] == kind);
            let mut ips = ips.filter_map(|address| address_of(&address["address"]));
            ips.find(|ip| ip.is_ipv6() == v6)
        };
        of("InternalIP").or_else(|| of("ExternalIP"))
    })
}

impl Port {
    fn read(json: &Value) -> Self {
        Self {
            name: text(&json["name"]).to_owned(),
            protocol: protocol(&json["protocol"]),
            number: number(&json["port"]).unwrap(),
            // Table: 0 is none, too.
            node_port: number(&json["nodePort"]),
            protocol_unsaid: !said(&json["protocol"]),
        }
    }
}

impl Slice {
    /// `None`: nothing is routed to it.
    fn read(json: &Value) -> Option<Self> {
        let labels = &json["metadata"]["labels"];
        // Table: the label names the Service, of the slice's namespace; without it the slice is
        // dropped. One that says `headless` is not even watched.
        let service = labels["kubernetes.io/service-name"].as_str()?;
        if said(&labels["service.kubernetes.io/headless"]) {
            return None;
        }
        // Table: IPv4 and IPv6 select the family, FQDN is ignored.
        let v6 = match json["addressType"].as_str()? {
            "IPv4" => false,
            "IPv6" => true,
            _ => return None,
        };
        // Table: a port with nil name, or nil or 0 number, is ignored.
        let port = |json: &Value| {
            let (name, number) = (json["name"].as_str()?, number(&json["port"])?);
            Some((name.to_owned(), protocol(&json["protocol"]), number))
        };
        let (namespace, _) = name(json);
        Some(Self {
            service: (namespace, service.to_owned()),
            v6,
            ports: list(&json["ports"]).iter().filter_map(port).collect(),
            endpoints: list(&json["endpoints"]).iter().filter_map(Endpoint::read).collect(),
        })
    }
}

impl Endpoint {
    fn read(json: &Value) -> Option<Self> {
        let condition = |name| json["conditions"][name].as_bool();
        let [ready, serving, terminating] = ["ready", "serving", "terminating"].map(condition);
        let names = |list_of: &Value| {
            list(list_of).iter().map(|hint| text(&hint["name"]).to_owned()).collect()
        };
        Some(Self {
            // Table: only element 0 is used.
            addr: address_of(&json["addresses"][0])?,
            // Table and API: "a nil value should be interpreted as" true, true, false.
            ready: ready != Some(false),
            serving: serving != Some(false),
            terminating: terminating == Some(true),
            // Table: nil is never local.
            node: json["nodeName"].as_str().map(str::to_owned),
            zones: names(&json["hints"]["forZones"]),
            nodes: names(&json["hints"]["forNodes"]),
            unsaid: [ready.is_none(), serving.is_none(), terminating.is_none()],
        })
    }
}

fn said(value: &Value) -> bool {
    !value.is_null()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Absent, null and empty are the same to the API.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A port; 0 is none.
fn number(value: &Value) -> Option<u16> {
    value.as_u64().filter(|number| *number != 0).map(|number| u16::try_from(number).unwrap())
}

/// API: "The IP protocol for this port. ... Default is TCP."
fn protocol(value: &Value) -> u8 {
    match value.as_str().unwrap_or("TCP") {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        other => unreachable!("no protocol of the API: {other}"),
    }
}

pub(crate) fn name(json: &Value) -> Name {
    let part = |field: &str| text(&json["metadata"][field]).to_owned();
    (part("namespace"), part("name"))
}

fn address_of(value: &Value) -> Option<IpAddr> {
    text(value).parse().ok().filter(|ip| is_one_host(*ip))
}

/// Addresses that the API server refuses for endpoints and externalIPs (`ValidateNonSpecialIP`, after
/// CVE-2021-25737): unspecified, loopback, link-local, link-local multicast. And those that RFC 1122
/// (3.2.1.3) and RFC 4291 (2.7) keep from being a host's at all: this network, broadcast, multicast.
/// Statuses are not validated by the server, hence it is asked of every address.
fn is_one_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            [0 | 127, ..] | [169, 254, ..] | [255, 255, 255, 255] => false,
            [first, ..] => !(224..240).contains(&first),
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => false,
            [first, ..] => first & 0xffc0 != 0xfe80 && first & 0xff00 != 0xff00,
        },
    }
}
