//! Stable 64-bit identities: what a restarted daemon recognises pinned records by.

use sha2::{Digest as _, Sha256};

use crate::planned::ServicePortId;

/// For names that only administrators choose: FNV-1a with a final mix: repeatable over versions, architectures and runs. Never 0, because 0
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
///
/// The names are chosen by tenants, so this is the beginning of a SHA-256: to meet a given Service
/// takes some 2^64 attempts, and a Service with such a name is refused ([`crate::ServicePlan::withheld`]). A keyed
/// hash would have to be stored with the maps; a wider one would change every key that names a record.
#[must_use]
pub fn service_identity(id: &ServicePortId, node: Option<&str>) -> u64 {
    let parts = [
        &*id.service.namespace,
        &*id.service.name,
        &*id.port,
        id.protocol.as_str(),
        id.family.as_str(),
        node.unwrap_or_default(),
    ];
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        // Keeps parts apart: UTF-8 text does not contain it.
        hash.update([0xff]);
    }
    let first = hash.finalize().iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte));
    // 0 marks an unused record.
    first.max(1)
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
        let id = ServicePortId {
            service: ObjectName::new("a", "b"),
            port: "c".into(),
            protocol: Protocol::Tcp,
            family: Family::V4,
        };
        assert_eq!(
            service_identity(&id, None),
            18_182_419_615_872_366_833,
            "SHA-256, by another program"
        );
    }
}
