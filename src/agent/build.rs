//! Builds what runs beside the source: the loop with its areas, what watches it, the admin servers.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context as _, Result};
use http::Uri;
use tokio::sync::{mpsc, watch};
use towpath_ebpf::{LiveMaps, MapsReader, Opened};
use towpath_image::{Hook, PolicyImage, Programs, ServiceImage};
use towpath_model::{Relist, Store, Stream};

use super::{
    Daemon,
    answers::{Answers, Gather},
    descriptors,
    explain::Explainer,
    kernel::held,
    metrics::Metrics,
    probes::Probes,
    threads::Threads,
};
use crate::{
    admin::{self, Admin, Listener, Ports, Route, Servers},
    clock::SystemClock,
    config::{Access, Config, SourceConfig},
    dns, ingress, packets,
    policy::{self, Policy},
    reconcile::{self, Areas as _, Asker, Auditor, Graces, Outputs, Runner, State, Wake},
    report::{self, Board, Pace, Reporter},
    services::{self, HealthCheck, HealthChecks, ServiceAudit, ServiceEnds, StaleUdp, Sweeper},
    source::{Health, Wants, kube},
    vitals::Vitals,
};

/// Name of the loop's thread.
pub(super) const LOOP: &str = "reconcile";
/// Name of the admin servers' thread.
pub(super) const ADMIN: &str = "admin";

/// What was known before the loop: nothing, unless the daemon stood by.
pub(super) struct Known {
    pub(super) store: Store,
    /// Lists that the source was not yet asked for.
    pub(super) relists: BTreeSet<Stream>,
}

/// The loop's ends of what leads to the sources and back.
pub(super) struct LoopEnds {
    pub(super) wakes: mpsc::Sender<Wake<Daemon>>,
    pub(super) inbox: mpsc::Receiver<Wake<Daemon>>,
    pub(super) relists: mpsc::Sender<Relist>,
    pub(super) streams: watch::Sender<BTreeSet<Stream>>,
    pub(super) health: Health,
}

/// The sources' ends.
pub(super) struct SourceEnds {
    pub(super) relists: mpsc::Receiver<Relist>,
    pub(super) wants: Wants,
}

/// Both, not yet connected to anything.
pub(super) fn ends() -> (LoopEnds, SourceEnds) {
    let (wakes, inbox) = mpsc::channel(reconcile::QUEUE);
    let (relists_out, relists) = mpsc::channel(16);
    let (streams, wants) = watch::channel(BTreeSet::new());
    let health = Health::default();
    let loop_ends = LoopEnds { wakes, inbox, relists: relists_out, streams, health };
    (loop_ends, SourceEnds { relists, wants })
}

/// What runs beside the sources.
pub(super) struct Running {
    /// True: the listeners close, what is being answered is answered.
    pub(super) drain: watch::Sender<bool>,
    pub(super) threads: Threads,
    /// What serves DNS, not begun yet.
    pub(super) dns: Option<dns::Serving>,
    /// What takes requests, not begun yet.
    pub(super) ingress: Option<ingress::Serving>,
    /// What writes to the API, not begun yet.
    pub(super) report: Option<Reporter>,
}

/// The loop, and everything that looks at it.
pub(super) fn start(
    config: &Config,
    opened: Opened,
    clock: SystemClock,
    ends: LoopEnds,
    known: Known,
) -> Result<Running> {
    let LoopEnds { wakes, inbox, relists, streams, health } = ends;
    let metrics = Metrics::new().context("metrics")?;
    let vitals = Arc::new(Vitals::default());
    // A daemon that stood by has run for a while: its loop turns from now on.
    vitals.ticked(clock.now_ms());
    let mut threads = Threads::default();
    let [at_pods, at_node] = [Hook::PODS, Hook::NODE].map(|hooks| held(&opened, true, &hooks));
    let heartbeat = opened.services.heartbeat();
    let (services, observers) =
        services::build(config, opened.services, &metrics.services, &vitals, clock)?;
    let run_dir = &config.run_dir;
    let dns = config.dns.as_ref();
    let dns = dns.map(|dns| dns::build(dns, run_dir, heartbeat, &metrics.dns)).transpose()?;
    let (dns, serving) =
        dns.map_or((None, None), |(dns, serving)| (Some(Runner::new(dns)), Some(serving)));
    let policies = opened.policy.as_ref().map(LiveMaps::reader);
    let own_dns = config.dns.as_ref().map(|dns| dns.service.clone());
    let policy = opened.policy.map(|maps| Policy::new(Box::new(maps), at_pods, own_dns));
    let policy = policy.transpose()?;
    let packets = match opened.packets {
        Some(maps) => {
            let at_node = (at_node, config.network_policy);
            Some(packets::build(maps, at_node, &metrics.packets, &mut |name, sweeper| {
                threads.add(name, sweeper);
            })?)
        }
        None => None,
    };
    let Requests { ingress, serving: requests, report } =
        requests(config, &metrics, (&health, clock))?;
    let areas = Daemon {
        policy: policy.map(Runner::new),
        services: Some(Runner::new(services)),
        packets: packets.map(Runner::new),
        dns,
        ingress: ingress.map(Runner::new),
    };
    streams.send_replace(areas.streams());
    let outputs = Outputs {
        relists,
        streams,
        graces: graces(&mut threads, wakes.clone(), clock)?,
        metrics: Arc::clone(&metrics.reconcile),
        vitals: Arc::clone(&vitals),
    };
    let began_empty = opened.programs.areas_started_empty();
    let programs: Box<dyn Programs> = Box::new(opened.programs);
    let mut state = State::new(Arc::new(clock), known.store, areas, programs, outputs);
    state.withhold_programs(began_empty);
    state.relist(known.relists);
    threads.add(LOOP, reconcile::start(state, inbox).context("starting the control loop")?);
    let asker = Asker::new(wakes.clone());
    let (drain, draining) = watch::channel(false);
    let admin = Watching { config, asker, health: &health, vitals, metrics, clock, policies };
    admin.start(&mut threads, observers, draining)?;
    Ok(Running { drain, threads, dns: serving, ingress: requests, report })
}

/// Ingress, where it is switched on.
#[derive(Default)]
struct Requests {
    ingress: Option<ingress::Ingress>,
    serving: Option<ingress::Serving>,
    /// Where there is an API server to write to.
    report: Option<Reporter>,
}

fn requests(
    config: &Config,
    metrics: &Metrics,
    (health, clock): (&Health, SystemClock),
) -> Result<Requests> {
    let Some(ingress) = &config.ingress else { return Ok(Requests::default()) };
    let settings = match &config.source {
        SourceConfig::Kube { access, api_servers } => {
            Some(kube_settings(config, (access, api_servers), clock))
        }
        SourceConfig::Manifests { .. } => None,
    };
    let board = settings.is_some().then(Arc::<Board>::default);
    let (area, serving) =
        ingress::build(ingress, settings.is_none(), &metrics.ingress, board.clone())?;
    let report = settings.zip(board).map(|(settings, board)| {
        let ends = (health.clone(), Arc::clone(&metrics.report));
        Reporter::new(settings, ingress, Pace::default(), board, ends)
    });
    Ok(Requests { ingress: Some(area), serving: Some(serving), report })
}

/// How the API server is reached.
pub(super) fn kube_settings(
    config: &Config,
    (access, api_servers): (&Access, &[Uri]),
    clock: SystemClock,
) -> kube::KubeSettings {
    kube::KubeSettings {
        access: access.clone(),
        api_servers: api_servers.to_owned(),
        run_dir: config.run_dir.clone(),
        node_name: config.node_name.clone(),
        clock,
        patience: kube::Patience::default(),
    }
}

/// Starts the thread that waits for grace periods.
fn graces(
    threads: &mut Threads,
    wakes: mpsc::Sender<Wake<Daemon>>,
    clock: SystemClock,
) -> Result<Graces> {
    let (graces, requests) = Graces::channel();
    let over = move |began| wakes.blocking_send(Wake::Graced(began)).is_ok();
    threads.add("grace", requests.serve(Arc::new(clock), towpath_ebpf::grace, over)?);
    Ok(graces)
}

/// What watches the loop: audits, sweeps, questions.
struct Watching<'a> {
    config: &'a Config,
    asker: Asker<Daemon>,
    health: &'a Health,
    vitals: Arc<Vitals>,
    metrics: Metrics,
    clock: SystemClock,
    /// What the maps of policies hold.
    policies: Option<MapsReader<PolicyImage>>,
}

impl Watching<'_> {
    fn start(
        self,
        threads: &mut Threads,
        observers: ServiceEnds,
        draining: watch::Receiver<bool>,
    ) -> Result<()> {
        let ServiceEnds { reader, peers, map_bytes, udp_gone, health_checks } = observers;
        self.audits(threads, reader.clone())?;
        let asker = self.asker.clone();
        let explainer = Explainer { asker, services: reader, policy: self.policies.clone() };
        let stale_udp = Arc::new(StaleUdp::default());
        let sweeper = Sweeper {
            peers,
            asker: self.asker.area(),
            metrics: Arc::clone(&self.metrics.services),
            found: Arc::clone(&stale_udp),
        };
        threads.add("stale-udp", sweeper.start(udp_gone)?);
        let ports = Arc::new(Ports::default());
        let answers = Arc::new(Answers {
            asker: self.asker.clone(),
            health: self.health.clone(),
            clock: self.clock,
            node: self.config.node_name.clone(),
            source: match self.config.source {
                SourceConfig::Kube { .. } => "kube",
                SourceConfig::Manifests { .. } => "manifests",
            },
            map_bytes,
            ports: Arc::clone(&ports),
            stale_udp,
            not_served: {
                let dns = self.config.dns.is_none().then_some(dns::OFF);
                let policy = match self.config.network_policy {
                    true => &policy::NOT_JUDGED[..],
                    false => &[policy::OFF],
                };
                let packets = match self.config.packets {
                    true => &packets::NOT_SERVED[..],
                    false => &[packets::OFF],
                };
                let ingress = match (&self.config.ingress, &self.config.source) {
                    (None, _) => Some(ingress::OFF),
                    (Some(_), SourceConfig::Manifests { .. }) => Some(report::NO_STATUS),
                    (Some(_), SourceConfig::Kube { .. }) => None,
                };
                let all = services::NOT_SERVED.into_iter().chain(packets.iter().copied());
                let all = all.chain(policy.iter().copied()).chain(dns).chain(ingress);
                all.map(str::to_owned).collect()
            },
        });
        let (admin, listeners) = self.admin(answers, health_checks, explainer, (ports, draining));
        let admin = admin::start(admin, listeners).context("starting the admin servers")?;
        threads.add(ADMIN, admin);
        Ok(())
    }

    fn audits(&self, threads: &mut Threads, reader: MapsReader<ServiceImage>) -> Result<()> {
        let read = Box::new(move || reader.read());
        let services = ServiceAudit { asker: self.asker.area(), read };
        let auditor = Auditor::new(vec![Box::new(services)], Arc::new(self.clock));
        let (over, report) = (self.asker.clone(), self.asker.clone());
        let report = move |finding| {
            // A loop that has ended needs no audit.
            let _sent = report.send(Wake::Audited(finding));
        };
        threads.add("audit", auditor.start(move || over.is_over(), report)?);
        Ok(())
    }

    fn admin(
        self,
        answers: Arc<Answers>,
        wanted: watch::Receiver<Vec<HealthCheck>>,
        explainer: Explainer,
        (ports, draining): (Arc<Ports>, watch::Receiver<bool>),
    ) -> (Admin, Vec<Listener>) {
        let gather = Gather {
            answers: Arc::clone(&answers),
            services_asker: self.asker.area(),
            source: self.metrics.source,
            reconcile: self.metrics.reconcile,
            services: self.metrics.services,
            packets: self.metrics.packets,
            policy_asker: self.asker.area(),
            policy: self.metrics.policy,
            policies: self.config.network_policy,
            problems: self.metrics.problems,
        };
        let probes =
            Arc::new(Probes::new(self.asker.clone(), Arc::clone(&self.vitals), self.clock));
        let lives = Arc::clone(&probes);
        let checks = HealthChecks { wanted, vitals: Arc::clone(&self.vitals), clock: self.clock };
        let services_asker = self.asker.area();
        let health_checks: Listener =
            Box::new(move |servers| Box::pin(services::serve_health_checks(servers, checks)));
        let admin = Admin {
            config: self.config.admin.clone(),
            vitals: self.vitals,
            registry: self.metrics.registry,
            clock: self.clock,
            routes: vec![
                Route::json("/v1/ready", move |_| probes.ready()),
                Route::json("/v1/live", move |_| Some(lives.live())),
                Route::json("/v1/status", move |_| answers.status()),
                Route::json("/v1/services", move |asked| {
                    services::services(&services_asker, asked.get("name").as_deref())
                }),
                Route::json("/v1/explain", move |asked| explainer.explain(asked)),
            ],
            gather: Box::new(move || gather.gather()),
            servers: Arc::new(Servers {
                ports,
                metrics: self.metrics.admin,
                descriptors: descriptors::limit(),
                draining,
            }),
        };
        (admin, vec![health_checks])
    }
}
