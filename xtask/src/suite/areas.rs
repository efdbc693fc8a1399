//! Which tests belong to which area: one row an area.

use anyhow::{Result, bail};

use super::{
    binaries::{Binaries, Binary, Harness},
    report::Timed,
};

/// An area of the daemon, and its tests.
pub(crate) struct Area {
    pub(crate) name: &'static str,
    pub(crate) tests: &'static [Tests],
}

/// Tests of one package.
pub(crate) struct Tests {
    pub(crate) package: &'static str,
    pub(crate) of: Of,
    /// Only tests whose name contains one of these. Empty: all.
    pub(crate) named: &'static [&'static str],
}

/// Which binaries of a package.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    /// All.
    Package,
    /// Unit tests: those beside the code.
    Units,
    /// One file or folder of `tests/`.
    Target(&'static str),
}

const fn all(package: &'static str) -> Tests {
    Tests { package, of: Of::Package, named: &[] }
}

const fn target(package: &'static str, target: &'static str) -> Tests {
    Tests { package, of: Of::Target(target), named: &[] }
}

const fn units(package: &'static str, named: &'static [&'static str]) -> Tests {
    Tests { package, of: Of::Units, named }
}

/// Every area. A new one is a row here.
pub(crate) const AREAS: &[Area] = &[
    Area {
        name: "explain",
        tests: &[
            target("towpath-netpol", "explain"),
            target("towpath-proxy", "explain"),
            units("towpath-dns", &["ask::"]),
            units("towpath", &["explain::"]),
            Tests { package: "towpath", of: Of::Target("netns"), named: &["explain::"] },
        ],
    },
    Area {
        name: "policy",
        tests: &[
            units("towpath-model", &["network_policy::"]),
            all("towpath-netpol"),
            all("towpath-netpol-oracle"),
            units("towpath-datapath", &["policy::"]),
            units("towpath-datapath", &["pod::"]),
            units("towpath-image", &["policies::"]),
            target("towpath-ebpf", "policies"),
            units("towpath", &["policy::", "features::", "pod_devices::"]),
            Tests {
                package: "towpath",
                of: Of::Target("netns"),
                named: &["network_policy::", "demo::exactly_the_traffic_of_policy"],
            },
        ],
    },
    Area {
        name: "services",
        tests: &[
            units("towpath-model", &["select::", "service::", "slice::"]),
            target("towpath-model", "rules"),
            all("towpath-proxy"),
            all("towpath-datapath"),
            all("towpath-image"),
            all("towpath-ebpf"),
            units("towpath", &["services::", "health_check_ports", "stale_"]),
            target("towpath", "scenarios"),
            target("towpath", "sim"),
            target("towpath", "contract"),
            target("towpath", "netns"),
        ],
    },
    Area {
        name: "packets",
        tests: &[
            target("towpath-datapath", "arrivals"),
            target("towpath-datapath", "dispatch"),
            target("towpath-datapath", "errors"),
            target("towpath-datapath", "flows"),
            target("towpath-datapath", "packets"),
            target("towpath-ebpf", "packets"),
            units("towpath", &["packets::", "features::", "pod_devices::", "node_devices::"]),
            Tests {
                package: "towpath",
                of: Of::Target("netns"),
                named: &[
                    "north_south::",
                    "source_ranges::",
                    "pod_packets::",
                    "path_mtu::",
                    "demo::exactly_the_traffic_of_packets",
                ],
            },
        ],
    },
    Area {
        name: "install",
        tests: &[
            units("xtask", &["chart::", "image::"]),
            units("towpath", &["config::", "cli::", "probes", "preflight"]),
            target("towpath", "contract"),
        ],
    },
    Area {
        name: "dns",
        tests: &[
            all("towpath-zone"),
            all("towpath-dns"),
            units("towpath", &["config::dns", "dns::"]),
            Tests { package: "towpath", of: Of::Target("netns"), named: &["dns::"] },
        ],
    },
    Area {
        name: "ingress",
        tests: &[
            target("towpath-model", "ingress"),
            all("towpath-route"),
            all("towpath-ingress"),
            units(
                "towpath",
                &["config::ingress", "ingress::certificates", "ingress::endpoint_tls", "report::"],
            ),
            Tests { package: "towpath", of: Of::Target("source"), named: &["statuses::"] },
            Tests {
                package: "towpath",
                of: Of::Target("netns"),
                named: &["ingress::", "demo::exactly_the_requests"],
            },
        ],
    },
];

impl Tests {
    fn takes(&self, binary: &Binary) -> bool {
        let taken = match self.of {
            Of::Package => true,
            Of::Units => binary.is_unit,
            Of::Target(name) => !binary.is_unit && binary.target == name,
        };
        taken && binary.package == self.package
    }

    fn name(&self) -> String {
        match self.of {
            Of::Package => format!("package {}", self.package),
            Of::Units => format!("unit tests of {} named {:?}", self.package, self.named),
            Of::Target(target) => format!("{target} of {}", self.package),
        }
    }
}

impl Area {
    /// Runs the area's tests, with and without root.
    pub(super) fn run(&self, binaries: &Binaries) -> Result<Vec<Timed>> {
        let mut counts = Vec::new();
        for tests in self.tests {
            let before = counts.len();
            for binary in binaries.all().iter().filter(|binary| tests.takes(binary)) {
                let plain = binary.run(Harness::Plain, tests.named)?;
                let left = plain.count.ignored > 0;
                counts.push(plain);
                if left {
                    counts.push(binary.run(Harness::Root, tests.named)?);
                }
            }
            let ran: u64 = counts[before..].iter().map(|one| one.count.ran()).sum();
            if ran == 0 {
                bail!(
                    "area {}: there are no {}; mend the row in areas.rs",
                    self.name,
                    tests.name()
                );
            }
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::AREAS;

    #[test]
    fn a_word_means_one_suite_or_one_area() {
        let names = crate::suite::names();
        let different: BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        assert!(AREAS.iter().all(|area| !area.tests.is_empty()));
    }
}
