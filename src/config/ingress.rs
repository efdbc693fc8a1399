//! Whether and where Ingresses are served on this node.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use serde_saphyr::Spanned;
use towpath_model::{ObjectName, names::is_subdomain};

use super::{Fault, features, layers::Layers};

/// The Lease of daemons without a name of their own for it.
const LEASE: &str = "towpath-ingress";

/// Settings of Ingress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IngressConfig {
    /// Where plain requests are taken.
    pub http: Vec<SocketAddr>,
    /// Where requests over TLS are taken.
    pub https: Vec<SocketAddr>,
    /// Neither was set.
    pub usual: bool,
    /// `spec.controller` of the classes that are served.
    pub controllers: BTreeSet<String>,
    /// Values of the annotation `kubernetes.io/ingress.class` that are served.
    pub class_annotations: BTreeSet<String>,
    /// Ingresses that name no class are served.
    pub without_class: bool,
    /// Plain requests of hosts with a certificate are sent to HTTPS.
    pub ssl_redirect: bool,
    /// The Secret whose certificate is served for names that have none.
    pub default_certificate: Option<ObjectName>,
    /// The Service whose addresses Ingresses show.
    pub publish_service: Option<ObjectName>,
    /// Label selector of the daemons' pods: Ingresses show the nodes on which one is ready.
    pub pods: Option<String>,
    /// Name of the Lease in the daemon's namespace.
    pub lease: String,
}

/// `None`: it is off, or something is wrong with it.
pub(super) fn resolve(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> Option<IngressConfig> {
    let before = faults.len();
    let features = layers.file.features.as_ref();
    let on = features::switch(layers, "ingress", features.and_then(|f| f.ingress.as_ref()), faults);
    let nothing = super::file::Ingress::default();
    let typed = layers.file.ingress.as_ref().unwrap_or(&nothing);
    let mut flag = |name: &str, typed: Option<&Spanned<String>>, default: bool| match typed {
        None => default,
        some => features::switch_of(layers, &format!("ingress.{name}"), some, faults),
    };
    let without_class = flag("withoutClass", typed.without_class.as_ref(), false);
    let ssl_redirect = flag("sslRedirect", typed.ssl_redirect.as_ref(), true);
    let usual = typed.http.is_none() && typed.https.is_none();
    let http = addresses(layers, "ingress.http", typed.http.as_ref(), 80, faults);
    let https = addresses(layers, "ingress.https", typed.https.as_ref(), 443, faults);
    let mut named = |path: &str, typed: Option<&Spanned<String>>, example: &str| {
        let setting = layers.of_file(typed?);
        let name = name(&setting.value);
        if name.is_none() {
            let action = format!("write it as {example}");
            faults.push(setting.fault(path, "is no namespace/name", action));
        }
        name
    };
    let default_certificate = named(
        "ingress.defaultCertificate",
        typed.default_certificate.as_ref(),
        "kube-system/default-tls",
    );
    let publish_service =
        named("ingress.publishService", typed.publish_service.as_ref(), "kube-system/front");
    let lease = lease(layers, typed.lease.as_ref(), faults);
    let words = |typed: Option<&Vec<Spanned<String>>>, default: &str| match typed {
        None => BTreeSet::from([default.to_owned()]),
        Some(words) => words.iter().map(|word| word.value.clone()).collect(),
    };
    (on && faults.len() == before).then(|| IngressConfig {
        http,
        https,
        usual,
        controllers: words(typed.controllers.as_ref(), "towpath.io/ingress"),
        class_annotations: words(typed.class_annotations.as_ref(), "towpath"),
        without_class,
        ssl_redirect,
        default_certificate,
        publish_service,
        pods: typed.pods.as_ref().map(|spanned| layers.of_file(spanned).value.clone()),
        lease,
    })
}

/// What Kubernetes takes as the name of an object (RFC 1123).
fn lease(layers: &Layers<'_>, typed: Option<&Spanned<String>>, faults: &mut Vec<Fault>) -> String {
    let Some(setting) = typed.map(|spanned| layers.of_file(spanned)) else {
        return LEASE.to_owned();
    };
    let name = &setting.value;
    if !is_subdomain(name) {
        let action = format!("write small letters, digits, - and ., such as {LEASE}");
        faults.push(setting.fault("ingress.lease", "is no name of an object", action));
    }
    name.clone()
}

/// Addresses to listen on; a bare one has the usual port. Not set: all of the node.
fn addresses(
    layers: &Layers<'_>,
    path: &str,
    typed: Option<&Vec<Spanned<String>>>,
    port: u16,
    faults: &mut Vec<Fault>,
) -> Vec<SocketAddr> {
    let Some(typed) = typed else {
        let all = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        return all.map(|ip| SocketAddr::new(ip, port)).to_vec();
    };
    let mut addresses = Vec::new();
    for setting in typed.iter().map(|spanned| layers.of_file(spanned)) {
        let text = setting.value.trim();
        let bare = || text.parse().ok().map(|ip| SocketAddr::new(ip, port));
        match text.parse::<SocketAddr>().ok().or_else(bare) {
            Some(address) if address.port() != 0 && !addresses.contains(&address) => {
                addresses.push(address);
            }
            Some(_) => faults.push(setting.fault(path, "is there twice, or port 0", "remove it")),
            None => {
                let action = format!("write it as 0.0.0.0:{port} or [::]:{port}");
                faults.push(setting.fault(path, "is not an address to listen on", action));
            }
        }
    }
    addresses
}

fn name(text: &str) -> Option<ObjectName> {
    let (namespace, name) = text.split_once('/')?;
    let fine = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    fine.then(|| ObjectName::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, RunArgs, file};

    fn resolved(text: &str) -> Result<Option<IngressConfig>, String> {
        let file = file::parse(Path::new("c.yaml"), text).unwrap();
        let (args, environment) = (RunArgs::default(), Environment::default());
        let mut faults = Vec::new();
        let layers = Layers { args: &args, file: &file, environment: &environment };
        let config = resolve(&layers, &mut faults);
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        if faults.is_empty() { Ok(config) } else { Err(faults.join("; ")) }
    }

    #[test]
    fn ingress_is_off_until_asked_for_and_takes_the_usual_ports() {
        for off in ["log: {level: info}", "features: {ingress: off}", "ingress: {http: ['::1']}"] {
            assert_eq!(resolved(off), Ok(None), "{off}");
        }
        let on = resolved("features: {ingress: on}").unwrap().unwrap();
        let listens: Vec<String> =
            on.http.iter().chain(&on.https).map(ToString::to_string).collect();
        assert_eq!(listens, ["0.0.0.0:80", "[::]:80", "0.0.0.0:443", "[::]:443"]);
        assert!(on.usual && on.ssl_redirect && !on.without_class);
        assert_eq!((on.publish_service, on.pods, &*on.lease), (None, None, "towpath-ingress"));
        assert_eq!(on.controllers, BTreeSet::from(["towpath.io/ingress".to_owned()]));
    }

    #[test]
    fn every_setting_of_ingress_is_read_and_checked() {
        let text = "features: {ingress: on}\ningress:\n  http: [192.0.2.1, '[::1]:8080']\n  https: []\n  \
                    controllers: [k8s.io/ingress-nginx]\n  classAnnotations: [nginx]\n  \
                    withoutClass: on\n  sslRedirect: off\n  defaultCertificate: a/b\n  \
                    publishService: c/d\n  pods: app=towpath\n  lease: front.1";
        let on = resolved(text).unwrap().unwrap();
        let http = ["192.0.2.1:80", "[::1]:8080"].map(|text| text.parse().unwrap());
        assert_eq!((&on.http[..], on.https.len(), on.usual), (&http[..], 0, false));
        assert!(on.without_class && !on.ssl_redirect);
        assert_eq!(on.default_certificate, Some(ObjectName::new("a", "b")));
        assert_eq!(on.publish_service, Some(ObjectName::new("c", "d")));
        assert_eq!((on.pods.as_deref(), &*on.lease), (Some("app=towpath"), "front.1"));
        assert!(on.controllers.contains("k8s.io/ingress-nginx") && on.controllers.len() == 1);
        assert!(on.class_annotations.contains("nginx"));
        for (text, wanted) in [
            ("features: {ingress: maybe}", "features.ingress"),
            ("ingress: {sslRedirect: maybe}", "ingress.sslRedirect"),
            ("ingress: {http: [here]}", "ingress.http"),
            ("ingress: {http: ['::1', '::1']}", "ingress.http"),
            ("ingress: {https: ['0.0.0.0:0']}", "ingress.https"),
            ("ingress: {defaultCertificate: b}", "ingress.defaultCertificate"),
            ("ingress: {publishService: a/b/c}", "ingress.publishService"),
            ("ingress: {lease: 'a/../b'}", "ingress.lease"),
            ("ingress: {lease: 'a..b'}", "ingress.lease"),
            ("ingress: {lease: ''}", "ingress.lease"),
        ] {
            let why = resolved(text).unwrap_err();
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }
}
