//! The daemon's loop as it is (`towpath::reconcile::State` with the areas of `towpath::agent`) over
//! maps in memory, with a clock that is moved by hand: what the simulation, the scenarios and the
//! fuzz targets drive. None of them has a loop of its own.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use towpath::{
    agent,
    clock::ManualClock,
    metrics::Registry,
    reconcile::{Areas as _, GraceRequests, Graces, LoopMetrics, Outputs, Runner, State},
    services::{HealthCheck, ServiceKernel, ServiceMetrics, ServiceOutputs, Services},
    vitals::Vitals,
};
use towpath_image::Programs;
use towpath_model::{Relist, Store};
use towpath_proxy::ProxyConfig;

/// The node that it runs on.
pub(crate) const NODE: &str = "n0";

/// A loop, and the other ends of its channels.
pub(crate) struct Started {
    pub(crate) state: State<agent::Daemon>,
    pub(crate) relists: mpsc::Receiver<Relist>,
    pub(crate) graces: GraceRequests,
    #[allow(dead_code, reason = "not every test that shares this file looks at them")]
    pub(crate) health_checks: watch::Receiver<Vec<HealthCheck>>,
}

/// A daemon that starts over what these maps hold, and these programs.
pub(crate) fn start(
    maps: impl ServiceKernel + Send + 'static,
    programs: impl Programs + 'static,
    config: ProxyConfig,
    clock: &ManualClock,
) -> Started {
    let registry = Registry::new();
    let (relists_out, relists) = mpsc::channel(64);
    let (graces_out, graces) = Graces::channel();
    let (checks_out, health_checks) = watch::channel(Vec::new());
    let vitals = Arc::new(Vitals::default());
    let outputs = ServiceOutputs {
        health_checks: checks_out,
        udp_gone: None,
        metrics: Arc::new(ServiceMetrics::new(&registry).unwrap()),
        vitals: Arc::clone(&vitals),
    };
    let services = Services::new(config, Box::new(maps), outputs, clock).unwrap();
    let areas = agent::Daemon {
        policy: None,
        services: Some(Runner::new(services)),
        packets: None,
        dns: None,
        ingress: None,
    };
    let outputs = Outputs {
        relists: relists_out,
        streams: watch::channel(areas.streams()).0,
        graces: graces_out,
        metrics: Arc::new(LoopMetrics::new(&registry).unwrap()),
        vitals,
    };
    let programs = Box::new(programs);
    let state = State::new(Arc::new(clock.clone()), Store::new(NODE), areas, programs, outputs);
    Started { state, relists, graces, health_checks }
}
