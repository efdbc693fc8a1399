//! Flags over the file: one value per setting, with the place it came from.

use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;

use super::{Environment, Fault, Origin, RunArgs, file::File};

/// A value and where it was set.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl Setting<String> {
    /// A fault of this setting.
    pub(super) fn fault(&self, path: &str, why: &str, action: impl Into<String>) -> Fault {
        Fault::new(self.origin.clone(), path, format!("\"{}\" {why}", self.value), action)
    }
}

/// Everything that was typed, and the machine it was typed on.
pub(super) struct Layers<'a> {
    pub(super) args: &'a RunArgs,
    pub(super) file: &'a File,
    pub(super) environment: &'a Environment,
}

impl Layers<'_> {
    /// The flag's text, else the file's.
    pub(super) fn text(
        &self,
        flag: Option<&String>,
        name: &'static str,
        in_file: Option<&Spanned<String>>,
    ) -> Option<Setting<String>> {
        match flag {
            Some(value) => Some(Setting { value: value.clone(), origin: Origin::Flag(name) }),
            None => in_file.map(|spanned| self.of_file(spanned)),
        }
    }

    /// The flag's path, else the file's.
    pub(super) fn path(
        &self,
        flag: Option<&PathBuf>,
        name: &'static str,
        in_file: Option<&Spanned<String>>,
    ) -> Option<Setting<PathBuf>> {
        match flag {
            Some(value) => Some(Setting { value: value.clone(), origin: Origin::Flag(name) }),
            None => in_file.map(|spanned| {
                let Setting { value, origin } = self.of_file(spanned);
                Setting { value: value.into(), origin }
            }),
        }
    }

    /// The flag's list when it has entries, else the file's.
    pub(super) fn list(
        &self,
        flag: &[String],
        name: &'static str,
        in_file: Option<&Vec<Spanned<String>>>,
    ) -> Vec<Setting<String>> {
        if !flag.is_empty() {
            let typed =
                |value: &String| Setting { value: value.clone(), origin: Origin::Flag(name) };
            return flag.iter().map(typed).collect();
        }
        in_file.into_iter().flatten().map(|spanned| self.of_file(spanned)).collect()
    }

    /// A value of the file.
    pub(super) fn of_file<T: Clone>(&self, spanned: &Spanned<T>) -> Setting<T> {
        let path = self.args.config.as_deref().unwrap_or_else(|| Path::new("configuration"));
        let origin = Origin::File(path.to_owned(), spanned.referenced.line());
        Setting { value: spanned.value.clone(), origin }
    }
}
