//! Atoms: what a peer is selected by.

use std::{collections::BTreeMap, sync::Arc};

use towpath_model::{
    Namespace, Protocol,
    network_policy::{PolicyPeer, Selector},
    service::Cidr,
};

/// Number of an atom: the same for the same content as long as any ruleset uses it.
pub type AtomId = u32;

/// One entry of `from` or `to`, whichever policy wrote it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Atom {
    /// Pods.
    Pods {
        /// Of which namespaces.
        scope: Scope,
        /// Which of them.
        pods: Selector,
    },
    /// `ipBlock`.
    Block {
        /// Block.
        cidr: Cidr,
        /// Without these.
        except: Box<[Cidr]>,
    },
}

/// The namespaces of an atom.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// The policy's own.
    Own(Arc<str>),
    /// Those that a selector matches.
    Matching(Selector),
}

impl Atom {
    /// Of an entry of a policy in this namespace; `None` for what matches nothing.
    pub(crate) fn of(peer: &PolicyPeer, namespace: &Arc<str>) -> Option<Self> {
        match peer {
            PolicyPeer::Nothing
            | PolicyPeer::Pods { pods: Selector::Nothing, .. }
            | PolicyPeer::Pods { namespaces: Some(Selector::Nothing), .. } => None,
            PolicyPeer::Pods { namespaces, pods } => {
                let scope = match namespaces {
                    Some(selector) => Scope::Matching(selector.clone()),
                    None => Scope::Own(Arc::clone(namespace)),
                };
                Some(Self::Pods { scope, pods: pods.clone() })
            }
            PolicyPeer::Block { cidr, except } => {
                Some(Self::Block { cidr: *cidr, except: except.clone() })
            }
        }
    }

    /// Whom it selects of this namespace; `None`: none of it. A namespace that is not known is in no
    /// selection.
    pub(crate) fn about(&self, name: &str, namespace: Option<&Namespace>) -> Option<&Selector> {
        let Self::Pods { scope, pods } = self else { return None };
        let is_in_scope = match scope {
            Scope::Own(own) => **own == *name,
            Scope::Matching(selector) => {
                namespace.is_some_and(|namespace| selector.matches(|label| namespace.label(label)))
            }
        };
        is_in_scope.then_some(pods)
    }
}

/// A named port that egress rules ask for.
pub(crate) type PortName = (Protocol, Box<str>);

/// Numbers for values: a value keeps its number as long as it is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Numbers<T> {
    known: BTreeMap<T, u32>,
    next: u32,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), next: 0 }
    }
}

impl<T: Ord + Clone> Numbers<T> {
    pub(crate) fn of(&mut self, value: &T) -> u32 {
        if let Some(number) = self.known.get(value) {
            return *number;
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.known.insert(value.clone(), number);
        number
    }

    pub(crate) fn keep(&mut self, used: impl Fn(u32) -> bool) {
        self.known.retain(|_, number| used(*number));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&T, u32)> {
        self.known.iter().map(|(value, number)| (value, *number))
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
