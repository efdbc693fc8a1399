//! All areas of a daemon, in the order in which they write.

use std::{collections::BTreeSet, time::Duration};

use towpath_image::Attachments;
use towpath_model::{Changes, Problem, View};

use super::{Area, Runner, Stream};
use crate::clock::{Clock, Millis, Now};

/// What one turn of the loop is about.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// Everything that is known.
    pub view: &'a View<'a>,
    /// What is different since the last turn.
    pub changes: &'a Changes,
    /// When the oldest event of the changes was received.
    pub received: Now,
    /// Tells the time.
    pub clock: &'a dyn Clock,
}

/// What areas ask of the loop.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Streams to list again.
    pub relist: BTreeSet<Stream>,
    /// Something waits for a grace period.
    pub wants_grace: bool,
    /// Other streams or programs are wanted than before.
    pub wants_changed: bool,
}

impl Report {
    fn join(&mut self, other: Self) {
        self.relist.extend(other.relist);
        self.wants_grace |= other.wants_grace;
        self.wants_changed |= other.wants_changed;
    }
}

/// How an area is, for `status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AreaState {
    /// [`Area::NAME`].
    pub name: &'static str,
    /// Streams that it needs and that are not listed.
    pub unlisted: Vec<Stream>,
    /// It was planned at least once.
    pub planned: bool,
    /// Everything that was heard is planned.
    pub settled: bool,
    /// The last write failed: it is tried again.
    pub failing: bool,
    /// Something waits to be written.
    pub pending: bool,
    /// Objects whose last change is not in force.
    pub failed: usize,
    /// Longest time that it held the loop after its first plan.
    pub longest_turn: Duration,
}

/// A [`Runner`] of whichever area.
pub trait Running: Send {
    /// [`Area::NAME`].
    fn name(&self) -> &'static str;
    /// [`Area::needs`].
    fn needs(&self) -> &[Stream];
    /// Streams that it wants besides.
    fn streams(&self) -> &BTreeSet<Stream>;
    /// Programs that it wants in force.
    fn attachments(&self) -> &Attachments;
    /// Plans and publishes what there is.
    fn turn(&mut self, turn: &Turn<'_>) -> Report;
    /// An RCU grace period that began then is over.
    fn graced(&mut self, began: Millis);
    /// [`Area::wants_grace`].
    fn wants_grace(&self) -> bool;
    /// An audit found a difference: repairs in the next turn.
    fn repair(&mut self);
    /// What is wrong with the area, and with changes of objects that are not in force.
    fn problems(&self, out: &mut Vec<Problem>);
    /// How it is.
    fn state(&self, view: &View<'_>) -> AreaState;
}

/// The areas that a loop drives: a struct with a field for each, in the order of writing.
pub trait Areas: Send + 'static {
    /// Calls `each` with every area that is on, in the order of writing.
    fn each(&self, each: &mut dyn FnMut(&dyn Running));

    /// The same, to change them.
    fn each_mut(&mut self, each: &mut dyn FnMut(&mut dyn Running));

    /// A turn of each.
    fn turn(&mut self, turn: &Turn<'_>) -> Report {
        let mut report = Report::default();
        self.each_mut(&mut |area| report.join(area.turn(turn)));
        report
    }

    /// Every stream that any of them needs or wants.
    fn streams(&self) -> BTreeSet<Stream> {
        let mut streams = BTreeSet::new();
        self.each(&mut |area| {
            streams.extend(area.needs().iter().chain(area.streams()).cloned());
        });
        streams
    }

    /// Every program that any of them wants in force.
    fn attachments(&self) -> Attachments {
        let mut attachments = Attachments::new();
        self.each(&mut |area| attachments.extend(area.attachments().iter().copied()));
        attachments
    }
}

/// Areas with this one among them.
pub trait Has<A: Area>: Areas {
    /// Its runner; `None`: the area is off.
    fn runner(&self) -> Option<&Runner<A>>;
}
