//! NetworkPolicy (networking.k8s.io/v1): what it says, with everything that cannot be understood
//! turned into something that matches nothing. A policy only ever allows, so that is the closed side.

use crate::{Meta, Protocol, service::Cidr, store::kept_by_meta};

/// A NetworkPolicy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkPolicy {
    /// Metadata.
    pub meta: Meta,
    /// `spec.podSelector`: the pods of its namespace that it isolates. Missing selects all of them.
    pub subjects: Selector,
    /// `spec.ingress`; `None` when `policyTypes` does not name the direction.
    pub ingress: Option<Box<[PolicyRule]>>,
    /// `spec.egress`, likewise.
    pub egress: Option<Box<[PolicyRule]>>,
}

kept_by_meta!(NetworkPolicy);

/// One entry of `spec.ingress` or `spec.egress`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyRule {
    /// `from` or `to`; `None` when missing or empty: any peer, a pod or not.
    pub peers: Option<Box<[PolicyPeer]>>,
    /// `ports`; `None` when missing or empty: any port of any protocol.
    pub ports: Option<Box<[PolicyPort]>>,
}

/// One entry of `from` or `to`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PolicyPeer {
    /// Pods. Without `namespaces`: those of the policy's own namespace.
    Pods {
        /// `namespaceSelector`.
        namespaces: Option<Selector>,
        /// `podSelector`; missing beside a `namespaceSelector` selects all pods.
        pods: Selector,
    },
    /// `ipBlock`.
    Block {
        /// `cidr`, host bits cleared.
        cidr: Cidr,
        /// `except`, sorted; only what is inside of `cidr`.
        except: Box<[Cidr]>,
    },
    /// An entry that could not be understood: matches nothing.
    Nothing,
}

/// One entry of `ports`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PolicyPort {
    /// `port` to `endPort`, both included; without a port 0 to 65535.
    Range {
        /// Protocol; TCP when missing.
        protocol: Protocol,
        /// First.
        first: u16,
        /// Last.
        last: u16,
    },
    /// A container port of this name and protocol, looked up at each destination.
    Named {
        /// Protocol; TCP when missing.
        protocol: Protocol,
        /// Name.
        name: Box<str>,
    },
    /// An entry that could not be understood: matches nothing.
    Nothing,
}

/// A label selector.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Selector {
    /// All of these hold; none: everything matches.
    All(Box<[Requirement]>),
    /// It could not be understood: matches nothing.
    Nothing,
}

/// One condition of a selector. `matchLabels` is [`Operator::In`] with one value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Requirement {
    /// Label.
    pub key: Box<str>,
    /// Condition.
    pub operator: Operator,
    /// Sorted; of In and NotIn only.
    pub values: Box<[Box<str>]>,
}

/// How a label is judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "the variants are the API's names")]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Requirement {
    /// Does it hold for the value that an object has of the label? A label that is absent satisfies
    /// NotIn and DoesNotExist (apimachinery labels.Requirement.Matches).
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        let among =
            |value: &str| self.values.binary_search_by(|known| (**known).cmp(value)).is_ok();
        match self.operator {
            Operator::In => value.is_some_and(among),
            Operator::NotIn => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl Selector {
    /// Does it match an object whose labels `label` looks up?
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(label(&one.key))),
            Self::Nothing => false,
        }
    }

    /// Selects everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::All(Box::default())
    }
}
