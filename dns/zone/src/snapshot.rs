//! The zone at one moment.

use std::{hash::BuildHasherDefault, net::IpAddr, sync::Arc};

use rpds::HashTrieMapSync;
use towpath_model::service::Cidr;

use crate::{
    Settings,
    name::{MAX_LABEL, Name},
    records::Records,
    reverse::Pointer,
};

/// Hashes in the same way in every run: what comes out depends on nothing but what goes in.
type Hasher = BuildHasherDefault<std::hash::DefaultHasher>;
/// A map of which a changed copy shares all that did not change.
pub(crate) type Map<K, V> = HashTrieMapSync<K, V, Hasher>;

/// Everything that is answered from; immutable, and cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) zone: Arc<Zone>,
    /// Services by name and namespace, as labels in wire form.
    pub(crate) services: Map<Box<[u8]>, Arc<Records>>,
    /// Namespaces that exist, by label.
    pub(crate) namespaces: Map<Box<[u8]>, Presence>,
    /// Names of addresses.
    pub(crate) reverse: Map<IpAddr, Arc<[Pointer]>>,
    /// Blocks that ClusterIPs are allocated from: their reverse names are ours.
    pub(crate) blocks: Arc<[Cidr]>,
    /// When something changed last, in seconds since 1970.
    pub(crate) serial: u32,
    /// It is what an earlier daemon knew: nothing was listed since.
    pub(crate) stale: bool,
}

/// Why a namespace exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Presence {
    /// There is an object of it.
    pub(crate) object: bool,
    /// So many Services in it have records.
    pub(crate) services: u32,
}

/// The zone's settings, and names made of them.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) settings: Settings,
    /// The domain as text, for labels.
    pub(crate) text: Box<str>,
    /// Key of the Service of this server.
    pub(crate) server: Box<[u8]>,
    /// Name of the server for SOA records.
    pub(crate) primary: Name,
    /// Mailbox of who is responsible.
    pub(crate) mailbox: Name,
}

impl Zone {
    /// `None` when the domain is too long to have names below it.
    pub(crate) fn new(settings: Settings) -> Option<Self> {
        let primary = settings.domain.under(b"\x02ns\x03dns")?;
        let mailbox = settings.domain.under(b"\x0ahostmaster")?;
        let server = Settings::key(&settings.service)?;
        // Room for the longest label at least.
        settings.domain.under(&[0; MAX_LABEL + 1])?;
        let text = settings.domain.to_string().into();
        Some(Self { settings, text, server, primary, mailbox })
    }
}

impl Snapshot {
    pub(crate) fn empty(zone: Arc<Zone>) -> Self {
        Self {
            zone,
            services: Map::default(),
            namespaces: Map::default(),
            reverse: Map::default(),
            blocks: [].into(),
            serial: 0,
            stale: false,
        }
    }

    pub(crate) fn has_namespace(&self, label: &[u8]) -> bool {
        self.namespaces.contains_key(label)
    }

    /// Records of this server's own Service.
    pub(crate) fn server(&self) -> Option<&Arc<Records>> {
        self.services.get(&self.zone.server)
    }

    /// Settings of the zone.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.zone.settings
    }

    /// The domain as text, with its last dot.
    #[must_use]
    pub fn domain_text(&self) -> &str {
        &self.zone.text
    }

    /// When something changed last, in seconds since 1970; 0: nothing was planned or read.
    #[must_use]
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// Is it what an earlier daemon knew?
    #[must_use]
    pub const fn stale(&self) -> bool {
        self.stale
    }

    /// How many Services have records.
    #[must_use]
    pub fn services(&self) -> usize {
        self.services.size()
    }

    /// The same answers? (The serial says when, not what.)
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.zone.settings == other.zone.settings
            && self.services == other.services
            && self.namespaces == other.namespaces
            && self.reverse == other.reverse
            && self.blocks == other.blocks
    }
}
