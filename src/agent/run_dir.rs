//! The run directory when the daemon starts: what an earlier version left open to others is closed.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use towpath_ebpf::Settings;

use crate::{
    config::control_socket,
    state_file::{self, ALLOCATIONS, API_ENDPOINTS, BESIDE, CLUSTER, MANIFESTS},
};

/// Takes away from others what the daemon wrote, and the directories that hold nothing else. A
/// directory that holds something else stays as it is, and that is said.
pub(super) fn narrow(settings: &Settings) {
    let run_dir = &settings.run_dir;
    let copies = run_dir.join(MANIFESTS);
    let mut own = vec![settings.lock_file(), control_socket(run_dir), copies.clone()];
    for name in [CLUSTER, API_ENDPOINTS, ALLOCATIONS] {
        let path = run_dir.join(name);
        own.extend([path.with_extension(BESIDE), path]);
    }
    directory(&copies, state_file::is_copy);
    directory(run_dir, |path| own.iter().any(|own| own == path));
}

fn directory(dir: &Path, is_own: impl Fn(&Path) -> bool) {
    // On the first day there is none.
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut all_own = true;
    for entry in entries.flatten() {
        let path = entry.path();
        let own = is_own(&path);
        all_own &= own;
        if own && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            mode(&path, true);
        }
    }
    mode(dir, all_own);
}

fn mode(path: &Path, ours: bool) {
    // Never what a symbolic link leads to, and nothing is waited for (a pipe).
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(open) => towpath_ebpf::narrow(&open, path, ours),
        Err(error) => tracing::warn!(path = %path.display(), %error, "its mode is not known"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::fs::{PermissionsExt as _, symlink},
        path::PathBuf,
    };

    use super::*;

    /// What narrowing makes of a run directory with these files, all of them open to everybody.
    fn check(files: &[&str], expected: &[(&str, u32)]) {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("run");
        fs::create_dir_all(run_dir.join("manifests")).unwrap();
        for file in files {
            fs::write(run_dir.join(file), "1").unwrap();
            fs::set_permissions(run_dir.join(file), Permissions::from_mode(0o644)).unwrap();
        }
        for dir in ["manifests", ""] {
            fs::set_permissions(run_dir.join(dir), Permissions::from_mode(0o755)).unwrap();
        }
        narrow(&settings(run_dir.clone()));
        for (name, mode) in expected {
            let held = fs::metadata(run_dir.join(name)).unwrap().permissions().mode();
            assert_eq!(held & 0o7777, *mode, "{name} of {files:?}");
        }
    }

    fn settings(run_dir: PathBuf) -> Settings {
        Settings::new("", "", run_dir)
    }

    #[test]
    fn what_the_daemon_wrote_and_its_directories_are_narrowed() {
        let files = [
            "cluster",
            "cluster.new",
            "api-endpoints",
            "allocations.json",
            "allocations.new",
            "manifests/0123456789abcdef.json",
        ];
        let mut expected: Vec<_> = files.iter().map(|file| (*file, 0o600)).collect();
        expected.extend([("", 0o700), ("manifests", 0o700)]);
        check(&files, &expected);
        check(&[], &[("", 0o700), ("manifests", 0o700)]);
    }

    #[test]
    fn what_it_did_not_write_stays_as_it_is() {
        check(
            &["cluster", "notes.txt"],
            &[("cluster", 0o600), ("notes.txt", 0o644), ("", 0o755), ("manifests", 0o700)],
        );
        // Manifests of the user's own in a directory of that name.
        check(
            &["manifests/web.yaml", "manifests/web.json"],
            &[("manifests/web.yaml", 0o644), ("manifests/web.json", 0o644), ("manifests", 0o755)],
        );
    }

    #[test]
    fn symbolic_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (run_dir, other) = (dir.path().join("run"), dir.path().join("other"));
        fs::create_dir(&run_dir).unwrap();
        fs::create_dir(&other).unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o755)).unwrap();
        symlink(&other, run_dir.join("manifests")).unwrap();
        narrow(&settings(run_dir));
        assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o7777, 0o755);
    }
}
