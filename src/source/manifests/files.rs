//! The files of the directory: what is in them now, or was when they last could be read.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde_json::Value;
use towpath_model::Problem;

/// Largest file that is read: far above what people write, far below what would hurt.
const FILE_MAX: u64 = 3 << 20;
/// Files at most.
const FILES_MAX: usize = 10_000;
/// Folders inside folders at most.
const DEPTH_MAX: usize = 16;

/// A file as it was read.
#[derive(Debug, Default)]
struct Known {
    stamp: Option<(SystemTime, u64)>,
    documents: Vec<Value>,
    problem: Option<Problem>,
}

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    known: BTreeMap<PathBuf, Known>,
    problem: Option<Problem>,
}

impl Files {
    pub(super) const fn new(dir: PathBuf) -> Self {
        Self { dir, known: BTreeMap::new(), problem: None }
    }

    /// Looks again; true when something is different.
    pub(super) fn scan(&mut self) -> bool {
        let mut paths = Vec::new();
        if let Err(error) = list(&self.dir, 0, &mut paths) {
            // The last good content stays: an unmounted directory must not empty the node.
            let known = self.problem.is_some();
            self.problem = Some(problem(
                &self.dir,
                &format!("cannot be read: {error}"),
                "make it readable again; what it last held stays in force",
            ));
            return !known;
        }
        let mut changed = self.problem.take().is_some();
        let before = self.known.len();
        self.known.retain(|path, _| paths.binary_search(path).is_ok());
        changed |= self.known.len() != before;
        for path in paths {
            let stamp = fs::metadata(&path).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
            let known = self.known.entry(path.clone()).or_default();
            if stamp.is_some() && known.stamp == stamp {
                continue;
            }
            known.stamp = stamp;
            changed = true;
            match read(&path) {
                Ok(documents) => *known = Known { stamp, documents, problem: None },
                Err(problem) => known.problem = Some(problem),
            }
        }
        changed
    }

    /// Every document, in the order of their files.
    pub(super) fn documents(&self) -> impl Iterator<Item = (&Path, &Value)> {
        let files = self.known.iter();
        files.flat_map(|(path, known)| known.documents.iter().map(move |d| (path.as_path(), d)))
    }

    /// What could not be read.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let files = self.known.values().filter_map(|known| known.problem.as_ref());
        self.problem.iter().chain(files)
    }
}

/// YAML and JSON files, sorted; what editors and mounts leave lying around is none.
fn list(dir: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with(['.', '#']) || name.ends_with('~') {
            continue;
        }
        // Follows links: a ConfigMap's files are links to links.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            list(&path, depth + 1, paths)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
            && paths.len() < FILES_MAX
        {
            paths.push(path);
        }
    }
    if depth == 0 {
        paths.sort();
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Value>, Problem> {
    let advice = "correct it; what the file last held stays in force";
    let wrong = |why: String| problem(path, &why, advice);
    let length = fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if length > FILE_MAX {
        let why = format!(
            "{} MiB is more than the {} MiB that a file may have",
            length >> 20,
            FILE_MAX >> 20
        );
        return Err(problem(path, &why, "split it into smaller files"));
    }
    let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| {
        let error = error.without_snippet();
        let place = error
            .location()
            .map_or_else(String::new, |at| format!("line {}, column {}: ", at.line(), at.column()));
        wrong(format!("{place}{error}"))
    })?;
    let mut flat = Vec::new();
    for document in documents {
        if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
            flat.extend(document["items"].as_array().into_iter().flatten().cloned());
        } else if !document.is_null() {
            flat.push(document);
        }
    }
    Ok(flat)
}

/// A problem of a file.
pub(super) fn problem(path: &Path, why: &str, action: &str) -> Problem {
    Problem::new(None, &path.display().to_string(), why, action)
}
