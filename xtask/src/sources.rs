//! What something is made of: the files below a directory, and one hash over them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

/// Every file below `dir` that `wanted` takes.
pub(crate) fn files_below(dir: &Path, wanted: &impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path, wanted)?);
        } else if wanted(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

/// SHA-256 over the names below `root` and the contents of these files, in the order of their names.
pub(crate) fn hash(root: &Path, mut files: Vec<PathBuf>) -> Result<String> {
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        hash.update(file.strip_prefix(root)?.to_string_lossy().as_bytes());
        hash.update([0]);
        hash.update(fs::read(file).with_context(|| file.display().to_string())?);
        hash.update([0]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
