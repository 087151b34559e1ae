//! Files that are made on request and fetched by a signed link: exports and reports. They lie in one folder and go after seven days.

pub(crate) mod csv;
pub(crate) mod export;
mod exporter;
mod rows;

pub use exporter::Exporter;
pub(crate) use rows::{FileRow, order};

use std::path::PathBuf;

use serde::Deserialize;

/// `[files]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct FilesSettings {
    /// The folder.
    pub dir: PathBuf,
}

impl Default for FilesSettings {
    fn default() -> Self {
        Self { dir: "var/files".into() }
    }
}
