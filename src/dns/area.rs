//! DNS as an area of the loop: objects into a snapshot.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use towpath_dns::DnsMetrics;
use towpath_model::{Changes, Code, Key, Kind, ObjectName, Problem, Synced, View};
use towpath_zone::{NEEDS, Snapshot, Zones};

use crate::{
    clock::{Clock, Now},
    reconcile::{Area, Failure, Outcome, Planned, Published, Stream},
};

/// The addresses that are to be served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// Whose they are.
    pub(super) service: ObjectName,
    /// ClusterIPs.
    pub(super) addresses: Vec<IpAddr>,
    /// From which of its own addresses the node asks: at most one of a family.
    pub(super) sources: Vec<IpAddr>,
}

/// The cluster's zone, and who is told of it.
pub struct Dns {
    needs: [Stream; 3],
    zones: Zones,
    published: Arc<ArcSwap<Snapshot>>,
    wanted: watch::Sender<Wanted>,
    /// What is wrong with serving.
    problems: Arc<Mutex<Vec<Problem>>>,
    metrics: Arc<DnsMetrics>,
    asked: bool,
}

impl Dns {
    pub(super) const fn new(
        zones: Zones,
        published: Arc<ArcSwap<Snapshot>>,
        wanted: watch::Sender<Wanted>,
        problems: Arc<Mutex<Vec<Problem>>>,
        metrics: Arc<DnsMetrics>,
    ) -> Self {
        Self { needs: NEEDS, zones, published, wanted, problems, metrics, asked: false }
    }

    /// The zone as it was published last, and the Service at which it is asked.
    pub(super) fn published(&self) -> (Arc<Snapshot>, ObjectName) {
        (self.published.load_full(), self.wanted.borrow().service.clone())
    }

    /// The addresses of the Service. One that is gone keeps its own: pods have them in their
    /// `resolv.conf` as long as they live.
    fn want(&self, view: &View<'_>) {
        self.wanted.send_if_modified(|wanted| {
            let service = view.service(&wanted.service);
            let addresses = service.map_or(&[][..], |service| &service.cluster_ips);
            let before = wanted.clone();
            if !addresses.is_empty() {
                wanted.addresses = addresses.to_vec();
            }
            wanted.sources = sources(view);
            *wanted != before
        });
    }
}

/// Addresses of the Node object that are this machine's, else any of this machine.
fn sources(view: &View<'_>) -> Vec<IpAddr> {
    let local = view.local_addresses();
    let named = view.own_node().map_or(&[][..], |node| &node.addresses);
    let of = |v4: bool| {
        let fits = move |ip: &&IpAddr| ip.is_ipv4() == v4 && local.contains(ip);
        named.iter().filter(fits).chain(local.iter().filter(fits)).next().copied()
    };
    [of(true), of(false)].into_iter().flatten().collect()
}

fn unix(now: Now) -> u32 {
    let since = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

impl Area for Dns {
    const NAME: &'static str = "dns";

    fn needs(&self) -> &[Stream] {
        &self.needs
    }

    fn plan(
        &mut self,
        view: &View<'_>,
        changes: &Changes,
        _synced: &Synced,
        clock: &dyn Clock,
    ) -> Planned {
        let touched = self.zones.update(view, changes, unix(clock.now()));
        self.want(view);
        let mut planned = Planned::default();
        if !std::mem::replace(&mut self.asked, true) {
            // Reverse names of addresses that no Service has; a cluster may not know the kind.
            planned.streams = Some([Stream::all(Kind::ServiceCIDR)].into());
        }
        for name in touched {
            let exists = view.service(&name).is_some();
            let key = Key { kind: Kind::Service, name };
            if exists {
                planned.touched.insert(key)
            } else {
                planned.gone.insert(key)
            };
        }
        planned
    }

    fn publish(&mut self, _synced: &Synced, _clock: &dyn Clock) -> Published {
        self.published.store(Arc::new(self.zones.snapshot().clone()));
        self.metrics.zone_stale(false);
        Published::default()
    }

    fn repair(&mut self, view: &View<'_>, clock: &dyn Clock) -> Result<(), Failure> {
        let settings = self.zones.snapshot().settings().clone();
        let mut fresh = Zones::new(settings).ok_or_else(|| Failure("clusterDomain".to_owned()))?;
        fresh.update(view, &Changes::default(), unix(clock.now()));
        self.zones = fresh;
        Ok(())
    }

    fn outcome(&self, _of: &Key) -> Outcome {
        Outcome::Done
    }

    fn problems(&self, out: &mut Vec<Problem>) {
        out.extend(self.zones.problems().cloned());
        let published = self.published.load();
        if published.stale() {
            let serial = published.serial();
            let why = format!(
                "Services, EndpointSlices and Namespaces are not listed yet: names are answered as they \
                 were at {serial} (seconds since 1970)"
            );
            let action = "see why the streams are not listed; what changed since is not known here";
            out.push(Problem::new(Code::ZoneFromDisk, None, "dns", &why, action));
        }
        out.extend(self.problems.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
    }
}
