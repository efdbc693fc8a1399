//! An ordered change.

use towpath_datapath::{
    Addr, BackendRecord, ConfigRecord, FrontendKey, FrontendWord, NodeAddressValue, ServiceRecord,
    SetChoice, SetWord,
};

/// One write. Deleting what is absent is a success.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Fill slots that no set word in force points at.
    WriteBackends {
        /// First slot.
        base: u32,
        /// Their content.
        records: Vec<BackendRecord>,
    },
    /// Fill an index that no frontend in force points at (identity 0 marks it unused again).
    WriteService {
        /// Index.
        index: u32,
        /// Content.
        record: ServiceRecord,
    },
    /// The atomic flip of one set: a single 64-bit release store.
    StoreSet {
        /// Index of a used service.
        index: u32,
        /// Which set.
        choice: SetChoice,
        /// Its new word.
        word: SetWord,
    },
    /// Insert or replace, atomically.
    PutFrontend {
        /// Key.
        key: FrontendKey,
        /// Value.
        word: FrontendWord,
    },
    /// Remove.
    DeleteFrontend {
        /// Key.
        key: FrontendKey,
    },
    /// Insert or replace.
    PutNodeAddress {
        /// Key.
        addr: Addr,
        /// Value.
        value: NodeAddressValue,
    },
    /// Remove.
    DeleteNodeAddress {
        /// Key.
        addr: Addr,
    },
    /// Replace the configuration.
    WriteConfig {
        /// Content.
        config: ConfigRecord,
    },
}

/// Operations in the one safe order: whoever carries them out keeps that order, and any prefix of
/// them leaves a legal state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// First to last.
    pub ops: Vec<Op>,
}

impl Batch {
    /// Nothing to do?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
