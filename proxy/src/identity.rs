//! Stable 64-bit identities: what a restarted daemon recognises pinned records by.

use crate::planned::ServicePortId;

/// FNV-1a with a final mix: repeatable over versions, architectures and runs. Never 0, because 0
/// marks an unused record.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
    /// One part; parts are kept apart by a byte that UTF-8 text cannot contain.
    fn part(mut self, text: &str) -> Self {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }
    const fn finish(self) -> u64 {
        let mut h = self.0;
        h ^= h >> 33;
        h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
        h ^= h >> 33;
        if h == 0 { 1 } else { h }
    }
}

/// Of a service port; `node` for the record that answers one remote node's NodePort.
#[must_use]
pub fn service_identity(id: &ServicePortId, node: Option<&str>) -> u64 {
    Fnv::new()
        .part(&id.service.namespace)
        .part(&id.service.name)
        .part(&id.port)
        .part(id.protocol.as_str())
        .part(id.family.as_str())
        .part(node.unwrap_or_default())
        .finish()
}

/// Of a node, by its name.
#[must_use]
pub fn node_identity(name: &str) -> u64 {
    Fnv::new().part("node").part(name).finish()
}

#[cfg(test)]
mod tests {
    use towpath_model::{Family, ObjectName, Protocol};

    use super::*;

    #[test]
    fn every_part_of_the_name_counts() {
        let id = |ns: &str, name: &str, port: &str, protocol, family| ServicePortId {
            service: ObjectName::new(ns, name),
            port: port.into(),
            protocol,
            family,
        };
        let base = id("a", "b", "c", Protocol::Tcp, Family::V4);
        let others = [
            id("ab", "", "c", Protocol::Tcp, Family::V4),
            id("a", "bc", "", Protocol::Tcp, Family::V4),
            id("a", "b", "c", Protocol::Udp, Family::V4),
            id("a", "b", "c", Protocol::Tcp, Family::V6),
        ];
        for other in &others {
            assert_ne!(service_identity(&base, None), service_identity(other, None), "{other:?}");
        }
        assert_ne!(service_identity(&base, None), service_identity(&base, Some("n")));
        assert_ne!(node_identity("a"), node_identity("b"));
    }

    #[test]
    fn identities_never_change_between_versions() {
        assert_eq!(node_identity("node-a"), 8_846_218_144_835_266_496);
    }
}
