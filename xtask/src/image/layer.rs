//! Files into one layer: a tar whose bytes depend on names and contents only.

use std::{collections::BTreeSet, io::Write as _};

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder, write::GzEncoder};
use tar::{Builder, EntryType, Header};

/// A file of the image.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// From the root of the image, without a leading slash.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
}

/// Packs files and the directories above them, sorted, all of root and of the beginning of time.
pub(super) fn tar(files: &[File]) -> Result<Vec<u8>> {
    let mut files: Vec<&File> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut directories = BTreeSet::new();
    for pair in files.windows(2) {
        if pair[0].path == pair[1].path {
            bail!("{} is there twice", pair[0].path);
        }
    }
    for file in &files {
        let mut above = file.path.as_str();
        while let Some((parent, _)) = above.rsplit_once('/') {
            directories.insert(parent);
            above = parent;
        }
    }
    let mut archive = Builder::new(Vec::new());
    for directory in directories {
        let header = header(EntryType::Directory, 0o755, 0);
        append(&mut archive, header, &format!("{directory}/"), &[])?;
    }
    for file in files {
        let header = header(EntryType::Regular, file.mode, file.content.len() as u64);
        append(&mut archive, header, &file.path, &file.content)?;
    }
    archive.into_inner().context("the end of an archive")
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn append(
    archive: &mut Builder<Vec<u8>>,
    mut header: Header,
    path: &str,
    content: &[u8],
) -> Result<()> {
    archive.append_data(&mut header, path, content).with_context(|| path.to_owned())
}

/// Compresses; the header names no file, no time and no system.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out: GzEncoder<Vec<u8>> =
        GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    out.write_all(bytes).context("compressing")?;
    out.finish().context("compressing")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn file(path: &str, content: &str) -> File {
        File { path: path.into(), mode: 0o644, content: content.as_bytes().to_vec() }
    }

    #[test]
    fn order_does_not_matter_and_directories_come_first() {
        let one = [file("usr/share/b", "2"), file("bin/a", "1"), file("c", "")];
        let other = [one[2].clone(), one[0].clone(), one[1].clone()];
        let packed = tar(&one).unwrap();
        assert_eq!(packed, tar(&other).unwrap());
        let mut archive = tar::Archive::new(packed.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            seen.push((entry.path().unwrap().display().to_string(), text));
        }
        let wanted = [
            ("bin/", ""),
            ("usr/", ""),
            ("usr/share/", ""),
            ("bin/a", "1"),
            ("c", ""),
            ("usr/share/b", "2"),
        ];
        assert_eq!(seen, wanted.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_file_that_is_there_twice_is_refused() {
        let said = tar(&[file("a", "1"), file("a", "2")]).unwrap_err().to_string();
        assert_eq!(said, "a is there twice");
    }

    #[test]
    fn what_is_compressed_comes_back_and_names_no_time() {
        let packed = gzip(b"text").unwrap();
        assert_eq!(packed[4..8], [0; 4], "RFC 1952: MTIME");
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }
}
