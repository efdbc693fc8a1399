//! Node ports: 30000 to 32767, each for one Service, which may use it for several protocols.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::hash;
use crate::{Code, ObjectName, Problem};

const RANGE: RangeInclusive<u16> = NodePorts::RANGE;
const SIZE: u16 = *RANGE.end() - *RANGE.start() + 1;

/// Who has which port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct NodePorts {
    taken: BTreeMap<u16, ObjectName>,
}

impl NodePorts {
    /// What the API server gives away by default.
    pub(super) const RANGE: RangeInclusive<u16> = 30_000..=32_767;

    /// Takes a port that was asked for by number, inside the range or not.
    ///
    /// # Errors
    /// When another Service has it: its name.
    pub(super) fn reserve(&mut self, name: &ObjectName, port: u16) -> Result<(), ObjectName> {
        let owner = self.taken.entry(port).or_insert_with(|| name.clone());
        if owner == name { Ok(()) } else { Err(owner.clone()) }
    }

    /// Takes a free port, at the place that the name and `what` (which of its ports) hash to.
    ///
    /// # Errors
    /// When none is free.
    pub(super) fn allocate(&mut self, name: &ObjectName, what: &str) -> Result<u16, Problem> {
        let start = hash(&[&name.namespace, &name.name, what]) % u64::from(SIZE);
        let start = u16::try_from(start).unwrap_or(0);
        let place = |step: u16| RANGE.start() + (start + step) % SIZE;
        let Some(port) = (0..SIZE).map(place).find(|port| !self.taken.contains_key(port)) else {
            let why = format!("no port from {} to {} is free", RANGE.start(), RANGE.end());
            return Err(Problem::new(
                Code::NothingToAllocate,
                None,
                "spec.ports",
                &why,
                "remove a Service that has one",
            ));
        };
        self.taken.insert(port, name.clone());
        Ok(port)
    }

    /// Who has this port.
    #[must_use]
    pub(super) fn owner(&self, port: u16) -> Option<&ObjectName> {
        self.taken.get(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_given_once_until_none_is_left() {
        let name = ObjectName::new("d", "s");
        let mut ports = NodePorts::default();
        let mut got: Vec<_> =
            (0..SIZE).map(|n| ports.allocate(&name, &n.to_string()).unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, RANGE.collect::<Vec<_>>());
        assert!(ports.allocate(&name, "more").unwrap_err().why.contains("32767"));
    }

    #[test]
    fn explicit_ports_are_taken_once() {
        let (a, b) = (ObjectName::new("d", "a"), ObjectName::new("d", "b"));
        let mut ports = NodePorts::default();
        assert_eq!(ports.reserve(&a, 80), Ok(()), "asked for by number");
        assert_eq!(ports.reserve(&a, 80), Ok(()), "for another protocol");
        assert_eq!(ports.reserve(&b, 80), Err(a.clone()));
        let fresh = ports.clone().allocate(&b, "x").unwrap();
        assert_eq!(ports.reserve(&a, fresh), Ok(()));
        assert_eq!(ports.allocate(&b, "x"), Ok(fresh + 1), "the next one that is free");
    }
}
