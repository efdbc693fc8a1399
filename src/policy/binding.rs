//! Which device is which pod's: the one of which the other end has the pod's address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use towpath_model::{ObjectName, PodDevice};
use towpath_netpol::{Bindings, LocalPod};

/// Binds devices to pods. An address that two devices have proves nothing: the device that was its pod's
/// before stays so, and otherwise neither is, until one of them is gone.
pub(super) fn bind(
    pods: impl Iterator<Item = LocalPod>,
    devices: &[PodDevice],
    before: &Bindings,
) -> Bindings {
    let mut owners: BTreeMap<IpAddr, BTreeSet<ObjectName>> = BTreeMap::new();
    for local in pods {
        for ip in local.pod.ips() {
            owners.entry(ip).or_default().insert(local.pod.name.clone());
        }
    }
    let mut claims: BTreeMap<&ObjectName, Vec<u32>> = BTreeMap::new();
    for device in devices {
        let of: BTreeSet<&ObjectName> =
            device.addresses.iter().filter_map(|ip| owners.get(ip)).flatten().collect();
        // The addresses of two pods on one device are no pod's.
        if let (1, Some(name)) = (of.len(), of.first()) {
            claims.entry(name).or_default().push(device.index);
        }
    }
    let mut bindings = Bindings::new();
    for (name, indices) in claims {
        let kept = indices.iter().find(|index| before.get(index) == Some(name));
        let only = indices.first().filter(|_| indices.len() == 1);
        if let Some(index) = kept.or(only) {
            bindings.insert(*index, name.clone());
        }
    }
    bindings
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use towpath_model::Pod;

    use super::*;

    fn pod(name: &str, ips: &[&str]) -> LocalPod {
        let ips = ips.iter().map(|ip| serde_json::json!({ "ip": ip })).collect::<Vec<_>>();
        let json = serde_json::json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": { "namespace": "d", "name": name },
            "spec": { "nodeName": "n" },
            "status": { "phase": "Running", "podIPs": ips },
        });
        LocalPod { pod: read(&json), ingress: None, egress: None }
    }

    fn read(json: &serde_json::Value) -> Arc<Pod> {
        match towpath_model::decode(towpath_model::Kind::Pod, json.to_string().as_bytes()) {
            Ok(towpath_model::Object::Pod(pod)) => pod,
            other => panic!("{other:?}"),
        }
    }

    fn device(index: u32, ips: &[&str]) -> PodDevice {
        PodDevice { index, addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect() }
    }

    fn bound(pods: &[LocalPod], devices: &[PodDevice], before: &[(u32, &str)]) -> String {
        let before =
            before.iter().map(|(index, name)| (*index, ObjectName::new("d", name))).collect();
        let bound = bind(pods.iter().cloned(), devices, &before);
        bound.iter().map(|(index, name)| format!("{index}={} ", name.name)).collect()
    }

    #[test]
    fn a_device_is_the_pods_of_which_it_has_an_address() {
        let pods = [pod("a", &["10.1.0.2", "fd00::2"]), pod("b", &["10.1.0.3"])];
        let devices = [
            device(5, &["fd00::2"]),
            device(6, &["10.1.0.3", "fd00::3"]),
            device(7, &["10.9.0.1"]),
        ];
        assert_eq!(bound(&pods, &devices, &[]), "5=a 6=b ");
        assert_eq!(bound(&pods, &[device(5, &[])], &[(5, "a")]), "", "no address, no pod");
    }

    #[test]
    fn an_address_that_two_devices_have_proves_nothing() {
        let pods = [pod("a", &["10.1.0.2"]), pod("b", &["10.1.0.3"])];
        let twice = [device(5, &["10.1.0.2"]), device(6, &["10.1.0.2"])];
        assert_eq!(bound(&pods, &twice, &[]), "");
        assert_eq!(bound(&pods, &twice, &[(6, "a")]), "6=a ", "what was known before stays");
        let both = [device(5, &["10.1.0.2", "10.1.0.3"])];
        assert_eq!(bound(&pods, &both, &[]), "", "and neither does a device with two pods'");
    }
}
