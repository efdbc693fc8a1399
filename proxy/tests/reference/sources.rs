//! Packets by where they come from: `spec.loadBalancerSourceRanges` (services.md 1.1, 1.3).

use std::net::IpAddr;

use towpath_image::{
    ServiceImage,
    datapath::{
        Addr,
        decide::{
            Beside, SocketAddress, Verdict,
            node::{Arrival, Masquerade, Origin, Pods, dispatch},
        },
    },
};

use crate::{
    answers::{Branches, hit, may_come_in},
    facts::Facts,
    kernel::Maps,
    question::Probe,
    world::{BALANCER, World},
};

/// Inside and outside of the ranges that Services have; the nodes; the balancers themselves.
const FROM: [&str; 11] = [
    "10.0.0.1",
    "10.9.1.1",
    "11.0.0.1",
    "172.31.255.255",
    "172.32.0.1",
    "192.168.0.10",
    "192.168.0.11",
    "1.1.1.1",
    "1.1.1.2",
    "fd00::7",
    "2001:db8::7",
];

pub(crate) const ALL: [&str; 3] = ["kept out", "let in", "a balancer's own address is let in"];

/// A node without pods.
struct Node<'a>(Maps<'a>);

impl<'a> Beside for Node<'a> {
    type Tables = Maps<'a>;
    fn tables(&self) -> &Maps<'a> {
        &self.0
    }
}

impl Pods for Node<'_> {
    fn is_here(&self, _addr: &Addr) -> bool {
        false
    }
}

/// Is a packet kept out? `later`: what is read once the frontend was found.
fn keeps_out(first: &ServiceImage, later: &ServiceImage, probe: &Probe, from: IpAddr) -> bool {
    let arrival = Arrival {
        origin: Origin::Outside,
        from: from.into(),
        to: SocketAddress::new(probe.addr.into(), probe.port.to_be()),
        protocol: probe.protocol,
    };
    let found = dispatch(&Node(Maps { first, later }), &arrival, Masquerade::default(), 0, 0);
    matches!(found.verdict, Verdict::SourceRanges { .. })
}

fn sources(of: &Probe) -> impl Iterator<Item = IpAddr> {
    let v6 = of.addr.is_ipv6();
    let all = FROM.iter().map(|ip| ip.parse::<IpAddr>().unwrap());
    all.filter(move |from| from.is_ipv6() == v6)
}

/// Every packet to an address of a load balancer is kept out or let in as it should be.
pub(crate) fn check(place: &str, image: &ServiceImage, facts: &Facts, branches: &mut Branches) {
    for probe in World::probes() {
        let Some(hit) = hit(facts, &probe) else { continue };
        for from in sources(&probe) {
            let kept_out = keeps_out(image, image, &probe, from);
            // A remote node's nodePort is no frontend here.
            let wanted =
                hit.remote.is_none() && !may_come_in(facts, &hit, probe.addr.is_ipv6(), Some(from));
            assert_eq!(kept_out, wanted, "{place}: {probe:?} from {from}");
            if hit.service.ranges.is_empty() {
                continue;
            }
            branches.took(if kept_out { "kept out" } else { "let in" });
            let open = hit.service.ranges.iter().any(|(_, bits)| *bits == 0);
            if from == probe.addr && !open && !kept_out {
                branches.took("a balancer's own address is let in");
            }
        }
    }
}

/// After every single operation a packet is kept out as before the change or as after it; so is one whose
/// program found the frontend before the change and read on at any point of it.
pub(crate) fn check_between(place: &str, begin: &ServiceImage, history: &[ServiceImage]) {
    let Some(end) = history.last() else { return };
    let asked = |probe: &Probe| {
        let way = (probe.port, probe.protocol, probe.host);
        BALANCER.iter().any(|ip| probe.addr.to_string() == *ip) && way == (80, 6, false)
    };
    for probe in World::probes().filter(asked) {
        for from in sources(&probe) {
            let both = [begin, end].map(|image| keeps_out(image, image, &probe, from));
            for image in history {
                for first in [image, begin] {
                    let now = keeps_out(first, image, &probe, from);
                    assert!(both.contains(&now), "{place}: {probe:?} from {from}: {both:?}");
                }
            }
        }
    }
}
