//! What the daemon answers as a whole: `towpath status`, and the numbers that are gathered.

use std::sync::{Arc, atomic::Ordering};

use prometheus::IntGauge;
use towpath_model::Problem;

use super::Daemon;
use crate::{
    admin::Ports,
    api::{
        AuditReply, KernelReply, MapReply, SourceReply, StateReply, StatusReply, StreamReply,
        VERSION,
    },
    clock::SystemClock,
    metrics::number,
    packets::PacketMetrics,
    policy::{self, Policy, PolicyMetrics},
    reconcile::{AreaAsker, Asked, Asker, LoopMetrics, State},
    services::{self, ServiceMetrics, Services, StaleUdp},
    source::{Health, SourceMetrics},
};

/// Problems that a reply spells out at most.
const PROBLEMS_MAX: usize = 500;

/// What is needed to answer.
pub(super) struct Answers {
    pub(super) asker: Asker<Daemon>,
    pub(super) health: Health,
    pub(super) clock: SystemClock,
    pub(super) node: String,
    pub(super) source: &'static str,
    pub(super) map_bytes: u64,
    pub(super) ports: Arc<Ports>,
    pub(super) stale_udp: Arc<StaleUdp>,
    pub(super) not_served: Vec<String>,
}

impl Answers {
    fn streams(&self) -> Vec<StreamReply> {
        let now = self.clock.now_ms();
        let stream =
            |(stream, health): (towpath_model::Stream, Arc<crate::source::StreamHealth>)| {
                let last = health.last_event_ms.load(Ordering::Relaxed);
                StreamReply {
                    kind: stream.to_string(),
                    connected: health.connected.load(Ordering::Relaxed),
                    last_event_age_ms: (last != 0).then(|| now.saturating_sub(last)),
                    lists: health.lists.load(Ordering::Relaxed),
                    errors: health.errors.load(Ordering::Relaxed),
                    bad_objects: health.bad_objects.load(Ordering::Relaxed),
                    restarts: health.restarts.load(Ordering::Relaxed),
                }
            };
        self.health.all().into_iter().map(stream).collect()
    }

    /// `towpath status`. `None`: the loop did not answer.
    pub(super) fn status(&self) -> Option<StatusReply> {
        Some(StatusReply {
            api_version: VERSION.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            node: self.node.clone(),
            uptime_ms: self.clock.now_ms(),
            source: SourceReply { kind: self.source.to_owned(), streams: self.streams() },
            state: {
                let mut state = self.asker.ask(state)?;
                let notes = self.health.notes();
                state.problems.extend(notes.iter().map(Problem::coded));
                state
            },
            map_bytes: self.map_bytes,
            stale_udp: self.stale_udp.reply(),
            ports: self.ports.failures(),
            not_served: self.not_served.clone(),
        })
    }
}

/// The loop's part of `towpath status`.
pub(super) fn state(state: &State<Daemon>) -> StateReply {
    let (view, areas) = (state.view(), state.area_states());
    let services = state.areas().services.as_ref();
    let asked = services.map(|runner| Asked { view, runner, now: state.now() });
    let area = services.map(|runner| runner.area());
    let mut maps: Vec<MapReply> = asked.as_ref().map(services::maps).unwrap_or_default();
    let policy = state.areas().policy.as_ref();
    let policy = policy.map(|runner| Asked { view, runner, now: state.now() });
    maps.extend(policy.iter().flat_map(policy::maps));
    let longest_write = area.map(Services::longest_write).unwrap_or_default();
    StateReply {
        synced: areas.iter().all(|area| area.unlisted.is_empty()),
        services: area.map_or(0, |area| area.plan().services().len()) as u64,
        endpoint_slices: view.slices().len() as u64,
        nodes: view.nodes().len() as u64,
        problems: problems(state),
        kernel: KernelReply {
            maps,
            pending: areas.iter().any(|area| area.pending),
            longest_write_us: u64::try_from(longest_write.as_micros()).unwrap_or(u64::MAX),
            programs_reattached: state.programs_reattached(),
        },
        audit: audit(state, areas.iter().map(|area| area.name)),
    }
}

/// The audits of all areas as one: the oldest, and what differed in any.
fn audit<'a>(state: &State<Daemon>, areas: impl Iterator<Item = &'a str>) -> Option<AuditReply> {
    let (now, mut reply) = (state.now().ms(), None);
    for finding in areas.filter_map(|area| state.last_audit(area)) {
        let all = reply.get_or_insert_with(|| AuditReply { age_ms: 0, differences: Vec::new() });
        all.age_ms = all.age_ms.max(now.saturating_sub(finding.at_ms));
        all.differences.extend(finding.differences.iter().cloned());
    }
    reply
}

fn problems(state: &State<Daemon>) -> Vec<String> {
    let mut problems: Vec<String> =
        state.problems(PROBLEMS_MAX).iter().map(Problem::coded).collect();
    problems.sort();
    problems.dedup();
    if problems.len() > PROBLEMS_MAX {
        let more = problems.len() - PROBLEMS_MAX;
        problems.truncate(PROBLEMS_MAX);
        problems.push(format!("{more} further problems or more: these first, then ask again"));
    }
    problems
}

/// Metrics that are read, not counted.
pub(super) struct Gather {
    pub(super) answers: Arc<Answers>,
    pub(super) services_asker: AreaAsker<Services>,
    pub(super) source: SourceMetrics,
    pub(super) reconcile: Arc<LoopMetrics>,
    pub(super) services: Arc<ServiceMetrics>,
    pub(super) packets: Arc<PacketMetrics>,
    pub(super) policy_asker: AreaAsker<Policy>,
    pub(super) policy: Arc<PolicyMetrics>,
    /// Policies are enforced.
    pub(super) policies: bool,
    pub(super) problems: IntGauge,
}

impl Gather {
    /// Brings them up to date.
    pub(super) fn gather(&self) {
        self.source.gather(&self.answers.streams());
        if self.gather_loop().is_none() {
            tracing::warn!("the loop did not answer in time: metrics are stale");
        }
    }

    fn gather_loop(&self) -> Option<()> {
        let (problems, areas) =
            self.answers.asker.ask(|state| (problems(state).len(), state.area_states()))?;
        let notes = self.answers.health.notes().len();
        self.problems.set(number((problems + notes) as u64));
        self.reconcile.gather(&areas);
        let packets = self
            .answers
            .asker
            .ask(|state| state.areas().packets.as_ref().map(|runner| runner.area().counters()))?;
        if let Some(counters) = packets {
            self.packets.counted(&counters);
        }
        if self.policies {
            let maps = policy::gather(&self.policy_asker, &self.policy)?;
            self.services.maps(&maps);
        }
        services::gather(&self.services_asker, &self.services)
    }
}
