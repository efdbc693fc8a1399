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
    world::World,
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

/// Every packet to an address of a load balancer is kept out or let in as it should be.
pub(crate) fn check(place: &str, image: &ServiceImage, facts: &Facts, branches: &mut Branches) {
    let node = Node(Maps { first: image, later: image });
    for probe in World::probes() {
        let Some(hit) = hit(facts, &probe) else { continue };
        let v6 = probe.addr.is_ipv6();
        for from in FROM.iter().map(|ip| ip.parse::<IpAddr>().unwrap()) {
            if from.is_ipv6() != v6 {
                continue;
            }
            let arrival = Arrival {
                origin: Origin::Outside,
                from: from.into(),
                to: SocketAddress::new(probe.addr.into(), probe.port.to_be()),
                protocol: probe.protocol,
            };
            let found = dispatch(&node, &arrival, Masquerade::default(), 0, 0).verdict;
            let kept_out = matches!(found, Verdict::SourceRanges { .. });
            // A remote node's nodePort is no frontend here.
            let wanted = hit.remote.is_none() && !may_come_in(facts, &hit, v6, Some(from));
            assert_eq!(kept_out, wanted, "{place}: {probe:?} from {from}: {found:?}");
            if !hit.service.ranges.is_empty() {
                branches.took(if kept_out { "kept out" } else { "let in" });
                let itself =
                    from == probe.addr && !hit.service.ranges.iter().any(|(_, bits)| *bits == 0);
                if itself && !kept_out {
                    branches.took("a balancer's own address is let in");
                }
            }
        }
    }
}
