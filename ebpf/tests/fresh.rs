//! The checked-in objects were built from the checked-in sources.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn objects_agree_with_their_sources() {
    let ebpf = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = ebpf.parent().unwrap();
    let mut files = vec![ebpf.join("kern/Cargo.lock"), ebpf.join("kern/Cargo.toml")];
    collect(&ebpf.join("datapath/src"), &mut files);
    collect(&ebpf.join("kern/src"), &mut files);
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        hash.update(file.strip_prefix(root).unwrap().to_string_lossy().as_bytes());
        hash.update([0]);
        hash.update(fs::read(file).unwrap());
        hash.update([0]);
    }
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = fs::read_to_string(ebpf.join("objects/MANIFEST")).unwrap();
    assert!(
        manifest.contains(&hash),
        "ebpf/objects/MANIFEST names other sources: run `cargo xtask bpf` and commit the objects"
    );
    for name in ["sockets.o", "sockets-eperm.o", "pods.o"] {
        let object = fs::read(ebpf.join("objects").join(name)).expect("the object");
        assert!(
            object.windows(hash.len()).any(|window| window == hash.as_bytes()),
            "ebpf/objects/{name} was built from other sources: run `cargo xtask bpf`"
        );
    }
}
