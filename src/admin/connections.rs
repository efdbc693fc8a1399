//! Which clients may be connected to a listener at a time: none can keep others out.
//!
//! Anybody on the node's network can open connections to the health port, and a kubelet that gets no
//! answer there kills the daemon. So the newest gets in: where there is no room, the oldest connection
//! that waits for its client is closed. One address has a share of the places, not all of them.

use std::{
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, Ipv6Addr},
};

use tokio::task::{AbortHandle, JoinSet};

use super::http::Busy;

/// The places of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// Connections at a time.
    pub(crate) all: usize,
    /// Connections of one address at a time.
    pub(crate) each: usize,
}

struct Connection {
    from: Option<IpAddr>,
    busy: Busy,
    task: AbortHandle,
}

/// The connections of a listener. Dropped with its task: connections of a listener that is no longer
/// wanted end with it.
pub(super) struct Connections {
    places: Places,
    /// By age.
    table: BTreeMap<u64, Connection>,
    next: u64,
    tasks: JoinSet<()>,
}

/// What became of a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admitted {
    /// There was room.
    Free,
    /// An older one was closed for it.
    Instead,
    /// It was closed: all others are being answered.
    Refused,
}

impl Connections {
    pub(super) fn new(places: Places) -> Self {
        Self { places, table: BTreeMap::new(), next: 0, tasks: JoinSet::new() }
    }

    /// Serves a connection, if there is room for it or room can be made.
    pub(super) fn admit<F>(
        &mut self,
        from: Option<IpAddr>,
        serve: impl FnOnce(Busy) -> F,
    ) -> Admitted
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.tasks.try_join_next().is_some() {}
        self.table.retain(|_, connection| !connection.task.is_finished());
        let from = from.map(household);
        let same = |other: &Connection| from.is_some() && other.from == from;
        let of_same = self.table.values().filter(|other| same(other)).count();
        let admitted = if of_same >= self.places.each {
            self.close_oldest(same)
        } else if self.table.len() >= self.places.all {
            self.close_oldest(|_any| true)
        } else {
            Admitted::Free
        };
        if admitted != Admitted::Refused {
            let busy = Busy::default();
            let task = self.tasks.spawn(serve(busy.clone()));
            self.table.insert(self.next, Connection { from, busy, task });
            self.next += 1;
        }
        admitted
    }

    /// Closes what waits for its client, and waits until the rest is answered.
    pub(super) async fn drain(&mut self) {
        for connection in self.table.values().filter(|connection| !connection.busy.get()) {
            connection.task.abort();
        }
        while self.tasks.join_next().await.is_some() {}
    }

    fn close_oldest(&mut self, among: impl Fn(&Connection) -> bool) -> Admitted {
        let mut waiting = self.table.iter().filter(|(_, other)| among(other) && !other.busy.get());
        let Some(age) = waiting.next().map(|(age, _)| *age) else { return Admitted::Refused };
        if let Some(closed) = self.table.remove(&age) {
            closed.task.abort();
        }
        Admitted::Instead
    }
}

/// Addresses that one host can have at will: with IPv6 all of its /64.
fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections of these addresses, one after another, three places and two for each; `!`: it is
    /// being answered. Says what became of each, and who is left.
    async fn play(all: &[&str]) -> String {
        let mut connections = Connections::new(Places { all: 3, each: 2 });
        let mut told = String::new();
        for text in all {
            let from = text.trim_end_matches('!').parse().unwrap();
            let admitted = connections.admit(Some(from), |busy| {
                busy.set(text.ends_with('!'));
                std::future::pending()
            });
            told.push(match admitted {
                Admitted::Free => '+',
                Admitted::Instead => '=',
                Admitted::Refused => '-',
            });
        }
        // What was closed has ended.
        tokio::task::yield_now().await;
        while connections.tasks.try_join_next().is_some() {}
        assert_eq!(connections.tasks.len(), connections.table.len());
        let left = connections.table.keys().map(u64::to_string).collect::<Vec<_>>().join(" ");
        format!("{told} {left}")
    }

    #[tokio::test]
    async fn the_newest_gets_in_for_the_oldest_that_waits_for_its_client() {
        for (all, expected) in [
            (&["10.0.0.1", "10.0.0.2", "10.0.0.3"][..], "+++ 0 1 2"),
            (&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"], "+++= 1 2 3"),
            (&["10.0.0.1!", "10.0.0.2", "10.0.0.3", "10.0.0.4"], "+++= 0 2 3"),
            (&["10.0.0.1!", "10.0.0.2!", "10.0.0.3!", "10.0.0.4"], "+++- 0 1 2"),
            // One address closes its own.
            (&["10.0.0.2", "10.0.0.1", "10.0.0.1", "10.0.0.1"], "+++= 0 2 3"),
            (&["10.0.0.1!", "10.0.0.1!", "10.0.0.1"], "++- 0 1"),
            (&["fd00::1", "fd00::2", "fd00::3", "fd00:0:0:1::1"], "++=+ 1 2 3"),
            (&["::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1"], "++= 1 2"),
        ] {
            assert_eq!(play(all).await, expected, "{all:?}");
        }
    }
}
