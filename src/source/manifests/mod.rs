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
mod once;
mod second_look;
mod state;
mod world;

pub use apart::{Overlap, apart};
pub use once::{Once, once};
pub use second_look::SECOND_LOOK;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use files::{Files, SETTLE, Scan, WRITER_MAX};
use kept::Kept;
use notices::Notices;
use second_look::SecondLooks;
use tokio::{task, time};
use towpath_model::{Event, Stream, service::Cidr};

use super::{Feed, Health, LoopEnded, Relists, Wants};
use crate::clock::{Millis, SystemClock};

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
    pub clock: SystemClock,
    /// How long a second list waits: [`SECOND_LOOK`], but in tests.
    pub second_look: Duration,
}

/// A change that no notification told of (network file systems, lost events) is found by then.
const RESCAN: Duration = Duration::from_secs(2);

/// Feeds the loop until it ends, with the streams that are wanted.
///
/// # Errors
/// When the loop has ended.
pub async fn run(
    settings: ManifestSettings,
    feed: Feed,
    mut wants: Wants,
    mut relists: Relists,
    health: Health,
) -> Result<(), LoopEnded> {
    // Without notices the rescan alone finds changes.
    let mut notices = Notices::of(&settings.dir);
    let mut files = Files::new(settings.dir.clone(), Kept::new(&settings.run_dir));
    let mut world = world::World::new(&settings);
    let mut begun = BTreeSet::new();
    let mut wanted = wants.borrow_and_update().clone();
    files.read_kinds_of(&wanted);
    let mut changing;
    (files, changing) = first_look(files, &mut notices, &settings.dir, &health).await?;
    feed.send(follow(&mut begun, &wanted, &mut world, &files, &health)).await?;
    let mut rescan = time::interval(RESCAN);
    let mut owed = SecondLooks::new(settings.second_look);
    loop {
        health.note("manifests", files.problems().chain(world.problems()).cloned().collect());
        note_streams(&begun, files.readable(), &health, settings.clock.now_ms());
        tokio::select! {
            _tick = rescan.tick() => {}
            () = time::sleep(SETTLE), if changing => {}
            () = notices.next() => {}
            () = owed.wait(), if files.readable() && !changing => {}
            // Without a sender nothing else will be wanted.
            Ok(()) = wants.changed() => {
                wanted = wants.borrow_and_update().clone();
                changing |= files.read_kinds_of(&wanted);
                if !changing {
                    feed.send(follow(&mut begun, &wanted, &mut world, &files, &health)).await?;
                    continue;
                }
            }
            relist = relists.recv() => match relist {
                Some(relist) => {
                    owed.ask(relist.0.kind);
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
                    events.extend(world.lists_of(kind));
                }
                if begun != wanted {
                    events.extend(follow(&mut begun, &wanted, &mut world, &files, &health));
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
                for stream in begun.iter().filter(|stream| stream.kind == kind) {
                    health.of(stream).lists.fetch_add(1, Ordering::Relaxed);
                }
                feed.send(world.lists_of(kind)).await?;
            }
        }
    }
}

/// Waits until the directory can be read. Answers whether files in it are still being written.
///
/// What is there at the start is published as a whole, too. A directory that cannot be read says
/// nothing: an empty list would take away what an earlier daemon left in force.
async fn first_look(
    mut files: Files,
    notices: &mut Notices,
    dir: &Path,
    health: &Health,
) -> Result<(Files, bool), LoopEnded> {
    loop {
        let scan;
        (files, scan) = look(files, notices).await?;
        health.note("manifests", files.problems().cloned().collect());
        match scan {
            Scan::Changing => time::sleep(SETTLE).await,
            _ if !files.readable() => {
                time::sleep(RESCAN).await;
                *notices = Notices::of(dir);
            }
            Scan::Read { more } => return Ok((files, more)),
            Scan::Same => return Ok((files, false)),
        }
    }
}

/// Says of each stream that it is heard, as long as the directory can be read.
fn note_streams(begun: &BTreeSet<Stream>, readable: bool, health: &Health, now: Millis) {
    for stream in begun {
        let health = health.of(stream);
        if readable {
            health.heard(now);
        } else {
            health.connected.store(false, Ordering::Relaxed);
        }
    }
}

/// Ends what is not wanted any more, and begins what is.
fn follow(
    begun: &mut BTreeSet<Stream>,
    wanted: &BTreeSet<Stream>,
    world: &mut world::World,
    files: &Files,
    health: &Health,
) -> Vec<Event> {
    world.want(wanted, files);
    let mut events = Vec::new();
    for stream in begun.difference(wanted) {
        health.forget(stream);
        events.push(Event::End(stream.clone()));
    }
    for stream in wanted.difference(begun) {
        health.of(stream).lists.fetch_add(1, Ordering::Relaxed);
        events.extend(world.list(stream));
    }
    begun.clone_from(wanted);
    events
}

/// Looks at the directory, on a thread that may wait for a disk.
async fn look(mut files: Files, notices: &Notices) -> Result<(Files, Scan), LoopEnded> {
    let writers = notices.writers();
    let work = task::spawn_blocking(move || {
        let scan = files.scan(std::time::Instant::now(), |path| writers.has(path));
        (files, scan)
    });
    work.await.map_err(|failed| match failed.try_into_panic() {
        // As if it had happened here: the end of this task is what is looked at.
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime ends.
        Err(_ended) => LoopEnded,
    })
}

#[cfg(test)]
mod tests;
