//! `cargo xtask image`: the container image, without Docker.
//!
//! An image is a static program, some texts and a description, so that it can be put together by
//! hand: `layer.rs` packs the files, `layout.rs` describes them as OCI wants it, `packages.rs` says
//! whose work is in the program. The same sources give the same digest, wherever and whenever they
//! are built: paths are mapped away by the compilers, and no clock is asked.

mod layer;
mod layout;
mod packages;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use self::{
    layer::File,
    layout::{About, Image},
    packages::Packages,
};
use crate::shell::{cargo, root};

/// The one platform that images are built for; the chart asks for nodes of it.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Where the licences of what is linked in lie in the image.
const LICENCES: &str = "usr/share/licenses/towpath";

#[derive(clap::Args)]
pub(crate) struct ImageArgs {
    /// Profile of the program: image, or release (built sooner, larger, with assertions)
    #[arg(long, default_value = "image")]
    profile: String,
    /// Name of the image, without a tag
    #[arg(long, default_value = "ghcr.io/towpath/towpath")]
    name: String,
    /// Tag of the image (default: the version)
    #[arg(long)]
    tag: Option<String>,
    /// Directory to write to
    #[arg(long, default_value = "target/image")]
    out: PathBuf,
}

pub(crate) fn run(args: &ImageArgs) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let program = build(&args.profile)?;
    let packages = Packages::of("towpath", TARGET)?;
    let image = Image::new(
        &files(&program, &packages)?,
        &About {
            name: &args.name,
            tag: args.tag.as_deref().unwrap_or(version),
            version,
            licences: "Apache-2.0",
            source: "https://github.com/towpath/towpath",
        },
    )?;
    let out = root().join(&args.out);
    let layout = out.join("layout");
    if layout.exists() {
        fs::remove_dir_all(&layout).with_context(|| layout.display().to_string())?;
    }
    image.write_layout(&layout)?;
    let archive = out.join("towpath.tar");
    fs::write(&archive, image.archive()?).with_context(|| archive.display().to_string())?;
    let sbom = out.join("towpath.cdx.json");
    fs::write(&sbom, packages.sbom(version)?).with_context(|| sbom.display().to_string())?;
    println!("image   {}", image.name());
    println!("digest  {}", image.digest());
    println!("program {} bytes, layer {} bytes", program.len(), image.layer_bytes());
    println!("archive {}", archive.display());
    println!("layout  {}", layout.display());
    println!("sbom    {}", sbom.display());
    Ok(())
}

/// What lies in the image.
fn files(program: &[u8], packages: &Packages) -> Result<Vec<File>> {
    let own = root().join("LICENSE");
    let licence = fs::read(&own).with_context(|| own.display().to_string())?;
    Ok(vec![
        File { path: "bin/towpath".into(), mode: 0o755, content: program.to_vec() },
        File { path: format!("{LICENCES}/LICENSE"), mode: 0o644, content: licence },
        File {
            path: format!("{LICENCES}/THIRD-PARTY"),
            mode: 0o644,
            content: packages.licences()?.into_bytes(),
        },
    ])
}

/// Builds the program, static and without a path of this machine in it, and reads it.
fn build(profile: &str) -> Result<Vec<u8>> {
    let home = cargo_home()?;
    let here = root();
    let maps = [(here.as_path(), "/towpath"), (home.as_path(), "/cargo")];
    let rust = maps.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let c = maps.map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()));
    // Named as a target, even where it is the host's: else the flags would also be those of proc
    // macros, which cannot be static.
    let flags = [&["-Ctarget-feature=+crt-static".to_owned()][..], &rust].concat().join("\u{1f}");
    cargo(&["build", "--locked", "--bin", "towpath", "--target", TARGET, "--profile", profile])
        .env("CARGO_ENCODED_RUSTFLAGS", &flags)
        .env("CARGO_INCREMENTAL", "0")
        .env("CFLAGS", &c.join(" "))
        .run()?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("target"), PathBuf::from);
    let path = target.join(TARGET).join(profile).join("towpath");
    is_static(&path)?;
    fs::read(&path).with_context(|| path.display().to_string())
}

/// Sources of dependencies lie below it.
fn cargo_home() -> Result<PathBuf> {
    let given = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    given
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor a home directory is known")
}

/// A program that wants a loader does not start in an empty root: it runs here with none to be found.
fn is_static(path: &Path) -> Result<()> {
    let mode = fs::metadata(path).with_context(|| path.display().to_string())?.permissions();
    if mode.mode() & 0o111 == 0 {
        bail!("{} is not a program", path.display());
    }
    let output = Command::new("readelf").args(["-l", "-W"]).arg(path).output();
    let output = output.context("readelf (package binutils)")?;
    if !output.status.success() {
        bail!("readelf ended with {}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("INTERP") {
        bail!("{} is linked dynamically: it would not start in an empty root", path.display());
    }
    Ok(())
}
