//! Where the programs attach, and how much the maps hold.

use std::path::PathBuf;

use serde_saphyr::Spanned;
use towpath_image::Capacities;

use super::{Fault, Origin, layers::Layers};

/// What the loader needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelConfig {
    /// cgroup2 directory: sockets of processes below it are routed.
    pub cgroup_root: PathBuf,
    /// Directory for pins.
    pub bpffs: PathBuf,
    /// Sizes of the maps.
    pub capacities: Capacities,
}

/// Where pins go unless the configuration says otherwise.
pub const BPFFS: &str = "/sys/fs/bpf/towpath";
/// A service index has 24 bits (`FrontendWord::SERVICES_MAX`); the other maps stay as small.
const ELEMENTS_MAX: u32 = 1 << 24;

pub(super) fn resolve(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> Option<KernelConfig> {
    let (args, file) = (layers.args, layers.file);
    let before = faults.len();
    let bpffs = layers
        .path(args.bpffs.as_ref(), "--bpffs", file.bpffs.as_ref())
        .map_or_else(|| PathBuf::from(BPFFS), |given| given.value);
    let cgroup_root = layers
        .path(args.cgroup_root.as_ref(), "--cgroup-root", file.cgroup_root.as_ref())
        .map(|given| given.value)
        .or_else(|| cgroup2_mount(layers, faults));
    if cgroup_root.is_none() && faults.len() == before {
        faults.push(Fault::new(
            Origin::Machine,
            "cgroupRoot",
            "no cgroup2 hierarchy is mounted (/proc/mounts)",
            "mount one (mount -t cgroup2 none DIR), into the container too, or give --cgroup-root",
        ));
    }
    let capacities = capacities(layers, faults);
    Some(KernelConfig { cgroup_root: cgroup_root?, bpffs, capacities: capacities? })
}

fn capacities(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> Option<Capacities> {
    let mut sizes = Capacities::default();
    let Some(given) = &layers.file.capacities else { return Some(sizes) };
    let before = faults.len();
    let mut take = |size: &mut u32, value: Option<&Spanned<u32>>, name: &str, max: u32| {
        let Some(value) = value.map(|spanned| layers.of_file(spanned)) else { return };
        if value.value == 0 || value.value > max {
            let why = format!("{} is not a capacity", value.value);
            let action = format!("give a number from 1 to {max}");
            faults.push(Fault::new(value.origin, &format!("capacities.{name}"), why, action));
        }
        *size = value.value;
    };
    take(&mut sizes.frontends, given.frontends.as_ref(), "frontends", ELEMENTS_MAX);
    take(&mut sizes.services, given.services.as_ref(), "services", ELEMENTS_MAX);
    take(&mut sizes.backends, given.backends.as_ref(), "backends", ELEMENTS_MAX);
    take(&mut sizes.node_addresses, given.node_addresses.as_ref(), "nodeAddresses", ELEMENTS_MAX);
    (faults.len() == before).then_some(sizes)
}

/// The machine's cgroup2 hierarchy: its first mount. In a cgroup namespace of its own that is the
/// container's directory, below which no pod is: all would look well, and no socket be routed.
fn cgroup2_mount(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> Option<PathBuf> {
    let found = layers.environment.mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_device, directory, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(unescaped(directory)))
    })?;
    if !layers.environment.own_cgroup_namespace {
        return Some(found);
    }
    let why = format!(
        "the cgroup2 hierarchy found at {} may be this container's own: the process is in a cgroup \
         namespace of its own, and no pod's sockets would be routed",
        found.display()
    );
    let action = "mount the host's hierarchy into the container (the chart does, at /host/cgroup) and \
                  give that directory as cgroupRoot";
    faults.push(Fault::new(Origin::Machine, "cgroupRoot", why, action));
    None
}

/// The kernel writes white space and backslashes of a mount point in octal.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (octal, plain)| text.replace(octal, plain))
}
