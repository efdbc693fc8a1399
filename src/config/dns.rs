//! Whether and how DNS is answered on this node.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use towpath_model::ObjectName;

use super::{Fault, features, layers::Layers};

/// The port of DNS.
const PORT: u16 = 53;

/// Settings of DNS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsConfig {
    /// The cluster's domain.
    pub domain: String,
    /// The Service at whose ClusterIPs pods ask.
    pub service: ObjectName,
    /// Who is asked for other names; empty: those of [`Self::resolv_conf`].
    pub upstreams: Vec<SocketAddr>,
    /// The node's list of servers; it is followed.
    pub resolv_conf: PathBuf,
}

/// `None`: it is off, or something is wrong with it.
pub(super) fn resolve(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> Option<DnsConfig> {
    let file = layers.file;
    let before = faults.len();
    let features = file.features.as_ref();
    let on = features::switch(layers, "dns", features.and_then(|one| one.dns.as_ref()), faults);
    let domain = file.cluster_domain.as_ref().map(|spanned| layers.of_file(spanned));
    if let Some(domain) = domain.as_ref().filter(|domain| !is_domain(&domain.value)) {
        let why = "is no domain that a cluster can have";
        faults.push(domain.fault("clusterDomain", why, "use the kubelets' clusterDomain"));
    }
    let dns = file.dns.as_ref();
    let service = dns.and_then(|dns| dns.service.as_ref()).map(|spanned| layers.of_file(spanned));
    let name = match service.as_ref().map(|service| service.value.split_once('/')) {
        None => ObjectName::new("kube-system", "kube-dns"),
        Some(Some((namespace, name)))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            ObjectName::new(namespace, name)
        }
        Some(_) => {
            let why = "is no namespace/name";
            let fault = |s: &super::layers::Setting<String>| {
                s.fault("dns.service", why, "write it as kube-system/kube-dns")
            };
            faults.extend(service.iter().map(fault));
            ObjectName::new("", "")
        }
    };
    let upstreams = dns.and_then(|dns| dns.upstreams.as_ref());
    let upstreams: Vec<_> = upstreams
        .into_iter()
        .flatten()
        .filter_map(|spanned| {
            let setting = layers.of_file(spanned);
            let address = address(&setting.value);
            if address.is_none() {
                let why = "is no address of a server";
                faults.push(setting.fault(
                    "dns.upstreams",
                    why,
                    "write it as 192.0.2.1 or 192.0.2.1:53",
                ));
            }
            address
        })
        .collect();
    let resolv_conf = dns.and_then(|dns| dns.resolv_conf.as_ref());
    let resolv_conf = layers.path(None, "", resolv_conf).map(|setting| setting.value);
    (on && faults.len() == before).then(|| DnsConfig {
        domain: domain.map_or_else(|| "cluster.local".to_owned(), |setting| setting.value),
        service: name,
        upstreams,
        resolv_conf: resolv_conf.unwrap_or_else(|| PathBuf::from("/etc/resolv.conf")),
    })
}

fn address(text: &str) -> Option<SocketAddr> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    address.ok().or_else(|| text.parse().ok())
}

/// Short enough for names below it, and labels as names have them.
fn is_domain(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(fine)
    };
    text.len() <= 100 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, RunArgs, file};

    /// The settings of a file, or what is wrong with them.
    fn resolved(text: &str) -> Result<Option<DnsConfig>, String> {
        let file = file::parse(Path::new("c.yaml"), text).unwrap();
        let (args, environment) = (RunArgs::default(), Environment::default());
        let mut faults = Vec::new();
        let config =
            resolve(&Layers { args: &args, file: &file, environment: &environment }, &mut faults);
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        if faults.is_empty() { Ok(config) } else { Err(faults.join("; ")) }
    }

    #[test]
    fn dns_is_off_until_asked_for_and_has_the_defaults_of_kubeadm() {
        assert_eq!(resolved("log: {level: info}"), Ok(None));
        assert_eq!(resolved("features: {dns: off}"), Ok(None));
        assert_eq!(resolved("features: {dns: false}"), Ok(None));
        assert!(resolved("features: {dns: true}").unwrap().is_some());
        let on = resolved("features: {dns: on}").unwrap().unwrap();
        let service = ObjectName::new("kube-system", "kube-dns");
        assert_eq!(
            (on.domain.as_str(), on.service, on.upstreams.len()),
            ("cluster.local", service, 0)
        );
        assert_eq!(on.resolv_conf, Path::new("/etc/resolv.conf"));
    }

    #[test]
    fn every_setting_of_dns_is_read_and_checked() {
        let text = "features: {dns: on}\nclusterDomain: k8s.example.org\ndns:\n  service: net/dns\n  \
                    upstreams: [192.0.2.1, '[2001:db8::1]:5353']\n  resolvConf: /run/r";
        let on = resolved(text).unwrap().unwrap();
        let upstreams = ["192.0.2.1:53", "[2001:db8::1]:5353"].map(|text| text.parse().unwrap());
        assert_eq!((on.domain.as_str(), &on.upstreams[..]), ("k8s.example.org", &upstreams[..]));
        assert_eq!((on.service, on.resolv_conf), (ObjectName::new("net", "dns"), "/run/r".into()));
        let rows = [
            ("features: {dns: maybe}", "features.dns"),
            ("clusterDomain: a..b", "clusterDomain"),
            ("dns: {service: kube-dns}", "dns.service"),
            ("dns: {service: a/b/c}", "dns.service"),
            ("dns: {upstreams: [resolver]}", "dns.upstreams"),
        ];
        for (text, wanted) in rows {
            let why = resolved(text).unwrap_err();
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }
}
