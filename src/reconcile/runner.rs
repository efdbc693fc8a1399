//! One area in the loop: what every area needs and none should write again.

use std::{collections::BTreeSet, time::Duration};

use towpath_image::Attachments;
use towpath_model::{Changes, Code, Kinds, Problem, View};

use super::{
    Area, AreaState, Failure, Ledger, Outcome, Planned, Report, Running, Stream, Turn, retry::Retry,
};
use crate::clock::{Clock, Millis, Now};

/// What is done about a write that fails.
const RETRY: &str = "what was in force before stays, and it is tried again; a map that is full is made \
                     larger in the configuration, any other error is the kernel's";

/// An area, with its waiting changes, retry and ledger. What one area's runner does depends on no
/// other's: an area whose kind is never listed, or whose writes fail, delays no other.
#[derive(Debug)]
pub struct Runner<A> {
    area: A,
    kinds: Kinds,
    /// Streams that the area wants besides its needs.
    streams: BTreeSet<Stream>,
    attachments: Attachments,
    /// Changes that are not planned; none before the first plan, which takes everything.
    waiting: Changes,
    /// When the oldest change that is not planned was received.
    received: Option<Now>,
    retry: Retry,
    ledger: Ledger,
    planned: bool,
    /// An audit found a difference: everything is to be brought into force anew.
    repair: bool,
    pending: bool,
    /// Why the last write failed.
    failure: Option<String>,
    longest_turn: Duration,
}

impl<A: Area> Runner<A> {
    /// Nothing is planned yet.
    #[must_use]
    pub fn new(area: A) -> Self {
        Self {
            kinds: kinds(area.needs()),
            streams: BTreeSet::new(),
            attachments: area.attachments(),
            area,
            waiting: Changes::default(),
            received: None,
            retry: Retry::default(),
            ledger: Ledger::default(),
            planned: false,
            repair: false,
            pending: false,
            failure: None,
            longest_turn: Duration::ZERO,
        }
    }

    /// The area.
    #[must_use]
    pub const fn area(&self) -> &A {
        &self.area
    }

    /// What became of its objects' changes.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Was it planned at least once?
    #[must_use]
    pub const fn is_planned(&self) -> bool {
        self.planned
    }

    /// Is everything planned that was heard? Not so before the first plan and while changes wait
    /// because writes fail.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.planned && self.received.is_none()
    }

    /// Is something wanted and not in force?
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        self.pending || self.repair
    }

    /// Takes up the changes that concern the area. Before the first plan none are kept: it takes
    /// everything there is.
    fn receive(&mut self, turn: &Turn<'_>) {
        let concerned = turn.changes.concern(self.kinds);
        if concerned {
            self.area.heard(turn.changes, turn.received);
        }
        if concerned && self.planned {
            self.waiting.absorb(turn.changes.clone());
            self.received.get_or_insert(turn.received);
        }
    }

    fn step(&mut self, turn: &Turn<'_>) -> Report {
        self.receive(turn);
        let Some(synced) = turn.view.synced(self.area.needs()) else { return Report::default() };
        if !self.planned {
            self.received.get_or_insert(turn.received);
        }
        let now = turn.clock.now();
        let heard = self.received.is_some();
        let work = self.repair || self.pending || self.area.is_due(now);
        if !(heard || work) || !self.retry.is_due(now.ms(), heard) {
            return Report::default();
        }
        let mut report = Report::default();
        if let Some(received) = self.received.take() {
            let changes = std::mem::take(&mut self.waiting);
            let planned = self.area.plan(turn.view, &changes, &synced, turn.clock);
            self.planned = true;
            self.record(planned, received, &mut report);
        }
        if self.repair {
            if let Err(failure) = self.area.repair(turn.view, turn.clock) {
                self.settle(Some(&failure), turn.clock);
                return report;
            }
            self.repair = false;
        }
        let published = self.area.publish(&synced, turn.clock);
        self.pending = published.pending;
        report.wants_grace = self.area.wants_grace();
        self.settle(published.failure.as_ref(), turn.clock);
        report
    }

    /// Notes what a plan touched, and what it wants.
    fn record(&mut self, planned: Planned, received: Now, report: &mut Report) {
        for key in planned.touched {
            self.ledger.received(key, received);
        }
        for key in &planned.gone {
            self.ledger.forget(key);
        }
        report.relist = planned.relist;
        if let Some(streams) = planned.streams.filter(|streams| *streams != self.streams) {
            self.kinds = kinds(self.area.needs().iter().chain(&streams));
            self.streams = streams;
            report.wants_changed = true;
        }
        if let Some(wanted) = planned.attachments.filter(|wanted| *wanted != self.attachments) {
            self.attachments = wanted;
            report.wants_changed = true;
        }
    }

    /// Judges what waited. Times are of after the write.
    fn settle(&mut self, failure: Option<&Failure>, clock: &dyn Clock) {
        let now = clock.now();
        match failure {
            None => self.retry.wrote(now.ms(), self.pending),
            Some(_) => self.retry.failed(now.ms()),
        }
        self.failure = failure.map(|failure| failure.0.clone());
        let area = &self.area;
        let longest = self.ledger.settle(now, |key| match (area.outcome(key), failure) {
            (Outcome::Done, Some(failure)) if self.repair => Outcome::Failed(failure.0.clone()),
            (outcome, _) => outcome,
        });
        self.area.settled(longest, now);
    }
}

fn kinds<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> Kinds {
    streams.into_iter().map(|stream| stream.kind).collect()
}

impl<A: Area> Running for Runner<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn needs(&self) -> &[Stream] {
        self.area.needs()
    }

    fn streams(&self) -> &BTreeSet<Stream> {
        &self.streams
    }

    fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    fn turn(&mut self, turn: &Turn<'_>) -> Report {
        let (began, first) = (turn.clock.now(), !self.planned || self.repair);
        let report = self.step(turn);
        if !first {
            let took = turn.clock.now().since(&began);
            self.longest_turn = self.longest_turn.max(took);
        }
        report
    }

    fn graced(&mut self, began: Millis) {
        self.area.graced(began);
    }

    fn wants_grace(&self) -> bool {
        self.area.wants_grace()
    }

    fn repair(&mut self) {
        self.repair = true;
    }

    fn problems(&self, out: &mut Vec<Problem>) {
        self.area.problems(out);
        let before = out.len();
        // What found no room says itself what to do.
        let action = if self.failure.is_some() { RETRY } else { "" };
        for (key, why) in self.ledger.failures() {
            out.push(Problem::new(Code::WriteRefused, Some(key.clone()), "", why, action));
        }
        // A write may fail that no object's change asked for: the first one, a repair, one for a device.
        let untold = self.failure.as_ref().filter(|_| out.len() == before);
        out.extend(untold.map(|why| Problem::new(Code::WriteRefused, None, A::NAME, why, RETRY)));
    }

    fn state(&self, view: &View<'_>) -> AreaState {
        let needs = self.area.needs().iter();
        AreaState {
            name: A::NAME,
            unlisted: needs.filter(|stream| !view.listed(stream)).cloned().collect(),
            planned: self.planned,
            settled: self.is_settled(),
            failing: self.retry.is_failing(),
            pending: self.is_pending(),
            failed: self.ledger.failed().len(),
            longest_turn: self.longest_turn,
        }
    }
}
