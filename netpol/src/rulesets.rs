//! Rulesets and signatures, and what the one allows the other.

use std::collections::BTreeSet;

use towpath_model::Protocol;

use crate::AtomId;

/// Everything that one direction of a pod allows. Equal content, equal ruleset: replicas share one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ruleset {
    /// Sorted, each once.
    pub rules: Vec<Rule>,
}

/// Peers times ports.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rule {
    /// Any of these atoms, sorted; `None`: anything.
    pub peers: Option<Vec<AtomId>>,
    /// Any of these, sorted; `None`: anything, of whatever protocol.
    pub ports: Option<Vec<Ports>>,
}

/// Some ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ports {
    /// A range.
    Range {
        /// Protocol.
        protocol: Protocol,
        /// First.
        first: u16,
        /// Last.
        last: u16,
    },
    /// The ports of the destination that have this name.
    Named(u32),
}

/// What an address is to this node's rulesets. Default: an address of the world.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Signature {
    /// Atoms that match it, sorted.
    pub atoms: Vec<AtomId>,
    /// Its named ports that rulesets ask for: number of the name, protocol, port.
    pub named: Vec<(u32, Protocol, u16)>,
    /// Its ports that stand for others: protocol, the port that rules are about, the one that packets
    /// have. What the first is allowed, the second is too.
    pub stands_for: Vec<(Protocol, u16, u16)>,
}

impl Signature {
    /// Matched by nothing?
    #[must_use]
    pub const fn is_world(&self) -> bool {
        self.atoms.is_empty() && self.named.is_empty() && self.stands_for.is_empty()
    }
}

/// What a signature is allowed by a ruleset.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Allowed {
    /// Everything, of whatever protocol.
    pub anything: bool,
    /// Ranges, sorted, neither overlapping nor adjacent; empty with `anything`.
    pub ranges: Vec<(Protocol, u16, u16)>,
}

impl Allowed {
    /// Does it hold this? `None`: something without ports.
    #[must_use]
    pub fn holds(&self, carried: Option<(Protocol, u16)>) -> bool {
        let within = |(protocol, port): (Protocol, u16)| {
            let mut ranges = self.ranges.iter();
            ranges
                .any(|(known, first, last)| *known == protocol && (*first..=*last).contains(&port))
        };
        self.anything || carried.is_some_and(within)
    }
}

impl Ruleset {
    /// What a peer of this signature may.
    #[must_use]
    pub fn allowed(&self, signature: &Signature) -> Allowed {
        let mut ranges = BTreeSet::new();
        for rule in &self.rules {
            let has = |atom: &AtomId| signature.atoms.binary_search(atom).is_ok();
            if !rule.peers.as_ref().is_none_or(|atoms| atoms.iter().any(has)) {
                continue;
            }
            let Some(ports) = &rule.ports else {
                return Allowed { anything: true, ranges: Vec::new() };
            };
            for port in ports {
                match *port {
                    Ports::Range { protocol, first, last } => {
                        ranges.insert((protocol, first, last));
                    }
                    Ports::Named(name) => ranges.extend(
                        signature
                            .named
                            .iter()
                            .filter(|(known, ..)| *known == name)
                            .map(|(_, protocol, port)| (*protocol, *port, *port)),
                    ),
                }
            }
        }
        for (protocol, listens, asked) in &signature.stands_for {
            let within = |(known, first, last): &(Protocol, u16, u16)| {
                known == protocol && (*first..=*last).contains(listens)
            };
            if ranges.iter().any(within) {
                ranges.insert((*protocol, *asked, *asked));
            }
        }
        Allowed { anything: false, ranges: merged(ranges) }
    }
}

fn merged(ranges: BTreeSet<(Protocol, u16, u16)>) -> Vec<(Protocol, u16, u16)> {
    let mut merged: Vec<(Protocol, u16, u16)> = Vec::new();
    for (protocol, first, last) in ranges {
        match merged.last_mut() {
            Some((known, _, end)) if *known == protocol && first <= end.saturating_add(1) => {
                *end = last.max(*end);
            }
            _ => merged.push((protocol, first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> Ports {
        Ports::Range { protocol: Protocol::Tcp, first, last }
    }

    fn rule(peers: Option<&[AtomId]>, ports: Option<&[Ports]>) -> Rule {
        Rule { peers: peers.map(<[_]>::to_vec), ports: ports.map(<[_]>::to_vec) }
    }

    #[test]
    fn rules_are_a_union_of_what_they_allow() {
        let udp = Ports::Range { protocol: Protocol::Udp, first: 10, last: 10 };
        let ruleset = Ruleset {
            rules: vec![
                rule(None, Some(&[range(80, 80)])),
                rule(Some(&[1]), Some(&[range(81, 90), range(100, 100), udp])),
                rule(Some(&[2, 3]), None),
                rule(Some(&[4]), Some(&[Ports::Named(7)])),
                rule(Some(&[]), None),
            ],
        };
        let of = |atoms: &[AtomId], named: &[(u32, Protocol, u16)]| {
            let stands_for = vec![(Protocol::Tcp, 85, 8_053), (Protocol::Udp, 85, 8_053)];
            let signature =
                Signature { atoms: atoms.to_vec(), named: named.to_vec(), ..Signature::default() };
            let behind = Signature { stands_for, ..signature.clone() };
            let mut wanted = ruleset.allowed(&signature);
            if wanted.holds(Some((Protocol::Tcp, 85))) && !wanted.anything {
                let at = wanted.ranges.partition_point(|one| *one < (Protocol::Tcp, 8_053, 0));
                wanted.ranges.insert(at, (Protocol::Tcp, 8_053, 8_053));
            }
            assert_eq!(ruleset.allowed(&behind), wanted, "as the port that it stands for");
            ruleset.allowed(&signature)
        };
        let tcp = |first, last| (Protocol::Tcp, first, last);
        assert_eq!(of(&[], &[]).ranges, [tcp(80, 80)]);
        assert_eq!(of(&[1], &[]).ranges, [tcp(80, 90), tcp(100, 100), (Protocol::Udp, 10, 10)]);
        assert!(of(&[3], &[]).anything && !of(&[1], &[]).anything);
        let named = [(7, Protocol::Tcp, 8080), (8, Protocol::Tcp, 9090)];
        assert_eq!(of(&[4], &named).ranges, [tcp(80, 80), tcp(8080, 8080)]);
        assert_eq!(of(&[4], &[]).ranges, [tcp(80, 80)], "a name that the peer has not");
        assert_eq!(merged([tcp(0, 65_535), tcp(65_535, 65_535)].into()), [tcp(0, 65_535)]);
    }
}
