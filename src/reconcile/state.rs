//! What the loop owns, and one turn of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::{mpsc, watch};
use towpath_image::{KernelError, Programs};
use towpath_model::{Code, Event, Problem, Relist, Store, View};

use super::{AreaState, Areas, Finding, Graces, LoopMetrics, Stream, Turn, self_heal::SelfHeal};
use crate::{
    clock::{Clock, Millis, Now},
    vitals::Vitals,
};

/// Where the loop's results go besides what areas write.
#[derive(Debug)]
pub struct Outputs {
    /// Requests for a second list.
    pub relists: mpsc::Sender<Relist>,
    /// The streams that the source is to keep open.
    pub streams: watch::Sender<BTreeSet<Stream>>,
    /// Requests for grace periods.
    pub graces: Graces,
    /// Numbers for Prometheus.
    pub metrics: Arc<LoopMetrics>,
    /// Signs of life for the health endpoints.
    pub vitals: Arc<Vitals>,
}

/// The store, the areas and the programs.
pub struct State<A> {
    clock: Arc<dyn Clock>,
    store: Store,
    areas: A,
    programs: Box<dyn Programs>,
    outputs: Outputs,
    self_heal: SelfHeal,
    /// Streams whose source was not yet told to list again.
    relists: BTreeSet<Stream>,
    /// When the oldest event that is not yet committed was received.
    received: Option<Now>,
    /// The last audit of each area.
    audits: BTreeMap<&'static str, Finding>,
    /// Why programs are not in force as wanted; tried again at every tick.
    unattached: Option<KernelError>,
    /// Areas whose maps began empty, because this version could not read those of another one. What is in
    /// force stays until they have written.
    withheld: BTreeSet<&'static str>,
}

impl<A: Areas> State<A> {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        store: Store,
        areas: A,
        programs: Box<dyn Programs>,
        outputs: Outputs,
    ) -> Self {
        Self {
            clock,
            store,
            areas,
            programs,
            outputs,
            self_heal: SelfHeal::default(),
            relists: BTreeSet::new(),
            received: None,
            audits: BTreeMap::new(),
            unattached: None,
            withheld: BTreeSet::new(),
        }
    }

    /// Leaves the programs of another version in force until these areas have planned and written: their
    /// maps began empty, and this version's programs would find nothing there.
    pub fn withhold_programs(&mut self, areas: BTreeSet<&'static str>) {
        self.withheld = areas;
    }

    /// Lists that were to be asked for before there was a loop.
    pub fn relist(&mut self, streams: BTreeSet<Stream>) {
        self.relists.extend(streams);
    }

    /// Takes events in. `at`: when they were received.
    pub fn ingest(&mut self, events: Vec<Event>, at: Now) {
        self.received.get_or_insert(at);
        for event in events {
            let Some(Relist(stream)) = self.store.feed(event) else { continue };
            if self.store.doubts(&stream) {
                tracing::warn!(%stream, "a list would remove too much: asking for a second one");
            } else {
                tracing::debug!(%stream, "a stream that shared objects with it ended: listing again");
            }
            self.relists.insert(stream);
        }
        self.request_lists();
    }

    /// Tells the source; one that takes no request now is told again at the next tick.
    fn request_lists(&mut self) {
        let source = &self.outputs.relists;
        self.relists.retain(|stream| source.try_send(Relist(stream.clone())).is_err());
    }

    /// A grace period that began at `began` is over.
    pub fn graced(&mut self, began: Millis) {
        self.areas.each_mut(&mut |area| area.graced(began));
    }

    /// Once a second.
    pub fn tick(&mut self) {
        let now = self.clock.now_ms();
        self.outputs.vitals.ticked(now);
        self.request_lists();
        let mut wants_grace = false;
        self.areas.each(&mut |area| wants_grace |= area.wants_grace());
        if wants_grace {
            self.outputs.graces.request();
        }
        if self.unattached.is_some() {
            self.attach();
        }
        let back = self.self_heal.tick(self.programs.as_mut(), now);
        self.outputs.metrics.reattached(back);
    }

    /// Brings into force what the areas want, of all together.
    fn attach(&mut self) {
        if !self.withheld.is_empty() {
            if !self.maps_are_written() {
                return;
            }
            self.withheld.clear();
            tracing::info!("everything is planned and written: this version's programs take over");
        }
        let failure = self.programs.attach(&self.areas.attachments()).failure;
        if let Some(error) =
            failure.as_ref().filter(|error| self.unattached.as_ref() != Some(error))
        {
            tracing::error!(%error, "a program is not in force as wanted: trying again every second");
        }
        self.unattached = failure;
    }

    /// Has every area whose maps began empty written what it planned? What merely found no room does not
    /// count: it would have found none before.
    fn maps_are_written(&self) -> bool {
        let (view, mut written) = (self.store.view(), true);
        self.areas.each(&mut |area| {
            if self.withheld.contains(area.name()) {
                let state = area.state(&view);
                written &= state.planned && state.settled && !state.failing;
            }
        });
        written
    }

    /// Says whose maps these are, now that it is known. On an error nothing may be written.
    ///
    /// # Errors
    /// When they are another cluster's.
    pub fn bind(&mut self, cluster: u64) -> Result<(), KernelError> {
        self.programs.bind(cluster)
    }

    /// An audit is finished. What it found is repaired in the next turn.
    pub fn audited(&mut self, finding: Finding) {
        self.outputs.metrics.audited(finding.differences.len());
        for difference in finding.differences.iter().take(20) {
            let area = finding.area;
            tracing::error!(area, difference, "not as it must be: repairing");
        }
        let back = self.self_heal.look(self.programs.as_mut(), self.clock.now_ms());
        self.outputs.metrics.reattached(back);
        if !finding.differences.is_empty() {
            self.areas.each_mut(&mut |area| {
                if area.name() == finding.area {
                    area.repair();
                }
            });
        }
        self.audits.insert(finding.area, finding);
    }

    /// Commits what was received, and gives each area its turn.
    pub fn turn(&mut self) {
        let received = self.received.take().unwrap_or_else(|| self.clock.now());
        let (view, changes) = self.store.commit();
        let turn = Turn { view: &view, changes: &changes, received, clock: &*self.clock };
        let report = self.areas.turn(&turn);
        if report.wants_grace {
            self.outputs.graces.request();
        }
        if !report.relist.is_empty() {
            self.relists.extend(report.relist);
            self.request_lists();
        }
        if report.wants_changed {
            let wanted = self.areas.streams();
            self.outputs.streams.send_if_modified(|streams| {
                let differs = *streams != wanted;
                if differs {
                    *streams = wanted;
                }
                differs
            });
        }
        if report.wants_changed || !self.withheld.is_empty() {
            // Maps first, then the programs that read them.
            self.attach();
        }
    }

    pub(super) fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.outputs.vitals)
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// The areas.
    #[must_use]
    pub const fn areas(&self) -> &A {
        &self.areas
    }

    /// Everything that is known.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        self.store.view()
    }

    /// How each area is.
    #[must_use]
    pub fn area_states(&self) -> Vec<AreaState> {
        let (view, mut states) = (self.store.view(), Vec::new());
        self.areas.each(&mut |area| states.push(area.state(&view)));
        states
    }

    /// The last audit of an area.
    #[must_use]
    pub fn last_audit(&self, area: &str) -> Option<&Finding> {
        self.audits.get(area)
    }

    /// Programs that were found detached, and pins that were found removed, and brought back.
    #[must_use]
    pub const fn programs_reattached(&self) -> u64 {
        self.self_heal.reattached()
    }

    /// Everything that is wrong: with objects, with areas, with programs and pins. Spells out no more
    /// than `most` of each sort.
    #[must_use]
    pub fn problems(&self, most: usize) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.store.problems().take(most).cloned().collect();
        self.areas.each(&mut |area| {
            let mut own = Vec::new();
            area.problems(&mut own);
            problems.extend(own.into_iter().take(most));
        });
        problems.extend(self.outputs.graces.problem());
        if let Some(why) = self.self_heal.problem() {
            let action =
                "it is tried again every 10 seconds; look for another tool that detaches programs";
            problems.push(Problem::new(Code::ProgramsNotHealed, None, "kernel", why, action));
        }
        if let Some(error) = &self.unattached {
            let action =
                "it is tried again every second; `towpath check` says what the kernel lacks";
            let why = error.to_string();
            problems.push(Problem::new(Code::ProgramNotAttached, None, "kernel", &why, action));
        }
        if !self.withheld.is_empty() {
            let areas = self.withheld.iter().copied().collect::<Vec<_>>().join(", ");
            let why = format!(
                "the maps of another version cannot be read: its programs stay in force as they are until \
                 everything that {areas} needs is listed and written"
            );
            let action = "see that the API server answers, and allows each list";
            problems.push(Problem::new(Code::ProgramsWithheld, None, "kernel", &why, action));
        }
        problems.extend(self.store.view().own_node_problem());
        for (stream, objects) in self.store.braked() {
            let why = format!("the last list would remove {objects} objects");
            let action = "they stay until a second list agrees";
            problems.push(Problem::new(
                Code::RemovalHeld,
                None,
                &format!("list of {stream}"),
                &why,
                action,
            ));
        }
        problems
    }
}
