//! NetworkPolicy, compiled into verdicts for the pods of this node.
//!
//! Objects become *rulesets* (what one direction of a pod allows) over *atoms* (a selector of pods, or
//! a block of addresses). Every peer address has a *signature*: the atoms that match it. Addresses of
//! one signature are one class to the kernel of this node, and of this node only: there are no
//! identities to agree on between nodes. [`PolicyPlan`] says what is wanted, [`PolicyLayout`] in which
//! order the maps are written so that every packet is judged by the old policies or by the new ones.
#![forbid(unsafe_code)]

mod addresses;
mod atoms;
mod blocks;
mod compile;
mod explain;
mod layout;
mod peer;
mod plan;
mod rulesets;
mod words;

pub use atoms::{Atom, AtomId, Scope};
pub use explain::{Isolating, Lacks, Question, Why};
pub use layout::{Bindings, Opens, PolicyLayout, Refused};
pub use plan::{LocalPod, PodsWanted, PolicyDelta, PolicyPlan};
pub use rulesets::{Allowed, Ports, Rule, Ruleset, Signature};
