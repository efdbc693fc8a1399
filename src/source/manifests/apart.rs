//! The daemon's own files must not lie where manifests are read: copies of what a file held would be
//! read as manifests, and every write would look like a change.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::state_file::MANIFESTS;

/// Two directories that must be apart are not.
#[derive(Debug, thiserror::Error)]
#[error(
    "the run directory {run_dir} and the directory of manifests {dir} lie in each other: the daemon's \
     own files would be read as manifests; choose another --run-dir or --manifests"
)]
pub struct Overlap {
    dir: PathBuf,
    run_dir: PathBuf,
}

/// Checks that the daemon's own files do not lie among the manifests.
///
/// # Errors
/// When they do.
pub fn apart(dir: &Path, run_dir: &Path) -> Result<(), Overlap> {
    let (real, real_run_dir) = (resolved(dir), resolved(run_dir));
    if real_run_dir.starts_with(&real) || real.starts_with(real_run_dir.join(MANIFESTS)) {
        return Err(Overlap { dir: dir.to_owned(), run_dir: run_dir.to_owned() });
    }
    Ok(())
}

/// Without links, as far as it exists: both directories may be made later.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_no_working_directory| path.to_owned());
    let known = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    let Some((above, real)) = known else { return path };
    match path.strip_prefix(above) {
        Ok(rest) => real.components().chain(rest.components()).collect(),
        Err(_not_above) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_directory_and_the_manifests_lie_apart() {
        let base = tempfile::tempdir().unwrap();
        let at = |path: &str| base.path().join(path);
        fs::create_dir_all(at("shop/deep")).unwrap();
        fs::create_dir_all(at("run")).unwrap();
        std::os::unix::fs::symlink(at("shop"), at("link")).unwrap();
        for (dir, run_dir, fine) in [
            ("shop", "run", true),
            ("shop", "shop-run", true),
            ("later", "run", true),
            ("run/shop", "run", true),
            ("shop", "shop", false),
            ("shop", "shop/deep", false),
            ("shop", "shop/later/run", false),
            ("shop", "link/run", false),
            ("link", "shop/deep", false),
            ("run/manifests", "run", false),
            ("run/manifests/deep", "run", false),
        ] {
            let said = apart(&at(dir), &at(run_dir));
            assert_eq!(said.is_ok(), fine, "{dir} {run_dir}");
            if let Err(said) = said {
                let said = said.to_string();
                assert!(said.contains(run_dir) && said.contains("--run-dir"), "{said}");
            }
        }
    }
}
