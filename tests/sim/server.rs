//! An API server: what there is, and what is on its way to the daemon.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};
use towpath_model::{Event, Key, Kind, Object, ObjectName, Problem, decode};
use towpath_proxy::NEEDS;

use crate::world::{Random, World};

/// Services that are there so that a list can lack many.
const BALLAST: usize = 60;

#[derive(Default)]
pub(crate) struct Server {
    pub(crate) objects: World,
    queue: VecDeque<Event>,
    /// Objects that reach the daemon as something unreadable.
    garbled: BTreeSet<Key>,
}

fn read(kind: Kind, json: &Value) -> Object {
    decode(kind, json.to_string().as_bytes()).unwrap()
}

impl Server {
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn next(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }

    fn say(&mut self, event: Event) {
        let garbled = match &event {
            Event::Apply(object) if self.garbled.contains(&object.key()) => Some(object.key()),
            _ => None,
        };
        self.queue.push_back(match garbled {
            Some(key) => {
                let problem = Problem::new(Some(key.clone()), "spec", "garbled", "mend it");
                Event::Bad(key, problem)
            }
            None => event,
        });
    }

    pub(crate) fn change(&mut self, random: &mut Random) {
        for event in self.objects.change(random) {
            self.say(event);
        }
    }

    /// What is on its way is lost; every kind is listed again, in any order.
    pub(crate) fn break_streams(&mut self, random: &mut Random) {
        self.queue.clear();
        let mut kinds = NEEDS.map(|stream| stream.kind).to_vec();
        while !kinds.is_empty() {
            let kind = kinds.remove(random.below(kinds.len()));
            self.list(kind);
        }
    }

    /// A full list of one kind, after what is on its way.
    pub(crate) fn list(&mut self, kind: Kind) {
        self.say(Event::Init(kind.into()));
        for object in self.all(kind) {
            self.say(Event::Apply(object));
        }
        self.say(Event::InitDone(kind.into()));
    }

    fn all(&self, kind: Kind) -> Vec<Object> {
        match kind {
            Kind::Service => {
                self.objects.services.values().map(|s| Object::Service(Arc::clone(s))).collect()
            }
            Kind::EndpointSlice => {
                self.objects.slices.values().map(|s| Object::EndpointSlice(Arc::clone(s))).collect()
            }
            Kind::Node => {
                self.objects.nodes.values().map(|n| Object::Node(Arc::clone(n))).collect()
            }
        }
    }

    pub(crate) fn add_ballast(&mut self) {
        for number in 0..BALLAST {
            let json = json!({
                "metadata": { "namespace": "ballast", "name": format!("b{number}") },
                "spec": {
                    "clusterIPs": [format!("10.97.0.{number}")], "ports": [{ "port": 80 }],
                },
            });
            self.put(read(Kind::Service, &json));
        }
    }

    fn put(&mut self, object: Object) {
        match &object {
            Object::Service(new) => {
                self.objects.services.insert(new.meta.name.clone(), Arc::clone(new));
            }
            Object::EndpointSlice(new) => {
                self.objects.slices.insert(new.meta.name.clone(), Arc::clone(new));
            }
            Object::Node(new) => {
                self.objects.nodes.insert(new.meta.name.clone(), Arc::clone(new));
            }
        }
        self.say(Event::Apply(object));
    }

    /// The server lists Services, and lacks nearly all of them, for its storage is not up yet.
    pub(crate) fn half_empty_list(&mut self) {
        self.say(Event::Init(Kind::Service.into()));
        for object in self.all(Kind::Service).into_iter().rev().take(2) {
            self.say(Event::Apply(object));
        }
        self.say(Event::InitDone(Kind::Service.into()));
        // What comes next is complete again, unless the daemon asks before.
        self.list(Kind::Service);
    }

    /// Most Services are really deleted, in a gap of the stream; later they may be back.
    pub(crate) fn lose_ballast(&mut self, random: &mut Random) {
        let before = self.objects.services.len();
        self.objects.services.retain(|name, _| &*name.namespace != "ballast");
        if self.objects.services.len() == before {
            self.add_ballast();
            return;
        }
        self.break_streams(random);
    }

    /// From now on this object cannot be read.
    pub(crate) fn garble(&mut self, random: &mut Random) {
        let keys: Vec<Key> = NEEDS
            .iter()
            .flat_map(|stream| self.all(stream.kind))
            .map(|object| object.key())
            .filter(|key| &*key.name.namespace != "ballast")
            .collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[random.below(keys.len())].clone();
        let problem = Problem::new(Some(key.clone()), "spec", "garbled", "mend it");
        self.queue.push_back(Event::Bad(key.clone(), problem));
        self.garbled.insert(key);
    }

    pub(crate) fn mend(&mut self) {
        self.garbled.clear();
    }

    /// Every Service and slice is deleted.
    pub(crate) fn clear(&mut self) {
        for event in self.objects.clear() {
            self.say(event);
        }
    }

    /// One Service with as many endpoints as there are slots.
    pub(crate) fn fill(&mut self, slots: u32) {
        let endpoint = |n| json!({ "addresses": [format!("10.9.{}.{}", n / 250, n % 250 + 1)] });
        let endpoints: Vec<Value> = (0..slots).map(endpoint).collect();
        let service = json!({
            "metadata": { "namespace": "d", "name": "full" },
            "spec": { "clusterIPs": ["10.98.0.1"], "ports": [{ "port": 80 }] },
        });
        let slice = json!({
            "metadata": {
                "namespace": "d", "name": "full-1", "labels": { "kubernetes.io/service-name": "full" },
            },
            "addressType": "IPv4", "ports": [{ "name": "", "port": 80 }], "endpoints": endpoints,
        });
        self.put(read(Kind::Service, &service));
        self.put(read(Kind::EndpointSlice, &slice));
        assert!(self.objects.services.contains_key(&ObjectName::new("d", "full")));
    }
}
