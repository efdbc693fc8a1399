//! Where cluster state comes from.

use std::path::PathBuf;

use http::Uri;
use towpath_model::{Family, service::Cidr};

use super::{
    Fault, Origin,
    address::cidr,
    layers::{Layers, Setting},
};

/// The one source of cluster state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceConfig {
    /// A Kubernetes API server.
    Kube {
        /// How to authenticate and, unless `api_servers` says it, where to connect.
        access: Access,
        /// Addresses that do not depend on what this daemon serves; empty: as `access` says, and
        /// the real endpoints of `default/kubernetes` once they are known.
        api_servers: Vec<Uri>,
    },
    /// A directory of Kubernetes YAML.
    Manifests {
        /// The directory.
        directory: PathBuf,
        /// Blocks that clusterIPs are allocated from: at most one of each family.
        cluster_ip_ranges: Vec<Cidr>,
    },
}

/// How to authenticate at the API server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// With the pod's service account.
    InCluster,
    /// With this kubeconfig.
    Kubeconfig(PathBuf),
}

/// What kubeadm gives Services, and a unique local block of the size the API allows at most.
const CLUSTER_IP_RANGES: [&str; 2] = ["10.96.0.0/16", "fd00:96::/112"];

/// The blocks that clusterIPs are allocated from where none are configured.
#[must_use]
pub fn cluster_ip_ranges() -> Vec<Cidr> {
    CLUSTER_IP_RANGES.iter().filter_map(|text| Cidr::parse(text)).collect()
}

pub(super) fn resolve(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> Option<SourceConfig> {
    let (args, file) = (layers.args, layers.file.source.as_ref());
    let in_file = |pick: fn(&super::file::Source) -> Option<&serde_saphyr::Spanned<String>>| {
        // A flag replaces the source as a whole, whichever of the two the file names.
        let flagged = args.kubeconfig.is_some() || args.manifests.is_some();
        file.filter(|_| !flagged).and_then(pick)
    };
    let kubeconfig =
        layers.path(args.kubeconfig.as_ref(), "--kubeconfig", in_file(|s| s.kubeconfig.as_ref()));
    let manifests =
        layers.path(args.manifests.as_ref(), "--manifests", in_file(|s| s.manifests.as_ref()));
    match (kubeconfig, manifests) {
        (Some(_), Some(manifests)) => {
            faults.push(Fault::new(
                manifests.origin,
                "source",
                "both kubeconfig and manifests are given",
                "keep one of the two: there is one source of cluster state",
            ));
            None
        }
        (None, Some(manifests)) => self::manifests(layers, manifests, faults),
        (Some(path), None) => kube(layers, Access::Kubeconfig(path.value), faults),
        (None, None) if layers.environment.in_cluster => kube(layers, Access::InCluster, faults),
        (None, None) => {
            faults.push(Fault::new(
                Origin::Machine,
                "source",
                "no source of cluster state is given, and this is not a pod with a service account",
                "give --kubeconfig FILE, or --manifests DIR to run without a cluster",
            ));
            None
        }
    }
}

fn kube(layers: &Layers<'_>, access: Access, faults: &mut Vec<Fault>) -> Option<SourceConfig> {
    let given =
        layers.list(&layers.args.api_servers, "--api-server", layers.file.api_servers.as_ref());
    let before = faults.len();
    let api_servers = given.iter().filter_map(|one| api_server(one, faults)).collect();
    (faults.len() == before).then_some(SourceConfig::Kube { access, api_servers })
}

fn api_server(given: &Setting<String>, faults: &mut Vec<Fault>) -> Option<Uri> {
    let usable = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.host().is_some_and(|h| !h.is_empty())
    };
    let uri = given.value.parse::<Uri>().ok().filter(usable);
    if uri.is_none() {
        let action = "write it as https://ADDRESS:PORT";
        faults.push(given.fault("apiServers", "is not the URL of a server", action));
    }
    uri
}

fn manifests(
    layers: &Layers<'_>,
    directory: Setting<PathBuf>,
    faults: &mut Vec<Fault>,
) -> Option<SourceConfig> {
    const PATH: &str = "source.clusterIPRanges";
    let in_file = layers.file.source.as_ref().and_then(|s| s.cluster_ip_ranges.as_ref());
    let mut given = layers.list(&[], "", in_file);
    if given.is_empty() {
        let default = |text: &&str| Setting { value: (*text).to_owned(), origin: Origin::Machine };
        given = CLUSTER_IP_RANGES.iter().map(default).collect();
    }
    let before = faults.len();
    let mut ranges: Vec<Cidr> = Vec::new();
    for one in &given {
        let Some(range) = cidr(one, PATH, faults) else { continue };
        let family = Family::of(range.base);
        let bits: u8 = if family == Family::V4 { 32 } else { 128 };
        if bits - range.prefix < 3 {
            // The API server asks for as much.
            faults.push(one.fault(PATH, "holds fewer than 8 addresses", "give a larger block"));
        } else if ranges.iter().any(|r| Family::of(r.base) == family) {
            let why = "is the second block of its family";
            faults.push(one.fault(PATH, why, "give one IPv4 and one IPv6 block at most"));
        } else {
            ranges.push(range);
        }
    }
    if directory.value.as_os_str().is_empty() {
        faults.push(Fault::new(
            directory.origin,
            "source.manifests",
            "is empty",
            "name a directory of YAML files",
        ));
    }
    (faults.len() == before).then_some(SourceConfig::Manifests {
        directory: directory.value,
        cluster_ip_ranges: ranges,
    })
}
