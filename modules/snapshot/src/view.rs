//! From where the paths of a database cluster are seen: from this host, or from inside a container.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use host::{HostError, Mounts, Process};

use crate::SnapshotError;

/// Whose paths the sources are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum View<'a> {
    /// Ours.
    Host,
    /// Those that this process sees.
    Inside(&'a Process),
}

impl View<'_> {
    /// `path` with every symbolic link resolved.
    pub(crate) fn resolve(&self, path: &Path) -> Result<PathBuf, SnapshotError> {
        match self {
            Self::Host => fs::canonicalize(path).map_err(SnapshotError::io("find directory", path)),
            Self::Inside(process) => Ok(process.resolve(path)?),
        }
    }

    /// As [`View::resolve`]; `None` when it leads nowhere.
    pub(crate) fn resolve_existing(&self, path: &Path) -> Result<Option<PathBuf>, SnapshotError> {
        match self.resolve(path) {
            Ok(real) => Ok(Some(real)),
            Err(
                SnapshotError::Io { source, .. }
                | SnapshotError::Host(HostError::Inside { source, .. }),
            ) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// By which path we read `path`. Its directories must be resolved; itself may be a symbolic link.
    pub(crate) fn reach(&self, path: &Path) -> PathBuf {
        match self {
            Self::Host => path.to_path_buf(),
            Self::Inside(process) => process.reach(path),
        }
    }

    /// What is mounted where.
    pub(crate) fn mounts(&self) -> Result<Mounts, SnapshotError> {
        Ok(match self {
            Self::Host => Mounts::read()?,
            Self::Inside(process) => Mounts::of_process(process)?,
        })
    }
}
