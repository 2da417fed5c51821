//! What of a source is copied as files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::SnapshotError;
use crate::layout::{self, CONTROL_FILE, TABLESPACE_LINKS, VERSION_FILE};
use crate::sources::{Resolved, Role, Source};
use crate::tree::{Choice, EntryKind};

/// What is copied of one source.
pub(super) struct Selection {
    is_data: bool,
    /// Sources inside of this one, which are copied by themselves.
    inner: Vec<PathBuf>,
    /// How the names begin under which this server keeps its files in a tablespace.
    pub(super) version_prefix: String,
}

impl Selection {
    pub(super) fn new(sources: &Resolved, source: &Source) -> Result<Self, SnapshotError> {
        let inside = |other: &Source| {
            other
                .path
                .strip_prefix(&source.path)
                .map(Path::to_path_buf)
                .ok()
                .filter(|_| other != source)
        };
        let version = sources.data_directory()?.path.join(VERSION_FILE);
        let major = match fs::read_to_string(&version) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SnapshotError::Missing { path: version });
            }
            Err(error) => return Err(SnapshotError::io("read file", &version)(error)),
        };
        Ok(Self {
            is_data: source.role == Role::DataDirectory,
            inner: sources.all().iter().filter_map(inside).collect(),
            version_prefix: format!("PG_{major}_"),
        })
    }

    pub(super) fn choose(&self, path: &Path, kind: EntryKind) -> Choice {
        if layout::not_needed(path) {
            Choice::Skip
        } else if self.inner.iter().any(|inner| inner == path) {
            Choice::Empty
        } else if self.is_data {
            choose_in_data_directory(path, kind)
        } else {
            self.choose_in_tablespace(path)
        }
    }

    fn choose_in_tablespace(&self, path: &Path) -> Choice {
        match path.to_str() {
            Some(path) if path.starts_with(&self.version_prefix) => Choice::Copy,
            _ => Choice::Skip,
        }
    }
}

fn choose_in_data_directory(path: &Path, kind: EntryKind) -> Choice {
    if layout::content_not_needed(path) {
        return Choice::Empty;
    }
    let is_tablespace_link =
        kind == EntryKind::Link && path.parent() == Some(Path::new(TABLESPACE_LINKS));
    // The control file's turn comes when everything else has been copied.
    if is_tablespace_link || path == Path::new(CONTROL_FILE) { Choice::Skip } else { Choice::Copy }
}
