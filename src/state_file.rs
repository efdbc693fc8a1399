//! What the daemon keeps in its run directory over restarts. Only its owner may read it. Files from elsewhere
//! are read as carefully.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Which cluster this is.
pub const CLUSTER: &str = "cluster";
/// Where the API server really is.
pub const API_ENDPOINTS: &str = "api-endpoints";
/// ClusterIPs that were allocated from manifests.
pub const ALLOCATIONS: &str = "allocations.json";
/// Directory of what each manifest last held.
pub const MANIFESTS: &str = "manifests";
/// The zone of the cluster's names, as DNS knew it last.
pub const DNS_ZONE: &str = "dns-zone";
/// Ends the name of a file that is about to take the place of another.
const BESIDE: &str = "new";

/// Is this the name of a copy in [`MANIFESTS`]? 16 digits, as `source::manifests` names them.
#[must_use]
pub fn is_copy(path: &Path) -> bool {
    let is = |part: Option<&std::ffi::OsStr>, ok: fn(&str) -> bool| {
        part.and_then(|part| part.to_str()).is_some_and(ok)
    };
    is(path.file_stem(), |stem| stem.len() == 16 && stem.bytes().all(|b| b.is_ascii_hexdigit()))
        && is(path.extension(), |extension| ["json", BESIDE].contains(&extension))
}

/// Makes a directory, and those above it, for the owner only. One that is there is a success.
///
/// # Errors
/// When it cannot be made.
pub fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads a file of at most so many bytes.
///
/// # Errors
/// When it cannot be read, is no ordinary file, or is larger. A pipe is not waited for.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// Writes a file beside and renames it, so that a crash never leaves half a file; for the owner only.
///
/// # Errors
/// When it, or its directory, cannot be written.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        directory(dir)?;
    }
    let fresh = path.with_extension(BESIDE);
    // What a daemon left that died before the rename: it may have another mode, or lead elsewhere.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn files_and_their_directories_are_for_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/kept/a.json");
        write(&path, b"1").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(mode(&dir.path().join("run")), 0o700);
        // What was wide is not when it is written anew, and neither is what was left beside.
        let beside = path.with_extension("new");
        for path in [&path, &beside] {
            fs::write(path, "a longer text").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        }
        write(&path, b"2").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"2".to_vec()));
        assert!(!beside.exists());
    }

    #[test]
    fn nothing_is_written_where_a_symbolic_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("cluster"), dir.path().join("other"));
        fs::write(&other, "foreign").unwrap();
        symlink(&other, path.with_extension("new")).unwrap();
        symlink(&other, &path).unwrap();
        write(&path, b"own").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "own");
        assert_eq!(fs::read_to_string(&other).unwrap(), "foreign");
    }
}
