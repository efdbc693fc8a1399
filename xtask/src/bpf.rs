//! `cargo xtask bpf`: the kernel programs, built with their own toolchain into `ebpf/objects/`.
//!
//! The objects are checked in, so no other task needs that toolchain. A section `towpath.src` inside
//! each object holds the hash of the sources it was built from; `ebpf/tests/fresh.rs` compares.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{shell::root, sources};

#[derive(clap::Args)]
pub(crate) struct BpfArgs {
    /// Only compare the checked-in objects with the sources
    #[arg(long)]
    check: bool,
}

/// Each object, the binary it is, and the feature it is built with. `eperm` is for kernels before 5.18,
/// which have no `bpf_set_retval`; the loader finds out which of the two it needs.
const OBJECTS: [(&str, &str, &str); 4] = [
    ("ebpf/objects/sockets.o", "sockets", ""),
    ("ebpf/objects/sockets-eperm.o", "sockets", "eperm"),
    ("ebpf/objects/pods.o", "pods", ""),
    ("ebpf/objects/packets.o", "packets", ""),
];
const MANIFEST: &str = "ebpf/objects/MANIFEST";
const SOURCES: [&str; 2] = ["ebpf/datapath/src", "ebpf/kern/src"];
const SECTION: &str = "towpath.src";

pub(crate) fn run(args: &BpfArgs) -> Result<()> {
    let hash = source_hash(&root())?;
    if args.check {
        for (object, ..) in OBJECTS {
            let bytes = fs::read(root().join(object)).context(object)?;
            if !bytes.windows(hash.len()).any(|window| window == hash.as_bytes()) {
                bail!("{object} was built from other sources: run `cargo xtask bpf`");
            }
        }
        return Ok(());
    }
    let toolchain = Toolchain::find()?;
    fs::create_dir_all(root().join("ebpf/objects"))?;
    let note = root().join("ebpf/kern/target/source-hash");
    for (object, binary, features) in OBJECTS {
        toolchain.build(binary, features)?;
        fs::write(&note, &hash)?;
        finish(binary, &root().join(object), &note)?;
    }
    let manifest = format!(
        "source {hash}\nrustc {}\nbpf-linker {}\n",
        version(&toolchain.rustc)?,
        version("bpf-linker")?
    );
    fs::write(root().join(MANIFEST), &manifest)?;
    print!("{manifest}");
    Ok(())
}

/// Copies what was built, without debugging information (BTF stays) and with its source's hash.
fn finish(binary: &str, object: &Path, note: &Path) -> Result<()> {
    let built = root().join("ebpf/kern/target/bpfel-unknown-none/release").join(binary);
    fs::copy(&built, object).with_context(|| built.display().to_string())?;
    let strip = tool("BPF_STRIP", &["llvm-strip", "llvm-strip-22"])?;
    let objcopy = tool("BPF_OBJCOPY", &["llvm-objcopy", "llvm-objcopy-22"])?;
    status(Command::new(strip).arg("-g").arg(object))?;
    let section = format!("{SECTION}={}", note.display());
    status(Command::new(objcopy).arg("--add-section").arg(section).arg(object))
}

struct Toolchain {
    rustc: String,
    cargo: String,
}

impl Toolchain {
    /// A compiler with its library's source: the distribution's, unless BPF_RUSTC and BPF_CARGO say
    /// otherwise.
    fn find() -> Result<Self> {
        let chosen = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.into());
        let found = Self {
            rustc: chosen("BPF_RUSTC", "/usr/bin/rustc"),
            cargo: chosen("BPF_CARGO", "/usr/bin/cargo"),
        };
        for program in [&found.rustc, &found.cargo] {
            if !Path::new(program).exists() {
                bail!("{program} is not there: ebpf/README.md says what to install");
            }
        }
        Ok(found)
    }

    fn build(&self, binary: &str, features: &str) -> Result<()> {
        let remap = format!("--remap-path-prefix={}=/towpath", root().display());
        let flags = ["-Clink-arg=--btf", "-Cdebuginfo=2", "-Ctarget-cpu=v3", &remap].join("\u{1f}");
        status(
            Command::new(&self.cargo)
                .current_dir(root().join("ebpf/kern"))
                .args(["build", "--release", "--locked", "--bin", binary, "--features", features])
                .env_remove("RUSTUP_TOOLCHAIN")
                .env_remove("CARGO")
                .env_remove("CARGO_TARGET_DIR")
                .env_remove("RUSTFLAGS")
                .env("RUSTC", &self.rustc)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_ENCODED_RUSTFLAGS", flags),
        )
    }
}

/// SHA-256 over the names and contents of the kernel side's sources.
fn source_hash(root: &Path) -> Result<String> {
    let is_rust = |path: &Path| path.extension().is_some_and(|e| e == "rs");
    let mut files = vec![root.join("ebpf/kern/Cargo.lock"), root.join("ebpf/kern/Cargo.toml")];
    for dir in SOURCES {
        files.extend(sources::files_below(&root.join(dir), &is_rust)?);
    }
    sources::hash(root, files)
}

fn tool(variable: &str, names: &[&str]) -> Result<String> {
    if let Ok(chosen) = env::var(variable) {
        return Ok(chosen);
    }
    let runs = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let found = names.iter().find(runs);
    found.map(|name| (*name).to_owned()).with_context(|| {
        format!("none of {names:?} is installed: ebpf/README.md says what to install")
    })
}

fn version(program: &str) -> Result<String> {
    let output = Command::new(program).arg("--version").output().context(program.to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

fn status(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
