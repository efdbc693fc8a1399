//! A directory of ordinary Kubernetes YAML as a source: how Towpath runs without a cluster.
//!
//! `files` reads the directory, `objects` its documents, `world` makes of them what a cluster would
//! say (slices, clusterIPs), this module watches and says what changed. The directory is published as a whole; what cannot be
//! read keeps its last good content.

mod apart;
mod files;
mod kept;
mod kinds;
mod names;
mod notices;
mod objects;
mod second_look;
mod state;
mod world;

pub use apart::{Overlap, apart};
pub use second_look::SECOND_LOOK;

use std::{path::PathBuf, sync::atomic::Ordering, time::Duration};

use files::{Files, SETTLE, Scan, WRITER_MAX};
use kept::Kept;
use notices::Notices;
use second_look::SecondLooks;
use tokio::{task, time};
use towpath_model::{Kind, service::Cidr};

use super::{Feed, Health, LoopEnded, Relists};
use crate::reconcile::Clock;

/// What the source needs to know.
#[derive(Clone, Debug)]
pub struct ManifestSettings {
    /// The directory.
    pub dir: PathBuf,
    /// Blocks that clusterIPs are allocated from.
    pub cluster_ip_ranges: Vec<Cidr>,
    /// Where allocations are kept over restarts.
    pub run_dir: PathBuf,
    /// This node's name.
    pub node_name: String,
    /// The daemon's clock.
    pub clock: Clock,
    /// How long a second list waits: [`SECOND_LOOK`], but in tests.
    pub second_look: Duration,
}

/// A change that no notification told of (network file systems, lost events) is found by then.
const RESCAN: Duration = Duration::from_secs(2);

/// Feeds the loop until it ends.
///
/// # Errors
/// When the loop has ended.
pub async fn run(
    settings: ManifestSettings,
    feed: Feed,
    mut relists: Relists,
    health: Health,
) -> Result<(), LoopEnded> {
    // Without notices the rescan alone finds changes.
    let mut notices = Notices::of(&settings.dir);
    let mut files = Files::new(settings.dir.clone(), Kept::new(&settings.run_dir));
    let mut world = world::World::new(&settings);
    for kind in Kind::ALL {
        health.of(kind).lists.fetch_add(1, Ordering::Relaxed);
    }
    // What is there at the start is published as a whole, too. A directory that cannot be read says
    // nothing: an empty list would take away what an earlier daemon left in force.
    let mut changing = loop {
        let scan;
        (files, scan) = look(files, &notices).await?;
        health.note("manifests", files.problems().cloned().collect());
        match scan {
            Scan::Changing => time::sleep(SETTLE).await,
            _ if !files.readable() => {
                time::sleep(RESCAN).await;
                notices = Notices::of(&settings.dir);
            }
            Scan::Read { more } => break more,
            Scan::Same => break false,
        }
    };
    world.update(&files);
    feed.send(world.everything()).await?;
    let mut rescan = time::interval(RESCAN);
    let mut owed = SecondLooks::new(settings.second_look);
    loop {
        health.note("manifests", files.problems().chain(world.problems()).cloned().collect());
        for kind in Kind::ALL {
            let health = health.of(kind);
            if files.readable() {
                health.heard(settings.clock.now_ms());
            } else {
                health.connected.store(false, Ordering::Relaxed);
            }
        }
        tokio::select! {
            _tick = rescan.tick() => {}
            () = time::sleep(SETTLE), if changing => {}
            () = notices.next() => {}
            () = owed.wait(), if files.readable() && !changing => {}
            relist = relists.recv() => match relist {
                Some(relist) => {
                    owed.ask(relist.0);
                    continue;
                }
                None => return Ok(()),
            },
        }
        let scan;
        (files, scan) = look(files, &notices).await?;
        match scan {
            Scan::Same => changing = false,
            Scan::Changing => changing = true,
            Scan::Read { more } => {
                changing = more;
                let before = world.counts();
                let mut events = world.update(&files);
                let count = |kind| before.get(&kind).copied().unwrap_or(0);
                for kind in owed.temper(&mut events, count) {
                    events.extend(world.everything_of(kind));
                }
                if !events.is_empty() {
                    feed.send(events).await?;
                }
            }
        }
        if files.readable() {
            // A file that never rests holds up no list for ever.
            let late = if changing { WRITER_MAX } else { Duration::ZERO };
            for kind in owed.take_due(late) {
                health.of(kind).lists.fetch_add(1, Ordering::Relaxed);
                feed.send(world.everything_of(kind)).await?;
            }
        }
    }
}

/// Looks at the directory, on a thread that may wait for a disk.
async fn look(mut files: Files, notices: &Notices) -> Result<(Files, Scan), LoopEnded> {
    let writers = notices.writers();
    let work = task::spawn_blocking(move || {
        let scan = files.scan(std::time::Instant::now(), |path| writers.has(path));
        (files, scan)
    });
    work.await.map_err(|failed| match failed.try_into_panic() {
        // As if it had happened here: whoever waits for this task says so.
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime ends.
        Err(_ended) => LoopEnded,
    })
}

#[cfg(test)]
mod tests;
