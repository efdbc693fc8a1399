//! What was allocated, kept over restarts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use towpath_model::synth::Allocations;

/// The file in the run directory.
fn file(run_dir: &Path) -> PathBuf {
    run_dir.join("allocations.json")
}

/// What was kept; a file that is damaged counts as lost, and is said to be.
pub(super) fn load(run_dir: &Path) -> Allocations {
    let path = file(run_dir);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Allocations::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "allocations cannot be read: made anew");
            return Allocations::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "allocations are damaged: made anew");
        Allocations::default()
    })
}

/// Written beside and renamed, so that a crash never leaves half a file.
pub(super) fn save(run_dir: &Path, allocations: &Allocations) {
    let path = file(run_dir);
    let fresh = path.with_extension("new");
    let saved = serde_json::to_vec(allocations)
        .map_err(io::Error::other)
        .and_then(|text| fs::create_dir_all(run_dir).and_then(|()| fs::write(&fresh, text)))
        .and_then(|()| fs::rename(&fresh, &path));
    if let Err(error) = saved {
        tracing::warn!(path = %path.display(), %error, "allocations cannot be kept");
    }
}
