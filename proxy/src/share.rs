//! How much of the node's tables one Service may use.
//!
//! A user who may write a Service may give it thousands of ports and thousands of addresses: the product
//! of both would fill the tables (and the daemon's memory before that), and keep everybody else's
//! Services out. What is beyond the share is not compiled.

use towpath_image::{Capacities, SOURCE_RANGES_MAX};
use towpath_model::{Code, Key, Kind, Problem, Service};

/// One Service may have one part in so many of FRONTENDS and BACKENDS.
const DIVISOR: u32 = 4;
/// And of SERVICES: an ingress controller on every one of 5,000 nodes with `externalTrafficPolicy: Local`
/// takes a frontend and a record for each node, port and family, and must fit.
const RECORDS_DIVISOR: u32 = 2;
/// Highest number of backends that a set word can count.
const SET_MAX: usize = u16::MAX as usize;

/// What one Service may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Frontends, guards among them.
    pub frontends: usize,
    /// Records.
    pub records: usize,
    /// Backends of the largest sets of all its ports together.
    pub backends: usize,
}

impl Share {
    /// Of tables of this size; never less than what one port of both families takes.
    #[must_use]
    pub fn of(capacities: &Capacities) -> Self {
        let part = |capacity: u32, divisor: u32| (capacity / divisor).max(4) as usize;
        Self {
            frontends: part(capacities.frontends, DIVISOR),
            records: part(capacities.services, RECORDS_DIVISOR),
            backends: part(capacities.backends, DIVISOR),
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::of(&Capacities::default())
    }
}

/// What is left of a share while a Service is compiled, and what was refused.
#[derive(Debug)]
pub(crate) struct Budget {
    share: Share,
    frontends: usize,
    records: usize,
    /// The same for each of its sets.
    backends: usize,
    /// nodePorts not yet given; the room for them is set aside.
    node_ports: usize,
    refused_frontends: usize,
    refused_ports: usize,
    refused_nodes: usize,
    /// Endpoints of the largest set that was cut.
    cut: usize,
    /// Source ranges of each port.
    ranges: usize,
    /// Of the largest list that was cut.
    cut_ranges: usize,
}

impl Budget {
    /// Of a Service with so many guards, ports (one per family) and nodePorts among them. Frontends
    /// are given in the order clusterIP, nodePort, remote nodes' own, external, load balancer.
    /// Answers how many of its ports are compiled, too.
    pub(crate) fn new(share: Share, guards: usize, ports: usize) -> (Self, usize) {
        let kept = ports.min(share.records).min(share.frontends.saturating_sub(guards));
        let budget = Self {
            share,
            frontends: share.frontends.saturating_sub(guards + kept),
            records: share.records.saturating_sub(kept),
            backends: (share.backends / kept.max(1)).clamp(1, SET_MAX),
            node_ports: 0,
            refused_frontends: 0,
            refused_ports: ports - kept,
            refused_nodes: 0,
            cut: 0,
            ranges: (SOURCE_RANGES_MAX / DIVISOR) as usize / kept.max(1),
            cut_ranges: 0,
        };
        (budget, kept)
    }

    /// Sets room aside for nodePorts.
    pub(crate) fn set_aside(&mut self, node_ports: usize) {
        self.node_ports = self.grant(node_ports);
    }

    /// One of the nodePorts that room was set aside for.
    pub(crate) fn take_node_port(&mut self) -> bool {
        let taken = self.node_ports > 0;
        self.node_ports -= usize::from(taken);
        taken
    }

    /// A remote node's own nodePort: a frontend and a record.
    pub(crate) fn take_node(&mut self) -> bool {
        let taken = self.frontends > 0 && self.records > 0;
        if taken {
            self.frontends -= 1;
            self.records -= 1;
        } else {
            self.refused_nodes += 1;
        }
        taken
    }

    /// How many of so many frontends there is room for.
    pub(crate) fn grant(&mut self, frontends: usize) -> usize {
        let granted = frontends.min(self.frontends);
        self.frontends -= granted;
        self.refused_frontends += frontends - granted;
        granted
    }

    /// How many of so many endpoints a set may have.
    pub(crate) fn cut(&mut self, endpoints: usize) -> usize {
        if endpoints > self.backends {
            self.cut = self.cut.max(endpoints);
        }
        endpoints.min(self.backends)
    }

    /// How many of so many source ranges a port may have.
    pub(crate) fn grant_ranges(&mut self, ranges: usize) -> usize {
        if ranges > self.ranges {
            self.cut_ranges = self.cut_ranges.max(ranges);
        }
        ranges.min(self.ranges)
    }

    /// What was refused, in words.
    pub(crate) fn problems(&self, service: &Service) -> Vec<Problem> {
        let Share { frontends, records, .. } = self.share;
        let mut problems = Vec::new();
        let mut refuse = |number: usize, field: &str, why: String, action: &str| {
            if number > 0 {
                let key = Key { kind: Kind::Service, name: service.meta.name.clone() };
                problems.push(Problem::new(Code::ServiceTooLarge, Some(key), field, &why, action));
            }
        };
        let split = "split the Service, or raise capacities.frontends and capacities.services";
        let limits = format!(
            "one Service may have {frontends} frontends and {records} records (1/{DIVISOR} of \
             FRONTENDS, 1/{RECORDS_DIVISOR} of SERVICES)"
        );
        let ports = self.refused_ports;
        refuse(ports, "spec.ports", format!("{ports} ports are not served: {limits}"), split);
        let addresses = self.refused_frontends;
        let why = format!("{addresses} addresses and ports are not served: {limits}");
        refuse(addresses, "spec", why, split);
        let nodes = self.refused_nodes;
        let why = format!("{nodes} nodePorts of other nodes are not served: {limits}");
        refuse(nodes, "spec.externalTrafficPolicy", why, split);
        let why = format!(
            "{} endpoints; only the first {} of a port are used: one Service may have {} in all",
            self.cut, self.backends, self.share.backends
        );
        refuse(self.cut, "endpoints", why, "split the Service, or raise capacities.backends");
        let why = format!(
            "{} blocks; only the first {} of a port let clients in: one Service may have {} in all",
            self.cut_ranges,
            self.ranges,
            SOURCE_RANGES_MAX / DIVISOR
        );
        let field = "spec.loadBalancerSourceRanges";
        refuse(self.cut_ranges, field, why, "write larger blocks, or split the Service");
        problems
    }
}
