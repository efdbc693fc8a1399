//! The files of the directory: what is in them now, or was when they last could be read.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::fcntl::OFlag;
use serde_json::{Value, json};
use towpath_model::{Code, Kind, Problem, Stream};

use super::{
    kept::Kept,
    kinds::{self, Wrong},
};

/// Largest file that is read: far above what people write, far below what would hurt.
const FILE_MAX: u64 = 3 << 20;
/// Files at most.
const FILES_MAX: usize = 10_000;
/// Directories at most: each one is looked at once, however many links lead to it.
const DIRECTORIES_MAX: usize = 1_000;

/// A change is read when two looks this far apart find the same: editors truncate, write, rename
/// and delete in bursts, and half a file is often good YAML.
pub(super) const SETTLE: Duration = Duration::from_millis(20);
/// Changes that are not settled hold up those that are, so that a directory is published as a
/// whole, for this long.
const TOGETHER: Duration = Duration::from_secs(1);
/// A file that is open for writing is left alone for this long.
pub(super) const WRITER_MAX: Duration = Duration::from_secs(10);

/// What tells one version of a file from the next. The change time is part of it: a file that was
/// made readable, or was moved here, may have kept its modification time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &fs::Metadata) -> Self {
        Self {
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Directories, by device and inode.
type Directories = BTreeMap<PathBuf, (u64, u64)>;

/// A file as it was read.
#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    /// What it held when it last could be read; `None`: that is not known.
    documents: Option<Vec<Value>>,
    problem: Option<Problem>,
    change: Option<Change>,
}

/// A version that was seen and not yet read.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// None: the file is gone.
    stamp: Option<Stamp>,
    /// When this version was seen first.
    seen: Instant,
    /// When the file first was found to differ from what is in force.
    began: Instant,
}

/// What a look at the directory found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scan {
    /// What is in force is what is there.
    Same,
    /// Something is changing: look again after [`SETTLE`].
    Changing,
    /// Something was read that is different. The flag: more is changing.
    Read { more: bool },
}

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    /// The directories that were read.
    was: Directories,
    kept: Kept,
    /// Copies of files that went while no daemon ran are gone.
    swept: bool,
    known: BTreeMap<PathBuf, Known>,
    problem: Option<Problem>,
    /// Kinds whose objects are kept.
    kinds: BTreeSet<Kind>,
    /// What there is too much of.
    beyond: Vec<Problem>,
    /// Why the file that was read last could not be kept over a restart.
    unkept: Option<Problem>,
}

impl Files {
    pub(super) const fn new(dir: PathBuf, kept: Kept) -> Self {
        Self {
            dir,
            was: Directories::new(),
            kept,
            swept: false,
            known: BTreeMap::new(),
            problem: None,
            kinds: BTreeSet::new(),
            beyond: Vec::new(),
            unkept: None,
        }
    }

    /// The directory could be read when it was last looked at.
    pub(super) const fn readable(&self) -> bool {
        self.problem.is_none()
    }

    /// Keeps what these streams need. Answers whether everything is to be read again for that.
    pub(super) fn read_kinds_of(&mut self, wanted: &BTreeSet<Stream>) -> bool {
        let before = self.kinds.len();
        self.kinds.extend(wanted.iter().map(|stream| stream.kind));
        let more = self.kinds.len() > before;
        for known in self.known.values_mut().filter(|_| more) {
            known.stamp = None;
        }
        more && !self.known.is_empty()
    }

    /// Looks again. `written`: is this file open for writing?
    pub(super) fn scan(&mut self, now: Instant, written: impl Fn(&Path) -> bool) -> Scan {
        let mut found = Found::default();
        if let Some(wrong) = self.why_not_believed(&mut found) {
            // The last good content stays: an unmounted directory must not empty the node.
            let known = self.problem.replace(problem(&self.dir, &wrong.why, &wrong.action));
            return if known.is_some() { Scan::Same } else { Scan::Read { more: false } };
        }
        self.was = std::mem::take(&mut found.directories);
        let mended = self.problem.take().is_some();
        self.beyond = found.beyond(&self.dir);
        let (ready, unsettled) = self.changes(&found.files, now, written);
        if !std::mem::replace(&mut self.swept, true) {
            self.kept.retain(self.known.keys());
        }
        let hold = unsettled.is_some_and(|began| now.duration_since(began) < TOGETHER);
        if ready.is_empty() || hold {
            return match (mended, unsettled) {
                (true, more) => Scan::Read { more: more.is_some() },
                (false, Some(_)) => Scan::Changing,
                (false, None) => Scan::Same,
            };
        }
        for (path, stamp) in ready {
            let Some(stamp) = stamp else {
                self.kept.forget(&path);
                self.known.remove(&path);
                continue;
            };
            let result = read(&path, &self.kinds);
            let known = self.known.entry(path.clone()).or_default();
            let first = known.stamp.is_none();
            let (documents, problem) = match result {
                Ok(documents) => {
                    let kept = self.kept.keep(&path, &documents);
                    self.unkept = kept.err().map(|error| not_kept(&path, &error));
                    (Some(documents), None)
                }
                Err(wrong) => {
                    // It broke while no daemon ran: what it held is what an earlier one saw.
                    let last = if first { self.kept.of(&path) } else { known.documents.take() };
                    let in_force = match last {
                        Some(_) => "what the file last held stays in force",
                        None => "until then nothing of the file is in force",
                    };
                    let action = format!("{}; {in_force}", wrong.action);
                    (last, Some(problem(&path, &wrong.why, &action)))
                }
            };
            *known = Known { stamp: Some(stamp), documents, problem, change: None };
        }
        Scan::Read { more: unsettled.is_some() }
    }

    /// Why what the directory holds now is not taken for what is wanted.
    fn why_not_believed(&self, found: &mut Found) -> Option<Wrong> {
        if let Err(error) = found.list(&self.dir) {
            return Some(Wrong {
                why: format!("cannot be read: {error}"),
                action: "make it readable again; what it last held stays in force".to_owned(),
            });
        }
        let unmounted = self.was.iter().find(|(dir, id)| {
            let is_another = found.directories.get(*dir).is_some_and(|now| now != *id);
            is_another && self.held(dir) && !found.files.keys().any(|path| path.starts_with(dir))
        });
        // An unmounted directory is there, and empty. One that was replaced on purpose holds a file.
        unmounted.map(|(dir, _)| Wrong {
            why: format!(
                "{} is another directory than before, and holds no manifest",
                dir.display()
            ),
            action: "mount it again, or put a file there, which may be empty; what was last read \
                     stays in force"
                .to_owned(),
        })
    }

    /// Is something known of a file below?
    fn held(&self, dir: &Path) -> bool {
        self.known.iter().any(|(path, known)| known.stamp.is_some() && path.starts_with(dir))
    }

    /// What may be read now, and since when the oldest change has waited that may not.
    fn changes(
        &mut self,
        paths: &BTreeMap<PathBuf, Stamp>,
        now: Instant,
        written: impl Fn(&Path) -> bool,
    ) -> (Vec<(PathBuf, Option<Stamp>)>, Option<Instant>) {
        for path in paths.keys() {
            if !self.known.contains_key(path) {
                self.known.insert(path.clone(), Known::default());
            }
        }
        let (mut ready, mut unsettled) = (Vec::new(), None::<Instant>);
        for (path, known) in &mut self.known {
            let stamp = paths.get(path).copied();
            if stamp == known.stamp && stamp.is_some() {
                known.change = None;
                continue;
            }
            let change = match known.change {
                Some(change) if change.stamp == stamp => change,
                Some(change) => Change { stamp, seen: now, ..change },
                None => Change { stamp, seen: now, began: now },
            };
            known.change = Some(change);
            let open =
                stamp.is_some() && now.duration_since(change.began) < WRITER_MAX && written(path);
            if now.duration_since(change.seen) >= SETTLE && !open {
                ready.push((path.clone(), stamp));
            } else {
                unsettled = Some(unsettled.map_or(change.began, |began| began.min(change.began)));
            }
        }
        (ready, unsettled)
    }

    /// Every document, in the order of their files.
    pub(super) fn documents(&self) -> impl Iterator<Item = (&Path, &Value)> {
        let files = self.known.iter();
        files.flat_map(|(path, known)| {
            known.documents.iter().flatten().map(move |document| (path.as_path(), document))
        })
    }

    /// What could not be read.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let files = self.known.values().filter_map(|known| known.problem.as_ref());
        self.problem.iter().chain(&self.unkept).chain(&self.beyond).chain(files)
    }
}

/// What a walk through the directory found.
#[derive(Default)]
struct Found {
    files: BTreeMap<PathBuf, Stamp>,
    directories: Directories,
    /// Device and inode of the directories that were looked at: links may lead in circles.
    looked_at: HashSet<(u64, u64)>,
    /// Files and directories beyond what is looked at: the first of each.
    first_beyond: [Option<PathBuf>; 2],
}

impl Found {
    /// YAML and JSON files; what editors and mounts leave lying around is none.
    fn list(&mut self, dir: &Path) -> io::Result<()> {
        let own = fs::metadata(dir)?;
        let own = (own.dev(), own.ino());
        if self.looked_at.contains(&own) {
            return Ok(());
        }
        if self.looked_at.len() == DIRECTORIES_MAX {
            self.first_beyond[1].get_or_insert_with(|| dir.to_owned());
            return Ok(());
        }
        self.looked_at.insert(own);
        self.directories.insert(dir.to_owned(), own);
        let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::path);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name.starts_with(['.', '#']) || name.ends_with('~') {
                continue;
            }
            // Follows links: a ConfigMap's files are links to links. What is there and leads nowhere is
            // not gone: reading it says why it cannot be read.
            let stamp = match fs::metadata(&path) {
                Ok(found) if found.is_dir() => {
                    self.list(&path)?;
                    continue;
                }
                Ok(found) => Stamp::of(&found),
                Err(_) if fs::symlink_metadata(&path).is_ok() => Stamp::default(),
                Err(_gone) => continue,
            };
            if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
                if self.files.len() == FILES_MAX {
                    self.first_beyond[0].get_or_insert(path);
                    continue;
                }
                self.files.insert(path, stamp);
            }
        }
        Ok(())
    }

    /// A problem for each limit that was reached.
    fn beyond(&self, dir: &Path) -> Vec<Problem> {
        let limits = [("files", FILES_MAX), ("directories", DIRECTORIES_MAX)];
        let reached = self.first_beyond.iter().zip(limits);
        let said = reached.filter_map(|(first, (what, max))| {
            let first = first.as_ref()?.display();
            let why = format!("holds more than {max} {what}; {first} and the rest are not read");
            Some(problem(dir, &why, "put more into each file, or remove what is not needed"))
        });
        said.collect()
    }
}

/// The documents of a file, as far as they matter.
fn read(path: &Path, kinds: &BTreeSet<Kind>) -> Result<Vec<Value>, Wrong> {
    let wrong = |why: String| Wrong { why, action: "correct it".to_owned() };
    // Whatever else bears such a name: opening a pipe must not wait, and a device never ends.
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|e| wrong(e.to_string()))?;
    if !file.metadata().map_err(|e| wrong(e.to_string()))?.is_file() {
        let why = "is not an ordinary file".to_owned();
        return Err(Wrong { why, action: "remove it".to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    if bytes.len() as u64 > FILE_MAX {
        let why = format!("is larger than the {} MiB that a file may have", FILE_MAX >> 20);
        return Err(Wrong { why, action: "split it into smaller files".to_owned() });
    }
    let text = String::from_utf8(bytes).map_err(|e| wrong(e.utf8_error().to_string()))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| {
        let error = error.without_snippet();
        let place = error
            .location()
            .map_or_else(String::new, |at| format!("line {}, column {}: ", at.line(), at.column()));
        wrong(format!("{place}{error}"))
    })?;
    let mut flat = Vec::new();
    for mut document in documents {
        let listed = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match document.get_mut("items").filter(|_| listed).map(Value::take) {
            Some(Value::Array(items)) => {
                flat.extend(items.into_iter().filter_map(|item| what_matters(item, kinds)));
            }
            _ if document.is_null() => {}
            _ => flat.extend(what_matters(document, kinds)),
        }
    }
    Ok(flat)
}

/// What is kept of a document, in memory and on disk: all of it when it is read, nothing of a kind
/// that is not (a directory may hold far more of those, and their secrets), and of one that is wrong
/// what names it.
fn what_matters(document: Value, wanted: &BTreeSet<Kind>) -> Option<Value> {
    match kinds::read_as(&document, "") {
        // Services, slices and what they are made of are always needed.
        Ok(Some(kind)) => {
            let made = ["Service", "EndpointSlice", "Node", "Pod"].contains(&kind);
            let kept = made || Kind::of_name(kind).is_some_and(|kind| wanted.contains(&kind));
            kept.then_some(document)
        }
        Ok(None) => None,
        Err(_said_later) => {
            let metadata = &document["metadata"];
            Some(json!({
                "apiVersion": document["apiVersion"],
                "kind": document["kind"],
                "metadata": { "name": metadata["name"], "namespace": metadata["namespace"] },
            }))
        }
    }
}

fn not_kept(path: &Path, error: &io::Error) -> Problem {
    let why = format!(
        "what it holds cannot be kept over a restart ({error}): a daemon that starts while the file is \
         broken takes away what the file brought"
    );
    let action = "make room in the run directory, or make it writable";
    Problem::new(Code::ManifestNotKept, None, &path.display().to_string(), &why, action)
}

/// A problem of a file.
pub(super) fn problem(path: &Path, why: &str, action: &str) -> Problem {
    Problem::new(Code::ManifestUnreadable, None, &path.display().to_string(), why, action)
}
