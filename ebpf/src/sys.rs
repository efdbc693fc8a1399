//! System calls that aya 0.14 does not have: batches, link updates, object information, mmap.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use crate::plain::Plain;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_ENABLE_STATS: libc::c_long = 32;

/// bpf(2). `attr` must be what `command` expects.
///
/// # Safety
/// Every pointer inside `attr` must be valid for what the command reads and writes.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the caller vouches for the pointers inside; size and address describe `attr` itself.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(answer).map_err(|_wide| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

fn fd_number(fd: BorrowedFd<'_>) -> u32 {
    // File descriptors are never negative.
    fd.as_raw_fd().unsigned_abs()
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Inserts or replaces; answers how many were carried out, and why not more.
pub(crate) fn update_batch<K: Copy, V: Copy>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> (usize, Option<io::Error>) {
    let number = keys.len().min(values.len());
    let mut attr = BatchAttr {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(number).unwrap_or(u32::MAX),
        map_fd: fd_number(map),
        ..BatchAttr::default()
    };
    // SAFETY: both slices hold `count` elements of the map's key and value size, which the loader
    // has compared with the map.
    match unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attr) } {
        Ok(_) => (number, None),
        // The kernel leaves the number of elements it did in `count`, but only once it began.
        Err(error) if (attr.count as usize) < number => (attr.count as usize, Some(error)),
        Err(error) => (0, Some(error)),
    }
}

/// Every element of a hash map or a trie.
pub(crate) fn dump<K: Plain, V: Plain>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let mut found = Vec::new();
    visit(map, |keys, values| {
        found.extend(keys.iter().copied().zip(values.iter().copied()));
        Ok(())
    })?;
    Ok(found)
}

/// Shows every element of a hash, so many at a time; what is removed meanwhile is not missed.
pub(crate) fn visit<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(&[K], &[V]) -> io::Result<()>,
) -> io::Result<()> {
    const CHUNK: usize = 4096;
    // A hash map's position is four bytes, a trie's a key.
    const TOKEN: usize = 8;
    const { assert!(size_of::<K>() <= TOKEN * 8) };
    let (mut keys, mut values) = (vec![K::zero(); CHUNK], vec![V::zero(); CHUNK]);
    let (mut token, mut next_token) = ([0u64; TOKEN], [0u64; TOKEN]);
    let mut first = true;
    loop {
        let mut attr = BatchAttr {
            in_batch: if first { 0 } else { std::ptr::from_ref(&token) as u64 },
            out_batch: std::ptr::from_mut(&mut next_token) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: 4096,
            map_fd: fd_number(map),
            ..BatchAttr::default()
        };
        // SAFETY: the buffers hold `count` elements; the tokens are as large as a key.
        let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) };
        let got = (attr.count as usize).min(CHUNK);
        let done = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        each(&keys[..got], &values[..got])?;
        if done {
            return Ok(());
        }
        token = next_token;
        first = false;
    }
}

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Removes an element; one that is not there is a success.
pub(crate) fn delete<K>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let key = std::ptr::from_ref(key) as u64;
    let mut attr = ElementAttr { map_fd: fd_number(map), pad: 0, key, value: 0, flags: 0 };
    // SAFETY: the key has the map's key size, which the loader has compared with the map.
    match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) } {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// One element of a hash map, by value.
pub(crate) fn lookup<K, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::zero();
    let mut attr = ElementAttr {
        map_fd: fd_number(map),
        pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_mut(&mut value) as u64,
        flags: 0,
    };
    // SAFETY: key and value have the map's sizes, which the loader has compared with the map.
    match unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) } {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Replaces the program of a link, atomically.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr {
        link_fd: fd_number(link),
        new_prog_fd: fd_number(program),
        ..LinkUpdateAttr::default()
    };
    // SAFETY: no pointers.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(|_zero| ())
}

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    prog_fd: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    expected_revision: u64,
}

/// Which end of a device a program is for (`enum bpf_attach_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Tcx {
    Ingress = 46,
    Egress = 47,
}

/// BPF_F_BEFORE: without another program, before all.
const BEFORE: u32 = 1 << 3;

/// A link of a program to a device, before or behind what is attached there (TCX, 6.6).
pub(crate) fn link_to_device(
    program: BorrowedFd<'_>,
    device: u32,
    end: Tcx,
    first: bool,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreateAttr {
        prog_fd: fd_number(program),
        ifindex: device,
        attach_type: end as u32,
        flags: if first { BEFORE } else { 0 },
        ..LinkCreateAttr::default()
    };
    // SAFETY: no pointers.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What [`link_attachment`] says of such a link.
pub(crate) const fn device_place(device: u32, end: Tcx) -> u64 {
    device as u64 | (end as u64) << 32
}

#[repr(C)]
struct LinkDetachAttr {
    link_fd: u32,
}

/// Takes the program of a link out of force, now: removing the last pin does it only later.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkDetachAttr { link_fd: fd_number(link) };
    // SAFETY: no pointers.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(|_zero| ())
}

#[repr(C)]
#[derive(Default)]
struct PathAttr {
    pathname: u64,
    fd: u32,
    flags: u32,
}

/// Opens a pin.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = PathAttr { pathname: path.as_ptr() as u64, ..PathAttr::default() };
    // SAFETY: a string that ends with zero and lives until the call returns.
    let fd = unsafe { bpf(BPF_OBJ_GET, &mut attr) }?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins an object.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let pathname = path.as_ptr() as u64;
    let mut attr = PathAttr { pathname, fd: fd_number(object), ..PathAttr::default() };
    // SAFETY: a string that ends with zero and lives until the call returns.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(|_zero| ())
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_nul| io::Error::from_raw_os_error(libc::EINVAL))
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

/// What the kernel says of an object, as far as `T` has room for it.
fn info<T: Default>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = T::default();
    let mut attr = InfoAttr {
        fd: fd_number(fd),
        len: u32::try_from(size_of::<T>()).unwrap_or(0),
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` has `len` bytes; the kernel writes plain numbers and user pointers that we
    // leave null.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// `bpf_link_info` of a cgroup link.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    cgroup_id: u64,
    attach_type: u32,
    pad2: u32,
}

/// Which cgroup a link is attached to (0 when that cgroup is gone, or the link was detached), and
/// the id of its program. Of a link to a device: its index, and which end, where the cgroup would be
/// ([`device_place`]); an index of 0 when it is gone.
pub(crate) fn link_attachment(link: BorrowedFd<'_>) -> io::Result<(u64, u32)> {
    let info = info::<LinkInfo>(link)?;
    Ok((info.cgroup_id, info.prog_id))
}

/// The beginning of `bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// Shape of a map.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(map)
}

#[repr(C)]
#[derive(Default)]
struct ProgramAttr {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attach_type: u32,
}

/// Does this kernel let a connect4 program set what the caller sees (`bpf_set_retval`, 5.18)? Found
/// out by loading one that does nothing else.
pub(crate) fn has_set_retval() -> bool {
    const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
    const BPF_CGROUP_INET4_CONNECT: u32 = 10;
    const BPF_FUNC_SET_RETVAL: u64 = 187;
    let immediate = |value: i32| u64::from(value.cast_unsigned()) << 32;
    let code: [u64; 4] = [
        0x01b7 | immediate(-111),         // r1 = -ECONNREFUSED
        0x85 | BPF_FUNC_SET_RETVAL << 32, // call
        0x00b7 | immediate(1),            // r0 = 1
        0x95,                             // exit
    ];
    let mut attr = ProgramAttr {
        kind: BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        instructions: 4,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        attach_type: BPF_CGROUP_INET4_CONNECT,
        ..ProgramAttr::default()
    };
    // SAFETY: `code` has that many instructions, the licence ends with zero, there is no log.
    let loaded = unsafe { bpf(BPF_PROG_LOAD, &mut attr) };
    // SAFETY: a descriptor that the kernel just made for us; closed at once.
    loaded.map(|fd| drop(unsafe { OwnedFd::from_raw_fd(fd) })).is_ok()
}

#[repr(C)]
#[derive(Default)]
struct StatsAttr {
    kind: u32,
}

/// Turns run statistics on for as long as the descriptor is open.
pub(crate) fn enable_stats() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { bpf(BPF_ENABLE_STATS, &mut StatsAttr::default()) }?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `membarrier(MEMBARRIER_CMD_GLOBAL)`.
pub(crate) fn membarrier_global() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[repr(C)]
#[derive(Default)]
struct MapAttr {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
}

/// A map of this shape.
pub(crate) fn create_map(
    kind: u32,
    key: usize,
    value: usize,
    elements: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let size = |bytes| u32::try_from(bytes).map_err(io::Error::other);
    let (key_size, value_size) = (size(key)?, size(value)?);
    let attr =
        MapAttr { kind, key_size, value_size, max_entries: elements, flags, inner_map_fd: 0 };
    create(attr)
}

/// An array of one number, or of one map like `inner`.
pub(crate) fn small_array(inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
    create(MapAttr {
        kind: if inner.is_some() { BPF_MAP_TYPE_ARRAY_OF_MAPS } else { BPF_MAP_TYPE_ARRAY },
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        inner_map_fd: inner.map_or(0, fd_number),
        ..MapAttr::default()
    })
}

fn create(mut attr: MapAttr) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { bpf(BPF_MAP_CREATE, &mut attr) }?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Stores a map in a map of maps.
pub(crate) fn store_map(outer: BorrowedFd<'_>, inner: BorrowedFd<'_>) -> io::Result<()> {
    let (key, value) = (0u32, fd_number(inner));
    let mut attr = ElementAttr {
        map_fd: fd_number(outer),
        pad: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: std::ptr::from_ref(&value) as u64,
        flags: 0,
    };
    // SAFETY: key and value are four bytes each, as `small_array` made the map.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(|_zero| ())
}
