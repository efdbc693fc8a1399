//! `src/source/manifests`, without the part that waits for notifications.

#[path = "../../src/source/manifests/files.rs"]
mod files;
#[path = "../../src/source/manifests/kept.rs"]
mod kept;
#[path = "../../src/source/manifests/kinds.rs"]
mod kinds;
#[path = "../../src/source/manifests/names.rs"]
mod names;
#[path = "../../src/source/manifests/objects.rs"]
mod objects;
#[path = "../../src/source/manifests/state.rs"]
mod state;
#[path = "../../src/source/manifests/world.rs"]
mod world;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use towpath_model::{Event, ROWS, Stream, service::Cidr};

/// As in `src/source/manifests/mod.rs`, as far as the world needs it.
struct ManifestSettings {
    cluster_ip_ranges: Vec<Cidr>,
    run_dir: PathBuf,
    node_name: String,
}

/// A directory of manifests, and what the last run of the daemon left.
pub(crate) struct Directory {
    _dir: tempfile::TempDir,
    files: files::Files,
    world: world::World,
}

impl Directory {
    /// One file with this content; `kept` is what allocations.json holds.
    pub(crate) fn new(content: &[u8], kept: Option<&[u8]>) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        let (yaml, run_dir) = (dir.path().join("yaml"), dir.path().join("run"));
        fs::create_dir(&yaml).unwrap();
        fs::create_dir(&run_dir).unwrap();
        fs::write(yaml.join("a.yaml"), content).unwrap();
        if let Some(kept) = kept {
            fs::write(run_dir.join("allocations.json"), kept).unwrap();
        }
        let copies = kept::Kept::new(&run_dir);
        let settings = ManifestSettings {
            cluster_ip_ranges: RANGES.iter().filter_map(|range| Cidr::parse(range)).collect(),
            run_dir,
            node_name: "n0".to_owned(),
        };
        let mut world = world::World::new(&settings);
        let mut files = files::Files::new(yaml, copies);
        let wanted = ROWS.iter().map(|row| Stream::all(row.kind)).collect();
        files.read_kinds_of(&wanted);
        world.want(&wanted, &files);
        let mut directory = Self { _dir: dir, files, world };
        // A file is read when it has not changed for a while.
        let now = Instant::now();
        for seconds in [0, 10, 20] {
            directory.files.scan(now + Duration::from_secs(seconds), |_| false);
        }
        directory
    }

    /// What is new since the last update.
    pub(crate) fn update(&mut self) -> Vec<Event> {
        self.world.update(&self.files)
    }

    /// Did the file have anything to say?
    pub(crate) fn was_read(&self) -> bool {
        self.files.problems().next().is_none()
    }
}

/// Blocks that clusterIPs are made from.
pub(crate) const RANGES: [&str; 2] = ["10.96.0.0/24", "fd00:96::/120"];
