//! Which program runs where: desired state, like what a map holds.

use std::{collections::BTreeSet, fmt};

use crate::KernelError;

/// How a program is attached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HookKind {
    /// To a cgroup, for its sockets.
    Cgroup,
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
    fn readers_come_into_force_before_writers() {
        let order: Vec<_> = Attachment::of_sockets().iter().map(ToString::to_string).collect();
        assert_eq!(order, Hook::SOCKETS.map(Hook::name));
        assert_eq!((order[0].as_str(), order[7].as_str()), ("getpeername4", "connect6"));
    }
}
