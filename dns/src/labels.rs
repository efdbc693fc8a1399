//! Counters of questions and replies, each looked up by its labels once: a look-up is a lock and a hash of
//! seven words, and these are counted for every message.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use prometheus::IntCounter;
use towpath_zone::Transport;

use crate::metrics::{DnsMetrics, SERVER};

/// Types that CoreDNS tells apart, in the order of their names here; the last stands for all others.
const TYPES: [(u16, &str); 14] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (43, "DS"),
    (48, "DNSKEY"),
    (65, "HTTPS"),
    (255, "ANY"),
    (0, "other"),
];
/// Codes, as CoreDNS labels them; the last stands for all others.
const CODES: [(u16, &str); 8] = [
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (16, "BADVERS"),
    (u16::MAX, "other"),
];

/// What answered, under the name of CoreDNS's plugin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plugin {
    /// The zone.
    Kubernetes = 0,
    /// The cache.
    Cache = 1,
    /// Upstreams.
    Forward = 2,
}

const PLUGINS: [&str; 3] = ["kubernetes", "cache", "forward"];
const REQUESTS: usize = 2 * 2 * 2 * TYPES.len();
const RESPONSES: usize = 2 * PLUGINS.len() * CODES.len();

/// The counters of a server. One that was never counted is not there, as with CoreDNS.
#[derive(Debug)]
pub(crate) struct Labelled {
    metrics: Arc<DnsMetrics>,
    /// The cluster's domain, as a label.
    domain: Box<str>,
    requests: [OnceLock<IntCounter>; REQUESTS],
    responses: [OnceLock<IntCounter>; RESPONSES],
}

impl Labelled {
    pub(crate) fn new(metrics: Arc<DnsMetrics>, domain: &str) -> Self {
        let (requests, responses) =
            ([const { OnceLock::new() }; _], [const { OnceLock::new() }; _]);
        Self { metrics, domain: domain.into(), requests, responses }
    }

    fn zone(&self, ours: bool) -> &str {
        if ours { &self.domain } else { "." }
    }

    /// A question. `ours`: of the cluster.
    pub(crate) fn asked(&self, ours: bool, transport: Transport, client: SocketAddr, rtype: u16) {
        let (udp, v4) = (transport == Transport::Udp, client.is_ipv4());
        let (at, name) = place(&TYPES, rtype);
        let at = flags([ours, udp, v4]) * TYPES.len() + at;
        let Some(cell) = self.requests.get(at) else { return };
        let counter = cell.get_or_init(|| {
            let (proto, family) = (if udp { "udp" } else { "tcp" }, if v4 { "1" } else { "2" });
            let labels = [SERVER, self.zone(ours), "", proto, family, name];
            self.metrics.requests.with_label_values(&labels)
        });
        counter.inc();
    }

    /// A reply.
    pub(crate) fn answered(&self, ours: bool, code: u16, plugin: Plugin) {
        let (at, name) = place(&CODES, code);
        let at = (flags([ours]) * PLUGINS.len() + plugin as usize) * CODES.len() + at;
        let Some(cell) = self.responses.get(at) else { return };
        let counter = cell.get_or_init(|| {
            let plugin = PLUGINS.get(plugin as usize).copied().unwrap_or_default();
            let labels = [SERVER, self.zone(ours), "", name, plugin];
            self.metrics.responses.with_label_values(&labels)
        });
        counter.inc();
    }
}

/// Where a number is in a table, and what it is called; the last row when it is in none.
fn place<const N: usize>(table: &[(u16, &'static str); N], number: u16) -> (usize, &'static str) {
    let found = table.iter().position(|(known, _)| *known == number).unwrap_or(N - 1);
    (found, table.get(found).map_or("other", |(_, name)| name))
}

fn flags<const N: usize>(flags: [bool; N]) -> usize {
    flags.into_iter().fold(0, |sum, flag| sum * 2 + usize::from(flag))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus::Registry;

    use super::*;

    #[test]
    fn every_combination_of_labels_has_a_counter_of_its_own() {
        let registry = Registry::new();
        let metrics = Arc::new(DnsMetrics::new(&registry).unwrap());
        let labelled = Labelled::new(metrics, "cluster.local.");
        let clients = ["192.0.2.1:1", "[2001:db8::1]:1"].map(|text| text.parse().unwrap());
        for ours in [true, false] {
            for client in clients {
                for transport in [Transport::Udp, Transport::Tcp] {
                    TYPES.iter().for_each(|(t, _)| labelled.asked(ours, transport, client, *t));
                }
            }
            for plugin in [Plugin::Kubernetes, Plugin::Cache, Plugin::Forward] {
                CODES.iter().for_each(|(code, _)| labelled.answered(ours, *code, plugin));
            }
        }
        labelled.asked(true, Transport::Udp, clients[0], 64_000);
        let families = registry.gather();
        for (name, many) in
            [("coredns_dns_requests_total", 8 * 14), ("coredns_dns_responses_total", 6 * 8)]
        {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            let labels = |metric: &prometheus::proto::Metric| {
                metric.get_label().iter().map(|l| l.value().to_owned()).collect::<Vec<_>>()
            };
            let all: BTreeSet<_> = family.get_metric().iter().map(labels).collect();
            assert_eq!(all.len(), many, "{name}");
            let twice = family.get_metric().iter().filter(|m| m.get_counter().get_value() > 1.5);
            let twice: Vec<_> = twice.map(labels).collect();
            assert!(twice.iter().all(|labels| labels.contains(&"other".to_owned())), "{twice:?}");
        }
    }
}
