//! A directory of ordinary Kubernetes YAML as a source: how Towpath runs without a cluster.
//!
//! `files` reads the directory, `world` makes of it what a cluster would say (slices, clusterIPs),
//! this module watches and says what changed. The directory is published as a whole; what cannot be
//! read keeps its last good content.

mod files;
mod state;
mod world;

use std::{path::PathBuf, time::Duration};

use notify::{RecursiveMode, Watcher as _};
use tokio::{sync::mpsc, time};
use towpath_model::{Event, Kind, service::Cidr};

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
}

/// A change that no notification told of (network file systems, lost events) is found by then.
const RESCAN: Duration = Duration::from_secs(2);
/// Editors write, rename and delete in bursts: wait for the end of one.
const SETTLE: Duration = Duration::from_millis(20);

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
    let (bell, mut rung) = mpsc::channel(1);
    // Kept alive: it ends with this value. Without it the rescan alone finds changes.
    let _watcher = watch(&settings.dir, bell);
    let mut files = files::Files::new(settings.dir.clone());
    let mut world = world::World::new(&settings);
    for kind in Kind::ALL {
        health.of(kind).lists.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    files.scan();
    world.update(&files);
    feed.send(world.everything()).await?;
    let mut rescan = time::interval(RESCAN);
    loop {
        health.note("manifests", files.problems().chain(world.problems()).cloned().collect());
        for kind in Kind::ALL {
            health.of(kind).heard(settings.clock.now_ms());
        }
        tokio::select! {
            _tick = rescan.tick() => {}
            _notice = rung.recv() => time::sleep(SETTLE).await,
            relist = relists.recv() => match relist {
                Some(relist) => {
                    feed.send(world.everything_of(relist.0)).await?;
                    continue;
                }
                None => return Ok(()),
            },
        }
        while rung.try_recv().is_ok() {}
        if files.scan() {
            let events: Vec<Event> = world.update(&files);
            if !events.is_empty() {
                feed.send(events).await?;
            }
        }
    }
}

/// Rings the bell when something happens in the directory.
fn watch(dir: &std::path::Path, bell: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let watcher = notify::recommended_watcher(move |_event| {
        // A full bell rings already.
        let _full = bell.try_send(());
    });
    let watching = watcher.and_then(|mut watcher| {
        watcher.watch(dir, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    match watching {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "not notified of changes: looking every 2 s");
            None
        }
    }
}

#[cfg(test)]
mod tests;
