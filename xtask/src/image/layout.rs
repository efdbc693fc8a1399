//! The description of an image: OCI image format 1.1, as a directory ("layout") and as one archive.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, ImageConfiguration, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, PlatformBuilder,
    RootFsBuilder, Sha256Digest,
};
use sha2::{Digest as _, Sha256};

use super::layer::{self, File};

/// What an image says of itself.
pub(super) struct About<'a> {
    /// Name without a tag.
    pub(super) name: &'a str,
    pub(super) tag: &'a str,
    pub(super) version: &'a str,
    /// As SPDX writes it.
    pub(super) licences: &'a str,
    /// Where its source is.
    pub(super) source: &'a str,
}

/// A finished image: every file of its layout.
pub(super) struct Image {
    name: String,
    digest: String,
    layer_bytes: usize,
    /// Path in the layout, content.
    entries: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// An image of one layer, made of these files; it runs `/bin/towpath`.
    pub(super) fn new(files: &[File], about: &About<'_>) -> Result<Self> {
        let packed = layer::tar(files)?;
        let layer = layer::gzip(&packed)?;
        let config = config(&hash(&packed), about)?.to_string().context("configuration")?;
        let mut entries = BTreeMap::new();
        let layer_bytes = layer.len();
        let layer = blob(&mut entries, MediaType::ImageLayerGzip, layer)?;
        let config = blob(&mut entries, MediaType::ImageConfig, config.into_bytes())?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(vec![layer])
            .annotations(labels(about))
            .build()?
            .to_string()?;
        let mut manifest = blob(&mut entries, MediaType::ImageManifest, manifest.into_bytes())?;
        let digest = manifest.digest().to_string();
        let name = format!("{}:{}", about.name, about.tag);
        manifest.set_platform(Some(
            PlatformBuilder::default().architecture(Arch::Amd64).os(Os::Linux).build()?,
        ));
        // containerd takes the whole name from its own annotation, others the tag from OCI's.
        manifest.set_annotations(Some(
            [
                ("org.opencontainers.image.ref.name".to_owned(), about.tag.to_owned()),
                ("io.containerd.image.name".to_owned(), name.clone()),
            ]
            .into(),
        ));
        let index = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![manifest])
            .build()?
            .to_string()?;
        entries.insert("index.json".to_owned(), sorted(&index)?);
        let layout =
            OciLayoutBuilder::default().image_layout_version("1.0.0".to_owned()).build()?;
        entries.insert("oci-layout".to_owned(), layout.to_string()?.into_bytes());
        Ok(Self { name, digest, layer_bytes, entries })
    }

    /// Name and tag.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Digest of the manifest: by this an image is pinned.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// Bytes to download.
    pub(super) const fn layer_bytes(&self) -> usize {
        self.layer_bytes
    }

    /// Writes the layout as a directory.
    pub(super) fn write_layout(&self, to: &Path) -> Result<()> {
        for (path, content) in &self.entries {
            let path = to.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            }
            fs::write(&path, content).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// The layout as one tar.
    pub(super) fn archive(&self) -> Result<Vec<u8>> {
        let file = |(path, content): (&String, &Vec<u8>)| File {
            path: path.clone(),
            mode: 0o644,
            content: content.clone(),
        };
        layer::tar(&self.entries.iter().map(file).collect::<Vec<_>>())
    }
}

fn config(diff_id: &str, about: &About<'_>) -> Result<ImageConfiguration> {
    let config = ConfigBuilder::default()
        .env(vec!["PATH=/bin".to_owned()])
        .entrypoint(vec!["/bin/towpath".to_owned()])
        .labels(labels(about))
        .working_dir("/".to_owned())
        .build()?;
    let root = RootFsBuilder::default()
        .typ("layers".to_owned())
        .diff_ids(vec![format!("sha256:{diff_id}")])
        .build()?;
    Ok(ImageConfigurationBuilder::default()
        .architecture(Arch::Amd64)
        .os(Os::Linux)
        .config(config)
        .rootfs(root)
        .history(Vec::new())
        .build()?)
}

fn labels(about: &About<'_>) -> std::collections::HashMap<String, String> {
    [
        ("title", "towpath"),
        ("description", "The Kubernetes node data plane in one daemon"),
        ("version", about.version),
        ("licenses", about.licences),
        ("source", about.source),
    ]
    .into_iter()
    .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
    .collect()
}

/// Adds a blob under its digest, and describes it.
fn blob(
    entries: &mut BTreeMap<String, Vec<u8>>,
    kind: MediaType,
    content: Vec<u8>,
) -> Result<Descriptor> {
    let content = if kind == MediaType::ImageLayerGzip {
        content
    } else {
        sorted(std::str::from_utf8(&content)?)?
    };
    let digest: Sha256Digest = hash(&content).parse()?;
    let descriptor = Descriptor::new(kind, content.len() as u64, digest.clone());
    entries.insert(format!("blobs/sha256/{}", digest.digest()), content);
    Ok(descriptor)
}

/// The same JSON with its keys in order: annotations are a `HashMap`, and come out differently each time.
fn sorted(json: &str) -> Result<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    Ok(serde_json::to_vec(&value)?)
}

fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use serde_json::Value;

    use super::*;

    const ABOUT: About<'static> = About {
        name: "example.org/towpath",
        tag: "t1",
        version: "1.2.3",
        licences: "Apache-2.0",
        source: "https://example.org",
    };

    fn files() -> Vec<File> {
        let file = |path: &str, mode, content: &str| File {
            path: path.into(),
            mode,
            content: content.as_bytes().to_vec(),
        };
        vec![file("bin/towpath", 0o755, "program"), file("usr/LICENSE", 0o644, "licence")]
    }

    /// Reads a blob of a layout as what points at it describes it.
    fn follow(layout: &Path, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let content = fs::read(layout.join("blobs/sha256").join(digest)).unwrap();
        assert_eq!(hash(&content), digest);
        assert_eq!(descriptor["size"], content.len());
        content
    }

    #[test]
    fn an_archive_unpacks_to_an_image_whose_every_digest_is_right() {
        let image = Image::new(&files(), &ABOUT).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let archive = image.archive().unwrap();
        tar::Archive::new(archive.as_slice()).unpack(dir.path()).unwrap();
        let read = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(dir.path().join(name)).unwrap()).unwrap()
        };
        assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
        let index = read("index.json");
        let pointer = &index["manifests"][0];
        assert_eq!(pointer["digest"], image.digest());
        assert_eq!(pointer["annotations"]["io.containerd.image.name"], "example.org/towpath:t1");
        assert_eq!(pointer["platform"]["architecture"], "amd64");
        let manifest: Value = serde_json::from_slice(&follow(dir.path(), pointer)).unwrap();
        let config: Value =
            serde_json::from_slice(&follow(dir.path(), &manifest["config"])).unwrap();
        assert_eq!(config["config"]["Env"][0], "PATH=/bin");
        assert_eq!(config["config"]["Entrypoint"][0], "/bin/towpath");
        let label = "org.opencontainers.image.licenses";
        assert_eq!(config["config"]["Labels"][label], "Apache-2.0");
        assert!(config.get("created").is_none(), "a time would be another each time");
        let layer = follow(dir.path(), &manifest["layers"][0]);
        let mut packed = Vec::new();
        flate2::read::GzDecoder::new(layer.as_slice()).read_to_end(&mut packed).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hash(&packed)));
        let root = tempfile::tempdir().unwrap();
        tar::Archive::new(packed.as_slice()).unpack(root.path()).unwrap();
        assert_eq!(fs::read(root.path().join("bin/towpath")).unwrap(), b"program");
        let blobs = fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count();
        assert_eq!(blobs, 3, "manifest, configuration, layer: nothing beside them");
    }

    #[test]
    fn the_same_files_give_the_same_image() {
        let image = Image::new(&files(), &ABOUT).unwrap();
        for _ in 0..8 {
            let mut turned = files();
            turned.reverse();
            let again = Image::new(&turned, &ABOUT).unwrap();
            assert_eq!(again.digest(), image.digest());
            assert_eq!(again.archive().unwrap(), image.archive().unwrap());
        }
        let mut other = files();
        other[0].content.push(b'!');
        assert_ne!(Image::new(&other, &ABOUT).unwrap().digest(), image.digest());
    }

    #[test]
    fn the_directory_holds_what_the_archive_holds() {
        let image = Image::new(&files(), &ABOUT).unwrap();
        let dir = tempfile::tempdir().unwrap();
        image.write_layout(dir.path()).unwrap();
        for (path, content) in &image.entries {
            assert_eq!(&fs::read(dir.path().join(path)).unwrap(), content, "{path}");
        }
    }
}
