//! Ingress, trimmed.

use crate::{Meta, store::kept_by_meta};

/// Annotations of ingress-nginx begin so; what follows is the name that is kept.
pub const ANNOTATION_PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// An Ingress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ingress {
    /// Metadata.
    pub meta: Meta,
    /// `spec.ingressClassName`.
    pub class: Option<Box<str>>,
    /// Annotation `kubernetes.io/ingress.class`, which counts where there is no class name.
    pub class_annotation: Option<Box<str>>,
    /// Annotations of [`ANNOTATION_PREFIX`], sorted by their names without it.
    pub annotations: Box<[(Box<str>, Box<str>)]>,
    /// `spec.defaultBackend`.
    pub default_backend: Option<Backend>,
    /// `spec.rules`.
    pub rules: Box<[Rule]>,
    /// `spec.tls`.
    pub tls: Box<[Tls]>,
    /// `status.loadBalancer.ingress`, sorted.
    pub published: Box<[Published]>,
}

impl Ingress {
    /// The value of an annotation, by its name without the prefix.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let at = self.annotations.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.annotations.get(at).map(|(_, text)| &**text)
    }
}

kept_by_meta!(Ingress);

/// One entry of `status.loadBalancer.ingress`: where clients find the Ingress. Names come after addresses.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Published {
    /// `hostname`; empty where there is none.
    pub hostname: Box<str>,
    /// `ip`; empty where there is none.
    pub ip: Box<str>,
}

/// One entry of `spec.rules`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// `host` as written; empty: all hosts that no other rule names.
    pub host: Box<str>,
    /// `http.paths`.
    pub paths: Box<[Path]>,
}

/// One entry of `http.paths`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// `path` as written; empty is `/`.
    pub path: Box<str>,
    /// `pathType`.
    pub path_type: PathType,
    /// Where requests go.
    pub backend: Backend,
}

/// `pathType`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the variants are the API's names")]
pub enum PathType {
    Exact,
    Prefix,
    ImplementationSpecific,
}

/// Where requests go.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Backend {
    /// A port of a Service in the Ingress's namespace.
    Service {
        /// Its name.
        name: Box<str>,
        /// Which port.
        port: BackendPort,
    },
    /// `resource`, or nothing that can be read: nothing serves it.
    Other,
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BackendPort {
    /// By the Service's number, not the target's.
    Number(u16),
    /// By name.
    Name(Box<str>),
}

/// One entry of `spec.tls`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// `hosts` as written.
    pub hosts: Box<[Box<str>]>,
    /// `secretName`; without one the default certificate is served.
    pub secret: Option<Box<str>>,
}
