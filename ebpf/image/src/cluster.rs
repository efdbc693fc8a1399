//! Which cluster the maps were written for.

/// Identity of a cluster for [`crate::Programs::bind`], from the UID of its `kube-system` namespace
/// (a random UUID, so any stable hash of it will do): FNV-1a, never 0, which means "not known yet".
#[must_use]
pub fn cluster_identity(uid: &str) -> u64 {
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_stable_and_tells_clusters_apart() {
        // It is pinned with the maps: a later version must come to the same number.
        let one = cluster_identity("0c2b5a0e-6a3f-4f0e-9a7e-2f4b7d1c9e55");
        assert_eq!(one, cluster_identity("0c2b5a0e-6a3f-4f0e-9a7e-2f4b7d1c9e55"));
        assert_eq!(cluster_identity("a"), 0xaf63_dc4c_8601_ec8c, "FNV-1a's published value");
        assert_ne!(one, cluster_identity("0c2b5a0e-6a3f-4f0e-9a7e-2f4b7d1c9e56"));
    }
}
