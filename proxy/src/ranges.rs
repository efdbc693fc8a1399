//! `spec.loadBalancerSourceRanges`: who may come in by a load balancer's address (services.md 1.1, 1.3).

use std::{net::IpAddr, sync::Arc};

use towpath_image::datapath::FrontendWord;
use towpath_model::{Family, Node, Service, service::Cidr};

use crate::share::Budget;

/// The address of each family that this node goes by: the first internal one, else the first there is.
pub(crate) fn node_ips(node: Option<&Arc<Node>>) -> [Option<IpAddr>; 2] {
    [Family::V4, Family::V6].map(|family| {
        let node = node?;
        let all = || node.addresses.iter().copied().filter(|ip| Family::of(*ip) == family);
        all().find(|ip| !node.external.contains(ip)).or_else(|| all().next())
    })
}

/// Of one family of a Service. None at all: everyone may.
#[derive(Clone, Default)]
pub(crate) struct Ranges {
    blocks: Vec<Cidr>,
    /// They hold this node's address.
    node: bool,
}

impl Ranges {
    /// `vips`: the Service's load balancers'.
    pub(crate) fn of(
        service: &Service,
        family: Family,
        node_ips: [Option<IpAddr>; 2],
        vips: impl Iterator<Item = IpAddr>,
    ) -> Self {
        let own = service.source_ranges.iter().filter(|range| Family::of(range.base) == family);
        let mut blocks: Vec<Cidr> = own.copied().collect();
        if blocks.iter().any(|block| block.prefix == 0) {
            return Self::default();
        }
        let node_ip = node_ips[usize::from(family == Family::V6)];
        let node = node_ip.is_some_and(|ip| blocks.iter().any(|block| block.contains(ip)));
        if node {
            // Where such an address is one of the node's own, its own packets have it for a source.
            let whole = if family == Family::V4 { 32 } else { 128 };
            blocks.extend(vips.map(|base| Cidr { base, prefix: whole }));
        }
        Self { blocks: outermost(blocks), node }
    }

    /// Flags of the frontends that they are for.
    pub(crate) const fn flags(&self) -> u8 {
        match (self.blocks.is_empty(), self.node) {
            (true, _) => 0,
            (false, false) => FrontendWord::SOURCE_RANGES,
            (false, true) => FrontendWord::SOURCE_RANGES | FrontendWord::NODE_IN_RANGES,
        }
    }

    /// What the record of a port is to hold; what is beyond the share stays out.
    pub(crate) fn blocks(&self, budget: &mut Budget) -> Arc<[Cidr]> {
        let granted = budget.grant_ranges(self.blocks.len());
        self.blocks.iter().take(granted).copied().collect()
    }
}

/// Without those that lie in another; sorted.
fn outermost(mut blocks: Vec<Cidr>) -> Vec<Cidr> {
    // A block comes right after those that it may lie in.
    blocks.sort_unstable();
    let mut kept: Vec<Cidr> = Vec::with_capacity(blocks.len());
    for block in blocks {
        let inside = kept.last().is_some_and(|last| last.contains(block.base));
        if !inside {
            kept.push(block);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_inside_another_is_left_out() {
        let blocks = |texts: &[&str]| texts.iter().filter_map(|text| Cidr::parse(text)).collect();
        let all: Vec<Cidr> = blocks(&[
            "10.1.2.0/24",
            "10.0.0.0/8",
            "10.0.0.0/8",
            "10.255.0.1/32",
            "11.0.0.0/32",
            "9.0.0.0/8",
            "10.0.0.0/9",
        ]);
        let wanted: Vec<Cidr> = blocks(&["9.0.0.0/8", "10.0.0.0/8", "11.0.0.0/32"]);
        assert_eq!(outermost(all), wanted);
    }
}
