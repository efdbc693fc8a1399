//! Who this node is.

use super::{
    Fault, Origin,
    layers::{Layers, Setting},
};

const PATH: &str = "nodeName";

/// The given name, `$NODE_NAME`, else the host's name: as kube-proxy, trimmed and in lower case.
pub(super) fn resolve(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> Option<String> {
    let given = layers
        .text(layers.args.node_name.as_ref(), "--node-name", layers.file.node_name.as_ref())
        .or_else(|| {
            let value = layers.environment.node_name.clone()?;
            Some(Setting { value, origin: Origin::Variable("NODE_NAME") })
        })
        .unwrap_or_else(|| Setting {
            value: layers.environment.host_name.clone(),
            origin: Origin::Machine,
        });
    let name = given.value.trim().to_lowercase();
    if is_node_name(&name) {
        return Some(name);
    }
    faults.push(given.fault(
        PATH,
        "is not the name of a Node",
        "give --node-name, as `kubectl get nodes` shows it",
    ));
    None
}

/// A DNS subdomain (RFC 1123), which is what the API accepts.
fn is_node_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
