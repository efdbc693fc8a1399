//! The first phase: everything new, up to the flips.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use towpath_image::{
    MapName, PolicyOp,
    datapath::{
        Addr,
        policy::{
            BlockKey, CLASS_OF_BLOCKS, CLASS_WORLD, Classes, DeviceWord, Direction, DirectionWord,
            PodRecord, PolicyConfig, RowKey, Side,
        },
    },
};
use towpath_model::service::Cidr;

use super::{Bindings, Clean, Isolated, Number, PodKey, PolicyLayout, Refused, ports};
use crate::{Allowed, LocalPod, PolicyPlan, Ruleset, Signature};

/// What a change needs, before anything of it is written.
struct Change {
    pods: BTreeMap<PodKey, Isolated>,
    peers: BTreeMap<IpAddr, Option<Arc<Signature>>>,
    blocks: Option<BTreeMap<BlockKey, Signature>>,
    rulesets: BTreeSet<Arc<Ruleset>>,
    signatures: BTreeSet<Signature>,
    /// Rows by ruleset and signature; the world's is the ruleset's default.
    rows: Vec<(Arc<Ruleset>, Signature, Allowed)>,
    splits: Vec<(u32, u32, u16)>,
    /// Pods read the other side afterwards.
    flip: bool,
}

impl PolicyLayout {
    pub(super) fn is_closed(&self) -> bool {
        self.image.config.flags & PolicyConfig::CLOSED != 0
    }

    pub(super) fn make(
        &mut self,
        plan: &PolicyPlan,
        ops: &mut Vec<PolicyOp>,
    ) -> Result<(), Refused> {
        let change = self.change(plan);
        self.has_room(&change)?;
        self.split_ports(&change.splits, ops);
        self.write_rows(&change, ops);
        let side = if change.flip { self.side.other() } else { self.side };
        if let Some(blocks) = &change.blocks {
            self.write_blocks(blocks, side, ops);
        }
        let mut classes = BTreeMap::new();
        for (ip, signature) in &change.peers {
            let class = signature.as_ref().map_or(CLASS_OF_BLOCKS, |one| {
                *classes.entry(Arc::as_ptr(one)).or_insert_with(|| self.class(one))
            });
            self.write_peer(*ip, class, change.flip.then_some(side), ops);
        }
        self.side = side;
        self.write_pods(change.pods, change.flip, ops);
        let flags = if plan.any_policy() { PolicyConfig::CLOSED } else { 0 };
        if self.image.config.flags != flags {
            self.put(PolicyOp::SetConfig { config: PolicyConfig { flags } }, ops);
        }
        self.touched.clear();
        (self.stale, self.blocks_stale, self.foreign) = (false, false, false);
        self.clean = Clean::Later;
        Ok(())
    }

    fn change(&self, plan: &PolicyPlan) -> Change {
        let pods: BTreeMap<PodKey, Isolated> = plan.pods().map(keyed).collect();
        let both = pods.values().flat_map(|(ingress, egress)| [ingress, egress]);
        let live: BTreeSet<Arc<Ruleset>> = both.flatten().cloned().collect();
        let mut found: BTreeSet<IpAddr> = BTreeSet::new();
        if self.foreign {
            found.extend(self.image.peers.keys().map(|addr| IpAddr::from(*addr)));
            found.extend(plan.addresses.peers().map(|(ip, _)| ip));
        }
        let of = |ip: IpAddr| (ip, plan.addresses.signature(ip).cloned());
        let peers: BTreeMap<IpAddr, Option<Arc<Signature>>> =
            self.touched.union(&found).copied().map(of).collect();
        let renew_blocks = self.blocks_stale || self.foreign;
        let blocks = renew_blocks.then(|| regions(plan));
        let changed = |(key, isolated): (&PodKey, &Isolated)| {
            self.pods.get(key).is_some_and(|(_, known)| known != isolated)
        };
        // Addresses share what they are: each is looked at once, by its place.
        let mut seen = BTreeSet::new();
        let of_pods = peers.values().flatten().filter(|one| seen.insert(Arc::as_ptr(one)));
        let of_pods = of_pods.map(|one| &**one);
        let needed = of_pods.chain(blocks.iter().flat_map(BTreeMap::values));
        let signatures: BTreeSet<Signature> = needed
            .filter(|one| !one.is_world() && !self.signatures.contains_key(one))
            .cloned()
            .collect();
        let rulesets: BTreeSet<_> =
            live.iter().filter(|one| !self.rulesets.contains_key(*one)).cloned().collect();
        let rows = self.rows_of(&live, &rulesets, &signatures);
        let in_use = self.rows.keys().chain(rows.iter().map(|(.., allowed)| allowed));
        let splits = self.port_splits(&ports::borders(in_use));
        let flip = self.foreign || renew_blocks || pods.iter().any(changed);
        Change { pods, peers, blocks, rulesets, signatures, rows, splits, flip }
    }

    /// What is allowed to whom, for each pair of which one is new.
    fn rows_of(
        &self,
        live: &BTreeSet<Arc<Ruleset>>,
        rulesets: &BTreeSet<Arc<Ruleset>>,
        signatures: &BTreeSet<Signature>,
    ) -> Vec<(Arc<Ruleset>, Signature, Allowed)> {
        let mut rows = Vec::new();
        for ruleset in live {
            let mut of = |signature: &Signature| {
                rows.push((Arc::clone(ruleset), signature.clone(), ruleset.allowed(signature)));
            };
            if rulesets.contains(ruleset) {
                of(&Signature::default());
                self.signatures.keys().for_each(&mut of);
            }
            signatures.iter().for_each(of);
        }
        rows
    }

    fn has_room(&self, change: &Change) -> Result<(), Refused> {
        let caps = self.image.capacities;
        let full = |map, capacity| Err(Refused { map, capacity });
        let fresh = |ip: &&IpAddr| !self.image.peers.contains_key(&Addr::from(**ip));
        let room = (caps.peers as usize).saturating_sub(self.image.peers.len());
        // Most often there is room for all of them, also where some are known.
        if change.peers.len() > room && change.peers.keys().filter(fresh).count() > room {
            return full(MapName::POLICY_PEERS, caps.peers);
        }
        let blocks = change.blocks.as_ref().map_or(0, BTreeMap::len);
        if self.image.blocks.len() + blocks > caps.blocks as usize {
            return full(MapName::POLICY_BLOCKS, caps.blocks);
        }
        if self.image.row_index.len() + change.rows.len() > caps.row_index as usize {
            return full(MapName::POLICY_ROW_INDEX, caps.row_index);
        }
        let rows: BTreeSet<_> = change.rows.iter().map(|(.., allowed)| allowed).collect();
        let rows = rows.into_iter().filter(|one| !self.rows.contains_key(*one)).count();
        let (numbers, classes) = (&self.numbers, u32::from(CLASS_OF_BLOCKS));
        if !numbers.rows.has(rows) {
            return full(MapName::POLICY_ROWS, caps.rows);
        }
        if !numbers.classes.has(change.signatures.len())
            || !numbers.rulesets.has(change.rulesets.len())
        {
            return full(MapName::POLICY_ROW_INDEX, classes);
        }
        if !numbers.port_classes.has(change.splits.len()) {
            return full(
                MapName::POLICY_PORTS,
                towpath_image::datapath::policy::PORT_CLASSES.into(),
            );
        }
        let new_pods = change.pods.keys().filter(|key| !self.pods.contains_key(*key)).count();
        match numbers.slots.has(new_pods) {
            true => Ok(()),
            false => full(MapName::POLICY_PODS, caps.pods),
        }
    }

    fn class(&self, signature: &Signature) -> u16 {
        self.signatures.get(signature).copied().unwrap_or(CLASS_WORLD)
    }

    fn write_rows(&mut self, change: &Change, ops: &mut Vec<PolicyOp>) {
        for signature in &change.signatures {
            let class = u16::try_from(self.numbers.classes.take()).unwrap_or(CLASS_WORLD);
            self.signatures.insert(signature.clone(), class);
        }
        for (ruleset, signature, allowed) in &change.rows {
            let row = self.row(allowed, ops);
            if signature.is_world() {
                let number = self.numbers.rulesets.take();
                self.rulesets.insert(Arc::clone(ruleset), (number, row));
                continue;
            }
            let Some((number, default_row)) = self.rulesets.get(ruleset).copied() else { continue };
            if row != default_row {
                let key = RowKey { ruleset: number, class: self.class(signature).into() };
                self.put(PolicyOp::PutRow { key, row }, ops);
            }
        }
    }

    fn row(&mut self, allowed: &Allowed, ops: &mut Vec<PolicyOp>) -> u32 {
        if let Some(row) = self.rows.get(allowed) {
            return *row;
        }
        let row = self.numbers.rows.take();
        let record = ports::record(allowed, &self.image.ports);
        self.put(PolicyOp::WriteRow { row, record }, ops);
        self.rows.insert(allowed.clone(), row);
        row
    }

    /// `side`: where alone the class changes; `None`: on both.
    fn write_peer(&mut self, ip: IpAddr, class: u16, side: Option<Side>, ops: &mut Vec<PolicyOp>) {
        let addr = Addr::from(ip);
        let before = self.image.peers.get(&addr).copied();
        let known = before.unwrap_or(Classes::both(CLASS_OF_BLOCKS));
        let classes = match side {
            Some(side) => known.with(side, class),
            None => Classes::both(class),
        };
        if before != Some(classes) && (before.is_some() || classes != known) {
            self.put(PolicyOp::PutPeer { addr, classes }, ops);
        }
        if side.is_some() || class == CLASS_OF_BLOCKS {
            self.split.insert(ip);
        }
    }

    /// Each block says for the old side what the old blocks said of its addresses, for the new side
    /// what the new ones do: no single write changes what either side reads elsewhere.
    fn write_blocks(
        &mut self,
        wanted: &BTreeMap<BlockKey, Signature>,
        side: Side,
        ops: &mut Vec<PolicyOp>,
    ) {
        let wanted: BTreeMap<BlockKey, u16> =
            wanted.iter().map(|(key, signature)| (*key, self.class(signature))).collect();
        let old: BTreeMap<BlockKey, u16> =
            self.image.blocks.iter().map(|(key, both)| (*key, both.of(side.other()))).collect();
        let keys: BTreeSet<BlockKey> = wanted.keys().chain(old.keys()).copied().collect();
        for key in keys {
            let classes = Classes::both(covering(&old, key)).with(side, covering(&wanted, key));
            if self.image.blocks.get(&key) != Some(&classes) {
                self.put(PolicyOp::PutBlock { key, classes }, ops);
            }
        }
        self.blocks = wanted;
    }

    fn write_pods(
        &mut self,
        wanted: BTreeMap<PodKey, Isolated>,
        flip: bool,
        ops: &mut Vec<PolicyOp>,
    ) {
        let adopted: BTreeMap<u64, u32> = match self.foreign {
            true => self.image.pods.iter().map(|(slot, pod)| (pod.identity, *slot)).collect(),
            false => BTreeMap::new(),
        };
        let gone: Vec<PodKey> =
            self.pods.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            self.pods.remove(&key);
        }
        for (key, isolated) in wanted {
            let words = (self.word(isolated.0.as_ref()), self.word(isolated.1.as_ref()));
            let identity = identity(&key);
            let known = self.pods.get(&key).map(|(slot, _)| *slot);
            let slot = match known.or_else(|| adopted.get(&identity).copied()) {
                Some(slot) => {
                    debug_assert!(known.is_none() || flip || self.says(slot, words));
                    self.flip(slot, words, ops);
                    slot
                }
                None => self.new_pod(&key, identity, words, ops),
            };
            self.pods.insert(key, (slot, isolated));
        }
    }

    fn says(&self, slot: u32, words: (DirectionWord, DirectionWord)) -> bool {
        self.image.pods.get(&slot).is_some_and(|pod| (pod.ingress, pod.egress) == words)
    }

    fn word(&self, ruleset: Option<&Arc<Ruleset>>) -> DirectionWord {
        let numbers = ruleset.and_then(|ruleset| self.rulesets.get(ruleset));
        match numbers {
            Some((ruleset, row)) => DirectionWord::isolated(*ruleset, *row, self.side),
            None => DirectionWord::open(),
        }
    }

    fn flip(&mut self, slot: u32, words: (DirectionWord, DirectionWord), ops: &mut Vec<PolicyOp>) {
        for (direction, word) in [(Direction::Ingress, words.0), (Direction::Egress, words.1)] {
            if self.image.pods.get(&slot).is_some_and(|pod| pod.word(direction) != word) {
                self.put(PolicyOp::StoreDirection { slot, direction, word }, ops);
            }
        }
    }

    fn new_pod(
        &mut self,
        key: &PodKey,
        identity: u64,
        words: (DirectionWord, DirectionWord),
        ops: &mut Vec<PolicyOp>,
    ) -> u32 {
        let slot = self.numbers.slots.take();
        self.generation = self.generation.wrapping_add(1);
        let record = PodRecord {
            ingress: words.0,
            egress: words.1,
            identity,
            v4: key.v4.map_or(0, |v4| Addr::from(v4).v4_word()),
            v6: key.v6.map_or(Addr::ANY_V6, Addr::from),
            generation: self.generation,
            reserved: [0; 4],
        };
        self.put(PolicyOp::WritePod { slot, record }, ops);
        slot
    }

    /// Leads devices to their pods' slots. A device whose pod is not laid out is closed.
    pub(super) fn bind(&mut self, bindings: &Bindings, ops: &mut Vec<PolicyOp>) {
        let wanted: BTreeMap<u32, DeviceWord> = bindings
            .iter()
            .filter_map(|(device, name)| Some((*device, DeviceWord::bound(self.slot(name)?))))
            .collect();
        let gone: Vec<u32> = self
            .image
            .devices
            .keys()
            .filter(|device| !wanted.contains_key(device))
            .copied()
            .collect();
        for device in gone {
            self.put(PolicyOp::DeleteDevice { device }, ops);
        }
        for (device, word) in wanted {
            let known = self.image.devices.get(&device);
            let room = self.image.devices.len() < self.image.capacities.pods as usize;
            if known != Some(&word) && (room || known.is_some()) {
                self.put(PolicyOp::PutDevice { device, word }, ops);
            }
        }
    }

    pub(super) fn retire_later(&mut self, number: Number) {
        self.leaving.push(number);
    }
}

/// The pods that are planned, by the hash of their names and addresses.
pub(super) fn identities(plan: &PolicyPlan) -> impl Iterator<Item = (u64, Isolated)> {
    plan.pods().map(keyed).map(|(key, isolated)| (identity(&key), isolated))
}

fn keyed(local: LocalPod) -> (PodKey, Isolated) {
    let ips = || local.pod.ips();
    let v4: Option<Ipv4Addr> = ips().find_map(|ip| match ip {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    let v6: Option<Ipv6Addr> = ips().find_map(|ip| match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6),
    });
    let key = PodKey { name: local.pod.name.clone(), v4, v6 };
    (key, (local.ingress, local.egress))
}

/// FNV-1a, 64 bits, never 0.
fn identity(key: &PodKey) -> u64 {
    let text = format!("{}|{:?}|{:?}", key.name, key.v4, key.v6);
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step).max(1)
}

/// The blocks, by the place of their addresses among the mapped ones. IPv4 addresses are inside of
/// `::/0` there, but not in the API: a block of their own keeps them apart.
fn regions(plan: &PolicyPlan) -> BTreeMap<BlockKey, Signature> {
    let signature = |atoms: &Vec<u32>| Signature { atoms: atoms.clone(), ..Signature::default() };
    let regions = plan.blocks.regions.iter();
    let mut regions: BTreeMap<BlockKey, Signature> =
        regions.map(|(cidr, atoms)| (key_of(cidr), signature(atoms))).collect();
    if !regions.is_empty() {
        regions.entry(BlockKey { prefix: 96, addr: Addr::ANY_V4 }).or_default();
    }
    regions
}

fn key_of(cidr: &Cidr) -> BlockKey {
    let above = if cidr.base.is_ipv4() { 96 } else { 0 };
    BlockKey { prefix: above + u32::from(cidr.prefix), addr: cidr.base.into() }
}

/// The class that blocks give the addresses of one: its own, or that of the smallest around it.
fn covering(blocks: &BTreeMap<BlockKey, u16>, key: BlockKey) -> u16 {
    (0..=key.prefix)
        .rev()
        .find_map(|prefix| blocks.get(&BlockKey { prefix, addr: key.addr.prefix(prefix) }))
        .copied()
        .unwrap_or(CLASS_WORLD)
}
