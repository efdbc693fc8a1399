//! Areas side by side: what one of them cannot do holds up no other.

use std::{
    collections::BTreeSet,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use towpath_image::{At, Attachment, Attachments, Capacities, FakePrograms, Hook, HookKind};
use towpath_model::{Changes, Event, Key, Kind, Problem, Stream, Synced, View};

use super::{Area, Areas, Failure, Has, Outcome, Planned, Published, Runner, Running};
// The loop names no area; its tests need one that is real.
use crate::clock::{Clock, Now};
use crate::services as real_area;
use real_area::{
    Services,
    fixture::{Fixture, SharedKernel, lists, service, slice, system_error},
};

/// An area that does what a test says.
#[derive(Default)]
struct Other {
    needs: Vec<Stream>,
    /// What the next plan wants besides.
    wants: Option<(BTreeSet<Stream>, Attachments)>,
    /// Publishing fails.
    fails: bool,
    /// A thread that compiles what is planned, and takes as long as the test likes.
    compiler: Option<Sender<Changes>>,
    plans: Vec<Changes>,
    publishes: usize,
    touches: BTreeSet<Key>,
}

impl Area for Other {
    const NAME: &'static str = "other";

    fn needs(&self) -> &[Stream] {
        &self.needs
    }

    fn plan(
        &mut self,
        _view: &View<'_>,
        changes: &Changes,
        synced: &Synced,
        _clock: &dyn Clock,
    ) -> Planned {
        assert_eq!(synced.streams(), self.needs);
        self.plans.push(changes.clone());
        if let Some(compiler) = &self.compiler {
            compiler.send(changes.clone()).unwrap();
        }
        let (streams, attachments) = self.wants.take().unzip();
        Planned { touched: self.touches.clone(), streams, attachments, ..Planned::default() }
    }

    fn publish(&mut self, _synced: &Synced, _clock: &dyn Clock) -> Published {
        self.publishes += 1;
        let failure = self.fails.then(|| Failure("no room on the moon".to_owned()));
        Published { failure, pending: self.fails }
    }

    fn repair(&mut self, _view: &View<'_>, _clock: &dyn Clock) -> Result<(), Failure> {
        Ok(())
    }

    fn outcome(&self, _of: &Key) -> Outcome {
        if self.fails { Outcome::Failed("no room on the moon".to_owned()) } else { Outcome::Done }
    }

    fn problems(&self, _out: &mut Vec<Problem>) {}
}

/// The other area writes first.
struct Both {
    other: Runner<Other>,
    services: Option<Runner<Services>>,
}

impl Areas for Both {
    fn each(&self, each: &mut dyn FnMut(&dyn Running)) {
        each(&self.other);
        self.services.iter().for_each(|services| each(services));
    }

    fn each_mut(&mut self, each: &mut dyn FnMut(&mut dyn Running)) {
        each(&mut self.other);
        self.services.iter_mut().for_each(|services| each(services));
    }
}

impl Has<Services> for Both {
    fn runner(&self) -> Option<&Runner<Services>> {
        self.services.as_ref()
    }
}

fn beside(other: Other) -> Fixture<Both> {
    beside_over(SharedKernel::new(Capacities::default()), other)
}

fn beside_over(kernel: SharedKernel, other: Other) -> Fixture<Both> {
    Fixture::with_areas(kernel, 16, |services| Both {
        other: Runner::new(other),
        services: Some(services),
    })
}

/// A stream that nothing lists.
fn unlisted() -> Stream {
    Stream::in_namespace(Kind::Service, "shop")
}

fn other(fixture: &Fixture<Both>) -> &Other {
    fixture.state.areas().other.area()
}

/// How many backends the kernel has for Service d/a.
fn backends(fixture: &Fixture<Both>) -> usize {
    let image = fixture.kernel.maps().image.clone();
    image.services.values().map(|record| image.extent(record.sets[0]).len()).max().unwrap_or(0)
}

#[test]
fn an_unlisted_kind_blocks_only_its_consumers() {
    let unlisted = unlisted();
    let needs = vec![unlisted.clone()];
    let mut fixture = beside(Other { needs: needs.clone(), ..Other::default() });
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    fixture.say(vec![slice("a", &[1, 2])]);
    assert_eq!(backends(&fixture), 2, "Services are in force");
    assert!(other(&fixture).plans.is_empty(), "nothing is planned of what is not listed");
    let states = fixture.state.area_states();
    assert_eq!(states[0].unlisted, needs);
    assert!(!states[0].planned && states[1].planned && states[1].unlisted.is_empty());
    // It is allowed at last.
    fixture.say(vec![Event::Init(unlisted.clone()), Event::InitDone(unlisted)]);
    assert_eq!(other(&fixture).plans.len(), 1);
    assert!(fixture.state.area_states()[0].planned);
}

#[test]
fn a_slow_or_failing_area_delays_no_other() {
    let (compiler, work): (Sender<Changes>, Receiver<Changes>) = mpsc::channel();
    let (finish, may_finish) = mpsc::channel::<()>();
    let compiled = thread::spawn(move || {
        let mut compiled = 0;
        for _changes in work {
            may_finish.recv().unwrap();
            compiled += 1;
        }
        compiled
    });
    let needs = vec![Stream::all(Kind::Service)];
    let failing = Other { needs, fails: true, compiler: Some(compiler), ..Other::default() };
    let mut fixture = beside(failing);
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    for endpoints in 2..20_u8 {
        let all: Vec<u8> = (1..=endpoints).collect();
        fixture.say(vec![service("a", endpoints), slice("a", &all)]);
        assert_eq!(backends(&fixture), usize::from(endpoints), "in force in the same turn");
        fixture.clock.advance(Duration::from_millis(1));
    }
    assert!(fixture.runner().is_settled() && !fixture.runner().is_pending());
    // Its own changes wait for its retry, coalesced; no change of Services does.
    assert_eq!(other(&fixture).plans.len(), 1, "not within one burst");
    fixture.pass(Duration::from_millis(200));
    let last = other(&fixture).plans.last().unwrap();
    assert_eq!((other(&fixture).plans.len(), last.services.len()), (2, 1));
    for _ in 0..2 {
        finish.send(()).unwrap();
    }
    drop(fixture);
    assert_eq!(compiled.join().unwrap(), 2, "nothing was compiled before the test let it");
}

#[test]
fn an_area_that_fails_has_its_own_failures_and_no_other_has_them() {
    let key = Key { kind: Kind::Service, name: towpath_model::ObjectName::new("d", "a") };
    let needs = vec![Stream::all(Kind::Service)];
    let touches = BTreeSet::from([key.clone()]);
    let mut fixture = beside(Other { needs, fails: true, touches, ..Other::default() });
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    assert_eq!(fixture.runner().ledger().entry(&key).unwrap().outcome, Outcome::Done);
    let failed: Vec<_> = fixture.state.area_states().iter().map(|area| area.failed).collect();
    assert_eq!(failed, [1, 0]);
    let problems = fixture.problems().join("\n");
    assert!(problems.contains("Service d/a: no room on the moon"), "{problems}");
}

#[test]
fn a_runner_keeps_no_changes_before_its_first_plan_and_all_of_them_after() {
    let needs = vec![Stream::all(Kind::Service)];
    let mut fixture = beside(Other { needs, ..Other::default() });
    fixture.say(vec![Event::Init(Stream::all(Kind::Service)), service("a", 1)]);
    fixture.say(vec![Event::InitDone(Stream::all(Kind::Service))]);
    assert_eq!(other(&fixture).plans, [Changes::default()], "everything in the view is new");
    fixture.say(vec![service("b", 2)]);
    fixture.say(vec![slice("a", &[1])]);
    let plans = &other(&fixture).plans;
    assert_eq!(plans.len(), 2, "slices are no concern of it");
    assert_eq!(plans[1].services.len(), 1);
    let publishes = other(&fixture).publishes;
    fixture.pass(Duration::from_secs(3));
    assert_eq!(other(&fixture).publishes, publishes, "nothing to do, nothing done");
}

#[test]
fn what_areas_want_at_run_time_is_asked_for_all_of_them_together() {
    let wanted = Stream::of_this_node(Kind::Service);
    let needed = Stream::in_namespace(Kind::Service, "shop");
    let hook = Hook::new(9, HookKind::Cgroup, "other");
    let program = Attachment { at: At::Cgroup, hook };
    let wants = (BTreeSet::from([wanted.clone()]), Attachments::from([program]));
    let needs = vec![needed.clone()];
    let mut fixture = beside(Other { needs, wants: Some(wants), ..Other::default() });
    fixture.say(lists(Vec::new()));
    assert_eq!(fixture.kernel.programs().attached, Attachment::of_sockets());
    assert!(!fixture.wants.borrow().contains(&wanted));
    fixture.say(vec![Event::Init(needed.clone()), Event::InitDone(needed)]);
    let mut all = Attachment::of_sockets();
    all.insert(program);
    assert_eq!(fixture.kernel.programs().attached, all);
    assert!(fixture.wants.borrow().contains(&wanted), "and it holds nothing up");
    assert!(fixture.state.area_states().iter().all(|area| area.planned));
}

#[test]
fn programs_of_another_version_stay_until_this_ones_maps_are_written() {
    let mut fixture = beside(Other::default());
    *fixture.kernel.programs() = FakePrograms::default();
    fixture.state.withhold_programs(BTreeSet::from([Services::NAME]));
    let none = |fixture: &Fixture<Both>| fixture.kernel.programs().attached.is_empty();
    fixture.pass(Duration::from_secs(30));
    assert!(none(&fixture), "neither ticks nor a look for lost programs bring them");
    let problems = fixture.problems().join("\n");
    assert!(problems.contains("the maps of another version cannot be read"), "{problems}");
    fixture.kernel.fail_after(0);
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    assert!(none(&fixture), "planned, and not written");
    fixture.pass(Duration::from_secs(3));
    assert_eq!(backends(&fixture), 1);
    assert_eq!(fixture.kernel.programs().attached, Attachment::of_sockets());
    assert!(!fixture.problems().join("\n").contains("the maps of another version"));
}

#[test]
fn neither_a_service_without_room_nor_another_area_withholds_programs() {
    let kernel = SharedKernel::new(Capacities { backends: 8, ..Capacities::default() });
    let mut fixture = beside_over(kernel, Other { needs: vec![unlisted()], ..Other::default() });
    *fixture.kernel.programs() = FakePrograms::default();
    fixture.state.withhold_programs(BTreeSet::from([Services::NAME]));
    let many: Vec<u8> = (1..=40).collect();
    fixture.say(lists(vec![service("a", 1), slice("a", &many)]));
    assert!(fixture.runner().is_pending(), "it does not fit");
    assert_eq!(fixture.kernel.programs().attached, Attachment::of_sockets());
}

#[test]
fn a_failing_write_without_an_object_is_a_problem_of_its_area() {
    let needs = vec![Stream::all(Kind::Service)];
    let mut fixture = beside(Other { needs, fails: true, ..Other::default() });
    fixture.say(lists(Vec::new()));
    let problems = fixture.problems().join("\n");
    assert!(problems.contains("other: no room on the moon; what was in force"), "{problems}");
    let failing: Vec<_> = fixture.state.area_states().iter().map(|area| area.failing).collect();
    assert_eq!(failing, [true, false]);
}

#[test]
fn a_program_that_cannot_be_attached_is_a_problem_and_tried_again() {
    let hook = Hook::new(9, HookKind::Cgroup, "other");
    let wants = (BTreeSet::new(), Attachments::from([Attachment { at: At::Cgroup, hook }]));
    let mut fixture = beside(Other { wants: Some(wants), ..Other::default() });
    fixture.kernel.programs().fail_after(0, system_error());
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    assert_eq!(backends(&fixture), 1, "maps are written all the same");
    assert!(fixture.problems().iter().any(|p| p.contains("no memory")), "{:?}", fixture.problems());
    fixture.pass(Duration::from_secs(1));
    assert_eq!(fixture.kernel.programs().attached.len(), 9);
    assert!(!fixture.problems().iter().any(|p| p.contains("no memory")));
}

/// The clock is an argument: what a turn stamps is what the clock says.
#[test]
fn the_ledger_counts_from_receipt_to_force_by_the_clock() {
    let mut fixture = beside(Other::default());
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    let received: Now = fixture.clock.now();
    fixture.state.ingest(vec![service("a", 2)], received);
    fixture.clock.advance(Duration::from_millis(3));
    fixture.state.turn();
    let key = Key { kind: Kind::Service, name: towpath_model::ObjectName::new("d", "a") };
    let entry = fixture.runner().ledger().entry(&key).unwrap();
    assert_eq!((entry.took_us, entry.received_ms), (3_000, received.ms()));
}
