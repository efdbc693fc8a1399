//! Every fuzz target over its checked-in inputs: so that targets keep building, and what was found
//! once stays mended. `cargo xtask fuzz` looks for more (fuzz/README.md).
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "targets are tests")]

#[path = "daemon/fixture.rs"]
mod fixture;
#[path = "daemon/start.rs"]
mod start;
#[path = "../fuzz/src/subjects.rs"]
mod subjects;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::{collections::BTreeSet, fs, path::Path};

use towpath::{config, state_file};

#[test]
fn every_target_reads_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")) {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 1, "{name} has no inputs");
        // Inputs outside every plan: nothing at all, and noise.
        target(&[]);
        target(&[0xff; 300]);
    }
}

#[test]
fn every_corpus_has_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let folders = fs::read_dir(corpus).unwrap();
    let folders = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = targets::TARGETS.map(|(name, _)| name.to_owned());
    assert_eq!(folders.collect::<BTreeSet<_>>(), BTreeSet::from(names));
}

/// A target that finds nothing wrong proves nothing: each promise can be broken.
#[test]
fn a_broken_promise_is_found() {
    let never_read = std::panic::catch_unwind(|| {
        let mut directory =
            subjects::Directory::new(b"kind: Service\nmetadata: { name: s }\n", None);
        assert!(directory.was_read());
        assert!(directory.update().is_empty(), "the first update has something to say");
    });
    assert!(never_read.is_err());
    let whole = subjects::lines(&[b"ab\ncd"]).unwrap();
    assert_eq!(whole, [b"ab"]);
}
