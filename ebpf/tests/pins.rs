//! Pins that other processes remove or move behind the daemon's back.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::fd::AsRawFd as _,
    path::Path,
};

use aya::maps::{HashMap, MapData};
use nix::fcntl::{Flock, FlockArg};
use support::{
    net::{Family, serve, tcp},
    plane::Plane,
    start,
};
use towpath_ebpf::{Error, cleanup};
use towpath_image::{Kernel as _, KernelError, Programs as _};

/// A node with one Service, and the way to it.
fn plane(name: &str) -> (Plane, SocketAddr, String) {
    let mut plane = Plane::new(name);
    let (at_vip, backend) = (SocketAddr::new(Family::V4.vip(1), 80), Family::V4.backend(1));
    serve(&backend.to_string());
    serve(&at_vip.to_string());
    let index = plane.service(&[backend]);
    plane.cluster_ip(at_vip.ip(), 80, index, 0);
    (plane, at_vip, backend.to_string())
}

/// Maps of a daemon that is only for sockets.
const MAPS: usize = 13;

fn heal(plane: &mut Plane) -> Result<Vec<String>, KernelError> {
    plane.kernel.as_mut().unwrap().programs.heal()
}

/// The daemon dies, and another one adopts what is pinned.
fn restart(plane: &mut Plane) {
    let kernel = plane.kernel.as_mut().unwrap();
    let before = kernel.services.read().unwrap();
    plane.kernel = None;
    let mut next = start(&plane.bed.settings).expect("opens");
    assert_eq!(next.services.read().unwrap(), before, "nothing is lost");
    plane.kernel = Some(next);
}

/// Ids of the links that are pinned.
fn link_ids(dir: &Path) -> Vec<String> {
    let mut pins: Vec<_> = fs::read_dir(dir).unwrap().map(|pin| pin.unwrap().path()).collect();
    pins.sort();
    let id = |pin| {
        let link = support::open_pin(pin);
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd())).unwrap();
        info.lines().find(|line| line.starts_with("link_id:")).unwrap().to_owned()
    };
    pins.iter().map(|pin| id(pin)).collect()
}

#[test]
#[ignore = "needs root"]
fn maps_whose_pins_were_removed_are_pinned_again() {
    let (mut plane, at_vip, backend) = plane("pins");
    let maps = plane.bed.settings.maps_dir();
    assert_eq!(heal(&mut plane), Ok(vec![]), "nothing is wrong");
    fs::remove_file(maps.join("FRONTENDS")).unwrap();
    assert_eq!(heal(&mut plane), Ok(vec!["pin of FRONTENDS".to_owned()]));
    for pin in fs::read_dir(&maps).unwrap() {
        fs::remove_file(pin.unwrap().path()).unwrap();
    }
    assert_eq!(heal(&mut plane).map(|all| all.len()), Ok(MAPS));
    assert_eq!(heal(&mut plane), Ok(vec![]));
    restart(&mut plane);
    assert_eq!(tcp(at_vip).unwrap().0, backend);
}

#[test]
#[ignore = "needs root"]
fn another_map_in_a_pins_place_is_said_and_stays() {
    let (mut plane, ..) = plane("other");
    let settings = plane.bed.settings.clone();
    let pin = settings.maps_dir().join("BACKENDS");
    fs::remove_file(&pin).unwrap();
    let other = HashMap::<MapData, u32, u32>::create(4, 0).unwrap();
    other.pin(&pin).unwrap();
    fs::remove_file(settings.links_dir().join("connect4")).unwrap();
    for _ in 0..2 {
        let error = heal(&mut plane).expect_err("not our map");
        assert!(
            matches!(&error, KernelError::Pins { place, .. } if *place == pin.to_string_lossy())
        );
        assert!(error.to_string().contains("another map"), "{error}");
    }
    assert_eq!(plane.bed.attached(), 8, "programs are in force all the same");
    HashMap::<_, u32, u32>::try_from(aya::maps::Map::HashMap(MapData::from_pin(&pin).unwrap()))
        .expect("it was not overwritten");
    fs::remove_file(&pin).unwrap();
    assert_eq!(heal(&mut plane), Ok(vec!["pin of BACKENDS".to_owned()]));
}

#[test]
#[ignore = "needs root"]
fn a_pin_root_that_was_removed_is_made_and_locked_anew() {
    let (mut plane, at_vip, backend) = plane("gone");
    let settings = plane.bed.settings.clone();
    fs::remove_dir_all(&settings.pin_root).unwrap();
    assert_eq!(heal(&mut plane).map(|all| all.len()), Ok(MAPS + 8));
    assert_eq!(tcp(at_vip).unwrap().0, backend);
    for dir in [settings.pin_root.clone(), settings.maps_dir(), settings.links_dir()] {
        let lock = FlockArg::LockExclusiveNonblock;
        assert!(Flock::lock(File::open(&dir).unwrap(), lock).is_err(), "{}", dir.display());
    }
    let mut second = settings.clone();
    second.run_dir = settings.run_dir.join("other");
    assert!(matches!(start(&second), Err(Error::Locked { .. })));
    assert_eq!(heal(&mut plane), Ok(vec![]));
    restart(&mut plane);
    assert_eq!(tcp(at_vip).unwrap().0, backend);
}

#[test]
#[ignore = "needs root"]
fn links_of_a_pin_root_that_was_moved_come_back_and_are_never_there_twice() {
    let (mut plane, at_vip, backend) = plane("moved");
    let settings = plane.bed.settings.clone();
    let ids = link_ids(&settings.links_dir());
    let elsewhere = settings.pin_root.with_file_name("elsewhere");
    fs::rename(&settings.pin_root, &elsewhere).unwrap();
    assert_eq!(heal(&mut plane).map(|all| all.len()), Ok(MAPS), "maps are pinned anew");
    assert_eq!(link_ids(&settings.links_dir()), ids);
    assert_eq!(fs::read_dir(elsewhere.join("links")).unwrap().count(), 0);
    assert_eq!(tcp(at_vip).unwrap().0, backend);
    restart(&mut plane);
}

#[test]
#[ignore = "needs root"]
fn pins_that_another_daemon_has_taken_over_are_its_own() {
    let (mut plane, ..) = plane("taken");
    let settings = plane.bed.settings.clone();
    fs::remove_dir_all(&settings.pin_root).unwrap();
    let mut other = settings.clone();
    other.run_dir = settings.run_dir.join("other");
    let second = start(&other).expect("these are free");
    let ids = link_ids(&settings.links_dir());
    for _ in 0..2 {
        let error = heal(&mut plane).expect_err("they are the other's");
        assert!(matches!(error, KernelError::TakenOver { .. }), "{error}");
        assert_eq!(link_ids(&settings.links_dir()), ids);
    }
    drop(second);
    // What it left is adopted by no plane: its maps are not the ones that are written here.
    let error = heal(&mut plane).expect_err("other maps");
    assert!(error.to_string().contains("another map"), "{error}");
    assert_eq!(link_ids(&settings.links_dir()), ids, "with this daemon's programs");
    assert!(matches!(cleanup(&other, false), Err(Error::Locked { .. })));
}
