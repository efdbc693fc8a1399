//! What each file last held, kept over restarts: a file that breaks while no daemon runs must not
//! take away what the kernel serves.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    fs,
    hash::{Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::state_file::{self, MANIFESTS};

/// A directory of copies, one file each.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// `None`: nothing is kept.
    dir: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Copy {
    /// Names are hashes: two paths may share one, and then the later one is kept.
    path: PathBuf,
    documents: Vec<Value>,
}

impl Kept {
    /// Copies live in the run directory.
    pub(super) fn new(run_dir: &Path) -> Self {
        Self { dir: Some(run_dir.join(MANIFESTS)) }
    }

    /// No copies, of a look that leaves nothing behind.
    pub(super) const fn nothing() -> Self {
        Self { dir: None }
    }

    fn file(&self, path: &Path) -> Option<PathBuf> {
        // A version that hashes differently finds no copy, as on the first day.
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        Some(self.dir.as_ref()?.join(format!("{:016x}.json", hasher.finish())))
    }

    /// What the file held when it last could be read; `None`: that is not known.
    pub(super) fn of(&self, path: &Path) -> Option<Vec<Value>> {
        let text = match fs::read(self.file(path)?) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "its copy cannot be read");
                return None;
            }
        };
        match serde_json::from_slice::<Copy>(&text) {
            Ok(copy) if copy.path == path => Some(copy.documents),
            Ok(_other) => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "its copy is damaged");
                None
            }
        }
    }

    /// What the file holds now, but for Secrets: no key is ever written to the disk.
    pub(super) fn keep(&self, path: &Path, documents: &[Value]) -> io::Result<()> {
        let Some(file) = self.file(path) else { return Ok(()) };
        let open = documents.iter().filter(|document| document["kind"] != "Secret");
        let copy = Copy { path: path.to_owned(), documents: open.cloned().collect() };
        let text = serde_json::to_vec(&copy).map_err(io::Error::other)?;
        state_file::write(&file, &text)
    }

    /// These files are all there are. Copies of others are of files that went while no daemon ran: a
    /// broken file of that name must not bring back what was removed.
    pub(super) fn retain<'a>(&self, paths: impl Iterator<Item = &'a PathBuf>) {
        let wanted: HashSet<PathBuf> = paths.filter_map(|path| self.file(path)).collect();
        // Without a directory there is no copy.
        let copies = self
            .dir
            .as_ref()
            .and_then(|dir| fs::read_dir(dir).ok())
            .into_iter()
            .flatten()
            .flatten();
        let own = copies.map(|entry| entry.path()).filter(|path| state_file::is_copy(path));
        for copy in own.filter(|copy| !wanted.contains(copy)) {
            if let Err(error) = fs::remove_file(&copy) {
                tracing::warn!(path = %copy.display(), %error, "an old copy cannot be removed");
            }
        }
    }

    /// The file is gone.
    pub(super) fn forget(&self, path: &Path) {
        // One that was never kept, or cannot be removed, only costs its space.
        let _gone = self.file(path).map(fs::remove_file);
    }
}
