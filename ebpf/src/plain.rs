//! Data that is the same for the kernel and for us.

use towpath_image::datapath::{
    Addr, AffinityKey, AffinityValue, BackendRecord, ChoiceKey, ChoiceValue, ConfigRecord,
    DeviceRecord, FrontendKey, FrontendWord, HeartbeatRecord, NodeAddressValue, PacketCounters,
    PeerValue, RangeKey, ServiceCounters, ServiceRecord, SocketRecord, TotalCounters,
    flow::{FlowEntry, Tuple},
    policy::{
        BlockKey, BlockWord, DeviceWord, PeerWord, PodRecord, PolicyConfig, PolicyCounters,
        PolicyFlowKey, PolicyFlowValue, RowKey, RowRecord, RowWord,
    },
};

/// Data that the kernel may copy as it is.
///
/// # Safety
/// Every pattern of bits is a value, and there is no padding.
pub unsafe trait Plain: Copy + Send + Sync + 'static {
    /// All bits zero.
    #[must_use]
    fn zero() -> Self {
        // SAFETY: a pattern like any other.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! plain {
    ($($type:ty),+) => {
        // SAFETY: whole numbers, and `repr(C)` records of them in which every byte is named.
        $(unsafe impl Plain for $type {})+
    };
}

plain! {
    u32, u64, Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, ChoiceKey, ChoiceValue,
    FrontendKey, FrontendWord, NodeAddressValue, PeerValue, RangeKey, ServiceCounters, ServiceRecord,
    HeartbeatRecord, SocketRecord, TotalCounters, BlockKey, BlockWord, DeviceWord, PeerWord, PodRecord, PolicyConfig,
    PolicyCounters, PolicyFlowKey, PolicyFlowValue, RowKey, RowRecord, RowWord,
    DeviceRecord, PacketCounters, FlowEntry, Tuple
}
