//! The kinds of objects, a row each. Everything that goes by kind comes out of these rows: the enums,
//! the store's tables, the changes, what a view shows, the paths of the API, the fields that exist.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{
    Change, ConfigMap, EndpointSlice, Ingress, IngressClass, Key, Namespace, NetworkPolicy, Node,
    ObjectName, Pod, Secret, Service, ServiceCIDR, Stream, View,
    fields::{Shape, tables},
    store::{AnyTable, Kept, Table},
    wire::{self, Wrong},
};

/// What is known about a kind.
pub struct Row {
    /// The kind.
    pub kind: Kind,
    /// The API's name of it.
    pub name: &'static str,
    /// The plural that paths use.
    pub plural: &'static str,
    /// Group and version, as objects state them in `apiVersion`.
    pub api_version: &'static str,
    /// Its objects are in namespaces.
    pub namespaced: bool,
    /// A server may not know the kind: then there are no objects of it, and nothing is wrong.
    pub optional: bool,
    pub(crate) fields: &'static Shape,
    pub(crate) decode: fn(&[u8]) -> Result<Object, Wrong>,
}

impl Row {
    /// The path under which the API has the group and version.
    #[must_use]
    pub fn root(&self) -> String {
        let root = if self.api_version.contains('/') { "apis" } else { "api" };
        format!("/{root}/{}", self.api_version)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// For each kind: its type, what many and one of it are called, and the rest of its row.
macro_rules! kinds {
    ($($kind:ident $many:ident $one:ident {
        plural: $plural:expr, api_version: $api_version:expr, namespaced: $namespaced:expr,
        optional: $optional:expr, fields: $fields:expr, convert: $convert:expr,
    })*) => {
        /// The kinds that the store keeps.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[expect(missing_docs, reason = "the variants are the API's names")]
        pub enum Kind {
            $($kind,)*
        }

        /// Every row, in the order of [`Kind`].
        pub static ROWS: &[Row] = &[$(Row {
            kind: Kind::$kind,
            name: stringify!($kind),
            plural: $plural,
            api_version: $api_version,
            namespaced: $namespaced,
            optional: $optional,
            fields: $fields,
            decode: |json| {
                let object = wire::read(json, $convert)?;
                Ok(Object::$kind(Arc::new(object)))
            },
        },)*];

        /// A trimmed object.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "the variants are the kinds")]
        pub enum Object {
            $($kind(Arc<$kind>),)*
        }

        impl Object {
            /// Its kind.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            pub(crate) fn kept(&self) -> &dyn Kept {
                match self {
                    $(Self::$kind(object) => &**object,)*
                }
            }
        }

        /// The objects of each kind, and what they were at the last commit.
        #[derive(Debug, Default)]
        pub(crate) struct Tables {
            $(pub(crate) $many: Table<$kind>,)*
        }

        impl Tables {
            pub(crate) fn of(&self, kind: Kind) -> &dyn AnyTable {
                match kind {
                    $(Kind::$kind => &self.$many,)*
                }
            }

            pub(crate) fn of_mut(&mut self, kind: Kind) -> &mut dyn AnyTable {
                match kind {
                    $(Kind::$kind => &mut self.$many,)*
                }
            }

            pub(crate) fn put(&mut self, object: Object) {
                match object {
                    $(Object::$kind(object) => self.$many.put(object),)*
                }
            }

            pub(crate) fn changes(&mut self, local: bool) -> Changes {
                Changes { $($many: self.$many.changes(),)* local, ..Changes::default() }
            }
        }

        impl Changes {
            /// Takes later changes in, as if there had been one commit for both.
            pub fn absorb(&mut self, later: Self) {
                $(Change::absorb(&mut self.$many, later.$many);)*
                self.local |= later.local;
                self.devices |= later.devices;
                self.node_devices |= later.node_devices;
                self.listed.extend(later.listed);
                self.unreadable = self.unreadable.and(later.unreadable);
            }

            /// Is something different that concerns a consumer of these kinds? What the node knows
            /// about itself concerns every one.
            #[must_use]
            pub fn concern(&self, kinds: Kinds) -> bool {
                self.local
                    || (self.devices && kinds.contains(Kind::Pod))
                    || (self.node_devices && kinds.contains(Kind::Node))
                    || self.unreadable.overlap(kinds)
                    || self.listed.iter().any(|stream| kinds.contains(stream.kind))
                    $(|| (kinds.contains(Kind::$kind) && !self.$many.is_empty()))*
            }
        }

        /// Everything that is different since the last commit, coalesced per object: an object that
        /// came and went in between is not in it.
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub struct Changes {
            $(
                #[doc = concat!("Objects of kind ", stringify!($kind), ", by name.")]
                pub $many: Vec<Change<$kind>>,
            )*
            /// The node's own addresses changed.
            pub local: bool,
            /// The devices of this node's pods changed.
            pub devices: bool,
            /// The devices by which this node routes packets changed.
            pub node_devices: bool,
            /// Streams whose list ended, whatever was different in it.
            pub listed: BTreeSet<Stream>,
            /// Kinds of which an object became unreadable, or an unreadable one was read or went.
            pub unreadable: Kinds,
        }

        impl<'a> View<'a> {
            $(
                #[doc = concat!("All objects of kind ", stringify!($kind), ", by name.")]
                pub fn $many(&self) -> impl ExactSizeIterator<Item = &'a Arc<$kind>> + use<'a> {
                    self.store.tables.$many.iter()
                }

                #[doc = concat!("The ", stringify!($kind), " of this name.")]
                #[must_use]
                pub fn $one(&self, name: &ObjectName) -> Option<&'a Arc<$kind>> {
                    self.store.tables.$many.get(name)
                }
            )*
        }
    };
}

kinds! {
    Service services service {
        plural: "services", api_version: "v1", namespaced: true,
        optional: false, fields: &tables::SERVICE, convert: wire::service::convert,
    }
    EndpointSlice slices slice {
        plural: "endpointslices", api_version: "discovery.k8s.io/v1", namespaced: true,
        optional: false, fields: &tables::ENDPOINT_SLICE, convert: wire::slice::convert,
    }
    Node nodes node {
        plural: "nodes", api_version: "v1", namespaced: false,
        optional: false, fields: &tables::NODE, convert: wire::node::convert,
    }
    ServiceCIDR service_cidrs service_cidr {
        plural: "servicecidrs", api_version: "networking.k8s.io/v1", namespaced: false,
        optional: true, fields: &tables::SERVICE_CIDR, convert: wire::service_cidr::convert,
    }
    Namespace namespaces namespace {
        plural: "namespaces", api_version: "v1", namespaced: false,
        optional: false, fields: &tables::NAMESPACE, convert: wire::namespace::convert,
    }
    ConfigMap config_maps config_map {
        plural: "configmaps", api_version: "v1", namespaced: true,
        optional: false, fields: &tables::CONFIG_MAP, convert: wire::config_map::convert,
    }
    Pod pods pod {
        plural: "pods", api_version: "v1", namespaced: true,
        optional: false, fields: &tables::POD, convert: wire::pod::convert,
    }
    Ingress ingresses ingress {
        plural: "ingresses", api_version: "networking.k8s.io/v1", namespaced: true,
        optional: false, fields: &tables::INGRESS, convert: wire::ingress::convert,
    }
    IngressClass ingress_classes ingress_class {
        plural: "ingressclasses", api_version: "networking.k8s.io/v1", namespaced: false,
        optional: false, fields: &tables::INGRESS_CLASS, convert: wire::ingress_class::convert,
    }
    Secret secrets secret {
        plural: "secrets", api_version: "v1", namespaced: true,
        optional: false, fields: &tables::SECRET, convert: wire::secret::convert,
    }
    NetworkPolicy network_policies network_policy {
        plural: "networkpolicies", api_version: "networking.k8s.io/v1", namespaced: true,
        optional: false, fields: &tables::NETWORK_POLICY, convert: wire::network_policy::convert,
    }
}

impl Kind {
    /// What is known about it.
    #[must_use]
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The API's name of the kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The kind of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.kind)
    }

    /// Whether a name has a namespace, or else which one it has as the API would complete it.
    pub(crate) fn complete_namespace(self, written: Option<&str>) -> &str {
        match written {
            _ if !self.row().namespaced => "",
            None | Some("") => "default",
            Some(namespace) => namespace,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Object {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ObjectName {
        self.kept().name()
    }

    /// Its version as a number: versions of a kind can be compared (KEP-5504).
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.kept().version()
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { kind: self.kind(), name: self.name().clone() }
    }

    /// The node that it runs on, for kinds that do.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.kept().node()
    }
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kinds(u32);

impl Kinds {
    /// Does it hold this one?
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// With those of the other set.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Has it one of the other set?
    #[must_use]
    pub const fn overlap(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// With this one.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u32)
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_the_place_of_their_kind() {
        for row in ROWS {
            assert_eq!((row.kind.row().name, Kind::of_name(row.name)), (row.name, Some(row.kind)));
        }
        assert_eq!(Kind::of_name("Endpoints"), None);
        assert_eq!(Kind::Node.row().root(), "/api/v1");
        assert_eq!(Kind::EndpointSlice.row().root(), "/apis/discovery.k8s.io/v1");
    }

    #[test]
    fn a_set_of_kinds_holds_what_was_put_in() {
        let kinds: Kinds = [Kind::Service, Kind::Node].into_iter().collect();
        let held =
            [Kind::Service, Kind::EndpointSlice, Kind::Node].map(|kind| kinds.contains(kind));
        assert_eq!(held, [true, false, true]);
        assert!(!Kinds::default().contains(Kind::Service));
    }
}
