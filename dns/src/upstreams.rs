//! The upstreams: which is asked first, and which failed of late.

use std::{net::SocketAddr, time::Duration};

use tokio::time::Instant;

/// After the first failure an upstream is asked last for so long; doubled with each further one.
const FIRST: Duration = Duration::from_millis(500);
/// At most.
const LONGEST: Duration = Duration::from_secs(30);

/// Upstreams, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upstreams(Vec<Upstream>);

#[derive(Clone, Debug)]
struct Upstream {
    server: SocketAddr,
    failures: u32,
    /// It is asked after those that are well until then.
    until: Option<Instant>,
}

impl Upstreams {
    /// Takes other servers; what is known of one that stays is kept.
    pub(crate) fn set(&mut self, servers: &[SocketAddr]) {
        let known = std::mem::take(&mut self.0);
        let of = |server: &SocketAddr| {
            let known = known.iter().find(|known| known.server == *server).cloned();
            known.unwrap_or(Upstream { server: *server, failures: 0, until: None })
        };
        self.0 = servers.iter().map(of).collect();
    }

    /// Those that are well, in order; then the others, the one that is due first in front. There is
    /// always one to ask: an upstream shows by an answer that it is well again.
    pub(crate) fn order(&self, now: Instant) -> Vec<SocketAddr> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|upstream| upstream.until.filter(|until| *until > now));
        all.into_iter().map(|upstream| upstream.server).collect()
    }

    /// What became of a question to it.
    pub(crate) fn report(&mut self, server: SocketAddr, answered: bool, now: Instant) {
        let Some(upstream) = self.0.iter_mut().find(|known| known.server == server) else { return };
        if answered {
            (upstream.failures, upstream.until) = (0, None);
        } else {
            let factor = 1 << upstream.failures.min(6);
            upstream.failures = upstream.failures.saturating_add(1);
            upstream.until = Some(now + (FIRST * factor).min(LONGEST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_failed_is_asked_last_until_it_is_due() {
        let [a, b] = [1, 2].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        let now = Instant::now();
        let mut upstreams = Upstreams::default();
        upstreams.set(&[a, b]);
        assert_eq!(upstreams.order(now), [a, b]);
        upstreams.report(a, false, now);
        assert_eq!(upstreams.order(now), [b, a]);
        assert_eq!(upstreams.order(now + FIRST), [a, b]);
        upstreams.report(a, false, now);
        assert_eq!(upstreams.order(now + FIRST), [b, a], "twice as long");
        upstreams.set(&[a, b]);
        assert_eq!(upstreams.order(now + FIRST), [b, a], "kept over a change");
        upstreams.report(b, false, now);
        assert_eq!(upstreams.order(now), [b, a], "the one that is due first");
        upstreams.report(a, true, now);
        assert_eq!(upstreams.order(now), [a, b]);
        for _ in 0..100 {
            upstreams.report(a, false, now);
        }
        assert_eq!(upstreams.order(now + LONGEST), [a, b]);
    }
}
