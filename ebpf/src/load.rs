//! The object: maps made or adopted from their pins, programs loaded.

use std::{os::fd::AsFd, path::Path};

use aya::{Ebpf, EbpfLoader, include_bytes_aligned, maps::MapData, programs::CgroupSockAddr};
use nix::{
    errno::Errno,
    sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs},
};
use towpath_image::{
    Capacities, MapName,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, FlowKey, FlowValue,
        FrontendKey, FrontendWord, NodeAddressValue, PeerValue, ServiceCounters, ServiceRecord,
    },
};

use crate::{Error, Settings, grow, sys};

/// The socket programs and their maps, built by `cargo xtask bpf` and checked in.
static SOCKETS: &[u8] = include_bytes_aligned!("../objects/sockets.o");
/// The same for kernels before 5.18, where a refused call ends with EPERM.
static SOCKETS_EPERM: &[u8] = include_bytes_aligned!("../objects/sockets-eperm.o");

/// Elements of the LRU maps. A lost element costs a client its affinity, an unconnected socket that
/// talks to several frontends one look-up, or a connected UDP socket the daemon's help when its
/// endpoint goes; it never breaks a connection.
const LRU_ELEMENTS: u32 = 65_536;

/// One map: its name, the sizes of its elements, how many.
struct Shape {
    name: &'static str,
    key: usize,
    value: usize,
    elements: fn(&Capacities) -> u32,
}

const fn shape<K, V>(name: MapName, elements: fn(&Capacities) -> u32) -> Shape {
    Shape { name: name.as_str(), key: size_of::<K>(), value: size_of::<V>(), elements }
}

const SHAPES: [Shape; 10] = [
    shape::<FrontendKey, FrontendWord>(MapName::FRONTENDS, |c| c.frontends),
    shape::<Addr, NodeAddressValue>(MapName::NODE_ADDRESSES, |c| c.node_addresses),
    shape::<u32, ServiceRecord>(MapName::SERVICES, |c| c.services),
    shape::<u32, BackendRecord>(MapName::BACKENDS, |c| c.backends),
    shape::<u32, ServiceCounters>(MapName::COUNTERS, |c| c.services),
    shape::<u32, towpath_image::datapath::TotalCounters>(MapName::TOTALS, |_| 1),
    shape::<u32, ConfigRecord>(MapName::CONFIG, |_| 1),
    shape::<AffinityKey, AffinityValue>(MapName::AFFINITY, |_| LRU_ELEMENTS),
    shape::<FlowKey, FlowValue>(MapName::FLOWS, |_| LRU_ELEMENTS),
    shape::<u64, PeerValue>(MapName::PEERS, |_| LRU_ELEMENTS),
];

/// Every map that is pinned.
pub(crate) const MAPS: [MapName; 11] = [
    MapName::FRONTENDS,
    MapName::SERVICES,
    MapName::BACKENDS,
    MapName::NODE_ADDRESSES,
    MapName::CONFIG,
    MapName::COUNTERS,
    MapName::TOTALS,
    MapName::AFFINITY,
    MapName::FLOWS,
    MapName::PEERS,
    MapName::SOCKETS,
];

/// Socket storage has no key and no size of its own.
const STORAGE: &str = MapName::SOCKETS.as_str();

/// Makes or adopts the maps, checks what was adopted, parses the programs.
pub(crate) fn load(settings: &Settings) -> Result<Ebpf, Error> {
    check_cgroup2(&settings.cgroup_root)?;
    let maps = settings.maps_dir();
    for shape in &SHAPES {
        check_shape(&maps.join(shape.name), shape)?;
    }
    grow::grow(settings)?;
    let mut loader = EbpfLoader::new();
    for shape in &SHAPES {
        loader.map_max_entries(shape.name, (shape.elements)(&settings.capacities));
        loader.map_pin_path(shape.name, maps.join(shape.name));
    }
    loader.map_pin_path(STORAGE, maps.join(STORAGE));
    loader.load(object()).map_err(|error| Error::Load { cause: chain(&error) })
}

/// The object that this kernel can load.
pub(crate) fn object() -> &'static [u8] {
    if sys::has_set_retval() { SOCKETS } else { SOCKETS_EPERM }
}

/// Loads everything with maps of one element and without pins, and lets go of it again.
pub(crate) fn rehearse() -> Result<(), Error> {
    for bytes in [object(), SOCKETS_EPERM] {
        let failed = |cause: String| Error::Load { cause };
        let mut ebpf = EbpfLoader::new().load(bytes).map_err(|e| failed(chain(&e)))?;
        for (name, program) in ebpf.programs_mut() {
            let name = name.to_owned();
            let loaded = <&mut CgroupSockAddr>::try_from(program).and_then(CgroupSockAddr::load);
            loaded.map_err(|e| failed(format!("{name}: {}", chain(&e))))?;
        }
    }
    Ok(())
}

/// Opens a pinned map.
pub(crate) fn open(settings: &Settings, name: MapName) -> Result<(MapData, u32), Error> {
    let path = settings.maps_dir().join(name.as_str());
    let map = MapData::from_pin(&path).map_err(|e| Error::Load { cause: chain(&e) })?;
    let info = sys::map_info(map.fd().as_fd()).map_err(|e| Error::file("reading", path, e))?;
    Ok((map, info.max_entries))
}

/// A pin of another shape would be adopted silently where the sizes agree by chance, and corrupted.
fn check_shape(path: &Path, wanted: &Shape) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let fd = sys::open_pin(path).map_err(|e| Error::file("opening", path, e))?;
    let info = sys::map_info(fd.as_fd()).map_err(|e| Error::file("reading", path, e))?;
    let found = (info.key_size as usize, info.value_size as usize);
    if found == (wanted.key, wanted.value) && info.max_entries > 0 {
        return Ok(());
    }
    Err(Error::Shape {
        path: path.to_owned(),
        found: format!("{} and {} bytes", found.0, found.1),
        wanted: format!("{} and {} bytes", wanted.key, wanted.value),
    })
}

/// Is a directory that may not be there yet in a bpffs?
pub(crate) fn check_bpffs(path: &Path) -> Result<(), Error> {
    for existing in path.ancestors() {
        match statfs(existing) {
            Ok(kind) if kind.filesystem_type() == BPF_FS_MAGIC => return Ok(()),
            Ok(_other) => break,
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(Error::file("reading", existing, error.into())),
        }
    }
    Err(Error::NoBpffs { path: path.to_owned() })
}

fn check_cgroup2(path: &Path) -> Result<(), Error> {
    let kind = statfs(path).map_err(|e| Error::file("reading", path, e.into()))?;
    if kind.filesystem_type() != CGROUP2_SUPER_MAGIC {
        return Err(Error::NoCgroup2 { path: path.to_owned() });
    }
    Ok(())
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
