//! Blocks of addresses: which atoms match the addresses of each block, outside of smaller ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use towpath_model::service::Cidr;

use crate::{Atom, AtomId};

/// Every `cidr` and `except` with the atoms that match what is in it and in no smaller one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Blocks {
    pub(crate) regions: BTreeMap<Cidr, Vec<AtomId>>,
    lengths: [BTreeSet<u8>; 2],
}

impl Blocks {
    pub(crate) fn of<'a>(atoms: impl Iterator<Item = (&'a Atom, AtomId)>) -> Self {
        let mut borders: BTreeMap<Cidr, (BTreeSet<AtomId>, BTreeSet<AtomId>)> = BTreeMap::new();
        for (atom, id) in atoms {
            let Atom::Block { cidr, except } = atom else { continue };
            borders.entry(*cidr).or_default().0.insert(id);
            for one in except {
                borders.entry(*one).or_default().1.insert(id);
            }
        }
        let mut blocks = Self::default();
        // In this order a block comes after every one that it is in: the innermost is on top.
        let mut around: Vec<(Cidr, BTreeSet<AtomId>)> = Vec::new();
        for (cidr, (begin, end)) in borders {
            while around.pop_if(|(outer, _)| !outer.contains(cidr.base)).is_some() {}
            let mut inside = around.last().map(|(_, atoms)| atoms.clone()).unwrap_or_default();
            inside.extend(begin);
            inside.retain(|atom| !end.contains(atom));
            blocks.lengths[usize::from(cidr.base.is_ipv6())].insert(cidr.prefix);
            blocks.regions.insert(cidr, inside.iter().copied().collect());
            around.push((cidr, inside));
        }
        blocks
    }

    /// Atoms that match an address.
    pub(crate) fn at(&self, ip: IpAddr) -> &[AtomId] {
        let lengths = self.lengths[usize::from(ip.is_ipv6())].iter().rev();
        let mut longest = lengths.filter_map(|prefix| self.regions.get(&block(ip, *prefix)?));
        longest.next().map(Vec::as_slice).unwrap_or_default()
    }
}

/// The block of this length that an address is in.
fn block(ip: IpAddr, prefix: u8) -> Option<Cidr> {
    let prefix_bits = u32::from(prefix);
    let base = match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32u32.checked_sub(prefix_bits)?).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128u32.checked_sub(prefix_bits)?).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    };
    Some(Cidr { base, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_blocks_and_exceptions_are_told_apart() {
        let cidr = |text: &str| Cidr::parse(text).unwrap();
        let atom = |text: &str, except: &[&str]| Atom::Block {
            cidr: cidr(text),
            except: except.iter().map(|text| cidr(text)).collect(),
        };
        let atoms = [
            (atom("10.0.0.0/8", &["10.1.0.0/16", "10.1.2.0/24"]), 1),
            (atom("10.1.0.0/16", &[]), 2),
            (atom("0.0.0.0/0", &[]), 3),
            (atom("10.1.2.3/32", &[]), 4),
            (atom("10.2.0.0/16", &["10.2.0.0/16"]), 5),
            (atom("::/0", &["fd00::/8"]), 6),
        ];
        let blocks = Blocks::of(atoms.iter().map(|(atom, id)| (atom, *id)));
        let rows: [(&str, &[AtomId]); 8] = [
            ("10.0.0.1", &[1, 3]),
            ("10.1.0.1", &[2, 3]),
            ("10.1.2.3", &[2, 3, 4]),
            ("10.1.2.4", &[2, 3]),
            ("10.2.0.1", &[1, 3]),
            ("11.0.0.1", &[3]),
            ("2001:db8::1", &[6]),
            ("fd00::1", &[]),
        ];
        for (ip, expected) in rows {
            assert_eq!(blocks.at(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}
