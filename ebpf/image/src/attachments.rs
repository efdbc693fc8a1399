//! Which program runs where: desired state, like what a map holds.

use std::{collections::BTreeSet, fmt};

use crate::KernelError;

/// How a program is attached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HookKind {
    /// To a cgroup, for its sockets.
    Cgroup,
    /// To a network device, for what comes in by it.
    DeviceIngress,
    /// To a network device, for what goes out by it.
    DeviceEgress,
}

/// One row for each program: hooks of a place come into force in the order of `turn`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hook {
    turn: u8,
    kind: HookKind,
    name: &'static str,
}

impl Hook {
    /// The hooks of sockets. Readers of a record's new fields come first, so that an upgrade's new
    /// connect never writes what an old getpeername does not know.
    pub const SOCKETS: [Self; 8] = [
        Self::new(0, HookKind::Cgroup, "getpeername4"),
        Self::new(1, HookKind::Cgroup, "getpeername6"),
        Self::new(2, HookKind::Cgroup, "recvmsg4"),
        Self::new(3, HookKind::Cgroup, "recvmsg6"),
        Self::new(4, HookKind::Cgroup, "sendmsg4"),
        Self::new(5, HookKind::Cgroup, "sendmsg6"),
        Self::new(6, HookKind::Cgroup, "connect4"),
        Self::new(7, HookKind::Cgroup, "connect6"),
    ];

    /// The hooks of a pod's device, on the host's side: what comes from the pod, and what goes to it.
    pub const PODS: [Self; 2] = [
        Self::new(8, HookKind::DeviceIngress, "pod_out"),
        Self::new(9, HookKind::DeviceEgress, "pod_in"),
    ];

    /// The hooks of a device that packets are translated at: what goes out by it, and what comes in. What
    /// undoes a translation comes into force before what makes one.
    pub const NODE: [Self; 2] = [
        Self::new(10, HookKind::DeviceEgress, "node_out"),
        Self::new(11, HookKind::DeviceIngress, "node_in"),
    ];

    /// Every hook there is.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        Self::SOCKETS.into_iter().chain(Self::PODS).chain(Self::NODE)
    }

    /// A program of this name, which comes into force in this turn.
    #[must_use]
    pub const fn new(turn: u8, kind: HookKind, name: &'static str) -> Self {
        Self { turn, kind, name }
    }

    /// Name of the program in the objects, and of its pins.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Does it run before what is attached to its device already? Policies are about endpoints: what comes
    /// from a pod is judged once it was translated, what goes to it before that is undone.
    #[must_use]
    pub fn is_first(self) -> bool {
        let [_, to_pod] = Self::PODS;
        let [_, comes_in] = Self::NODE;
        self == to_pod || self == comes_in
    }

    /// How it is attached.
    #[must_use]
    pub const fn kind(self) -> HookKind {
        self.kind
    }
}

/// Where a program runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum At {
    /// The cgroup whose sockets are served.
    Cgroup,
    /// A network device, by its index.
    Device(u32),
}

/// One program at one place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Attachment {
    /// Where.
    pub at: At,
    /// Which.
    pub hook: Hook,
}

/// What should be in force, or is.
pub type Attachments = BTreeSet<Attachment>;

impl Attachment {
    /// Every hook of sockets, at the cgroup.
    #[must_use]
    pub fn of_sockets() -> Attachments {
        Hook::SOCKETS.map(|hook| Self { at: At::Cgroup, hook }).into()
    }

    /// Both hooks of each of these pods' devices.
    #[must_use]
    pub fn of_pods(devices: impl IntoIterator<Item = u32>) -> Attachments {
        let both = |index| Hook::PODS.map(|hook| Self { at: At::Device(index), hook });
        devices.into_iter().flat_map(both).collect()
    }

    /// Both hooks of each of these devices that packets are translated at.
    #[must_use]
    pub fn of_packets(devices: impl IntoIterator<Item = u32>) -> Attachments {
        let both = |index| Hook::NODE.map(|hook| Self { at: At::Device(index), hook });
        devices.into_iter().flat_map(both).collect()
    }

    /// The one that is shown like this; `None` when no version has such a hook.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let (name, device) = match text.split_once('@') {
            Some((name, index)) => (name, Some(index.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let hook = Hook::all().find(|hook| hook.name == name)?;
        let at = match (hook.kind, device) {
            (HookKind::Cgroup, None) => At::Cgroup,
            (HookKind::DeviceIngress | HookKind::DeviceEgress, Some(index)) => At::Device(index),
            _ => return None,
        };
        Some(Self { at, hook }).filter(|known| known.to_string() == text)
    }
}

/// What became of each of some attachments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Made {
    /// Where something was done, in that order.
    pub done: Vec<String>,
    /// Why the first that failed did.
    pub failure: Option<KernelError>,
}

impl Made {
    /// Does something (or nothing: false) for each, in their order; a failure keeps from the rest of
    /// its place when `in_turn`.
    pub fn each(
        what: impl IntoIterator<Item = Attachment>,
        in_turn: bool,
        mut make: impl FnMut(&Attachment) -> Result<bool, KernelError>,
    ) -> Self {
        let (mut made, mut failed) = (Self::default(), BTreeSet::new());
        for what in what {
            if in_turn && failed.contains(&what.at) {
                continue;
            }
            match make(&what) {
                Ok(true) => made.done.push(what.to_string()),
                Ok(false) => {}
                Err(failure) => {
                    failed.insert(what.at);
                    made.failure.get_or_insert(failure);
                }
            }
        }
        made
    }
}

/// As in logs and status: `connect4`, `NAME@2` for a device.
impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Cgroup => f.write_str(self.hook.name),
            At::Device(index) => write!(f, "{}@{index}", self.hook.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_known_by_what_is_shown() {
        let all = Attachment::of_pods([7, 12]).into_iter().chain(Attachment::of_sockets());
        let all = all.chain(Attachment::of_packets([7, 3]));
        for known in all {
            assert_eq!(Attachment::named(&known.to_string()), Some(known));
        }
        for unknown in ["", "pod_in", "connect4@3", "pod_in@", "pod_in@07", "pod_in@x", "pod@1"] {
            assert_eq!(Attachment::named(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn readers_come_into_force_before_writers() {
        let order: Vec<_> = Attachment::of_sockets().iter().map(ToString::to_string).collect();
        assert_eq!(order, Hook::SOCKETS.map(Hook::name));
        assert_eq!((order[0].as_str(), order[7].as_str()), ("getpeername4", "connect6"));
    }
}
