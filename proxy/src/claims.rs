//! Who owns a frontend that more than one Service claims.

use std::collections::{BTreeMap, BTreeSet};

use towpath_image::datapath::FrontendKey;
use towpath_model::{Key, Kind, ObjectName, Problem};

use crate::planned::{FrontendSource, PlannedFrontend, PlannedService};

/// One Service's claim to a frontend. The order decides: a clusterIP before addresses that anybody
/// may write, then the older Service, then the name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Claim {
    /// Where it comes from; clusterIPs come first.
    pub source: FrontendSource,
    /// Creation time of the Service.
    pub created: Box<str>,
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
    by_key: BTreeMap<FrontendKey, BTreeSet<Claim>>,
    contested: BTreeSet<FrontendKey>,
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
            if let Some(claims) = self.by_key.get_mut(&key) {
                claims.remove(&claim);
            }
            touched.insert(key);
        }
        for (key, claim) in new.into_iter().flat_map(claims_of) {
            self.by_key.entry(key).or_default().insert(claim);
            touched.insert(key);
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
        self.by_key.get(key)?.first()
    }

    /// Every frontend with the claim in force.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (&FrontendKey, &Claim)> {
        self.by_key.iter().filter_map(|(key, claims)| Some((key, claims.first()?)))
    }

    /// One problem for each Service that lost a frontend.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for key in self.contested.iter().filter(|key| key.port != 0) {
            let Some(claims) = self.by_key.get(key) else { continue };
            let Some(winner) = claims.first() else { continue };
            for loser in services(claims).skip(1) {
                let addr = std::net::IpAddr::from(key.addr);
                let port = u16::from_be(key.port);
                problems.push(Problem::new(
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
fn services(claims: &BTreeSet<Claim>) -> impl Iterator<Item = &Claim> {
    let mut seen = BTreeSet::new();
    claims.iter().filter(move |claim| seen.insert(&claim.service))
}

fn claims_of(service: &PlannedService) -> impl Iterator<Item = (FrontendKey, Claim)> + '_ {
    let frontends = service.ports.iter().flat_map(|port| &port.frontends);
    frontends.map(|frontend: &PlannedFrontend| {
        let claim = Claim {
            source: frontend.source,
            created: service.created.clone(),
            service: service.name.clone(),
            identity: frontend.identity,
            flags: frontend.flags,
        };
        (frontend.key, claim)
    })
}
