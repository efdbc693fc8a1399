//! Whatever is said in whatever order: the store has what a plain map would have, and its changes
//! lead from each commit to the next.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use towpath_model::{
    Change, Code, EndpointSlice, Event, Key, Kind, Object, ObjectName, Problem, Service, Store,
    Stream, View, decode,
};

/// Kinds of which one stream brings everything.
const KINDS: [Kind; 3] = [Kind::Node, Kind::Service, Kind::EndpointSlice];

#[derive(Clone, Debug)]
enum Step {
    Init(Kind),
    Apply(Kind, u8, u8),
    Bad(Kind, u8),
    Delete(Kind, u8),
    InitDone(Kind),
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop::sample::select(KINDS.to_vec());
    let step = prop_oneof![
        1 => kind.clone().prop_map(Step::Init),
        6 => (kind.clone(), 0..4u8, 0..3u8).prop_map(|(k, n, v)| Step::Apply(k, n, v)),
        1 => (kind.clone(), 0..4u8).prop_map(|(k, n)| Step::Bad(k, n)),
        2 => (kind.clone(), 0..4u8).prop_map(|(k, n)| Step::Delete(k, n)),
        2 => kind.prop_map(Step::InitDone),
        2 => Just(Step::Commit),
    ];
    prop::collection::vec(step, 0..60)
}

fn name(kind: Kind, number: u8) -> ObjectName {
    ObjectName::new(if kind == Kind::Node { "" } else { "d" }, &format!("x{number}"))
}

/// Variants differ in content; a slice's also in the Service that it belongs to.
fn object(kind: Kind, number: u8, variant: u8) -> Object {
    let json = format!(
        r#"{{"metadata":{{"name":"x{number}","namespace":"d","labels":{{
            "kubernetes.io/service-name":"x{variant}","topology.kubernetes.io/zone":"z{variant}"}}}},
            "spec":{{"clusterIP":"10.96.0.{}"}},"addressType":"IPv4"}}"#,
        variant + 1
    );
    decode(kind, json.as_bytes()).unwrap()
}

/// What there is, by a map and nothing else.
#[derive(Default)]
struct Reference {
    objects: BTreeMap<(Kind, ObjectName), Object>,
    bad: BTreeMap<(Kind, ObjectName), Problem>,
    seen: BTreeMap<Kind, Vec<ObjectName>>,
}

impl Reference {
    fn feed(&mut self, event: &Event) {
        match event {
            Event::Init(stream) => drop(self.seen.insert(stream.kind, Vec::new())),
            Event::Apply(object) => {
                let key = object.key();
                self.see(&key);
                self.bad.remove(&(key.kind, key.name.clone()));
                self.objects.insert((key.kind, key.name), object.clone());
            }
            Event::Bad(key, problem) => {
                self.see(key);
                let key = (key.kind, key.name.clone());
                let problem = problem.clone().in_force(self.objects.contains_key(&key));
                self.bad.insert(key, problem);
            }
            Event::Delete(kind, name) => {
                self.objects.remove(&(*kind, name.clone()));
                self.bad.remove(&(*kind, name.clone()));
            }
            Event::InitDone(Stream { kind, .. }) => {
                let Some(seen) = self.seen.remove(kind) else { return };
                self.objects.retain(|(k, name), _| k != kind || seen.contains(name));
                self.bad.retain(|(k, name), _| k != kind || seen.contains(name));
            }
            Event::Absent(_) | Event::End(_) | Event::Local(_) => {}
        }
    }

    fn see(&mut self, key: &Key) {
        if let Some(seen) = self.seen.get_mut(&key.kind) {
            seen.push(key.name.clone());
        }
    }
}

fn everything(view: View<'_>) -> BTreeMap<(Kind, ObjectName), Object> {
    let services = view.services().map(|o| Object::Service(Arc::clone(o)));
    let slices = view.slices().map(|o| Object::EndpointSlice(Arc::clone(o)));
    let nodes = view.nodes().map(|o| Object::Node(Arc::clone(o)));
    let all = services.chain(slices).chain(nodes);
    all.map(|object| ((object.kind(), object.name().clone()), object)).collect()
}

/// Follows changes: each starts at what the one before it left.
fn follow<T: PartialEq + std::fmt::Debug>(
    at: &mut BTreeMap<ObjectName, Arc<T>>,
    changes: &[Change<T>],
) {
    for change in changes {
        assert_ne!(change.old, change.new, "{} did not change", change.name);
        assert_eq!(at.get(&change.name), change.old.as_ref(), "old of {}", change.name);
        match &change.new {
            Some(new) => drop(at.insert(change.name.clone(), Arc::clone(new))),
            None => drop(at.remove(&change.name)),
        }
    }
}

fn check_index(view: View<'_>) {
    for number in 0..4 {
        let service = name(Kind::Service, number);
        let indexed: Vec<&Arc<EndpointSlice>> = view.slices_of(&service).collect();
        let walked: Vec<_> = view.slices().filter(|slice| slice.service == service).collect();
        assert_eq!(indexed, walked, "slices of {service}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_sequence_of_events_leaves_what_a_map_would_have(steps in steps()) {
        let (mut store, mut reference) = (Store::new("x0"), Reference::default());
        let mut services: BTreeMap<ObjectName, Arc<Service>> = BTreeMap::new();
        let (mut slices, mut nodes) = (BTreeMap::new(), BTreeMap::new());
        for step in steps.into_iter().chain([Step::Commit]) {
            let event = match step {
                Step::Commit => {
                    let (view, changes) = store.commit();
                    follow(&mut services, &changes.services);
                    follow(&mut slices, &changes.slices);
                    follow(&mut nodes, &changes.nodes);
                    prop_assert_eq!(&everything(view), &reference.objects);
                    prop_assert!(view.services().eq(services.values()));
                    prop_assert!(view.slices().eq(slices.values()));
                    prop_assert!(view.nodes().eq(nodes.values()));
                    check_index(view);
                    continue;
                }
                Step::Init(kind) => Event::Init(kind.into()),
                Step::InitDone(kind) => Event::InitDone(kind.into()),
                Step::Apply(kind, number, variant) => Event::Apply(object(kind, number, variant)),
                Step::Delete(kind, number) => Event::Delete(kind, name(kind, number)),
                Step::Bad(kind, number) => {
                    let key = Key { kind, name: name(kind, number) };
                    Event::Bad(key.clone(), Problem::new(Code::FieldUnusable, Some(key), "spec", "why", "what"))
                }
            };
            reference.feed(&event);
            prop_assert_eq!(store.feed(event), None, "so few objects are never braked");
        }
        prop_assert!(store.problems().eq(reference.bad.values()));
        // From scratch, in another order, in one list: the same picture.
        let mut scratch = Store::new("x0");
        for kind in KINDS {
            scratch.feed(Event::Init(kind.into()));
            for object in reference.objects.values().rev().filter(|o| o.kind() == kind) {
                scratch.feed(Event::Apply(object.clone()));
            }
            scratch.feed(Event::InitDone(kind.into()));
        }
        let (view, changes) = scratch.commit();
        prop_assert_eq!(&everything(view), &reference.objects);
        prop_assert!(changes.services.iter().all(|change| change.old.is_none()));
        check_index(view);
    }
}

#[test]
fn the_generator_makes_different_objects() {
    for kind in KINDS {
        match (object(kind, 0, 0), object(kind, 0, 1)) {
            (a, b) if a != b && a.key() == b.key() => {}
            other => panic!("{other:?}"),
        }
    }
}
