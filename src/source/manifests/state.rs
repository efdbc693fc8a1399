//! What was allocated, kept over restarts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use towpath_model::synth::Allocations;

use crate::state_file::{self, ALLOCATIONS};

/// The file in the run directory.
fn file(run_dir: &Path) -> PathBuf {
    run_dir.join(ALLOCATIONS)
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

/// Keeps them over restarts.
pub(super) fn save(run_dir: &Path, allocations: &Allocations) {
    let path = file(run_dir);
    let saved = serde_json::to_vec(allocations)
        .map_err(io::Error::other)
        .and_then(|text| state_file::write(&path, &text));
    if let Err(error) = saved {
        tracing::warn!(path = %path.display(), %error, "allocations cannot be kept");
    }
}
