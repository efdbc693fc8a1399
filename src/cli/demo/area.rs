//! The areas of the daemon that the demo shows.

use clap::ValueEnum;

/// What `--without` switches off. Each check names one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Area {
    /// Policies decide what reaches pods
    Policy,
    /// Addresses of Services lead to their endpoints
    Services,
    /// Addresses of Services lead there from outside the cluster
    Packets,
    /// Each node answers its pods' DNS queries
    Dns,
    /// Each node takes requests and leads them by host and path
    Ingress,
}

impl Area {
    /// As in messages, in JSON and in the list of checks.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Services => "services",
            Self::Packets => "packets",
            Self::Dns => "dns",
            Self::Ingress => "ingress",
        }
    }
}

/// What is in force while the checks run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InForce {
    /// Everything.
    All,
    /// All but one area.
    Without(Area),
    /// No program in the kernel, of any area.
    WithoutPrograms,
}

impl InForce {
    /// As in messages: what is not in force.
    pub(super) const fn without(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Without(area) => Some(area.name()),
            Self::WithoutPrograms => Some("programs"),
        }
    }
}
