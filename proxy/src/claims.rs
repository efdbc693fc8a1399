//! Who owns a frontend that more than one Service claims.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use towpath_image::datapath::{Addr, FrontendKey, FrontendKind};
use towpath_model::{Code, Key, Kind, ObjectName, Problem};

use crate::planned::{FrontendSource, PlannedFrontend, PlannedService};

/// One Service's claim to a frontend. The order decides: a clusterIP before addresses that anybody
/// may write, then the older Service, then the name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Claim {
    /// Where it comes from; clusterIPs come first.
    pub source: FrontendSource,
    /// Creation time of the Service.
    pub created: Arc<str>,
    /// The Service.
    pub service: ObjectName,
    /// The record it leads to.
    pub identity: u64,
    /// Flags of the frontend.
    pub flags: u8,
}

/// All claims by frontend.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Claims {
    /// Sorted; nearly always one claim, for which a set would take a kilobyte.
    by_key: BTreeMap<FrontendKey, Vec<Claim>>,
    contested: BTreeSet<FrontendKey>,
    /// Remote nodes' own nodePorts by the nodePort that leads to them.
    per_node: BTreeMap<FrontendKey, BTreeSet<FrontendKey>>,
}

/// The nodePort through which a remote node's own is reached.
pub(crate) fn node_port_of(key: &FrontendKey) -> Option<FrontendKey> {
    let v4 = key.addr.0[2] == Addr::ANY_V4.0[2];
    let any = if v4 { Addr::ANY_V4 } else { Addr::ANY_V6 };
    (key.kind() == Some(FrontendKind::NodeLocal))
        .then(|| FrontendKey::node(any, u16::from_be(key.port), key.protocol))
}

impl Claims {
    /// Replaces one Service's claims; answers which keys it touched.
    pub(crate) fn replace(
        &mut self,
        old: Option<&PlannedService>,
        new: Option<&PlannedService>,
    ) -> BTreeSet<FrontendKey> {
        let mut touched = BTreeSet::new();
        for (key, claim) in old.into_iter().flat_map(claims_of) {
            if let Some(claims) = self.by_key.get_mut(&key)
                && let Ok(at) = claims.binary_search(&claim)
            {
                claims.remove(at);
            }
            touched.insert(key);
        }
        for (key, claim) in new.into_iter().flat_map(claims_of) {
            let claims = self.by_key.entry(key).or_insert_with(|| Vec::with_capacity(1));
            if let Err(at) = claims.binary_search(&claim) {
                claims.insert(at, claim);
            }
            touched.insert(key);
        }
        for key in touched.clone() {
            if let Some(node_port) = node_port_of(&key) {
                let known = self.per_node.entry(node_port).or_default();
                if self.by_key.get(&key).is_some_and(|claims| !claims.is_empty()) {
                    known.insert(key);
                } else {
                    known.remove(&key);
                    if known.is_empty() {
                        self.per_node.remove(&node_port);
                    }
                }
            }
            // The Service that has the nodePort has the remote nodes' too.
            touched.extend(self.per_node.get(&key).into_iter().flatten().copied());
        }
        for key in &touched {
            match self.by_key.get(key).map_or(0, |claims| services(claims).count()) {
                0 => {
                    self.by_key.remove(key);
                    self.contested.remove(key);
                }
                1 => {
                    self.contested.remove(key);
                }
                _ => {
                    self.contested.insert(*key);
                }
            }
        }
        touched
    }

    /// The claim in force.
    pub(crate) fn owner(&self, key: &FrontendKey) -> Option<&Claim> {
        let claims = self.by_key.get(key)?;
        match node_port_of(key) {
            // A Service that lost the nodePort must not be reached through the winner's.
            Some(node_port) => {
                let winner = &self.by_key.get(&node_port)?.first()?.service;
                claims.iter().find(|claim| claim.service == *winner)
            }
            None => claims.first(),
        }
    }

    /// Are all claims of this Service among them?
    pub(crate) fn hold(&self, service: &PlannedService) -> bool {
        let known = |(key, claim): (FrontendKey, Claim)| {
            self.by_key.get(&key).is_some_and(|claims| claims.binary_search(&claim).is_ok())
        };
        claims_of(service).all(known)
    }

    /// Every claim to a frontend after `key`.
    pub(crate) fn after(
        &self,
        key: Option<&FrontendKey>,
    ) -> impl Iterator<Item = (&FrontendKey, &Claim)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.by_key.range((from, Bound::Unbounded));
        keys.flat_map(|(key, claims)| claims.iter().map(move |claim| (key, claim)))
    }

    /// Every frontend with the claim in force.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (&FrontendKey, &Claim)> {
        self.by_key.keys().filter_map(|key| Some((key, self.owner(key)?)))
    }

    /// One problem for each Service that lost a frontend.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for key in self.contested.iter().filter(|key| key.port != 0 && node_port_of(key).is_none())
        {
            let Some(claims) = self.by_key.get(key) else { continue };
            let Some(winner) = claims.first() else { continue };
            for loser in services(claims).skip(1) {
                let addr = std::net::IpAddr::from(key.addr);
                let port = u16::from_be(key.port);
                problems.push(Problem::new(
                    Code::FrontendTaken,
                    Some(Key { kind: Kind::Service, name: loser.service.clone() }),
                    loser.source.as_str(),
                    &format!("{addr} port {port} already belongs to Service {}", winner.service),
                    "choose another address or port; the older Service keeps it",
                ));
            }
        }
        problems
    }
}

/// One claim per Service, in order.
fn services(claims: &[Claim]) -> impl Iterator<Item = &Claim> {
    let mut seen = BTreeSet::new();
    claims.iter().filter(move |claim| seen.insert(&claim.service))
}

fn claims_of(service: &PlannedService) -> impl Iterator<Item = (FrontendKey, Claim)> + '_ {
    let ports = service.ports.iter().flat_map(|port| &port.frontends);
    let frontends = ports.chain(&service.guards);
    frontends.map(|frontend: &PlannedFrontend| {
        let claim = Claim {
            source: frontend.source,
            created: Arc::clone(&service.created),
            service: service.name.clone(),
            identity: frontend.identity,
            flags: frontend.flags,
        };
        (frontend.key, claim)
    })
}
