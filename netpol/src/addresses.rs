//! Addresses of pods: whose each is, and what it is to the rules.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use towpath_model::{ObjectName, Pod};

use crate::{Signature, peer::OwnDns, words::Words};

/// Every address that is a pod's, or that this node answers DNS at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses(BTreeMap<IpAddr, Address>);

#[derive(Clone, Debug, Default)]
struct Address {
    pods: Pods,
    /// `None`: no more than what the blocks say.
    signature: Option<Arc<Signature>>,
}

/// The pods that have an address. Most often one has.
#[derive(Clone, Debug, Default)]
enum Pods {
    #[default]
    None,
    One(Arc<Pod>),
    Several(Vec<Arc<Pod>>),
}

impl Pods {
    fn all(&self) -> &[Arc<Pod>] {
        match self {
            Self::None => &[],
            Self::One(pod) => std::slice::from_ref(pod),
            Self::Several(pods) => pods,
        }
    }

    /// Of two, the one that stays, then the ready one, then the later name.
    fn owner(&self) -> Option<&Arc<Pod>> {
        let rank = |pod: &&Arc<Pod>| {
            let state = pod.state();
            (!state.terminating, state.ready, pod.name.clone())
        };
        match self {
            Self::One(pod) => Some(pod),
            all => all.all().iter().max_by_key(rank),
        }
    }

    fn change(&mut self, without: &ObjectName, with: Option<&Arc<Pod>>) {
        let mut pods = self.all().to_vec();
        pods.retain(|pod| pod.name != *without);
        pods.extend(with.cloned());
        *self = match pods.len() {
            0 | 1 => pods.pop().map_or(Self::None, Self::One),
            _ => Self::Several(pods),
        };
    }
}

impl Addresses {
    /// The address is this pod's, as it is now.
    pub(crate) fn put(&mut self, ip: IpAddr, pod: &Arc<Pod>) {
        self.0.entry(ip).or_default().pods.change(&pod.name, Some(pod));
    }

    /// The address is not this pod's any more.
    pub(crate) fn take(&mut self, ip: IpAddr, pod: &ObjectName) {
        if let Some(address) = self.0.get_mut(&ip) {
            address.pods.change(pod, None);
        }
    }

    /// The pod that an address belongs to.
    pub(crate) fn owner(&self, ip: IpAddr) -> Option<&Arc<Pod>> {
        self.0.get(&ip)?.pods.owner()
    }

    /// What an address is; `None`: no more than what the blocks say.
    pub(crate) fn signature(&self, ip: IpAddr) -> Option<&Arc<Signature>> {
        self.0.get(&ip)?.signature.as_ref()
    }

    /// Those that are more than what the blocks say.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (IpAddr, &Arc<Signature>)> {
        self.0.iter().filter_map(|(ip, address)| Some((*ip, address.signature.as_ref()?)))
    }

    /// Judges all anew; answers which are something else now, in order.
    pub(crate) fn judge_all(&mut self, words: &mut Words<'_>, dns: &OwnDns) -> Vec<IpAddr> {
        for ip in dns.addresses() {
            self.0.entry(*ip).or_default();
        }
        let mut changed = Vec::new();
        self.0.retain(|ip, address| {
            if address.judge(*ip, words, dns) {
                changed.push(*ip);
            }
            address.is_of_use()
        });
        changed
    }

    /// Judges one anew; true when it is something else now.
    pub(crate) fn judge(&mut self, ip: IpAddr, words: &mut Words<'_>, dns: &OwnDns) -> bool {
        let address = self.0.entry(ip).or_default();
        let changed = address.judge(ip, words, dns);
        if !address.is_of_use() {
            self.0.remove(&ip);
        }
        changed
    }
}

impl Address {
    fn judge(&mut self, ip: IpAddr, words: &mut Words<'_>, dns: &OwnDns) -> bool {
        let signature = match (self.pods.owner(), dns.at(ip)) {
            (Some(pod), _) => words.of_pod(pod, ip),
            (None, Some(service)) => words.of(service, ip),
            (None, None) => None,
        };
        let is_same = match (&self.signature, &signature) {
            (Some(known), Some(found)) => Arc::ptr_eq(known, found) || known == found,
            (known, found) => known.is_none() && found.is_none(),
        };
        if !is_same {
            self.signature = signature;
        }
        !is_same
    }

    const fn is_of_use(&self) -> bool {
        !matches!(self.pods, Pods::None) || self.signature.is_some()
    }
}
