//! What all objects have in common.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::{Kind, Problem};

/// Namespace and name; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectName {
    /// Namespace, or empty.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// Both parts.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Which object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: ObjectName,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What is kept of `metadata`.
///
/// Equal when everything but the version is: the API server counts versions up for fields that
/// no area reads (a Node's heartbeats above all), and those are no changes.
#[derive(Clone, Eq, Debug)]
pub struct Meta {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.uid`, empty when absent.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`, empty when absent. In the store: of the version that last
    /// changed something that is read.
    pub resource_version: Box<str>,
    /// `metadata.creationTimestamp` as written (RFC 3339 in UTC sorts as text), empty when absent.
    pub created: Box<str>,
    /// What was wrong with the object and could be read around. The object is in force all the same.
    pub problems: Box<[Problem]>,
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, uid, resource_version: _, created, problems } = self;
        *name == other.name
            && *uid == other.uid
            && *created == other.created
            && *problems == other.problems
    }
}

/// IP family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the variants are the names")]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Family of an address.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
    /// `IPv4` or `IPv6`, as the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Protocol of a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the variants are the names")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// `TCP`, `UDP`, `SCTP`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
    /// IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}
