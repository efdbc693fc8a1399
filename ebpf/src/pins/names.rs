//! What Towpath pins, by name: clean-up removes this and nothing else.
//!
//! ```text
//! <pin root>/links/<hook>        of every version: an upgrade replaces programs in place
//! <pin root>/v<layout>/<map>     one directory for each layout of the maps
//! ```
//! All but `links` also exist with [`BESIDE`], while something is about to take the place.

use std::{
    ffi::OsStr,
    fs::FileType,
    path::{Path, PathBuf},
};

use towpath_image::{Attachment, Hook};

use crate::{
    settings::{LINKS, layout},
    tables,
};

/// Ends the name of what is about to take a place.
pub(crate) const BESIDE: &str = "-new";

/// What is about to take this place.
pub(crate) fn beside(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(BESIDE);
    name.into()
}

/// One of the directories.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Holds the others.
    Root,
    Links,
    /// Of any layout.
    Maps,
}

/// What Towpath made in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Own {
    /// A pin, and in which turn it goes.
    Pin(usize),
    Directory(Place),
}

impl Own {
    /// Links go before maps, and what makes translations goes before what undoes them.
    pub(crate) const fn turn(self) -> usize {
        match self {
            Self::Directory(Place::Links) => 0,
            Self::Directory(_) => 1,
            Self::Pin(turn) => turn,
        }
    }
}

impl Place {
    /// What an entry is, if it is Towpath's. Names of every version count, so a hook or a map that
    /// goes out of use stays known here: what an older version pinned must not outlive an uninstall.
    pub(crate) fn own(self, name: &OsStr, kind: FileType) -> Option<Own> {
        let name = name.to_str()?;
        match self {
            Self::Root if !kind.is_dir() => None,
            Self::Root if name == LINKS => Some(Own::Directory(Self::Links)),
            Self::Root => is_layout(name).then_some(Own::Directory(Self::Maps)),
            // On a bpffs whatever is pinned is a regular file.
            Self::Links | Self::Maps if !kind.is_file() => None,
            Self::Links => {
                let hook = name.split_once('@').map_or(name, |(hook, _device)| hook);
                let known = Attachment::named(name.strip_suffix(BESIDE).unwrap_or(name)).is_some();
                let turn = turn(Hook::all().rev().map(Hook::name), hook);
                turn.filter(|_| known).map(Own::Pin)
            }
            Self::Maps => turn(tables::names(), name).map(Own::Pin),
        }
    }
}

fn turn(mut names: impl Iterator<Item = &'static str>, name: &str) -> Option<usize> {
    names.position(|own| own == name.strip_suffix(BESIDE).unwrap_or(name))
}

fn is_layout(name: &str) -> bool {
    layout(name.strip_suffix(BESIDE).unwrap_or(name)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(place: Place, name: &str, like: &str) -> Option<Own> {
        let kind = std::fs::symlink_metadata(like).unwrap().file_type();
        place.own(OsStr::new(name), kind)
    }

    const DIR: &str = "/";
    const FILE: &str = "/proc/self/status";
    const LINK: &str = "/proc/self";

    /// Names that a version has pinned stay in this list for ever.
    #[test]
    fn every_name_that_was_ever_pinned_is_known() {
        let hooks = ["connect", "sendmsg", "recvmsg", "getpeername"];
        for hook in hooks.iter().flat_map(|hook| [format!("{hook}4"), format!("{hook}6")]) {
            assert!(own(Place::Links, &hook, FILE).is_some(), "{hook}");
            assert!(own(Place::Links, &format!("{hook}-new"), FILE).is_some(), "{hook}");
        }
        for hook in ["pod_out@2", "pod_in@4294967295", "pod_in@17-new", "node_out@3", "node_in@3"] {
            assert!(own(Place::Links, hook, FILE).is_some(), "{hook}");
        }
        for map in [
            "FRONTENDS",
            "SERVICES",
            "BACKENDS",
            "NODE_ADDRESSES",
            "CONFIG",
            "COUNTERS",
            "TOTALS",
            "AFFINITY",
            "FLOWS",
            "CHOICES",
            "PEERS",
            "SOCKETS",
            "POLICY_PODS",
            "POLICY_DEVICES",
            "POLICY_PEERS",
            "POLICY_BLOCKS",
            "POLICY_ROW_INDEX",
            "POLICY_ROWS",
            "POLICY_PORTS",
            "POLICY_FLOWS",
            "POLICY_CONFIG",
            "POLICY_COUNTERS",
            "FLOW_TABLE",
            "DEVICES",
            "PACKETS",
            "FRONTENDS-new",
        ] {
            assert!(own(Place::Maps, map, FILE).is_some(), "{map}");
        }
        for layout in ["v0", "v1", "v2", "v10", "v4294967295", "v2-new"] {
            let directory = Some(Own::Directory(Place::Maps));
            assert_eq!(own(Place::Root, layout, DIR), directory, "{layout}");
        }
        assert_eq!(own(Place::Root, "links", DIR), Some(Own::Directory(Place::Links)));
    }

    #[test]
    fn nothing_else_is() {
        for name in ["", "v", "v01", "v+1", "v-1", "v1 ", "V1", "v4294967296", "link", "links-new"]
        {
            assert_eq!(own(Place::Root, name, DIR), None, "{name}");
        }
        for name in [
            "",
            "-new",
            "connect",
            "connect4-new-new",
            "connect4-old",
            "connect4@1",
            "pod_in",
            "pod_in@x",
            "FRONTENDS",
        ] {
            assert_eq!(own(Place::Links, name, FILE), None, "{name}");
        }
        for name in ["frontends", "FRONTENDS-old", "connect4", "maps.debug"] {
            assert_eq!(own(Place::Maps, name, FILE), None, "{name}");
        }
        for like in [FILE, LINK] {
            assert_eq!(own(Place::Root, "links", like), None, "{like}");
            assert_eq!(own(Place::Root, "v1", like), None, "{like}");
        }
        for like in [DIR, LINK] {
            assert_eq!(own(Place::Links, "connect4", like), None, "{like}");
            assert_eq!(own(Place::Maps, "CONFIG", like), None, "{like}");
        }
    }

    #[test]
    fn what_makes_translations_goes_before_what_undoes_them() {
        let turn = |hook| own(Place::Links, hook, FILE).unwrap().turn();
        assert!(turn("connect4-new") < turn("sendmsg4") && turn("sendmsg6") < turn("recvmsg4"));
        assert!(Own::Directory(Place::Links).turn() < Own::Directory(Place::Maps).turn());
    }
}
