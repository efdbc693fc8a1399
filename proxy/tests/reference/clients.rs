//! Clients that ask again: session affinity (services.md 1.5), and sockets that send once more. The
//! kernel's own state (AFFINITY, CHOICES, the socket's storage) lives on from one image to the next.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use towpath_image::{
    ServiceImage,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ChoiceKey, ChoiceValue, ConfigRecord,
        FrontendKey, FrontendWord, NodeAddressValue, ServiceRecord, SetChoice, SetWord,
        SocketRecord,
        decide::{
            Action, Call, Count, Request, Search, SocketAddress, TableMut, Tables, connect,
            recvmsg, sendmsg, settle_connect,
        },
    },
};

use crate::{
    answers::{Branches, Hit, hit},
    facts::Facts,
    kernel::{Maps, ask, request},
    question::{Answer, Probe, When},
    world::{Name, Random, World},
};

/// The branches of this file.
pub(crate) const ALL: [&str; 7] = [
    "a client keeps its endpoint",
    "the endpoint of a client left",
    "a client was away for too long",
    "left to the default: timeoutSeconds",
    "nothing is kept",
    "a datagram follows the one before",
    "affinity was switched off",
];

/// What the kernel owns.
#[derive(Default)]
struct Kept {
    affinity: RefCell<BTreeMap<AffinityKey, AffinityValue>>,
    choices: RefCell<BTreeMap<ChoiceKey, ChoiceValue>>,
    /// The storage of the socket at hand.
    record: Cell<SocketRecord>,
    peer: Cell<SocketAddress>,
}

struct Live<'a> {
    maps: Maps<'a>,
    kept: &'a Kept,
}

impl Search for Live<'_> {
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        self.maps.backend(slot)
    }
}

impl Tables for Live<'_> {
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        self.maps.frontend(key)
    }
    fn node_address(&self, addr: &Addr) -> Option<NodeAddressValue> {
        self.maps.node_address(addr)
    }
    fn set_word(&self, service: u32, choice: SetChoice) -> SetWord {
        self.maps.set_word(service, choice)
    }
    fn service(&self, service: u32) -> Option<ServiceRecord> {
        self.maps.service(service)
    }
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityValue> {
        self.kept.affinity.borrow().get(key).copied()
    }
    fn config(&self) -> ConfigRecord {
        self.maps.config()
    }
    fn in_ranges(&self, service: u32, from: &Addr) -> bool {
        self.maps.in_ranges(service, from)
    }
}

impl TableMut for Live<'_> {
    fn keep_affinity(&self, key: &AffinityKey, value: &AffinityValue) {
        self.kept.affinity.borrow_mut().insert(*key, *value);
    }
    fn choice(&self, key: &ChoiceKey) -> Option<ChoiceValue> {
        self.kept.choices.borrow().get(key).copied()
    }
    fn keep_choice(&self, key: &ChoiceKey, value: &ChoiceValue) {
        self.kept.choices.borrow_mut().insert(*key, *value);
    }
    fn record(&self) -> SocketRecord {
        self.kept.record.get()
    }
    fn keep_record(&self, record: &SocketRecord) -> bool {
        self.kept.record.set(*record);
        true
    }
    fn drop_record(&self) {
        self.kept.record.set(SocketRecord::default());
    }
    fn note_peer(&self, _socket: u64, backend: &SocketAddress) {
        self.kept.peer.set(*backend);
    }
    fn forget_peer(&self, _socket: u64) {
        self.kept.peer.set(SocketAddress::default());
    }
    fn peer(&self) -> SocketAddress {
        self.kept.peer.get()
    }
    fn count(&self, _service: u32, _what: Count) {}
    fn count_unknown_port(&self) {}
    fn count_evicted(&self) {}
    fn count_untracked(&self) {}
}

/// 1.5: the source, per port and family of a Service, "regardless of which VIP was used". A pod is its
/// network namespace, and so is the host. What another node's own endpoints answer is that node's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Client {
    host: bool,
    service: Name,
    port: String,
    protocol: u8,
    v6: bool,
    remote: Option<String>,
}

impl Client {
    fn of(probe: &Probe, hit: &Hit<'_>) -> Self {
        Self {
            host: probe.host,
            service: hit.service.name.clone(),
            port: hit.port.name.clone(),
            protocol: hit.port.protocol,
            v6: probe.addr.is_ipv6(),
            remote: hit.remote.map(str::to_owned),
        }
    }
}

type Target = (IpAddr, u16);

/// The reference's own memory beside the kernel's.
#[derive(Default)]
pub(crate) struct Clients {
    kept: Kept,
    memory: BTreeMap<Client, (Target, u32)>,
    now: u32,
    sockets: u64,
}

impl Clients {
    /// Some time goes by and everybody asks.
    pub(crate) fn ask_all(
        &mut self,
        image: &ServiceImage,
        facts: &Facts,
        random: &mut Random,
        branches: &mut Branches,
    ) {
        // Seconds; timeouts are 1, 30, 10,800 and 86,400.
        self.now += random.pick(&[0, 0, 2, 29, 31, 10_000, 11_000, 90_000]);
        self.forget(facts, branches);
        for probe in World::probes() {
            self.ask(image, facts, &probe, random, branches);
        }
    }

    /// A Service that is gone, or keeps no client any more, has no clients to remember.
    fn forget(&mut self, facts: &Facts, branches: &mut Branches) {
        self.memory.retain(|client, _| {
            let service = facts.services.iter().find(|service| service.name == client.service);
            if service.is_some_and(|service| service.affinity.is_none()) {
                branches.took("affinity was switched off");
            }
            service.is_some_and(|service| service.affinity.is_some())
        });
    }

    fn ask(
        &mut self,
        image: &ServiceImage,
        facts: &Facts,
        probe: &Probe,
        random: &mut Random,
        branches: &mut Branches,
    ) {
        self.new_socket();
        let set = match ask(image, probe) {
            Answer::OneOf(set, _) => set,
            answer => return self.ask_in_vain(image, probe, &answer),
        };
        let hit = hit(facts, probe).unwrap();
        let client = Client::of(probe, &hit);
        let away = self.memory.get(&client).map(|(_, used)| self.now - used);
        if hit.service.affinity.is_none_or(|seconds| away.is_some_and(|away| away > seconds)) {
            self.assert_by_chance(image, probe, &set);
        }
        let got = target(self.call(image, probe, random.number()));
        assert!(set.contains(&got), "{probe:?} gets {got:?}, not one of {set:?}");
        if probe.datagram {
            self.send_again(image, probe, got, random);
            branches.took("a datagram follows the one before");
        }
        let Some(seconds) = hit.service.affinity else {
            branches.took("nothing is kept");
            return;
        };
        match self.memory.insert(client, (got, self.now)) {
            Some((before, _)) if !set.contains(&before) => {
                branches.took("the endpoint of a client left");
            }
            Some((before, used)) if self.now - used < seconds => {
                assert_eq!(got, before, "{probe:?} loses its endpoint, of {set:?}");
                branches.took("a client keeps its endpoint");
                if hit.service.left_out("timeoutSeconds") && self.now - used > 9_000 {
                    branches.took("left to the default: timeoutSeconds");
                }
            }
            Some((_, used)) if self.now - used > seconds => {
                branches.took("a client was away for too long");
            }
            _ => {}
        }
    }

    fn new_socket(&mut self) {
        self.sockets += 1;
        self.kept.choices.borrow_mut().clear();
        self.kept.record.set(SocketRecord::default());
        self.kept.peer.set(SocketAddress::default());
    }

    fn ask_in_vain(&self, image: &ServiceImage, probe: &Probe, answer: &Answer) {
        let refused =
            matches!(answer, Answer::NoEndpoint(When::AtOnce) | Answer::UnknownPort(When::AtOnce));
        let wanted = if refused { Action::Refuse } else { Action::Leave };
        assert_eq!(self.call(image, probe, 0), wanted, "{probe:?}: {answer:?}");
    }

    /// The socket sends once more: 1.3 keeps a flow where it is, and what comes back seems to come
    /// from the Service.
    fn send_again(&self, image: &ServiceImage, probe: &Probe, before: Target, random: &mut Random) {
        let again = target(self.call(image, probe, random.number()));
        assert_eq!(again, before, "{probe:?} sends again");
        let live = self.live(image);
        let from = SocketAddress::new(before.0.into(), before.1.to_be());
        let seems = recvmsg(&live, self.sockets, &from);
        assert_eq!(seems, Some(request(image, probe).to), "{probe:?}: the reply");
    }

    const fn live<'a>(&'a self, image: &'a ServiceImage) -> Live<'a> {
        Live { maps: Maps { first: image, later: image }, kept: &self.kept }
    }

    fn call(&self, image: &ServiceImage, probe: &Probe, random: u32) -> Action {
        let live = self.live(image);
        let request = Request { socket: self.sockets, ..request(image, probe) };
        if request.call == Call::Send {
            return sendmsg(&live, &request, random, self.now);
        }
        let verdict = connect(&live, &request, random, self.now);
        settle_connect(&live, &request, &verdict, self.now)
    }

    /// Nothing is kept: every endpoint has its share.
    fn assert_by_chance(&self, image: &ServiceImage, probe: &Probe, set: &BTreeSet<Target>) {
        let request = request(image, probe);
        // Sets are small: draws that are spread evenly land on each.
        let draws = (0..32u32).map(|draw| draw * (u32::MAX / 32) + 1);
        let given = draws.map(|draw| {
            let verdict = connect(&self.live(image), &request, draw, self.now);
            target(verdict.action(&request))
        });
        assert_eq!(given.collect::<BTreeSet<_>>(), *set, "{probe:?}");
    }
}

#[track_caller]
fn target(action: Action) -> Target {
    let Action::Rewrite(backend) = action else { unreachable!("{action:?} is no endpoint") };
    (backend.addr.into(), u16::from_be(backend.port))
}
