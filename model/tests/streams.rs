//! Streams of a kind that overlap, lag behind each other, break off and end at any time: once all of them
//! have caught up, the store has what the server has of what they cover. On the way no object goes
//! back to an older version but at the end of a list, or before a list that was asked for.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use proptest::prelude::*;
use towpath_model::{Event, Kind, Object, ObjectName, Relist, Scope, Store, Stream, decode};

/// The kind of these tests.
const KIND: Kind = Kind::Pod;

fn scopes() -> [Scope; 6] {
    [
        Scope::All,
        Scope::Namespace("a".into()),
        Scope::Namespace("b".into()),
        Scope::Named(ObjectName::new("a", "x0")),
        Scope::Named(ObjectName::new("b", "x1")),
        Scope::Node,
    ]
}

#[derive(Clone, Debug)]
enum Step {
    /// An object is created, changed, or made again.
    Put(u8, u8),
    Delete(u8),
    /// A stream begins, or lists again.
    List(u8),
    /// A stream hears of so much.
    Hear(u8, u8),
    End(u8),
    /// The server is restored from what it had this many changes ago.
    Restore(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stream = 0..6u8;
    let step = prop_oneof![
        8 => (0..6u8, 0..3u8).prop_map(|(number, variant)| Step::Put(number, variant)),
        4 => (0..6u8).prop_map(Step::Delete),
        3 => stream.clone().prop_map(Step::List),
        12 => (stream.clone(), 1..6u8).prop_map(|(stream, much)| Step::Hear(stream, much)),
        1 => stream.prop_map(Step::End),
        1 => (1..8u8).prop_map(Step::Restore),
    ];
    prop::collection::vec(step, 0..80)
}

fn name(number: u8) -> ObjectName {
    ObjectName::new(if number < 3 { "a" } else { "b" }, &format!("x{}", number % 3))
}

fn object(number: u8, variant: u8, version: u64) -> Object {
    let name = name(number);
    let json = format!(
        r#"{{"metadata":{{"name":"{}","namespace":"{}","resourceVersion":"{version}"}},
            "spec":{{"nodeName":"{}"}},"status":{{"podIP":"10.244.0.{}"}}}}"#,
        name.name,
        name.namespace,
        if runs_here(&name) { "n" } else { "m" },
        variant + 1
    );
    decode(KIND, json.as_bytes()).unwrap()
}

/// Objects do not move from node to node.
fn runs_here(name: &ObjectName) -> bool {
    &*name.name != "x1"
}

fn covers(stream: &Stream, name: &ObjectName) -> bool {
    stream.scope.covers(name, Some(runs_here(name))) == Some(true)
}

type Objects = BTreeMap<ObjectName, Object>;

/// What the server has, what it had, and what it tells of each change.
#[derive(Default)]
struct Server {
    version: u64,
    objects: Objects,
    past: Vec<(u64, Objects)>,
    log: Vec<(u64, Event)>,
}

impl Server {
    fn put(&mut self, number: u8, variant: u8) {
        self.remember();
        let object = object(number, variant, self.version);
        self.objects.insert(name(number), object.clone());
        self.log.push((self.version, Event::Apply(object)));
    }

    fn delete(&mut self, number: u8) {
        if self.objects.contains_key(&name(number)) {
            self.remember();
            self.objects.remove(&name(number));
            self.log.push((self.version, Event::Delete(KIND, name(number))));
        }
    }

    fn remember(&mut self) {
        self.past.push((self.version, self.objects.clone()));
        self.version += 1;
    }

    /// Every watcher has to list again.
    fn restore(&mut self, back: u8) {
        for _ in 0..back {
            if let Some((version, objects)) = self.past.pop() {
                (self.version, self.objects) = (version, objects);
            }
        }
        self.log.clear();
    }
}

/// How far a stream is: what of its list is still to come, and what it watches from.
struct Watcher {
    list: VecDeque<Object>,
    lists: bool,
    version: u64,
    broken: bool,
}

struct Cluster {
    server: Server,
    store: Store,
    watchers: BTreeMap<Stream, Watcher>,
    relists: BTreeSet<Stream>,
    /// The version known of each object.
    known: BTreeMap<ObjectName, u64>,
    /// All versions are lower than they were.
    restored: bool,
}

impl Cluster {
    fn new() -> Self {
        Self {
            server: Server { version: 1, ..Server::default() },
            store: Store::new("n"),
            watchers: BTreeMap::new(),
            relists: BTreeSet::new(),
            known: BTreeMap::new(),
            restored: false,
        }
    }

    fn say(&mut self, event: Event) {
        if matches!(event, Event::InitDone(_)) {
            self.known.clear(); // what a complete list says is right
        }
        if let Some(Relist(stream)) = self.store.feed(event) {
            self.relists.insert(stream);
        }
        for pod in self.store.view().pods() {
            let (name, version) = (&pod.name, Object::Pod(Arc::clone(pod)).version().unwrap());
            let known = self.known.insert(name.clone(), version);
            let back = known.is_some_and(|known| known > version);
            let excused = self.restored || !self.relists.is_empty();
            assert!(excused || !back, "{name} went back to {version}");
        }
        let view = self.store.view();
        self.known.retain(|name, _| view.pod(name).is_some());
    }

    /// A list is never older than what any stream has heard: the source sees to that.
    fn list(&mut self, stream: &Stream) {
        self.relists.remove(stream);
        self.say(Event::Init(stream.clone()));
        let covered = |name: &ObjectName| covers(stream, name);
        let all = self.server.objects.iter().filter(|(name, _)| covered(name));
        let list = all.map(|(_, object)| object.clone()).collect();
        let version = self.server.version;
        let watcher = Watcher { list, lists: true, version, broken: false };
        self.watchers.insert(stream.clone(), watcher);
    }

    /// The next thing that a stream says; `false`: it said everything.
    fn receive(&mut self, stream: &Stream) -> bool {
        let Some(watcher) = self.watchers.get_mut(stream) else { return false };
        if watcher.broken || (self.relists.contains(stream) && !watcher.lists) {
            self.list(stream);
            return true;
        }
        if let Some(object) = watcher.list.pop_front() {
            self.say(Event::Apply(object));
            return true;
        }
        if std::mem::take(&mut watcher.lists) {
            self.say(Event::InitDone(stream.clone()));
            return true;
        }
        let covered = |event: &Event| {
            let name = match event {
                Event::Apply(object) => object.name(),
                Event::Delete(_, name) => name,
                _ => return false,
            };
            covers(stream, name)
        };
        let mut news = self.server.log.iter().filter(|(version, _)| *version > watcher.version);
        let Some((version, event)) = news.find(|(_, event)| covered(event)) else { return false };
        watcher.version = *version;
        let event = event.clone();
        self.say(event);
        true
    }

    fn take(&mut self, step: &Step) {
        let stream = |at: &u8| Stream { kind: KIND, scope: scopes()[usize::from(*at)].clone() };
        match step {
            Step::Put(number, variant) => self.server.put(*number, *variant),
            Step::Delete(number) => self.server.delete(*number),
            Step::List(at) => self.list(&stream(at)),
            Step::Hear(at, much) => {
                for _ in 0..*much {
                    self.receive(&stream(at));
                }
            }
            Step::End(at) => {
                if self.watchers.remove(&stream(at)).is_some() {
                    self.relists.remove(&stream(at));
                    self.say(Event::End(stream(at)));
                }
            }
            Step::Restore(back) => {
                self.server.restore(*back);
                self.restored = true;
                self.watchers.values_mut().for_each(|watcher| watcher.broken = true);
            }
        }
    }

    /// Every stream says what it has to say.
    fn catch_up(&mut self) {
        let streams: Vec<Stream> = self.watchers.keys().cloned().collect();
        while streams.iter().any(|stream| self.receive(stream)) {}
    }

    fn check(&self) {
        let covered = |name: &ObjectName| self.watchers.keys().any(|stream| covers(stream, name));
        let expected = self.server.objects.iter().filter(|(name, _)| covered(name));
        let view = self.store.view();
        let found: Vec<_> = view.pods().cloned().map(Object::Pod).collect();
        let called = |object: &Object| format!("{} {}", object.key(), object.version().unwrap());
        let names = found.iter().map(called).collect::<Vec<_>>();
        assert!(found.iter().eq(expected.map(|(_, object)| object)), "{names:?}");
        for stream in self.watchers.keys() {
            assert!(self.store.view().listed(stream), "{stream}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn streams_that_overlap_and_lag_end_at_what_the_server_has(
        restores in any::<bool>(), steps in steps(),
    ) {
        let mut cluster = Cluster::new();
        for step in steps {
            if restores || !matches!(step, Step::Restore(_)) {
                cluster.take(&step);
            }
        }
        cluster.catch_up();
        cluster.check();
    }
}
