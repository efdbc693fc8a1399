//! Ingress as an area of the loop: objects into snapshots.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use towpath_ingress::{CertStore, Connectors, Snapshots};
use towpath_model::{Changes, Key, Kind, Problem, Synced, View};
use towpath_route::{EndpointSets, NEEDS, RoutePlan, RouteTable};

use super::{certificates::Certificates, endpoint_tls::EndpointTlsSecrets};
use crate::{
    clock::{Clock, Millis, Now},
    reconcile::{Area, Failure, Outcome, Planned, Published, Stream},
    report::Board,
};

/// At a start requests are taken once every Secret was looked for, or so much later: one that cannot be
/// read holds up its own hosts only.
const SECRETS_MS: Millis = 5_000;

/// The routes of the cluster, and who serves them.
pub struct Ingress {
    needs: [Stream; 5],
    plan: RoutePlan,
    planned: bool,
    certificates: Certificates,
    endpoint_tls: EndpointTlsSecrets,
    /// What is to be published; `None`: what was.
    store: Option<(Arc<CertStore>, Arc<Connectors>)>,
    listed: bool,
    snapshots: Arc<Snapshots>,
    /// What was in force before, kept for one publish more: the last reader of a large table must not be
    /// a worker, which would free it between two requests.
    before: Option<(Arc<RouteTable>, Arc<EndpointSets>)>,
    first_published: Option<Millis>,
    ready: watch::Sender<bool>,
    /// Who writes statuses; `None`: there is no API server.
    board: Option<Arc<Board>>,
    /// What is wrong with serving.
    serving: Arc<Mutex<Vec<Problem>>>,
}

impl Ingress {
    pub(super) fn new(
        plan: RoutePlan,
        (certificates, endpoint_tls): (Certificates, EndpointTlsSecrets),
        snapshots: Arc<Snapshots>,
        ready: watch::Sender<bool>,
        serving: Arc<Mutex<Vec<Problem>>>,
        board: Option<Arc<Board>>,
    ) -> Self {
        Self {
            needs: NEEDS,
            plan,
            planned: false,
            certificates,
            endpoint_tls,
            store: None,
            listed: false,
            snapshots,
            before: None,
            first_published: None,
            ready,
            board,
            serving,
        }
    }

    fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// The Secrets that are named somewhere.
    fn streams(&self) -> BTreeSet<Stream> {
        let mut streams = self.certificates.streams(self.plan.certificates());
        streams.extend(EndpointTlsSecrets::streams(self.plan.endpoint_tls()));
        streams
    }

    fn read_secrets(&mut self, view: &View<'_>) {
        let certificates = self.certificates.update(view, self.plan.certificates());
        let connectors = self.endpoint_tls.update(view, self.plan.endpoint_tls());
        self.store = Some((Arc::new(certificates), Arc::new(connectors)));
    }
}

impl Area for Ingress {
    const NAME: &'static str = "ingress";

    fn needs(&self) -> &[Stream] {
        &self.needs
    }

    fn plan(
        &mut self,
        view: &View<'_>,
        changes: &Changes,
        _synced: &Synced,
        _clock: &dyn Clock,
    ) -> Planned {
        let changes_since = self.planned.then_some(changes);
        let update = self.plan.update(view, changes_since);
        if let Some(board) = &self.board {
            board.note(view, changes_since, &update.touched, &update.gone);
        }
        let mut planned = Planned::default();
        if update.certificates.is_some() || update.endpoint_tls || !self.planned {
            planned.streams = Some(self.streams());
        }
        let secrets = !changes.secrets.is_empty() || !changes.listed.is_empty();
        if secrets || planned.streams.is_some() {
            self.read_secrets(view);
            self.listed = self.streams().iter().all(|stream| view.listed(stream));
        }
        self.planned = true;
        let key = |name| Key { kind: Kind::Ingress, name };
        planned.touched = update.touched.into_iter().map(key).collect();
        planned.gone = update.gone.into_iter().map(key).collect();
        planned
    }

    fn publish(&mut self, _synced: &Synced, clock: &dyn Clock) -> Published {
        // In the one safe order: a table names no slot before its set is there, and no host before its
        // certificate.
        let sets = self.snapshots.sets.swap(Arc::clone(self.plan.sets()));
        if let Some((certificates, connectors)) = self.store.take() {
            self.snapshots.certs.store(certificates);
            self.snapshots.connectors.store(connectors);
        }
        let table = self.snapshots.table.swap(Arc::clone(self.plan.table()));
        self.before = Some((table, sets));
        let now = clock.now_ms();
        let first = *self.first_published.get_or_insert(now);
        if self.listed || now.saturating_sub(first) >= SECRETS_MS {
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
        Published::default()
    }

    fn repair(&mut self, view: &View<'_>, _clock: &dyn Clock) -> Result<(), Failure> {
        let update = self.plan.update(view, None);
        if let Some(board) = &self.board {
            board.note(view, None, &update.touched, &update.gone);
        }
        self.read_secrets(view);
        Ok(())
    }

    fn outcome(&self, _of: &Key) -> Outcome {
        Outcome::Done
    }

    fn problems(&self, out: &mut Vec<Problem>) {
        self.plan.problems(out);
        out.extend(self.certificates.problems().iter().cloned());
        out.extend(self.endpoint_tls.problems().iter().cloned());
        out.extend(self.serving.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
    }

    fn is_due(&self, _now: Now) -> bool {
        self.planned && !self.is_ready()
    }
}
