//! Cluster IPs out of CIDR blocks: the same name gets the same address wherever it is free.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::hash;
use crate::{Code, Family, ObjectName, Problem, service::Cidr};

/// Who has which address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClusterIps {
    ranges: Vec<Cidr>,
    taken: BTreeMap<IpAddr, ObjectName>,
}

impl ClusterIps {
    /// From blocks; the first block's family is the primary one.
    #[must_use]
    pub(super) fn new(ranges: &[Cidr]) -> Self {
        Self { ranges: ranges.to_vec(), taken: BTreeMap::new() }
    }

    pub(super) fn ranges(&self) -> &[Cidr] {
        &self.ranges
    }

    /// The families that have a block, the primary one first.
    #[must_use]
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families: Vec<Family> = Vec::new();
        for range in &self.ranges {
            let family = Family::of(range.base);
            if !families.contains(&family) {
                families.push(family);
            }
        }
        families
    }

    /// Who has this address.
    #[must_use]
    pub(super) fn owner(&self, ip: IpAddr) -> Option<&ObjectName> {
        self.taken.get(&ip)
    }

    /// Takes an address that was asked for by number, inside the blocks or not.
    ///
    /// # Errors
    /// When another Service has it: its name.
    pub(super) fn reserve(&mut self, name: &ObjectName, ip: IpAddr) -> Result<(), ObjectName> {
        let owner = self.taken.entry(ip).or_insert_with(|| name.clone());
        if owner == name { Ok(()) } else { Err(owner.clone()) }
    }

    /// Takes `previous` when it is still free and inside a block, else a free address at the place
    /// that the name hashes to.
    ///
    /// # Errors
    /// When there is no block of the family, or no free address in it: why.
    pub(super) fn allocate(
        &mut self,
        name: &ObjectName,
        family: Family,
        previous: Option<IpAddr>,
    ) -> Result<IpAddr, Problem> {
        let of_family = |range: &&Cidr| Family::of(range.base) == family;
        if let Some(ip) = previous
            && self.ranges.iter().filter(of_family).any(|range| range.contains(ip))
            && self.reserve(name, ip).is_ok()
        {
            return Ok(ip);
        }
        let mut why = format!("no block of {} addresses is configured", family.as_str());
        for range in self.ranges.iter().filter(of_family) {
            if let Some(ip) = self.free_address(range, name) {
                self.taken.insert(ip, name.clone());
                return Ok(ip);
            }
            why = format!("no address of {}/{} is free", range.base, range.prefix);
        }
        let action = "configure a larger block of cluster IPs, or give it a clusterIP";
        Err(Problem::new(Code::NothingToAllocate, None, "spec.clusterIP", &why, action))
    }

    fn free_address(&self, range: &Cidr, name: &ObjectName) -> Option<IpAddr> {
        let usable = usable(range);
        if usable == 0 {
            return None;
        }
        let start = hash(&[&name.namespace, &name.name]) % usable;
        // Among one more place than are taken, one is free.
        let places = usable.min(self.taken.len() as u64 + 1);
        (0..places)
            .map(|step| nth(range, (start + step) % usable))
            .find(|ip| !self.taken.contains_key(ip))
    }
}

/// How many addresses can be given away. The first of a block is the network's and the last of an
/// IPv4 block its broadcast address. Capped, so that sums stay within 64 bits.
fn usable(range: &Cidr) -> u64 {
    let (bits, kept) = match range.base {
        IpAddr::V4(_) => (32, 2),
        IpAddr::V6(_) => (128, 1),
    };
    let host = u32::from(bits - range.prefix.min(bits)).min(48);
    (1u64 << host).saturating_sub(kept)
}

/// The `place`-th usable address.
fn nth(range: &Cidr, place: u64) -> IpAddr {
    match range.base {
        IpAddr::V4(base) => {
            let offset = u32::try_from(place).unwrap_or(0) + 1;
            IpAddr::V4(Ipv4Addr::from(u32::from(base) | offset))
        }
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base) | (u128::from(place) + 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(ranges: &[&str]) -> ClusterIps {
        ClusterIps::new(&ranges.iter().map(|r| Cidr::parse(r).unwrap()).collect::<Vec<_>>())
    }

    fn name(n: usize) -> ObjectName {
        ObjectName::new("d", &format!("s{n}"))
    }

    #[test]
    fn a_block_is_used_up_to_the_last_address_and_no_further() {
        let mut ips = ips(&["10.96.0.0/28"]);
        let mut got: Vec<_> =
            (0..14).map(|n| ips.allocate(&name(n), Family::V4, None).unwrap()).collect();
        got.sort_unstable();
        let all: Vec<IpAddr> = (1..15).map(|n| Ipv4Addr::new(10, 96, 0, n).into()).collect();
        assert_eq!(got, all, "without the first and the last");
        let problem = ips.allocate(&name(14), Family::V4, None).unwrap_err();
        assert!(problem.why.contains("no address of 10.96.0.0/28 is free"), "{problem}");
        assert!(ips.allocate(&name(15), Family::V6, None).unwrap_err().why.contains("IPv6"));
    }

    #[test]
    fn the_same_name_gets_the_same_address_and_previous_ones_are_kept() {
        let mut one = ips(&["10.96.0.0/12", "fd00:96::/108"]);
        let mut two = one.clone();
        for family in [Family::V4, Family::V6] {
            let a = one.allocate(&name(1), family, None).unwrap();
            assert_eq!(two.allocate(&name(1), family, None).unwrap(), a);
            assert_eq!(Family::of(a), family);
            assert!(one.ranges.iter().any(|range| range.contains(a)));
        }
        let wanted: IpAddr = "10.96.7.7".parse().unwrap();
        assert_eq!(two.allocate(&name(2), Family::V4, Some(wanted)).unwrap(), wanted);
        assert_ne!(two.allocate(&name(3), Family::V4, Some(wanted)).unwrap(), wanted, "taken");
        let outside: IpAddr = "192.0.2.1".parse().unwrap();
        assert_ne!(two.allocate(&name(4), Family::V4, Some(outside)).unwrap(), outside);
        assert_eq!(two.reserve(&name(5), wanted), Err(name(2)));
        assert_eq!(two.reserve(&name(5), outside), Ok(()), "asked for by number");
        assert_eq!(two.owner(outside), Some(&name(5)));
    }

    #[test]
    fn a_block_too_small_for_anything_is_exhausted_and_a_second_block_helps() {
        assert!(ips(&["10.96.0.1/32"]).allocate(&name(1), Family::V4, None).is_err());
        assert!(ips(&["fd00::/128"]).allocate(&name(1), Family::V6, None).is_err());
        let mut two = ips(&["10.96.0.1/32", "10.97.0.0/30"]);
        assert!(two.allocate(&name(1), Family::V4, None).unwrap().to_string().starts_with("10.97"));
        assert!(ips(&["::/0"]).allocate(&name(1), Family::V6, None).is_ok());
        assert!(ips(&["0.0.0.0/0"]).allocate(&name(1), Family::V4, None).is_ok());
    }
}
