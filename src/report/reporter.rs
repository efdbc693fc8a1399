//! The start and the end of writing.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};
use towpath_model::ObjectName;

use super::{
    Board, Pace, ReportMetrics, election::Election, elector::Elector, serving::Families,
    writer::Writer,
};
use crate::{
    backoff::Backoff,
    config::IngressConfig,
    source::{
        Health,
        kube::{Calls, KubeSettings},
    },
};

/// Which addresses are published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Publish {
    /// Those of a Service.
    Service(ObjectName),
    /// Those of the nodes on which a pod of this label selector is ready, in the daemon's namespace.
    Pods(String),
    /// Those of all nodes that are ready.
    Nodes,
}

/// Writes `status.loadBalancer` of the Ingresses on a board, when its daemon is the leader.
pub struct Reporter {
    settings: KubeSettings,
    lease: String,
    publish: Publish,
    families: Families,
    pace: Pace,
    board: Arc<Board>,
    health: Health,
    metrics: Arc<ReportMetrics>,
}

impl Reporter {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(
        settings: KubeSettings,
        config: &IngressConfig,
        pace: Pace,
        board: Arc<Board>,
        (health, metrics): (Health, Arc<ReportMetrics>),
    ) -> Self {
        let publish = match (&config.publish_service, &config.pods) {
            (Some(service), _) => Publish::Service(service.clone()),
            (None, Some(selector)) => Publish::Pods(selector.clone()),
            (None, None) => Publish::Nodes,
        };
        let listens = || config.http.iter().chain(&config.https);
        let families = Families {
            v4: listens().any(SocketAddr::is_ipv4),
            v6: listens().any(SocketAddr::is_ipv6),
        };
        let lease = config.lease.clone();
        Self { settings, lease, publish, families, pace, board, health, metrics }
    }

    /// Runs until drained; then lets go of the Lease and tells `closed`. No status is ever cleared at an
    /// end: what is published is still true, of the other nodes or of the next daemon.
    pub async fn run(self, mut drain: watch::Receiver<bool>, closed: oneshot::Sender<()>) {
        let calls = tokio::select! {
            calls = self.connect() => Some(calls),
            () = drained(&mut drain) => None,
        };
        let Some(calls) = calls else { return ended(closed).await };
        let (leading, leads) = watch::channel(false);
        let Self { settings, lease, publish, families, pace, board, health, metrics } = self;
        let clock = settings.clock;
        // As client-go's: two daemons of a node, one of which drains, are two candidates.
        let number = getrandom::u32().unwrap_or_else(|_| std::process::id());
        let identity = format!("{}_{number:08x}", settings.node_name);
        let mut elector = Elector {
            calls: Arc::clone(&calls),
            lease,
            election: Election::new(identity, pace),
            retry: pace.retry,
            board: Arc::clone(&board),
            health: health.clone(),
            metrics: Arc::clone(&metrics),
            clock,
        };
        let writer = Writer { calls, publish, families, pace, board, health, metrics, clock };
        tokio::select! {
            () = elector.run(&leading) => {}
            () = writer.run(leads) => {}
            () = drained(&mut drain) => {}
        }
        elector.release(&leading).await;
        ended(closed).await;
    }

    /// The credentials may not be there yet; that is the source's to say.
    async fn connect(&self) -> Arc<Calls> {
        let patience = self.settings.patience;
        let mut backoff = Backoff::new(patience.wait_min, patience.wait_max);
        loop {
            match Calls::new(&self.settings, self.health.clone()).await {
                Ok(calls) => return Arc::new(calls),
                Err(error) => tracing::debug!(%error, "no way to the API server yet"),
            }
            sleep(backoff.wait()).await;
        }
    }
}

async fn drained(drain: &mut watch::Receiver<bool>) {
    // An error is the end of what would tell: the same.
    let _told = drain.wait_for(|drain| *drain).await.is_ok();
}

async fn ended(closed: oneshot::Sender<()>) {
    // It is waited for no longer than a while.
    let _heard = closed.send(());
    std::future::pending().await
}
