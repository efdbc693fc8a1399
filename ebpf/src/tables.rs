//! The maps of every area, a row for each.

use towpath_image::{
    DEVICES_MAX, MapName, SOURCE_RANGES_MAX,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ChoiceKey, ChoiceValue, ConfigRecord,
        DeviceRecord, FrontendKey, FrontendWord, HeartbeatRecord, NodeAddressValue, PacketCounters,
        PeerValue, RangeKey, ServiceCounters, ServiceRecord, SocketRecord, TotalCounters,
        flow::{FlowEntry, Tuple},
        policy::{
            BlockKey, BlockWord, DeviceWord, PORT_ELEMENTS, PeerWord, PodRecord, PolicyConfig,
            PolicyCounters, PolicyFlowKey, PolicyFlowValue, RowKey, RowRecord, RowWord,
        },
    },
};

use crate::table::{Former, Row, Table};

/// Elements of the LRU maps. A lost element costs a client its affinity, an unconnected socket that
/// talks to several frontends one look-up, or a connected UDP socket the daemon's help when its
/// endpoint goes; it never breaks a connection.
const LRU_ELEMENTS: u32 = 65_536;

/// CHOICES, in layout 1.
const FLOWS: MapName = MapName::new("FLOWS");

/// What every daemon has.
pub(crate) const ALL: [&Table; 2] = [&PROGRAMS, &SERVICES];
/// Every area's.
const EVER: [&Table; 4] = [&PROGRAMS, &SERVICES, &POLICY, &PACKETS];

/// Names of all maps. What goes out of use stays among them: clean-up removes what an older version
/// pinned.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let rows = EVER.iter().flat_map(|table| table.rows);
    rows.flat_map(|row| [Some(row.name), row.former_name()]).flatten().map(MapName::as_str)
}

/// The area that a map belongs to.
pub(crate) fn area(map: MapName) -> Option<&'static str> {
    let has = |table: &&&Table| table.rows.iter().any(|row| row.name == map);
    EVER.iter().find(has).map(|table| table.area)
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
        Row::prefixes::<RangeKey, u32>(MapName::SOURCE_RANGES, |_| SOURCE_RANGES_MAX),
        Row::array::<ServiceCounters>(MapName::COUNTERS, |s| s.capacities.services),
        Row::single::<TotalCounters>(MapName::TOTALS).alone(),
        Row::lru::<AffinityKey, AffinityValue>(MapName::AFFINITY, |_| LRU_ELEMENTS).alone(),
        Row::lru::<ChoiceKey, ChoiceValue>(MapName::CHOICES, |_| LRU_ELEMENTS)
            .formerly(Former::renamed::<ChoiceKey, ChoiceValue>(FLOWS)),
        Row::lru::<u64, PeerValue>(MapName::PEERS, |_| LRU_ELEMENTS).alone(),
        Row::socket_storage::<SocketRecord>(MapName::SOCKETS).alone(),
        Row::single::<HeartbeatRecord>(MapName::HEARTBEAT).alone(),
    ],
};

/// Connections that are remembered for their replies. A lost one is cut where only its reply may pass.
const POLICY_FLOW_ELEMENTS: u32 = 262_144;

/// Policies. What devices and words lead to is in the other maps: none means something alone but what
/// was counted, and who opened what, which names slots by generation.
pub(crate) const POLICY: Table = Table {
    area: "policy",
    rows: &[
        Row::array::<PodRecord>(MapName::POLICY_PODS, |s| s.policies().pods),
        Row::hash::<u32, DeviceWord>(MapName::POLICY_DEVICES, |s| s.policies().pods),
        Row::hash::<Addr, PeerWord>(MapName::POLICY_PEERS, |s| s.policies().peers),
        Row::prefixes::<BlockKey, BlockWord>(MapName::POLICY_BLOCKS, |s| s.policies().blocks),
        Row::hash::<RowKey, RowWord>(MapName::POLICY_ROW_INDEX, |s| s.policies().row_index),
        Row::array::<RowRecord>(MapName::POLICY_ROWS, |s| s.policies().rows),
        Row::array::<u64>(MapName::POLICY_PORTS, |_| PORT_ELEMENTS),
        Row::lru::<PolicyFlowKey, PolicyFlowValue>(MapName::POLICY_FLOWS, |_| POLICY_FLOW_ELEMENTS),
        Row::single::<PolicyConfig>(MapName::POLICY_CONFIG),
        Row::single::<PolicyCounters>(MapName::POLICY_COUNTERS).alone(),
    ],
};

/// Entries of the flow table, two for each flow. Memory follows use.
const FLOW_ENTRIES: u32 = 1 << 20;

/// Packets. A flow says all that is needed to translate it: it outlives whatever it came from.
pub(crate) const PACKETS: Table = Table {
    area: "packets",
    rows: &[
        Row::hash::<Tuple, FlowEntry>(MapName::FLOW_TABLE, |_| FLOW_ENTRIES).alone(),
        Row::hash::<u32, DeviceRecord>(MapName::DEVICES, |_| DEVICES_MAX).alone(),
        Row::single::<PacketCounters>(MapName::PACKETS).alone(),
    ],
};
