//! The configuration file, as typed: every value keeps its line.

use std::{io::Read, path::Path};

use serde::Deserialize;
use serde_saphyr::{Error as Yaml, Spanned};

use super::{
    fault::{Fault, Origin},
    suggest,
};

/// A configuration is a page of text; more than this is the wrong file.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct File {
    pub(super) node_name: Option<Spanned<String>>,
    pub(super) source: Option<Source>,
    pub(super) api_servers: Option<Vec<Spanned<String>>>,
    pub(super) cgroup_root: Option<Spanned<String>>,
    pub(super) bpffs: Option<Spanned<String>>,
    pub(super) run_dir: Option<Spanned<String>>,
    pub(super) control_dir: Option<Spanned<String>>,
    #[serde(rename = "socketLB")]
    pub(super) socket_lb: Option<Spanned<String>>,
    #[serde(rename = "externalIPs")]
    pub(super) external_ips: Option<Vec<Spanned<String>>>,
    pub(super) capacities: Option<Capacities>,
    pub(super) healthz_bind_address: Option<Spanned<String>>,
    pub(super) metrics_bind_address: Option<Spanned<String>>,
    pub(super) log: Option<Log>,
    pub(super) features: Option<Features>,
    pub(super) cluster_domain: Option<Spanned<String>>,
    pub(super) dns: Option<Dns>,
    pub(super) ingress: Option<Ingress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Features {
    pub(super) dns: Option<Spanned<String>>,
    pub(super) network_policy: Option<Spanned<String>>,
    pub(super) packets: Option<Spanned<String>>,
    pub(super) ingress: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Dns {
    pub(super) service: Option<Spanned<String>>,
    pub(super) upstreams: Option<Vec<Spanned<String>>>,
    pub(super) resolv_conf: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Ingress {
    pub(super) http: Option<Vec<Spanned<String>>>,
    pub(super) https: Option<Vec<Spanned<String>>>,
    pub(super) controllers: Option<Vec<Spanned<String>>>,
    pub(super) class_annotations: Option<Vec<Spanned<String>>>,
    pub(super) without_class: Option<Spanned<String>>,
    pub(super) ssl_redirect: Option<Spanned<String>>,
    pub(super) default_certificate: Option<Spanned<String>>,
    pub(super) publish_service: Option<Spanned<String>>,
    pub(super) pods: Option<Spanned<String>>,
    pub(super) lease: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Source {
    pub(super) kubeconfig: Option<Spanned<String>>,
    pub(super) manifests: Option<Spanned<String>>,
    #[serde(rename = "clusterIPRanges")]
    pub(super) cluster_ip_ranges: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Capacities {
    pub(super) frontends: Option<Spanned<u32>>,
    pub(super) services: Option<Spanned<u32>>,
    pub(super) backends: Option<Spanned<u32>>,
    pub(super) node_addresses: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Log {
    pub(super) format: Option<Spanned<String>>,
    pub(super) level: Option<Spanned<String>>,
}

/// Reads and parses the file.
pub(super) fn read(path: &Path) -> Result<File, Fault> {
    let whole = |why: String, action: &str| {
        Fault::new(Origin::File(path.to_owned(), 0), "configuration file", why, action)
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|e| whole(format!("can not be read: {e}"), "check the path given to --config"))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(whole("larger than 1 MiB".to_owned(), "check the path given to --config"));
    }
    parse(path, &text)
}

/// Parses the text of a file; an empty one sets nothing.
pub(super) fn parse(path: &Path, text: &str) -> Result<File, Fault> {
    let blank = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    };
    if text.lines().all(blank) {
        return Ok(File::default());
    }
    serde_saphyr::from_str(text).map_err(|e| explain(path, &e))
}

fn explain(path: &Path, error: &Yaml) -> Fault {
    let error = error.without_snippet();
    let line = error.location().map_or(0, |at| at.line());
    let origin = Origin::File(path.to_owned(), line);
    match error {
        Yaml::SerdeUnknownField { field, expected, .. } => {
            Fault::new(origin, field, "no such setting", suggest::advice(field, expected))
        }
        Yaml::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("a setting");
            Fault::new(origin, key, "given twice", "keep one of the two")
        }
        other => {
            let why = other.to_string();
            let why = why.lines().next().unwrap_or("not valid YAML").trim().to_owned();
            Fault::new(origin, "configuration file", why, "correct this line")
        }
    }
}
