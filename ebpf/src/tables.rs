//! The maps of every area, a row for each.

use towpath_image::{
    MapName,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ChoiceKey, ChoiceValue, ConfigRecord,
        FrontendKey, FrontendWord, NodeAddressValue, PeerValue, ServiceCounters, ServiceRecord,
        SocketRecord, TotalCounters,
    },
};

use crate::table::{Former, Row, Table};

/// Elements of the LRU maps. A lost element costs a client its affinity, an unconnected socket that
/// talks to several frontends one look-up, or a connected UDP socket the daemon's help when its
/// endpoint goes; it never breaks a connection.
const LRU_ELEMENTS: u32 = 65_536;

/// CHOICES, in layout 1.
const FLOWS: MapName = MapName::new("FLOWS");

/// Every area's.
pub(crate) const ALL: [&Table; 2] = [&PROGRAMS, &SERVICES];

/// Names of all maps. What goes out of use stays among them: clean-up removes what an older version
/// pinned.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let rows = ALL.iter().flat_map(|table| table.rows);
    rows.flat_map(|row| [Some(row.name), row.former_name()]).flatten().map(MapName::as_str)
}

/// What belongs to no area.
pub(crate) const PROGRAMS: Table =
    Table { area: "programs", rows: &[Row::single::<ConfigRecord>(MapName::CONFIG).alone()] };

/// Services. CHOICES names set words, and COUNTERS an index: without SERVICES they mean nothing.
pub(crate) const SERVICES: Table = Table {
    area: "services",
    rows: &[
        Row::hash::<FrontendKey, FrontendWord>(MapName::FRONTENDS, |s| s.capacities.frontends),
        Row::array::<ServiceRecord>(MapName::SERVICES, |s| s.capacities.services),
        Row::array::<BackendRecord>(MapName::BACKENDS, |s| s.capacities.backends),
        Row::hash::<Addr, NodeAddressValue>(MapName::NODE_ADDRESSES, |s| {
            s.capacities.node_addresses
        }),
        Row::array::<ServiceCounters>(MapName::COUNTERS, |s| s.capacities.services),
        Row::single::<TotalCounters>(MapName::TOTALS).alone(),
        Row::lru::<AffinityKey, AffinityValue>(MapName::AFFINITY, |_| LRU_ELEMENTS).alone(),
        Row::lru::<ChoiceKey, ChoiceValue>(MapName::CHOICES, |_| LRU_ELEMENTS)
            .formerly(Former::renamed::<ChoiceKey, ChoiceValue>(FLOWS)),
        Row::lru::<u64, PeerValue>(MapName::PEERS, |_| LRU_ELEMENTS).alone(),
        Row::socket_storage::<SocketRecord>(MapName::SOCKETS).alone(),
    ],
};
