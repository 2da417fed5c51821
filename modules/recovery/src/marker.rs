//! `backstay_restore.json`: the file in a data directory that says a restore has begun there and has not ended.
//!
//! It is the first thing that a restore writes and the last thing it removes. A later restore that finds it may clean the
//! directory and begin anew, under one more condition: there is no `global/pg_control`. The control file is put in
//! place as the very last step, so a directory without it was never startable and holds nobody's work; a directory with
//! it is complete, even if the marker's removal was lost in a crash, and is never cleaned.

use std::io;
use std::path::{Path, PathBuf};

use durable::DurableError;
use serde::{Deserialize, Serialize};

use crate::RecoveryError;
use crate::control;

/// The marker's name in the data directory.
pub(crate) const MARKER: &str = "backstay_restore.json";

/// A marker is a few hundred bytes and a path for each tablespace.
const LIMIT: u64 = 1 << 20;

/// What an unfinished restore had set out to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// The backup being restored.
    pub(crate) backup_id: String,
    /// Tablespace locations and the WAL directory: places outside the data directory that this restore fills.
    pub(crate) places: Vec<PathBuf>,
    /// The owner that the files will get; while the restore runs the data directory may belong to root.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The permission bits that the data directory will get.
    pub(crate) mode: u32,
}

impl Marker {
    /// Writes the marker into the data directory.
    pub(crate) fn write(&self, data_directory: &Path) -> Result<(), RecoveryError> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        Ok(durable::write(data_directory.join(MARKER), &text, 0o600)?)
    }

    /// The marker of an unfinished restore in this directory; `None` when there is none, or when the directory has a
    /// control file and so is a cluster. A marker that somebody else owns than `trusted` is not believed: what it
    /// names gets deleted.
    pub(crate) fn unfinished(
        data_directory: &Path,
        trusted: &[u32],
    ) -> Result<Option<Self>, RecoveryError> {
        if control::is_in_place(data_directory) {
            return Ok(None);
        }
        let path = data_directory.join(MARKER);
        let bytes = match durable::read_owned(&path, trusted, LIMIT) {
            Ok(bytes) => bytes,
            Err(DurableError::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        // A marker of an unknown form is no licence to delete: the directory is then simply not empty.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Removes the marker: the restore is finished.
    pub(crate) fn remove(data_directory: &Path) -> Result<(), RecoveryError> {
        Ok(durable::remove(data_directory.join(MARKER))?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn marker() -> Marker {
        Marker {
            backup_id: "b".to_owned(),
            places: vec![PathBuf::from("/ts")],
            uid: 1,
            gid: 2,
            mode: 0o700,
        }
    }

    fn us() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    #[test]
    fn an_unfinished_restore_is_recognised_until_the_control_file_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(Marker::unfinished(path, &[us()]).unwrap(), None);
        marker().write(path).unwrap();
        assert_eq!(Marker::unfinished(path, &[us()]).unwrap(), Some(marker()));
        fs::create_dir(path.join("global")).unwrap();
        fs::write(path.join("global/pg_control"), b"").unwrap();
        assert_eq!(Marker::unfinished(path, &[us()]).unwrap(), None);
        Marker::remove(path).unwrap();
        Marker::remove(path).unwrap();
        assert!(!path.join(MARKER).exists());
    }

    #[test]
    fn a_marker_of_somebody_else_or_of_another_form_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        marker().write(directory.path()).unwrap();
        let error = Marker::unfinished(directory.path(), &[us() + 1]).unwrap_err();
        assert_eq!(error.kind(), "untrusted_path");
        fs::write(directory.path().join(MARKER), b"{}").unwrap();
        assert_eq!(Marker::unfinished(directory.path(), &[us()]).unwrap(), None);
        assert_eq!(Marker::unfinished(Path::new("/nonexistent"), &[us()]).unwrap(), None);
    }
}
