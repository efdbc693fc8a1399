//! Clean-up: all of Towpath's goes, whichever version pinned it, and nothing else does.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::{
    fs::{self, File, Permissions},
    os::{
        fd::AsRawFd as _,
        unix::fs::{PermissionsExt as _, chown, symlink},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{HashMap, MapData};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
};
use support::{Bed, start};
use towpath_ebpf::{Cleaned, Error, Settings, cleanup};
use towpath_image::datapath::LAYOUT;

fn pin_map(at: &Path) {
    HashMap::<MapData, u32, u32>::create(1, 0).unwrap().pin(at).unwrap();
}

/// Is a pinned link attached to a cgroup? One that was detached has none.
fn in_force(pin: &Path) -> bool {
    let link = support::open_pin(pin);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd())).unwrap();
    let cgroup = info.lines().find_map(|line| line.strip_prefix("cgroup_id:")).unwrap();
    cgroup.trim() != "0"
}

/// What a dry run says is what happens.
fn clean(settings: &Settings) -> Cleaned {
    let would = cleanup(settings, true).unwrap();
    let done = cleanup(settings, false).unwrap();
    assert_eq!(would, done);
    done
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn widen(path: &Path) {
    let wide = mode(path) | 0o055;
    fs::set_permissions(path, Permissions::from_mode(wide)).unwrap();
}

fn displayed(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn nothing_happens_outside_a_bpffs() {
    let dir = tempfile::tempdir().unwrap();
    let pin_root = dir.path().join("pins");
    let mut settings = Settings::new(&pin_root, "", dir.path().join("run"));
    assert_eq!(clean(&settings), Cleaned::default(), "where nothing is, nothing is an error");
    fs::create_dir_all(pin_root.join("links")).unwrap();
    fs::write(pin_root.join("links/connect4"), "another's").unwrap();
    for root in [pin_root.clone(), PathBuf::from("/"), dir.path().to_owned()] {
        settings.pin_root = root;
        let error = cleanup(&settings, false).expect_err("no bpffs");
        assert!(matches!(error, Error::NoBpffs { .. }), "{error}");
    }
    settings.pin_root = dir.path().join("link");
    symlink(&pin_root, &settings.pin_root).unwrap();
    let error = cleanup(&settings, false).expect_err("a symbolic link");
    assert!(error.to_string().contains("a symbolic link"), "{error}");
    assert!(pin_root.join("links/connect4").exists());
    assert!(!settings.run_dir.exists(), "and nothing is made");
}

#[test]
#[ignore = "needs root"]
fn what_follows_the_last_name_leads_nowhere_else() {
    let bed = Bed::new("dots");
    drop(start(&bed.settings).expect("opens"));
    let root = &bed.settings.pin_root;
    let link = bed.settings.run_dir.join("link");
    symlink(root, &link).unwrap();
    let mut settings = bed.settings.clone();
    for after in ["", "/", "/.", "//./"] {
        settings.pin_root = format!("{}{after}", link.display()).into();
        let error = cleanup(&settings, false).expect_err("a symbolic link");
        assert!(error.to_string().contains("a symbolic link"), "{error}");
        let error = start(&settings).expect_err("a symbolic link");
        assert!(error.to_string().contains("a symbolic link"), "{error}");
    }
    settings.pin_root = root.join("links/..");
    let refused = |error: Error| assert!(error.to_string().contains("`..`"), "{error}");
    refused(cleanup(&settings, false).expect_err("no plain path"));
    refused(start(&settings).expect_err("no plain path"));
    assert_eq!(bed.attached(), 8, "nothing was removed");
    for after in ["/", "/."] {
        settings.pin_root = format!("{}{after}", root.display()).into();
        drop(start(&settings).expect("opens"));
        assert_eq!(clean(&settings).removed.last(), Some(&root.display().to_string()));
        assert!(!root.exists());
    }
}

#[test]
#[ignore = "needs root"]
fn a_clean_up_makes_no_run_directory() {
    let bed = Bed::new("norun");
    drop(start(&bed.settings).expect("opens"));
    let mut settings = bed.settings.clone();
    settings.run_dir = bed.settings.run_dir.join("new/a/b");
    assert_eq!(clean(&settings).left, [""; 0]);
    assert!(!bed.settings.pin_root.exists());
    fs::create_dir(&bed.settings.pin_root).unwrap();
    pin_map(&bed.settings.pin_root.join("other"));
    assert_eq!(clean(&settings).removed, [""; 0]);
    assert!(!bed.settings.run_dir.join("new").exists());
}

#[test]
#[ignore = "needs root"]
fn a_directory_of_another_user_is_refused() {
    let bed = Bed::new("owner");
    drop(start(&bed.settings).expect("opens"));
    let settings = &bed.settings;
    for dir in [settings.pin_root.clone(), settings.maps_dir(), settings.links_dir()] {
        chown(&dir, Some(65_534), None).unwrap();
        for error in [
            start(settings).expect_err("another daemon's"),
            cleanup(settings, true).expect_err("another daemon's"),
        ] {
            assert!(matches!(error, Error::Owner { owner: 65_534, .. }), "{error}");
            let said = error.to_string();
            assert!(said.contains(&*dir.to_string_lossy()) && said.contains("chown"), "{said}");
        }
        chown(&dir, Some(0), None).unwrap();
    }
    assert_eq!(bed.attached(), 8);
}

#[test]
#[ignore = "needs root"]
fn a_clean_up_that_stops_on_the_way_says_what_it_removed() {
    let bed = Bed::new("partly");
    drop(start(&bed.settings).expect("opens"));
    let (links, maps) = (bed.settings.links_dir(), bed.settings.maps_dir());
    chown(&maps, Some(65_534), None).unwrap();
    let Err(Error::Partly { cleaned, cause }) = cleanup(&bed.settings, false) else {
        panic!("links go first, and the maps cannot go");
    };
    assert!(matches!(*cause, Error::Owner { .. }), "{cause}");
    assert_eq!(cleaned.removed.len(), 8 + 1, "{cleaned:?}");
    assert_eq!(cleaned.removed.last(), Some(&links.display().to_string()));
    assert!(!links.exists() && maps.exists());
    chown(&maps, Some(0), None).unwrap();
    assert_eq!(clean(&bed.settings).left, [""; 0], "it may be repeated");
}

#[test]
#[ignore = "needs root"]
fn what_is_not_towpaths_stays() {
    let bed = Bed::new("foreign");
    drop(start(&bed.settings).expect("opens"));
    let (root, maps) = (bed.settings.pin_root.clone(), bed.settings.maps_dir());
    let links = bed.settings.links_dir();
    let other = root.parent().unwrap().join("other");
    fs::create_dir(&other).unwrap();
    // Another product's link, and a pin of Towpath's name that leads to it.
    fs::rename(links.join("connect4"), other.join("connect4")).unwrap();
    symlink(other.join("connect4"), links.join("connect4")).unwrap();
    pin_map(&links.join("cil_sock4_connect"));
    pin_map(&other.join("FRONTENDS"));
    symlink(&other, root.join("v20")).unwrap();
    pin_map(&maps.join("calls"));
    fs::create_dir(maps.join("CONFIG-new")).unwrap();
    fs::create_dir(root.join("tc")).unwrap();
    pin_map(&root.join("tc/globals"));
    pin_map(&root.join("v30"));
    let cleaned = clean(&bed.settings);
    let expected = [
        links.join("cil_sock4_connect"),
        links.join("connect4"),
        root.join("tc"),
        root.join("v20"),
        root.join("v30"),
        maps.join("CONFIG-new"),
        maps.join("calls"),
    ];
    let sorted = |mut paths: Vec<String>| {
        paths.sort();
        paths
    };
    assert_eq!(sorted(cleaned.left.clone()), sorted(displayed(&expected)), "{cleaned:?}");
    assert_eq!(cleaned.removed.len(), 7 + 13, "links and maps, no directory: {cleaned:?}");
    for path in expected.iter().chain([&other.join("FRONTENDS"), &root.join("tc/globals")]) {
        assert!(fs::symlink_metadata(path).is_ok(), "{}", path.display());
    }
    assert!(in_force(&other.join("connect4")), "never through a symbolic link");
}

#[test]
#[ignore = "needs root"]
fn what_other_versions_pinned_goes_too() {
    let bed = Bed::new("layouts");
    drop(start(&bed.settings).expect("opens"));
    let root = &bed.settings.pin_root;
    for layout in ["v0", "v7", "v12"] {
        fs::create_dir(root.join(layout)).unwrap();
    }
    for pin in ["v0/FRONTENDS", "v7/SOCKETS", "v7/BACKENDS-new"] {
        pin_map(&root.join(pin));
    }
    // Died between pinning a link and moving it; and something that is no link, in a link's place.
    let links = bed.settings.links_dir();
    fs::rename(links.join("recvmsg4"), links.join("recvmsg4-new")).unwrap();
    pin_map(&links.join("recvmsg4"));
    let cleaned = clean(&bed.settings);
    assert_eq!(cleaned.left, [""; 0]);
    // Links, maps of this layout and of others, directories.
    assert_eq!(cleaned.removed.len(), 9 + 13 + 3 + 6, "{cleaned:?}");
    let at = |name: &str| cleaned.removed.iter().position(|path| path.ends_with(name)).unwrap();
    assert!(
        at("links/connect4") < at("links/recvmsg4")
            && at("links") < at(&format!("v{LAYOUT}/FRONTENDS"))
    );
    assert!(!root.exists());
    assert_eq!(clean(&bed.settings), Cleaned::default());
}

#[test]
#[ignore = "needs root"]
fn a_mount_point_stays() {
    let bed = Bed::new("mount");
    let root = &bed.settings.pin_root;
    fs::create_dir(root).unwrap();
    // As a container has it. The bed's own unmounting takes this one along.
    mount(Some(root), root, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    drop(start(&bed.settings).expect("opens"));
    let cleaned = clean(&bed.settings);
    assert_eq!(cleaned.left, displayed(std::slice::from_ref(root)));
    assert_eq!(cleaned.removed.len(), 8 + 13 + 2, "{cleaned:?}");
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root"]
fn the_holder_of_a_pin_directory_is_not_disturbed() {
    let bed = Bed::new("held");
    drop(start(&bed.settings).expect("opens"));
    let settings = &bed.settings;
    for dir in [settings.pin_root.clone(), settings.maps_dir(), settings.links_dir()] {
        let lock = FlockArg::LockExclusiveNonblock;
        let held = Flock::lock(File::open(&dir).unwrap(), lock).unwrap();
        assert!(matches!(cleanup(settings, true), Err(Error::Locked { .. })));
        assert!(matches!(start(settings), Err(Error::Locked { .. })));
        drop(held);
    }
    let daemon = start(settings).expect("opens");
    for dir in [settings.pin_root.clone(), settings.maps_dir(), settings.links_dir()] {
        let lock = FlockArg::LockExclusiveNonblock;
        assert!(Flock::lock(File::open(&dir).unwrap(), lock).is_err(), "{}", dir.display());
    }
    drop(daemon);
    assert_eq!(clean(settings).left, [""; 0]);
}

#[test]
#[ignore = "needs root"]
fn a_daemon_that_starts_during_a_clean_up_has_all_or_is_refused() {
    let bed = Bed::new("race");
    let mut other = bed.settings.clone();
    other.run_dir = bed.settings.run_dir.join("other");
    let (stop, cleaned) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let cleaner = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match cleanup(&other, false) {
                    Ok(done) => {
                        cleaned.fetch_add(usize::from(!done.removed.is_empty()), Ordering::Relaxed);
                    }
                    Err(Error::Locked { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        let (mut opened, mut tries) = (0, 0);
        let mut odd = None;
        let began = Instant::now();
        let both = |opened: usize| opened > 0 && cleaned.load(Ordering::Relaxed) > 0;
        // On a busy machine it may take a while until each has had its turn.
        while tries < 60 || (!both(opened) && began.elapsed() < Duration::from_secs(60)) {
            tries += 1;
            match start(&bed.settings) {
                Ok(_held) => {
                    let maps = fs::read_dir(bed.settings.maps_dir()).map_or(0, Iterator::count);
                    if (maps, bed.attached()) != (13, 8) {
                        odd = Some(format!("{maps} maps, {} links", bed.attached()));
                    }
                    opened += 1;
                }
                Err(Error::Locked { .. }) => {}
                Err(error) => odd = Some(error.to_string()),
            }
        }
        stop.store(true, Ordering::Relaxed);
        cleaner.join().unwrap().expect("cleans up or is refused");
        assert_eq!(odd, None);
        assert!(both(opened), "{opened} opened, {cleaned:?} cleaned");
    });
}

#[test]
#[ignore = "needs root"]
fn what_is_made_is_for_its_owner_only_and_what_was_wide_is_narrowed() {
    let bed = Bed::new("modes");
    let settings = &bed.settings;
    let dirs = [settings.pin_root.clone(), settings.maps_dir(), settings.links_dir()];
    let check = |root: u32| {
        drop(start(settings).expect("opens"));
        assert_eq!(dirs.each_ref().map(|dir| mode(dir)), [root, 0o700, 0o700]);
        assert_eq!(mode(&settings.lock_file()), 0o600);
        for dir in &dirs[1..] {
            let pins = fs::read_dir(dir).unwrap().map(|pin| mode(&pin.unwrap().path()));
            assert_eq!(pins.filter(|mode| *mode != 0o600).count(), 0, "{}", dir.display());
        }
    };
    check(0o700);
    assert_eq!(mode(&settings.run_dir), 0o700);
    dirs.iter().chain([&settings.lock_file()]).for_each(|path| widen(path));
    check(0o700);
    // With something else in it, the root is not Towpath's alone.
    fs::create_dir(settings.pin_root.join("other")).unwrap();
    dirs.iter().for_each(|path| widen(path));
    check(0o755);
}
