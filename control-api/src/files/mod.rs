//! Files that are made on request and fetched by a signed link: exports and reports; and bills that are sent here. They lie in one folder
//! and go when their days are over.

pub(crate) mod csv;
pub(crate) mod export;
mod exporter;
mod rows;
mod sent;

pub use exporter::Exporter;
pub(crate) use rows::{FileRow, order};
pub(crate) use sent::Sent;

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
