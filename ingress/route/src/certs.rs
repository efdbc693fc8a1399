//! Which certificate each host wants.

use std::collections::{BTreeMap, BTreeSet};

use towpath_model::ObjectName;

/// What one host wants to be served with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// The Secret; `None`: the default certificate.
    pub secret: Option<ObjectName>,
    /// The Ingress that says so.
    pub ingress: ObjectName,
}

/// Hosts of `spec.tls`, each with the wish of the oldest Ingress that names it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Certificates {
    pub(crate) hosts: BTreeMap<Box<str>, Wish>,
}

impl Certificates {
    /// Hosts as written (`*.a.example` for a wildcard) and their wishes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Wish)> {
        self.hosts.iter().map(|(host, wish)| (&**host, wish))
    }

    /// The Secrets that are wanted.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<&ObjectName> {
        self.hosts.values().filter_map(|wish| wish.secret.as_ref()).collect()
    }
}
