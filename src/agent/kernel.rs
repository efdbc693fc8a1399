//! The kernel, as the configuration wants it opened, and what of an earlier daemon stays in force.

use towpath_ebpf::{Opened, Settings};
use towpath_image::{Attachments, Hook, PolicyCapacities, Programs as _, datapath::LAYOUT};

use super::cluster;
use crate::{
    config::{Config, SocketLb, SourceConfig},
    services,
};

/// Opens the kernel and brings the programs into force, with what the maps hold. Where they hold
/// nothing in place of what another version knew, its programs stay: see [`State::withhold_programs`].
///
/// [`State::withhold_programs`]: crate::reconcile::State::withhold_programs
pub(super) fn open(settings: &Settings) -> Result<Opened, towpath_ebpf::Error> {
    let mut opened = towpath_ebpf::open(settings)?;
    if !opened.programs.started_empty().is_empty() {
        return Ok(opened);
    }
    let mut wanted = services::attachments();
    // What an earlier daemon left at devices stays in force, where its area is on.
    wanted.extend(held(&opened, opened.policy.is_some(), &Hook::PODS));
    wanted.extend(held(&opened, opened.packets.is_some(), &Hook::NODE));
    match opened.programs.attach(&wanted).failure {
        None => Ok(opened),
        Some(failure) => Err(failure.into()),
    }
}

/// What an earlier daemon left at devices, of these hooks; nothing of an area that is off.
pub(super) fn held(opened: &Opened, on: bool, hooks: &[Hook]) -> Attachments {
    match on {
        true => opened
            .programs
            .at_devices()
            .into_iter()
            .filter(|what| hooks.contains(&what.hook))
            .collect(),
        false => Attachments::new(),
    }
}

/// What the kernel is opened with.
pub(super) fn kernel_settings(config: &Config) -> Settings {
    let mut settings = Settings {
        pin_root: config.kernel.bpffs.clone(),
        cgroup_root: config.kernel.cgroup_root.clone(),
        run_dir: config.run_dir.clone(),
        capacities: config.kernel.capacities,
        cluster: None, // until it is known
        policy: config.network_policy.then(PolicyCapacities::default),
        host_only: config.services.socket_lb == SocketLb::HostOnly,
        packets: config.packets,
        layout: LAYOUT,
    };
    // What is remembered says whose pins these should be; of fresh ones it says nothing.
    if matches!(config.source, SourceConfig::Kube { .. }) && settings.holds_maps() {
        settings.cluster = cluster::recall(&config.run_dir);
    }
    settings
}
