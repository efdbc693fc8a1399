//! What was left by makers that died together with their reaper: the end of a whole session ends
//! both, and the next cluster cleans up.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::reaper::Thing;

/// What cannot be removed within this time is left to the next one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The names of everything that belongs to cluster `number` of this process start like this.
pub(crate) fn prefix(number: u32) -> String {
    format!("tp{}x{number}", std::process::id())
}

/// Things that bear the name of a maker that lives no more, in the order in which they were made.
/// A reaper that is at work on them meanwhile minds as little as it does here.
pub(crate) fn of_dead_makers(cgroup2: &Path) -> Vec<Thing> {
    let dead = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let named = entries.filter(|entry| {
            let name = entry.file_name();
            let maker = name.to_str().and_then(|name| maker(name.strip_prefix("towpath-")?));
            maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        });
        named.map(|entry| entry.path()).collect()
    };
    let directories = dead(&std::env::temp_dir());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let below = below.filter(|at| directories.iter().any(|dir| at.starts_with(dir)));
    let mut things: Vec<Thing> = directories.iter().cloned().map(Thing::Directory).collect();
    things.extend(below.map(Thing::Mount));
    for cgroup in dead(cgroup2) {
        cgroups(cgroup, &mut things);
    }
    things
}

/// A cgroup and those in it, parents first.
fn cgroups(cgroup: PathBuf, things: &mut Vec<Thing>) {
    let entries = fs::read_dir(&cgroup).into_iter().flatten().flatten();
    let below: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    things.push(Thing::Cgroup(cgroup));
    below.into_iter().for_each(|cgroup| cgroups(cgroup, things));
}

/// The process that made what has this name.
fn maker(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix("tp")?.split_once('x')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| pid.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::maker;

    #[test]
    fn only_names_of_clusters_have_a_maker() {
        for (name, pid) in [
            ("tp4711x0", Some(4711)),
            ("tp4711x12", Some(4711)),
            ("tp4711x12-ul", None),
            ("tp4711x", None),
            ("tp4711xab", None),
            ("tpx1-ul", None),
            ("tp-4x1", None),
            ("lab-cp", None),
            ("", None),
        ] {
            assert_eq!(maker(name), pid, "{name}");
        }
    }
}
