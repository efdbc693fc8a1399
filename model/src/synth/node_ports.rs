//! Node ports: 30000 to 32767, each for one Service, which may use it for several protocols.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::hash;
use crate::{ObjectName, Problem};

const RANGE: RangeInclusive<u16> = NodePorts::RANGE;
const SIZE: u16 = *RANGE.end() - *RANGE.start() + 1;

/// Who has which port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodePorts {
    taken: BTreeMap<u16, ObjectName>,
}

impl NodePorts {
    /// What the API server gives away by default.
    pub const RANGE: RangeInclusive<u16> = 30_000..=32_767;

    /// Nobody has any.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a port that was asked for by number, inside the range or not.
    ///
    /// # Errors
    /// When another Service has it: its name.
    pub fn reserve(&mut self, name: &ObjectName, port: u16) -> Result<(), ObjectName> {
        let owner = self.taken.entry(port).or_insert_with(|| name.clone());
        if owner == name { Ok(()) } else { Err(owner.clone()) }
    }

    /// Takes `previous` when it is still free, else a free port at the place that the name and
    /// `what` (which of its ports) hash to.
    ///
    /// # Errors
    /// When none is free.
    pub fn allocate(
        &mut self,
        name: &ObjectName,
        what: &str,
        previous: Option<u16>,
    ) -> Result<u16, Problem> {
        if let Some(port) = previous
            && RANGE.contains(&port)
            && !self.taken.contains_key(&port)
        {
            self.taken.insert(port, name.clone());
            return Ok(port);
        }
        let start = hash(&[&name.namespace, &name.name, what]) % u64::from(SIZE);
        let start = u16::try_from(start).unwrap_or(0);
        let place = |step: u16| RANGE.start() + (start + step) % SIZE;
        let Some(port) = (0..SIZE).map(place).find(|port| !self.taken.contains_key(port)) else {
            let why = format!("no port from {} to {} is free", RANGE.start(), RANGE.end());
            return Err(Problem::new(None, "spec.ports", &why, "remove a Service that has one"));
        };
        self.taken.insert(port, name.clone());
        Ok(port)
    }

    /// Who has this port.
    #[must_use]
    pub fn owner(&self, port: u16) -> Option<&ObjectName> {
        self.taken.get(&port)
    }

    /// Gives everything back that the Service has.
    pub fn release(&mut self, name: &ObjectName) {
        self.taken.retain(|_, owner| owner != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_given_once_until_none_is_left() {
        let name = ObjectName::new("d", "s");
        let mut ports = NodePorts::new();
        let mut got: Vec<_> =
            (0..SIZE).map(|n| ports.allocate(&name, &n.to_string(), None).unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, RANGE.collect::<Vec<_>>());
        assert!(ports.allocate(&name, "more", None).unwrap_err().why.contains("32767"));
        ports.release(&name);
        assert_eq!(ports, NodePorts::new());
    }

    #[test]
    fn previous_and_explicit_ports_are_kept() {
        let (a, b) = (ObjectName::new("d", "a"), ObjectName::new("d", "b"));
        let mut ports = NodePorts::new();
        assert_eq!(ports.reserve(&a, 80), Ok(()), "asked for by number");
        assert_eq!(ports.reserve(&a, 80), Ok(()), "for another protocol");
        assert_eq!(ports.reserve(&b, 80), Err(a.clone()));
        assert_eq!(ports.allocate(&b, "80", Some(30_080)), Ok(30_080));
        assert_ne!(ports.allocate(&a, "80", Some(30_080)), Ok(30_080));
        let fresh = NodePorts::new().allocate(&b, "x", None);
        assert_eq!(NodePorts::new().allocate(&b, "x", Some(7)), fresh, "outside the range");
    }
}
