//! An API server: what there is, and what is on its way to the daemon.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::world::{Kind, Name, Random, Said, World};

/// Services that are there so that a list can lack many.
pub(crate) const BALLAST: usize = 60;

#[derive(Default)]
pub(crate) struct Server {
    pub(crate) objects: World,
    queue: VecDeque<Said>,
    /// Objects that reach the daemon as something unreadable.
    garbled: BTreeSet<(Kind, Name)>,
}

impl Server {
    pub(crate) fn new(host_only: bool) -> Self {
        Self { objects: World::new(host_only), ..Self::default() }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn next(&mut self) -> Option<Said> {
        self.queue.pop_front()
    }

    fn say(&mut self, said: Said) {
        let Said::Exists(kind, json) = &said else { return self.queue.push_back(said) };
        let key = (*kind, crate::facts::name(json));
        let garbled = self.garbled.contains(&key);
        self.queue.push_back(if garbled { Said::Garbled(key.0, key.1) } else { said });
    }

    pub(crate) fn change(&mut self, random: &mut Random) {
        for said in self.objects.change(random) {
            self.say(said);
        }
    }

    /// What is on its way is lost; every kind is listed again, in any order. (What the node knows of
    /// itself is said again as well.)
    pub(crate) fn break_streams(&mut self, random: &mut Random) {
        self.queue.clear();
        self.say(Said::Addresses(self.objects.own_addresses.clone()));
        let mut kinds = Kind::ALL.to_vec();
        while !kinds.is_empty() {
            let kind = kinds.remove(random.below(kinds.len()));
            self.list(kind);
        }
    }

    /// A full list of one kind, after what is on its way.
    pub(crate) fn list(&mut self, kind: Kind) {
        for said in self.objects.list(kind) {
            self.say(said);
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
            self.put(Kind::Service, json);
        }
        let slice = json!({
            "metadata": {
                "namespace": "ballast", "name": "b1-x",
                "labels": { "kubernetes.io/service-name": "b1" },
            },
            "addressType": "IPv4", "ports": [{ "name": "", "port": 8080 }],
            "endpoints": [{ "addresses": ["10.7.0.1"] }],
        });
        self.put(Kind::EndpointSlice, slice);
    }

    /// Is the ballast there?
    pub(crate) fn has_ballast(&self) -> bool {
        self.objects.objects.keys().any(|(_, (namespace, _))| namespace == "ballast")
    }

    /// Is this object of the ballast there?
    pub(crate) fn has(&self, kind: Kind, name: &str) -> bool {
        self.objects.objects.contains_key(&(kind, ("ballast".to_owned(), name.to_owned())))
    }

    fn put(&mut self, kind: Kind, json: Value) {
        let json = Arc::new(json);
        self.objects.put(kind, Arc::clone(&json));
        self.say(Said::Exists(kind, json));
    }

    /// The server lists Services, and lacks nearly all of them, for its storage is not up yet.
    pub(crate) fn half_empty_list(&mut self) {
        let mut list = self.objects.list(Kind::Service);
        // Its last two, and its end.
        list.drain(1..list.len().saturating_sub(3).max(1));
        for said in list {
            self.say(said);
        }
        // What comes next is complete again, unless the daemon asks before.
        self.list(Kind::Service);
    }

    /// A daemon that starts is listed everything, but of Services nothing at first.
    pub(crate) fn half_empty_start(&mut self) {
        self.queue.clear();
        self.say(Said::Addresses(self.objects.own_addresses.clone()));
        self.list(Kind::Node);
        self.list(Kind::EndpointSlice);
        self.say(Said::Begin(Kind::Service));
        self.say(Said::End(Kind::Service));
    }

    /// Most Services are really deleted, in a gap of the stream; later they may be back.
    pub(crate) fn lose_ballast(&mut self, random: &mut Random) {
        let before = self.objects.objects.len();
        self.objects.objects.retain(|(_, (namespace, _)), _| namespace != "ballast");
        if self.objects.objects.len() == before {
            self.add_ballast();
            return;
        }
        self.break_streams(random);
    }

    /// From now on this object cannot be read.
    pub(crate) fn garble(&mut self, random: &mut Random) {
        // Of the ballast a Service, and the only slice of another.
        let of_ballast = |name: &str| ["b0", "b1-x"].contains(&name);
        let keys = self.objects.objects.keys();
        let ballast_only = random.chance(2);
        let keys = keys.filter(|(_, (space, name))| match &**space {
            "ballast" => of_ballast(name),
            _ => !ballast_only,
        });
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            return;
        }
        let (kind, name) = keys[random.below(keys.len())].clone();
        self.queue.push_back(Said::Garbled(kind, name.clone()));
        self.garbled.insert((kind, name));
    }

    pub(crate) fn mend(&mut self) {
        self.garbled.clear();
    }

    /// Every Service and slice is deleted.
    pub(crate) fn clear(&mut self) {
        for said in self.objects.clear() {
            self.say(said);
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
        self.put(Kind::Service, service);
        self.put(Kind::EndpointSlice, slice);
    }
}
