//! One Ingress that is served, as the tables of its hosts need it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use towpath_model::{
    Code, Ingress, Key, Kind, ObjectName, Problem,
    ingress::{Backend, Path, PathType},
};

use crate::{
    Asked, BackendRef, Settings,
    annotations::{self, Read},
    host::rule_host,
    path::normalise,
    pattern::Pattern,
};

/// Longest path that a rule may have: a request's whole target is no longer than this.
const PATH_MAX: usize = 8 << 10;

/// An Ingress that is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) read: Read,
    pub(crate) rules: Vec<HostRule>,
    /// Hosts of `spec.tls` and the Secret each wants, with the number of the entry.
    pub(crate) tls: Vec<(Box<str>, Option<ObjectName>, usize)>,
    pub(crate) problems: Vec<Problem>,
    /// What of `rules` and `tls` is about each host: an Ingress may name thousands.
    by_host: BTreeMap<Box<str>, Places>,
}

/// Places in `rules` and `tls`.
#[derive(Debug, Default)]
struct Places {
    rules: Vec<usize>,
    tls: Vec<usize>,
}

/// One entry of `spec.rules`.
#[derive(Debug)]
pub(crate) struct HostRule {
    pub(crate) host: Box<str>,
    pub(crate) paths: Vec<PathRule>,
}

/// One path.
#[derive(Debug)]
pub(crate) struct PathRule {
    pub(crate) exact: bool,
    /// Normal; of a prefix without its trailing slash.
    pub(crate) path: Arc<str>,
    pub(crate) backend: Option<BackendRef>,
    /// The path is this expression.
    pub(crate) pattern: Option<Arc<Pattern>>,
    /// It is none: what it would begin with is closed.
    pub(crate) closed: bool,
    /// `spec.rules[i].http.paths[j]`, as two numbers.
    pub(crate) at: (usize, usize),
}

impl Served {
    pub(crate) fn new(ingress: &Arc<Ingress>, settings: &Settings) -> Self {
        let mut problems = Vec::new();
        let read = annotations::read(ingress, settings, &mut problems);
        let mut served = Self {
            ingress: Arc::clone(ingress),
            read,
            rules: Vec::new(),
            tls: Vec::new(),
            problems,
            by_host: BTreeMap::new(),
        };
        if !served.read.canary {
            served.read_rules();
            served.read_tls();
        }
        for (at, rule) in served.rules.iter().enumerate() {
            served.by_host.entry(rule.host.clone()).or_default().rules.push(at);
        }
        for (at, (host, ..)) in served.tls.iter().enumerate() {
            served.by_host.entry(host.clone()).or_default().tls.push(at);
        }
        served
    }

    pub(crate) fn name(&self) -> &ObjectName {
        &self.ingress.meta.name
    }

    /// The hosts that it has a part in.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.by_host.keys().map(|host| &**host)
    }

    /// Its rules of a host, in the order in which they are written.
    pub(crate) fn rules_of(&self, host: &str) -> impl Iterator<Item = &HostRule> {
        let places = self.by_host.get(host).into_iter().flat_map(|places| &places.rules);
        places.filter_map(|at| self.rules.get(*at))
    }

    /// The Secrets that it names for a host, with the number of the entry of `spec.tls`.
    pub(crate) fn tls_of(&self, host: &str) -> impl Iterator<Item = (&Option<ObjectName>, usize)> {
        let places = self.by_host.get(host).into_iter().flat_map(|places| &places.tls);
        places.filter_map(|at| self.tls.get(*at)).map(|(_, secret, at)| (secret, *at))
    }

    /// What its rules and its default lead to, with the field that says so.
    pub(crate) fn backends(&self) -> impl Iterator<Item = (BackendRef, String)> {
        let paths = self.rules.iter().flat_map(|rule| &rule.paths);
        let named = paths.filter_map(|path| {
            let (rule, number) = path.at;
            let field = format!("spec.rules[{rule}].http.paths[{number}].backend.service");
            Some((path.backend.clone()?, field))
        });
        let default = self.default_backend().flatten();
        let asked = self.read.policy.auth.as_ref().and_then(|auth| match &auth.asked {
            Asked::Service(service, _) => {
                let prefix = towpath_model::ingress::ANNOTATION_PREFIX;
                Some((service.clone(), format!("metadata.annotations[{prefix}auth-url]")))
            }
            Asked::OwnHost | Asked::Host(_) => None,
        });
        let default = default.map(|backend| (backend, "spec.defaultBackend.service".to_owned()));
        named.chain(default).chain(asked)
    }

    /// `spec.defaultBackend`, whatever it names.
    pub(crate) fn default_backend(&self) -> Option<Option<BackendRef>> {
        let backend = self.ingress.default_backend.as_ref().filter(|_| !self.read.canary)?;
        Some(self.backend(backend))
    }

    /// Without rules its default backend is the class's.
    pub(crate) fn is_catch_all(&self) -> bool {
        self.ingress.rules.is_empty() && self.default_backend().is_some()
    }

    /// Has this host a certificate of this Ingress's?
    pub(crate) fn has_tls(&self, host: &str) -> bool {
        let has = |host: &str| self.by_host.get(host).is_some_and(|of| !of.tls.is_empty());
        has(host) || crate::host::parent(host).is_some_and(|parent| has(&format!("*.{parent}")))
    }

    pub(crate) fn problem(&self, code: Code, field: &str, why: &str, action: &str) -> Problem {
        let key = Key { kind: Kind::Ingress, name: self.name().clone() };
        Problem::new(code, Some(key), field, why, action)
    }

    fn backend(&self, backend: &Backend) -> Option<BackendRef> {
        let Backend::Service { name, port } = backend else { return None };
        let service = ObjectName::new(&self.name().namespace, name);
        Some(BackendRef { service, port: port.clone() })
    }

    fn read_rules(&mut self) {
        let ingress = Arc::clone(&self.ingress);
        for (at, rule) in ingress.rules.iter().enumerate() {
            let host = match rule_host(&rule.host) {
                Ok(host) => host,
                Err(why) => {
                    let field = format!("spec.rules[{at}].host");
                    let why = format!("{why}; the rule is not served");
                    let action = "write a host name, or one whose first label is `*`";
                    self.problems.push(self.problem(Code::RouteUnusable, &field, &why, action));
                    continue;
                }
            };
            let mut paths = Vec::with_capacity(rule.paths.len());
            for (number, path) in rule.paths.iter().enumerate() {
                match self.read_path(path, (at, number)) {
                    Ok(path) => paths.push(path),
                    Err(why) => {
                        let field = format!("spec.rules[{at}].http.paths[{number}].path");
                        let why = format!("{why}; the path is not served");
                        let action = "write the path as requests have it";
                        self.problems.push(self.problem(Code::RouteUnusable, &field, &why, action));
                    }
                }
            }
            self.rules.push(HostRule { host, paths });
        }
    }

    fn read_path(&mut self, path: &Path, at: (usize, usize)) -> Result<PathRule, String> {
        let written = if path.path.is_empty() { "/" } else { &*path.path };
        if written.len() > PATH_MAX {
            return Err(format!("longer than the {PATH_MAX} bytes of a request's target"));
        }
        if self.is_expression(written, path.path_type) {
            return Ok(self.read_expression(written, &path.backend, at));
        }
        let normal = normalise(written).map_err(|why| why.to_string())?;
        let exact = path.path_type == PathType::Exact;
        let matched = match exact {
            true => &*normal,
            // The rule's own slash says nothing: elements are compared.
            false => normal.strip_suffix('/').unwrap_or(&normal),
        };
        let backend = self.backend(&path.backend);
        Ok(PathRule { exact, path: matched.into(), backend, pattern: None, closed: false, at })
    }

    /// Is a path of this Ingress a regular expression? Where it asks for them: an Exact one never, a
    /// Prefix only with signs that ingress-nginx allows in no literal path. It was the type that
    /// ingress-nginx's own documentation named for expressions until 2023.
    fn is_expression(&self, written: &str, path_type: PathType) -> bool {
        let literal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
        self.read.regex
            && match path_type {
                PathType::Exact => false,
                PathType::Prefix => !written.bytes().all(literal),
                PathType::ImplementationSpecific => written != "/",
            }
    }

    fn read_expression(
        &mut self,
        written: &str,
        backend: &Backend,
        at: (usize, usize),
    ) -> PathRule {
        let compiled = Pattern::new(written);
        if let Err(why) = &compiled {
            let (rule, number) = at;
            let field = format!("spec.rules[{rule}].http.paths[{number}].path");
            let why = format!("no expression: {why}; what begins like it is answered with 503");
            let action = "write it without look-around and references back, or as a plain path";
            self.problems.push(self.problem(Code::RouteUnusable, &field, &why, action));
        }
        let closed = compiled.is_err();
        let pattern = compiled.unwrap_or_else(|_why| Pattern::beginning(written));
        let pattern = Some(Arc::new(pattern));
        let backend = self.backend(backend);
        PathRule { exact: false, path: written.into(), backend, pattern, closed, at }
    }

    fn read_tls(&mut self) {
        let ingress = Arc::clone(&self.ingress);
        for (at, entry) in ingress.tls.iter().enumerate() {
            let secret = entry.secret.as_deref();
            let secret = secret.map(|name| ObjectName::new(&self.name().namespace, name));
            if entry.hosts.is_empty() {
                // For every host of the Ingress.
                let hosts: BTreeSet<_> = self.rules.iter().map(|rule| rule.host.clone()).collect();
                let named = hosts.into_iter().filter(|host| !host.is_empty());
                self.tls.extend(named.map(|host| (host, secret.clone(), at)));
            }
            for (number, host) in entry.hosts.iter().enumerate() {
                match rule_host(host) {
                    Ok(host) if !host.is_empty() => self.tls.push((host, secret.clone(), at)),
                    not => {
                        let field = format!("spec.tls[{at}].hosts[{number}]");
                        let why = not.err().unwrap_or("empty");
                        let why = format!("{why}; no certificate is served for it");
                        let action = "write a host name, or one whose first label is `*`";
                        self.problems.push(self.problem(Code::RouteUnusable, &field, &why, action));
                    }
                }
            }
        }
    }
}
