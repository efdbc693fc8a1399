//! A stream: objects of one kind that are listed and watched together.

use std::{fmt, sync::Arc};

use crate::{Kind, ObjectName};

/// A kind with a scope. Streams begin and end at run time, and those of a kind may overlap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stream {
    /// The kind.
    pub kind: Kind,
    /// Which of its objects.
    pub scope: Scope,
}

/// Which objects of a kind a stream brings.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// All of them.
    All,
    /// Those of a namespace.
    Namespace(Arc<str>),
    /// The one of this name.
    Named(ObjectName),
    /// Those of this node.
    Node,
    /// Those with such labels and fields. An object can leave them and live on, which is told as its
    /// deletion: so no other stream of the kind runs beside such a one.
    Selected {
        /// A label selector, or empty.
        labels: &'static str,
        /// A field selector, or empty.
        fields: &'static str,
    },
}

impl Stream {
    /// All objects of a kind.
    #[must_use]
    pub const fn all(kind: Kind) -> Self {
        Self { kind, scope: Scope::All }
    }

    /// The objects of a kind in a namespace.
    #[must_use]
    pub fn in_namespace(kind: Kind, namespace: &str) -> Self {
        Self { kind, scope: Scope::Namespace(namespace.into()) }
    }

    /// The objects of a kind that run on this node.
    #[must_use]
    pub const fn of_this_node(kind: Kind) -> Self {
        Self { kind, scope: Scope::Node }
    }

    /// One object.
    #[must_use]
    pub const fn named(kind: Kind, name: ObjectName) -> Self {
        Self { kind, scope: Scope::Named(name) }
    }
}

impl Scope {
    /// Does an object belong here? `here`: whether it runs on this node, when that is known. `None`:
    /// not to be told without it.
    #[must_use]
    pub fn covers(&self, name: &ObjectName, here: Option<bool>) -> Option<bool> {
        match self {
            Self::All | Self::Selected { .. } => Some(true),
            Self::Namespace(namespace) => Some(*namespace == name.namespace),
            Self::Named(named) => Some(named == name),
            Self::Node => here,
        }
    }

    /// May an object belong to both?
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Namespace(one), Self::Namespace(other)) => one == other,
            (Self::Named(one), Self::Named(other)) => one == other,
            (Self::Namespace(namespace), Self::Named(name))
            | (Self::Named(name), Self::Namespace(namespace)) => name.namespace == *namespace,
            _ => true,
        }
    }
}

impl From<Kind> for Stream {
    fn from(kind: Kind) -> Self {
        Self::all(kind)
    }
}

impl From<&Self> for Stream {
    fn from(stream: &Self) -> Self {
        stream.clone()
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind;
        match &self.scope {
            Scope::All => write!(f, "{kind}"),
            Scope::Namespace(namespace) => write!(f, "{kind} (namespace {namespace})"),
            Scope::Named(name) => write!(f, "{kind} ({name})"),
            Scope::Node => write!(f, "{kind} (this node)"),
            Scope::Selected { labels, fields: "" } => write!(f, "{kind} ({labels})"),
            Scope::Selected { labels: "", fields } => write!(f, "{kind} ({fields})"),
            Scope::Selected { labels, fields } => write!(f, "{kind} ({labels}, {fields})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_called_by_its_kind_and_by_what_it_leaves_out() {
        let selected = |labels, fields| Stream {
            kind: Kind::Service,
            scope: Scope::Selected { labels, fields },
        };
        for (stream, called) in [
            (Stream::from(Kind::Service), "Service"),
            (Stream::in_namespace(Kind::Service, "shop"), "Service (namespace shop)"),
            (Stream::named(Kind::Service, ObjectName::new("shop", "cart")), "Service (shop/cart)"),
            (Stream::named(Kind::Node, ObjectName::new("", "n")), "Node (n)"),
            (Stream::of_this_node(Kind::Service), "Service (this node)"),
            (selected("a=b", ""), "Service (a=b)"),
            (selected("", "c=d"), "Service (c=d)"),
            (selected("a=b", "c=d"), "Service (a=b, c=d)"),
        ] {
            assert_eq!(stream.to_string(), called);
        }
    }

    #[test]
    fn what_a_scope_covers() {
        let name = ObjectName::new("shop", "cart");
        for (scope, here, covers) in [
            (Scope::All, None, Some(true)),
            (Scope::Selected { labels: "a", fields: "" }, None, Some(true)),
            (Scope::Namespace("shop".into()), None, Some(true)),
            (Scope::Namespace("sho".into()), Some(true), Some(false)),
            (Scope::Named(name.clone()), None, Some(true)),
            (Scope::Named(ObjectName::new("shop", "card")), None, Some(false)),
            (Scope::Node, None, None),
            (Scope::Node, Some(true), Some(true)),
            (Scope::Node, Some(false), Some(false)),
        ] {
            assert_eq!(scope.covers(&name, here), covers, "{scope:?} {here:?}");
        }
    }
}
