//! Which cluster this is. Maps that were pinned for another one are never written: a node that moved
//! would give the old cluster's Services to the new one's pods.
//!
//! A cluster is known by the UID of its namespace kube-system. It is remembered in the run directory,
//! so that pins of another cluster are refused before the API server answers.

use std::{fs, io, path::Path, time::Duration};

use anyhow::{Result, anyhow};
use tokio::sync::{mpsc, oneshot, watch};
use towpath_model::{Code, Problem};

use super::Daemon;
use crate::{
    reconcile::Wake,
    source::{
        Health,
        kube::{Cluster, KubeSettings, cluster},
    },
    state_file::{self, CLUSTER},
};

const ORIGIN: &str = "cluster identity";
/// The start waits so long for an answer: an API server that lists also answers this.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was remembered; a file that is missing or damaged is none.
pub(super) fn recall(run_dir: &Path) -> Option<u64> {
    let text = fs::read_to_string(run_dir.join(CLUSTER)).ok()?;
    let uid = text.trim();
    let sane = (1..=64).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_graphic());
    sane.then(|| towpath_image::cluster_identity(uid))
}

/// Keeps it over restarts.
fn remember(run_dir: &Path, uid: &str) -> io::Result<()> {
    let (path, text) = (run_dir.join(CLUSTER), format!("{uid}\n"));
    if fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    state_file::write(&path, text.as_bytes())
}

/// Finds out whether the maps are of the cluster that the API server is of.
pub(super) struct Binding {
    /// To the loop, which has the maps.
    pub(super) wakes: mpsc::Sender<Wake<Daemon>>,
    /// Where problems are noted.
    pub(super) health: Health,
    /// The maps are of some cluster, and nothing is remembered that says of which.
    pub(super) unverified: bool,
    /// This daemon serves the node. Until then the run directory is another daemon's to write.
    pub(super) serves: watch::Receiver<bool>,
}

impl Binding {
    /// Before anything is listed. Answers whether it is settled. What is unverified stays as it is until
    /// the API server has said who it is, however long that takes: it goes on routing.
    ///
    /// # Errors
    /// When the maps are another cluster's: nothing may be written.
    pub(super) async fn at_start(&self, settings: &KubeSettings) -> Result<bool> {
        loop {
            if self.ask(settings, PATIENCE).await? {
                return Ok(true);
            }
            if !self.unverified {
                return Ok(false);
            }
            let why = "the API server has not said which cluster it is, and the maps of this node belong to \
                   one that is not remembered: they stay as they are until it does";
            let action = "look at the API server; `towpath cleanup` lets go of the maps";
            self.health.note(
                ORIGIN,
                vec![Problem::new(
                    Code::ClusterUnconfirmed,
                    None,
                    "get namespace kube-system",
                    why,
                    action,
                )],
            );
        }
    }

    /// Asks the API server which cluster it is, and whether the maps belong to it. Answers whether that
    /// is settled.
    async fn ask(&self, settings: &KubeSettings, patience: Duration) -> Result<bool> {
        let Self { wakes, health, .. } = self;
        let uid = match cluster(settings, patience).await? {
            Cluster::Uid(uid) => uid,
            Cluster::Absent => {
                tracing::info!(
                    "the API server has no namespace kube-system: clusters are not told apart"
                );
                health.note(ORIGIN, Vec::new());
                return Ok(true);
            }
            Cluster::Forbidden(said) => {
                let action = "allow it: a rule with resources [namespaces], resourceNames \
                          [kube-system], verbs [get]";
                let why = format!(
                    "this node's pins cannot be told from another cluster's: the API server says {said}"
                );
                let problem = Problem::new(
                    Code::ClusterUnconfirmed,
                    None,
                    "get namespace kube-system",
                    &why,
                    action,
                );
                health.note(ORIGIN, vec![problem]);
                return Ok(true);
            }
            Cluster::Unanswered(why) => {
                tracing::warn!(why, "which cluster this is could not be asked yet: asking on");
                return Ok(false);
            }
        };
        health.note(ORIGIN, Vec::new());
        let (reply, answer) = oneshot::channel();
        let wake = Wake::Bind(towpath_image::cluster_identity(&uid), reply);
        wakes.send(wake).await.map_err(|_ended| anyhow!("the control loop has ended"))?;
        if let Err(error) = answer.await? {
            // What is remembered is of the cluster that this node has left.
            if let Err(error) = fs::remove_file(settings.run_dir.join(CLUSTER)) {
                tracing::debug!(%error, "nothing was remembered");
            }
            return Err(error.into());
        }
        let (mut serves, run_dir) = (self.serves.clone(), settings.run_dir.clone());
        let remembered = async move {
            // A daemon that ends without having served remembers nothing.
            if serves.wait_for(|serves| *serves).await.is_ok()
                && let Err(error) = remember(&run_dir, &uid)
            {
                let path = run_dir.display();
                tracing::warn!(%error, %path, "the cluster's identity cannot be remembered");
            }
        };
        if *self.serves.borrow() {
            remembered.await;
        } else {
            drop(tokio::spawn(remembered));
        }
        Ok(true)
    }

    /// Goes on asking, beside everything else, and never ends unless the maps are another cluster's.
    pub(super) async fn keep_asking(self, settings: KubeSettings) -> Result<()> {
        while !self.ask(&settings, Duration::from_secs(60)).await? {}
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_the_same_cluster_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(recall(dir.path()), None);
        let uid = "0c2b5a0e-6a3f-4f0e-9a7e-2f4b7d1c9e55";
        remember(dir.path(), uid).unwrap();
        assert_eq!(recall(dir.path()), Some(towpath_image::cluster_identity(uid)));
        for damaged in ["", "\n", "a b", &"x".repeat(65), "\u{fffd}"] {
            fs::write(dir.path().join(CLUSTER), damaged).unwrap();
            assert_eq!(recall(dir.path()), None, "{damaged:?}");
        }
    }
}
