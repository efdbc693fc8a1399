//! The directory as it is now, without a daemon: nothing is watched, and nothing is left behind.

use std::{
    collections::BTreeSet,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use towpath_model::{Event, Problem, Stream, service::Cidr};

use super::{
    files::{Files, SETTLE, Scan},
    kept::Kept,
    world::World,
};

/// A directory that never rests is read as it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a directory says.
#[derive(Debug)]
pub struct Once {
    /// A list of each stream.
    pub events: Vec<Event>,
    /// What cannot be read.
    pub problems: Vec<Problem>,
}

/// Reads a directory once. A Service without a written clusterIP is given one, which need not be the
/// one that a daemon gave it.
#[must_use]
pub fn once(
    dir: &Path,
    cluster_ip_ranges: &[Cidr],
    node_name: &str,
    wanted: &BTreeSet<Stream>,
) -> Once {
    let mut files = Files::new(dir.to_owned(), Kept::nothing());
    files.read_kinds_of(wanted);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match files.scan(Instant::now(), |_| false) {
            Scan::Changing | Scan::Read { more: true } => thread::sleep(SETTLE),
            Scan::Same | Scan::Read { more: false } => break,
        }
    }
    let mut world = World::passing(cluster_ip_ranges, node_name);
    world.want(wanted, &files);
    let problems = files.problems().chain(world.problems()).cloned().collect();
    Once { events: wanted.iter().flat_map(|stream| world.list(stream)).collect(), problems }
}
